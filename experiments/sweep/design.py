"""A design and its load, and the closed forms' answers for arrays of them.

A design is named by *settings*: any parameter of chip or process by dotted name, and the names in
``OTHERS`` for process, model, adapter and load. Settings that are arrays vary from point to point.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hardwire.experiments.sweep.fidelity_options import OPTION_SETTINGS, OPTIONS, check_option
from hardwire.experiments.sweep.metrics import AREA_BLOCKS, CLOSED_FORM, HEADLINE
from hardwire.experiments.sweep.system_settings import LINK, SYSTEM_NUMBERS, SYSTEM_WORDS
from hardwire.models import catalogue
from hardwire.models.adapter.adapter import ADAPTER_FORMATS, Adapter
from hardwire.models.adapter.base import head_obstacle
from hardwire.models.adapter.modules import parse_targets
from hardwire.models.adapter.shape import AdapterShape, open_adapter
from hardwire.models.catalogue import did_you_mean
from hardwire.models.chip import DECLARED, KV_BITS, Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Quantity, check_value
from hardwire.models.pipeline import clock_reached
from hardwire.models.sram import sram_budget
from hardwire.models.system.link import LinkKind
from hardwire.simulator.closed_form import free_rank, predict
from hardwire.simulator.datapath import adapter_format, adapter_room, shape_bytes
from hardwire.simulator.load import LOAD

BLOCK = 16_384
"""Points evaluated at a time: their intermediate arrays stay in the second-level cache."""

MODEL_FIELDS = ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab")

NUMBERS: dict[str, Quantity] = {
    "adapter.rank": Quantity("", 1, 1024, "rank of the adapter", integer=True),
    **{f"workload.{name}": spec for name, spec in LOAD.items()},
    "workload.adapters": Quantity("", 0, 100_000, "adapters resident in SRAM", integer=True),
}
"""Numeric settings besides the parameters of chip and process; they vary within one call."""

WORDS: dict[str, str] = {
    "process": "a process of the catalogue",
    "model": "a model of the catalogue, or a config.json",
    "adapter": "a PEFT folder, a GGUF file, a shape such as r16:all-linear:int8, or none",
    "adapter.targets": "all-linear, attention, mlp, qv, or names joined by +",
    "adapter.format": ", ".join(ADAPTER_FORMATS),
    **SYSTEM_WORDS,
}
"""Settings that are words: a value of its own for each group of points."""

DIMENSIONS: dict[str, Quantity] = {
    f"model.{field}": Quantity("", 1, 1 << 20, f"{field} of the model", integer=True)
    for field in MODEL_FIELDS
}

NUMERIC: dict[str, Quantity] = {
    name: spec
    for name, spec in {
        **DECLARED,
        **NUMBERS,
        **DIMENSIONS,
        **OPTION_SETTINGS,
        **SYSTEM_NUMBERS,
    }.items()
    if not spec.choices
}
"""Every setting that is a number."""

SETTINGS: tuple[str, ...] = (*DECLARED, *NUMBERS, *DIMENSIONS, *WORDS, *OPTIONS, *SYSTEM_NUMBERS)
"""Every name that an axis can have."""


def varies_freely(name: str) -> bool:
    """Whether a setting can be an array within one call of the closed forms."""
    return name in NUMBERS or (name in DECLARED and name in NUMERIC)


def check_setting(where: str, name: str, value: Any) -> Any:
    """One value of one setting, checked.

    Raises
    ------
    InputError
        On an unknown setting, a wrong unit, a value out of range, or a word that is not allowed.
    """
    spec = NUMERIC.get(name) or DECLARED.get(name)
    if spec is not None:
        return check_value(where, value, spec)
    if name in OPTIONS:
        return check_option(where, name, value)
    if name not in WORDS:
        raise InputError(f"{where}: no such parameter{did_you_mean(name, SETTINGS)}")
    if name == "adapter" and value is None:
        return "none"
    if not isinstance(value, str):
        raise InputError(f"{where}: a word is expected ({WORDS[name]}), not '{value}'")
    if name in ("process", "model", LINK):
        try:
            if name == "process":
                catalogue.resolve("process", value)
            elif name == LINK:
                LinkKind.open(value)
            else:
                LanguageModel.open(value)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    elif name == "adapter.targets":
        parse_targets(value, where)
    elif name == "adapter.format" and value not in ADAPTER_FORMATS:
        raise InputError(f"{where}: '{value}' is not allowed (one of {', '.join(ADAPTER_FORMATS)})")
    return value


@dataclass(frozen=True)
class Design:
    """A chip with its model, adapter and load. Numbers may be arrays with one element per point.

    Attributes
    ----------
    adapter : the one that decodes, or None.
    prompt, output, users : of the load, as ``hardwire run`` takes them.
    adapters : how many such adapters are resident in SRAM.
    system : settings of a system of several dies, by their names.
    """

    chip: Chip
    model: LanguageModel
    adapter: Adapter | AdapterShape | None = None
    prompt: Any = 1024
    output: Any = 1024
    users: Any = 1
    adapters: Any = 1
    system: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, chip: str = "hc1", settings: Mapping[str, Any] | None = None) -> Design:
        """A chip by name or file, with its own model and no adapter, and some settings.

        Raises
        ------
        InputError
            As ``Chip.open`` and ``check_setting``.
        """
        opened = Chip.open(chip)
        design = cls(opened, LanguageModel.open(opened.model))
        checked = {k: check_setting(k, k, v) for k, v in (settings or {}).items()}
        return design.with_settings(checked)

    def with_settings(self, settings: Mapping[str, Any]) -> Design:
        """A copy with some settings replaced. Values are taken as they are, arrays too.

        Raises
        ------
        InputError
            If a file that a setting names cannot be used.
        """
        chip, model, adapter = self.chip, self.model, self.adapter
        if "process" in settings:
            chip = chip.with_process(settings["process"])
        parameters = {k: v for k, v in settings.items() if k in DECLARED}
        if parameters:
            chip = chip._replaced(parameters)
        if "model" in settings:
            model = LanguageModel.open(settings["model"])
        dims: dict[str, Any] = {
            k.removeprefix("model."): int(v) for k, v in settings.items() if k in DIMENSIONS
        }
        if dims:
            model = dataclasses.replace(model, **dims)
        if isinstance(adapter, AdapterShape) and model is not self.model:
            adapter = dataclasses.replace(adapter, base=model)
        if "adapter" in settings:
            opened = open_adapter(settings["adapter"], model)
            # A regular one as its shape, whose rank may vary.
            adapter = opened and (AdapterShape.of_adapter(opened) or opened)
        shape = {k.removeprefix("adapter."): settings[k] for k in _SHAPE if k in settings}
        if shape:
            adapter = _reshaped(adapter, model, shape)
        load = {
            field: settings[f"workload.{field}"]
            for field in ("prompt", "output", "users", "adapters")
            if f"workload.{field}" in settings
        }
        of_system = {k: v for k, v in settings.items() if k in (*SYSTEM_NUMBERS, LINK)}
        return dataclasses.replace(
            self,
            chip=chip,
            model=model,
            adapter=adapter,
            system={**self.system, **of_system},
            **load,
        )

    def resolved(self) -> dict[str, Any]:
        """Every setting that decides a result, by name: what identifies a point."""
        chip, model, adapter = self.chip, self.model, self.adapter
        values: dict[str, Any] = {name: chip.value(name) for name in DECLARED}
        values |= {f"model.{field}": getattr(model, field) for field in MODEL_FIELDS}
        for flag in ("tied_embeddings", "attention_bias", "output_bias", "mlp_bias", "qk_norm"):
            values[f"model.{flag}"] = float(getattr(model, flag))
        values["model.max_position"] = model.max_position
        values |= {
            "workload.prompt": self.prompt,
            "workload.output": self.output,
            "workload.users": self.users,
            **self.system,
        }
        if adapter is not None:
            values["workload.adapters"] = self.adapters
            values["adapter.format"] = adapter_format(chip, adapter)
            if isinstance(adapter, AdapterShape):
                values["adapter.rank"] = adapter.rank
                values["adapter.targets"] = "+".join(adapter.targets)
            else:
                modules = sorted((m.layer, m.target, m.rank) for m in adapter.modules)
                values["adapter.modules"] = repr(modules)
        return values


_SHAPE = ("adapter.rank", "adapter.targets", "adapter.format")


def _reshaped(
    adapter: Adapter | AdapterShape | None, model: LanguageModel, shape: dict[str, Any]
) -> AdapterShape:
    if adapter is None:
        adapter = AdapterShape.of(model, "all-linear", 16)
    if not isinstance(adapter, AdapterShape):
        raise InputError(
            f"adapter: {adapter.name} has modules of several ranks; its shape cannot be set"
        )
    stated = shape.get("targets")
    targets = adapter.targets if stated is None else parse_targets(stated, "adapter.targets", model)
    for target in targets:
        if target not in model.adaptable:
            raise InputError(f"adapter.targets: '{target}' is no linear layer of {model.name}")
    return AdapterShape(
        base=model,
        rank=shape.get("rank", adapter.rank),
        targets=targets,
        adapter_format=shape.get("format", adapter.adapter_format),
    )


def evaluate(
    base: Design, settings: Mapping[str, Any], metrics: tuple[str, ...] = tuple(HEADLINE)
) -> dict[str, np.ndarray]:
    """Metrics of many designs by the closed forms.

    Parameters
    ----------
    base : what all designs share.
    settings : by name, a value for all or an array of shape ``(points,)``.
    metrics : names from ``hardwire.experiments.sweep.metrics.CLOSED_FORM``.

    Returns
    -------
    Arrays of shape ``(points,)``: every metric as float64, and ``obstacle``, an int8 index into
    ``hardwire.simulator.obstacles.OBSTACLES``: 0 where the design can run its load.

    Raises
    ------
    InputError
        If a word among the settings cannot be used.
    ValueError
        On an unknown metric, or arrays of different lengths.
    """
    for name in metrics:
        if name not in CLOSED_FORM:
            raise ValueError(f"'{name}' is no metric of the closed forms")
    arrays = {k: np.asarray(v) for k, v in settings.items() if np.ndim(v) == 1}
    lengths = {len(array) for array in arrays.values()} or {1}
    if len(lengths) != 1:
        raise ValueError("settings must be arrays of one length")
    (points,) = lengths
    shared = {k: v for k, v in settings.items() if k not in arrays}
    result = {name: np.empty(points) for name in metrics}
    result["obstacle"] = np.empty(points, np.int8)
    for group, members in groups(arrays, points):
        design = base.with_settings({**shared, **group})
        free = {k: v for k, v in arrays.items() if k not in group}
        whole = len(members) == points
        for begin in range(0, len(members), BLOCK):
            chosen = slice(begin, begin + BLOCK) if whole else members[begin : begin + BLOCK]
            block = design.with_settings({k: v[chosen] for k, v in free.items()})
            for name, values in _closed_form(block, metrics).items():
                result[name][chosen] = values
    return result


def groups(
    arrays: Mapping[str, np.ndarray], points: int, varies: Callable[[str], bool] = varies_freely
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Points that share all settings which cannot be arrays.

    Parameters
    ----------
    varies : whether a setting can be one.

    Returns
    -------
    For each group those settings, and the numbers of its points, ascending.
    """
    names = [name for name in arrays if not varies(name)]
    if not names:
        return [({}, np.arange(points))]
    codes = np.zeros(points, np.int64)
    levels = []
    for name in names:
        values, code = np.unique(arrays[name], return_inverse=True)
        levels.append(values)
        codes = codes * len(values) + code
    _, first, group_of = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(group_of, kind="stable")
    bounds = np.searchsorted(group_of[order], np.arange(len(first) + 1))
    return [
        (
            {name: arrays[name][index].item() for name in names},
            order[bounds[number] : bounds[number + 1]],
        )
        for number, index in enumerate(first)
    ]


