"""PEFT's adapter_config.json: which layers an adapter changes, with which rank and scale.

Source: huggingface/peft, ``tuners/lora/config.py``, ``tuners/tuners_utils.py``
(``check_target_module_exists``) and ``utils/other.py`` (``get_pattern_key``).
"""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.files import complaint
from hardwire.models.language_model import (
    EXPERT,
    FUSED,
    LanguageModel,
    module_path,
    of_any_expert,
)

_Number = TypeVar("_Number", int, float)

Place = tuple[int, str]
"""A linear layer of a model: decoder layer and target, as in `LanguageModel.places`."""

EMBEDDING_IS_LOOKED_UP = (
    "the embedding is a look-up of one ROM row, not a product that a side path could run beside"
)

_IN_ROM = "base weights are fixed in ROM"
_UNSUPPORTED = {
    "use_dora": f"DoRA rescales the rows of the adapted matrices, and {_IN_ROM}",
    "modules_to_save": f"whole modules would be replaced, and {_IN_ROM}",
    "lora_bias": "the low-rank path has no bias vectors",
    "use_bdlora": "block-diagonal LoRA (BD-LoRA) is not modelled",
    "use_qalora": "QA-LoRA, which pools groups of inputs, is not modelled",
    "fan_in_fan_out": "transposed weights occur in no model family that is supported",
    "layer_replication": "layers would be repeated, and those of the chip are fixed",
    "trainable_token_indices": f"rows of the embedding would be replaced, and {_IN_ROM}",
    "alora_invocation_tokens": "activated LoRA (aLoRA) is not modelled",
    "arrow_config": "Arrow routing among several adapters is not modelled",
    "megatron_config": "layers of Megatron are not modelled",
}
# These initialisations subtract the adapter's start from the base weights, so the adapter is true
# only beside a changed base (PEFT can convert it to a plain one when it saves).
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_EMBEDDING = "model.embed_tokens"
# PEFT's default for each of the families that are modelled.
_DEFAULT_TARGETS = ["q_proj", "v_proj"]
_OF_EXPERTS = re.compile("(?<!shared_)experts")
_WITHOUT_DEFAULT = ("qwen3_moe", "gpt_oss", "deepseek_v3")

_Rank = Annotated[int, Field(strict=True, ge=1)]
_Layer = Annotated[int, Field(strict=True)]
_Alpha = Annotated[float, Field(strict=True, allow_inf_nan=False)]
# More than every linear layer of the largest dense model named one by one (882 in Llama 3.1 405B).
_MOST_ITEMS = 2000
_Strings = Annotated[str, Field(strict=True)] | Annotated[list[str], Field(max_length=_MOST_ITEMS)]


class _Config(BaseModel):
    """The fields of adapter_config.json that decide places, ranks and scales."""

    model_config = ConfigDict(extra="allow")

    peft_type: str
    task_type: str | None = None
    r: _Rank = 8
    lora_alpha: _Alpha = 8.0
    target_modules: _Strings | None = None
    target_parameters: Annotated[list[str], Field(max_length=_MOST_ITEMS)] | None = None
    exclude_modules: _Strings | None = None
    rank_pattern: Annotated[dict[str, _Rank], Field(max_length=_MOST_ITEMS)] | None = None
    alpha_pattern: Annotated[dict[str, _Alpha], Field(max_length=_MOST_ITEMS)] | None = None
    use_rslora: bool | None = None
    layers_to_transform: _Layer | list[_Layer] | None = None
    layers_pattern: _Strings | None = None
    init_lora_weights: bool | str | None = True
    bias: str | None = "none"


def placements(
    config: Mapping[str, Any], model: LanguageModel, where: str, *, experts_apart: bool = False
) -> dict[Place, tuple[int, float]]:
    """Return rank and scale of every linear layer that a PEFT configuration adapts.

    Parameters
    ----------
    config : mapping
        Content of adapter_config.json.
    model : LanguageModel
    where : str
        Begins error messages, normally the file's path.
    experts_apart : bool
        Each expert's linear layers are modules of their own, as in transformers before version 5,
        so that a name such as ``gate_proj`` is of them, too. Otherwise all experts of a layer are
        in one parameter, and ``target_parameters`` or a pattern of paths of experts is of them.

    Returns
    -------
    dict
        ``(rank, scale)`` by ``(layer, target)``, in the order of `LanguageModel.places`.
        The scale is ``alpha / rank``, with rsLoRA ``alpha / sqrt(rank)``.

    Raises
    ------
    InputError
        If a field is missing or invalid, asks for something that a hardwired base cannot do, or
        the targets are not linear layers of the model.
    """
    try:
        fields = _Config.model_validate(dict(config))
    except ValidationError as error:
        raise InputError(f"{where}: {complaint(error)}") from error
    _refuse_unsupported(fields, where)
    chosen = _Targets(fields, model, where)
    parameters = _of_parameters(fields, model, where)
    named = not experts_apart and not _OF_EXPERTS.search(str(fields.target_modules))
    possible = model.places(None if named else model.adaptable)
    places = [
        place
        for place in possible
        if place[1].rpartition(".")[2] != "gate_up_proj" and chosen.contains(module_path(*place))
    ]
    chosen.check_all_known(model, places, parameters)
    if parameters:
        if any(target.startswith(EXPERT) for _, target in places):
            raise InputError(f"{where}: target_parameters: experts are in target_modules, too")
        places = sorted([*places, *parameters], key=_order(model))
    ranks = _compile_patterns(fields.rank_pattern, f"{where}: rank_pattern")
    alphas = _compile_patterns(fields.alpha_pattern, f"{where}: alpha_pattern")
    result = {}
    for layer, target in places:
        path = module_path(layer, _as_parameter(target) if parameters else target)
        rank = _by_pattern(ranks, path, fields.r)
        check_rank(rank, model, f"{where}: r")
        alpha = _by_pattern(alphas, path, fields.lora_alpha)
        result[layer, target] = rank, alpha / (math.sqrt(rank) if fields.use_rslora else rank)
    return result


