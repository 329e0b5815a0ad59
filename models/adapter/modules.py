"""The low-rank pairs of an adapter, and what a user may call the layers beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hardwire.models.adapter.config import Place
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.language_model import ADAPTABLE, HEAD, TARGETS, LanguageModel

_GROUPS = {
    "all-linear": TARGETS,
    "attention": TARGETS[:4],
    "mlp": TARGETS[4:],
    "qv": ("q_proj", "v_proj"),
}


@dataclass(frozen=True)
class LowRankModule:
    """The low-rank pair beside one linear layer: ``y = W x + scale * B (A x)``.

    ``A`` is ``(rank, in_features)``, ``B`` is ``(out_features, rank)``. ``layer`` is the decoder
    layer; the LM head counts as the one behind the last.
    """

    layer: int
    target: str
    rank: int
    in_features: int
    out_features: int
    scale: float

    @property
    def parameters(self) -> int:
        """Weights of A and B together."""
        return self.rank * (self.in_features + self.out_features)


def modules_of(
    places: Mapping[Place, tuple[int, float]], model: LanguageModel
) -> tuple[LowRankModule, ...]:
    """Return the pair of each place, from its rank and scale."""
    modules = []
    for (layer, target), (rank, scale) in places.items():
        out_features, in_features = model.linear_shape(target)
        modules.append(LowRankModule(layer, target, rank, in_features, out_features, scale))
    return tuple(modules)


def parse_targets(text: str, where: str) -> tuple[str, ...]:
    """Return the targets that a user means, in the order of `ADAPTABLE`.

    Parameters
    ----------
    text : str
        ``all-linear`` (without the LM head, as in PEFT), ``attention`` (q, k, v, o), ``mlp``
        (gate, up, down), ``qv``, or names such as ``q_proj`` and ``lm_head``, joined by ``+`` or
        ``,``.
    where : str
        Begins error messages.

    Raises
    ------
    InputError
        If a name is unknown; the message gives the nearest ones.
    """
    chosen: set[str] = set()
    for word in text.lower().replace(",", "+").split("+"):
        if word not in _GROUPS and word not in ADAPTABLE:
            raise InputError(
                f"{where}: '{word}' is no target; use {', '.join(_GROUPS)} or names such as "
                f"q_proj+v_proj{did_you_mean(word, (*_GROUPS, *ADAPTABLE))}"
            )
        chosen.update(_GROUPS.get(word, (word,)))
    return tuple(target for target in ADAPTABLE if target in chosen)


def targets_text(targets: tuple[str, ...]) -> str:
    """Return targets as a user writes them: what `parse_targets` reads."""
    names = {group: text for text, group in _GROUPS.items()}
    in_layers = tuple(target for target in targets if target != HEAD)
    text = names.get(in_layers, "+".join(in_layers))
    return "+".join(filter(None, (text, HEAD if HEAD in targets else "")))