def _closed_form(design: Design, metrics: tuple[str, ...]) -> dict[str, Any]:
    """Metrics of one block of points that differ in numbers only."""
    chip, model, adapter = design.chip, design.model, design.adapter
    if adapter is not None and head_obstacle(chip, adapter.targets):
        chip = chip._replaced({"lora.head": "present"})  # what it lacks, its numbers have
    load = {"prompt": design.prompt, "output": design.output, "users": design.users}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = predict(chip, model, adapter=adapter, **load)
    size: Any = 0
    if adapter is not None:
        one = (
            shape_bytes(chip, model, adapter)
            if isinstance(adapter, AdapterShape)
            else adapter_room(chip, model, adapter)
        )
        size = design.adapters * one
    context = design.prompt + design.output
    budget = sram_budget(
        chip, model, users=design.users, context_tokens=context, adapter_bytes=size
    )
    values: dict[str, Any] = {
        "decode_tokens_per_s_user": found.decode_tokens_per_s_user,
        "decode_tokens_per_s_chip": found.decode_tokens_per_s_chip,
        "token_s": found.token_s,
        "ttft_s": found.ttft_s,
        "prefill_tokens_per_s": found.prefill_tokens_per_s,
        "power_w": found.power_w,
        "idle_w": found.idle_w,
        "energy_j_per_decode_token": found.energy_j_per_decode_token,
        "energy_j_per_utilized_token": found.energy_j_per_utilized_token,
        "energy_j_per_request": found.energy_j_per_request,
        "power_throttle": found.power.throttle,
        "prefill_power_throttle": found.prefill_power.throttle,
        "closed_form_error_bound": found.error_bound,
        "die_area_mm2": chip.die.area_mm2,
        "die_margin_mm2": chip.die.area_mm2 - found.area_mm2["total"],
        "transistors": found.transistors["total"],
        "die_cost_usd": found.die_cost_usd,
        "usd_per_million_tokens": found.usd_per_million_tokens,
        "sram.kv_bytes": budget.kv_bytes,
        "sram.adapter_bytes": size,
        "sram.free_bytes": budget.free_bytes,
        "sram.max_context_tokens": budget.max_context_tokens,
        "sram.max_users": budget.max_users,
        **{f"area_mm2.{b}": found.area_mm2[b] for b in AREA_BLOCKS},
        **{f"breakdown_s.{name}": part for name, part in found.breakdown_s.items()},
    }
    if "free_rank" in metrics:
        values["free_rank"] = np.nan
        if adapter is not None:
            fmt = adapter_format(chip, adapter)
            values["free_rank"] = free_rank(chip, model, adapter.targets, fmt)
    result = {name: values[name] for name in metrics}
    result["obstacle"] = _obstacle(design, budget.free_bytes, found.power.throttle)
    return result


def _obstacle(design: Design, free_bytes: Any, throttle: Any) -> Any:
    chip, adapter = design.chip, design.adapter
    rank_too_high = adapter is not None and adapter.max_rank > chip.formats.max_rank
    no_head_path = adapter is not None and head_obstacle(chip, adapter.targets) is not None
    bits = np.asarray(chip.formats.kv_bits)
    found: Any = np.where(~np.isin(bits, KV_BITS), 5, 0)
    for code, holds in (
        (4, np.equal(throttle, 0)),
        (1, np.less(free_bytes, 0)),
        (2, rank_too_high),
        (7, no_head_path),
        (8, ~clock_reached(chip)),
        (3, np.greater(design.prompt + design.output, design.model.max_position)),
    ):
        found = np.where(holds, code, found)
    return found