def _order(model: LanguageModel) -> Callable[[Place], tuple[int, int, int]]:
    """Sorts places as a token meets them, experts by number."""
    rank = {target: number for number, target in enumerate(model.adaptable)}

    def key(place: Place) -> tuple[int, int, int]:
        layer, target = place
        number = int(target.split(".")[1]) if target.startswith(EXPERT) else 0
        return layer, rank[of_any_expert(target)], number

    return key


def _as_parameter(target: str) -> str:
    """The parameter that has a linear layer of all experts: ``experts.up_proj``."""
    return of_any_expert(target) if target.startswith(EXPERT) else target


def _of_parameters(fields: _Config, model: LanguageModel, where: str) -> list[Place]:
    """The experts' linear layers that ``target_parameters`` names, matched as PEFT does.

    Each is one parameter of all experts of a layer, with gate and up in one. PEFT's
    ``ParamWrapper`` gives every expert a pair of rank ``r``.
    """
    names = fields.target_parameters or []
    found: list[Place] = []
    used: set[str] = set()
    for kind in model.layer_kinds if names else ():
        own = (FUSED, f"{EXPERT}down_proj") if kind.experts else ()
        for layer, target in itertools.product(kind.layers, own):
            matching = {name for name in names if _ends(name, _names(module_path(layer, target)))}
            if matching:
                used |= matching
                assert model.experts is not None
                kept = target.removeprefix(EXPERT)
                numbers = range(model.experts.count)
                found += [(layer, f"{EXPERT}{expert}.{kept}") for expert in numbers]
    for name in names:
        if name not in used:
            raise InputError(
                f"{where}: target_parameters: '{name}' is no parameter of experts of {model.name}; "
                "LoRA on other bare parameters is not modelled"
            )
    return found


def check_rank(rank: int, model: LanguageModel, where: str) -> None:
    """Raise `InputError` unless ``rank`` lies between 1 and the model's largest width."""
    largest = max(model.hidden, model.intermediate, model.heads * model.head_dim)
    if not 1 <= rank <= largest:
        raise InputError(
            f"{where}: the rank must be from 1 to {largest}, the largest width of {model.name}, "
            f"not {rank}"
        )


def _refuse_unsupported(fields: _Config, where: str) -> None:
    if fields.peft_type.upper() != "LORA":
        raise InputError(f"{where}: peft_type: must be LORA, not '{fields.peft_type}'")
    extra = fields.model_extra or {}
    for key, why in _UNSUPPORTED.items():
        if extra.get(key):
            raise InputError(f"{where}: {key}: cannot be used here: {why}")
    for key, value in extra.items():
        if key.startswith("use_") and key not in _UNSUPPORTED and value:
            raise InputError(f"{where}: {key}: is a variant of LoRA that is not modelled")
    if fields.bias not in (None, "none"):
        raise InputError(f"{where}: bias: must be 'none', not '{fields.bias}': {_IN_ROM}")
    if fields.task_type not in (None, "CAUSAL_LM"):
        raise InputError(
            f"{where}: task_type: must be CAUSAL_LM, not '{fields.task_type}', which replaces the "
            f"LM head: {_IN_ROM}"
        )
    start = fields.init_lora_weights
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise InputError(
            f"{where}: init_lora_weights: '{start}' changes the base weights, which are fixed in "
            "ROM; convert the adapter to plain LoRA with PEFT when saving it"
        )
    if isinstance(fields.target_modules, str):
        for key in ("layers_to_transform", "layers_pattern"):
            if getattr(fields, key) is not None:
                raise InputError(f"{where}: {key}: cannot be used with a target_modules pattern")


