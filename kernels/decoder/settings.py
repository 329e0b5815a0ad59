"""What a decoder reads of a config.json besides shapes: rotary embeddings, epsilon, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardwire.kernels.decoder.feed_forward import CLAMPED_ALPHA
from hardwire.kernels.decoder.rope import Rope
from hardwire.models.errors import InputError
from hardwire.models.files import read_json_object
from hardwire.models.language_model import LanguageModel

_EPS = {"bitnet": 1e-5, "mixtral": 1e-5, "gpt_oss": 1e-5}
_OTHER_EPS = 1e-6
"""`rms_norm_eps` of transformers' config classes, where a file does not say it."""

# What a config of a family could say, and what alone is computed.
_ONLY: tuple[tuple[str, str, Any], ...] = (
    ("deepseek_v3", "rope_interleave", True),
    ("deepseek_v3", "scoring_func", "sigmoid"),
    ("deepseek_v3", "topk_method", "noaux_tc"),
    ("gemma2", "use_bidirectional_attention", False),
    ("gemma3_text", "use_bidirectional_attention", False),
    ("gpt_oss", "swiglu_alpha", CLAMPED_ALPHA),
)


@dataclass(frozen=True)
class Settings:
    """The rotary embedding, that of layers with a window, and the epsilon of RMSNorm."""

    rope: Rope
    window_rope: Rope
    eps: float

    @classmethod
    def read(cls, folder: Path, model: LanguageModel) -> Settings:
        """Read the config.json of a model's folder.

        Raises
        ------
        InputError
            If a field is missing or out of range, or asks for arithmetic that is not computed.
        """
        path = folder / "config.json"
        config, where = read_json_object(path), str(path)
        _refuse(config, model, where)
        eps = config.get("rms_norm_eps", _EPS.get(model.family, _OTHER_EPS))
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < 1:
            raise InputError(f"{where}: rms_norm_eps: must be between 0 and 1, not {eps!r:.40}")
        return cls(Rope.from_config(config, where), Rope.of_windows(config, where), eps)


def _refuse(config: Mapping[str, Any], model: LanguageModel, where: str) -> None:
    quantized = config.get("quantization_config")
    if quantized and model.quantized is None:
        raise InputError(
            f"{where}: quantization_config: weights quantized by "
            f"{quantized.get('quant_method')!r:.40} are not read; save the model dequantized, "
            "without this field"
        )
    if model.family == "gpt_oss" and not (
        config.get("rope_scaling") or config.get("rope_parameters")
    ):
        # transformers would take one of gpt-oss-120b's own, which no published file leaves out.
        raise InputError(f"{where}: rope_scaling: this field is missing")
    for family, field, value in _ONLY:
        stated = config.get(field)
        if family == model.family and stated not in (None, value):
            raise InputError(f"{where}: {field}: must be {value!r}, not {stated!r:.40}")