class _Targets:
    """Which module paths a configuration adapts."""

    def __init__(self, fields: _Config, model: LanguageModel, where: str) -> None:
        self.where = where
        targets = fields.target_modules
        if targets is None and fields.target_parameters:
            targets = []
        elif targets is None:
            if model.family in _WITHOUT_DEFAULT:
                raise InputError(
                    f"{where}: target_modules: this field is missing, and PEFT has no default for "
                    f"the family {model.family}"
                )
            targets = _DEFAULT_TARGETS
        elif isinstance(targets, str) and targets.lower() == "all-linear":
            # PEFT leaves out the LM head here, and experts that are no modules.
            targets = [target for target in model.targets if not target.startswith(EXPERT)]
        self.targets = self._matcher(targets, "target_modules")
        self.listed = targets if isinstance(targets, list) else []
        self.excluded = self._matcher(fields.exclude_modules or [], "exclude_modules")
        numbers = fields.layers_to_transform
        self.layers = [numbers] if isinstance(numbers, int) else (numbers or None)
        names = fields.layers_pattern or [r"[^.]*"]
        self.layer_patterns = [
            _compile(name, f"{where}: layers_pattern", r".*\.{}\.(\d+)\.")
            for name in ([names] if isinstance(names, str) else names)
        ]

    def _matcher(self, modules: str | list[str], field: str) -> re.Pattern[str]:
        if isinstance(modules, str):
            return _compile(modules, f"{self.where}: {field}")
        # An empty list gives a pattern without alternatives, which no path matches.
        return re.compile(rf"(?:.*\.)?(?:{'|'.join(map(re.escape, modules)) or '(?!)'})")

    def contains(self, path: str) -> bool:
        return any(map(self._contains, _names(path)))

    def _contains(self, path: str) -> bool:
        if self.excluded.fullmatch(path) or not self.targets.fullmatch(path):
            return False
        if self.layers is None:
            return True
        found = next((m for p in self.layer_patterns if (m := p.match(path))), None)
        return found is not None and int(found[1]) in self.layers

    def check_all_known(
        self, model: LanguageModel, places: list[Place], parameters: list[Place]
    ) -> None:
        field = f"{self.where}: target_modules"
        if self.targets.fullmatch(_EMBEDDING) and not self.excluded.fullmatch(_EMBEDDING):
            raise InputError(f"{field}: includes {_EMBEDDING}: {EMBEDDING_IS_LOOKED_UP}")
        # PEFT passes over a listed name that nothing has, as long as another one matches; what is
        # there and no linear layer it refuses.
        linear = {module_path(*place) for place in (*model.places(), *places)}
        for name in self.listed:
            if any(_ends(name, _names(path)) for path in linear) or (
                places and not _ends(name, _modules(model))
            ):
                continue
            raise InputError(
                f"{field}: '{name}' is no linear layer of {model.name}"
                f"{did_you_mean(name, model.adaptable)}"
            )
        for number in self.layers or []:
            if not 0 <= number < model.layers:
                raise InputError(
                    f"{self.where}: layers_to_transform: layer {number} does not exist; "
                    f"{model.name} has layers 0 to {model.layers - 1}"
                )
        if not places and not parameters:
            raise InputError(f"{field}: matches no linear layer of {model.name}")


def _modules(model: LanguageModel) -> set[str]:
    """Paths of all modules that have weights, and of those that hold them."""
    paths: set[str] = set()
    for tensor in model.tensors():
        parts = tensor.split(".")[:-1]
        paths.update(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return paths


def _names(path: str) -> tuple[str, ...]:
    """What a linear layer may be called: by itself, and in a model that also sees, old and new."""
    return path, f"language_model.{path}", path.replace("model.", "model.language_model.", 1)


def _ends(name: str, paths: Iterable[str]) -> bool:
    return any(path == name or path.endswith(f".{name}") for path in paths)


def _compile(pattern: str, where: str, template: str = "{}") -> re.Pattern[str]:
    """Compile a pattern from a file, set into a template, unless it could match for ever."""
    if len(pattern) > 2000 or _is_slow(pattern):
        raise InputError(f"{where}: this regular expression is too complicated: {pattern!r:.60}")
    try:
        return re.compile(template.format(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"{where}: {pattern!r:.60} is no regular expression: {error}") from error


def _is_slow(pattern: str) -> bool:
    """Say whether backtracking could explode.

    It is exponential in repeats or alternatives inside a repeated group, and polynomial in the
    number of repeats. The patterns that training tools write have at most five, never nested.
    """
    plain = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "x", pattern, flags=re.DOTALL)
    repeats, branching = 0, [False]
    for position, character in enumerate(plain):
        if character == "(":
            branching.append(False)
        elif character == ")" and len(branching) > 1:
            inside = branching.pop()
            if inside and plain[position + 1 : position + 2] in ("*", "+", "{"):
                return True
            branching[-1] |= inside
        elif character in "*+{|":
            repeats += character != "|"
            branching[-1] = True
    return repeats > 6


def _compile_patterns(
    values: Mapping[str, _Number] | None, where: str
) -> list[tuple[re.Pattern[str], _Number]]:
    return [
        (_compile(key, where, r"(?:.*\.)?(?:{})$"), value) for key, value in (values or {}).items()
    ]


def _by_pattern(
    patterns: list[tuple[re.Pattern[str], _Number]], path: str, default: _Number
) -> _Number:
    # The first pattern that matches counts, as in PEFT's get_pattern_key.
    found = (value for pattern, value in patterns if any(map(pattern.match, _names(path))))
    return next(found, default)
