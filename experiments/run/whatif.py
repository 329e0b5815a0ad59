"""What if: sliders over a chip and its load that redraw rate, breakdown, SRAM and power at once.

In a notebook the last expression of a cell shows it::

    from hardwire.experiments.run.whatif import WhatIf

    WhatIf("hc1")

Everything is closed form, so that the picture follows the slider.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from hardwire.experiments.report.charts import CSS, Bar, Line, bars, plot, stack
from hardwire.experiments.shared.extras import needs
from hardwire.experiments.shared.style import BLUE, COLORS, OPERATION_NAMES, ORANGE
from hardwire.experiments.shared.tables import count, mib, si
from hardwire.experiments.sweep.design import OBSTACLES, Design, evaluate
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.chip import DECLARED, KV_BITS, Chip
from hardwire.models.language_model import TARGETS
from hardwire.models.sram import SramBudget, sram_budget
from hardwire.simulator.closed_form import Prediction, free_rank, predict
from hardwire.simulator.datapath import shape_bytes
from hardwire.simulator.single import TARGET_TOKENS_PER_S

CHIP_SLIDERS: dict[str, str] = {
    "datapath.lanes": "Broadcast lanes",
    "datapath.clock_ghz": "Clock, GHz",
    "datapath.fill_cycles": "Pipeline fill, cycles",
    "attention.kv_read_bytes_per_cycle": "KV read, B/cycle",
    "attention.macs_per_cycle": "Attention MACs/cycle",
    "lora.read_bytes_per_cycle": "LoRA read, B/cycle",
    "lora.macs_per_cycle": "LoRA MACs/cycle",
    "sram.capacity_mib": "SRAM, MiB",
    "rom.bits_per_weight": "Bits per weight",
}
"""Labels of the parameters that move rate, memory and power most, in the order shown."""

LOAD_SLIDERS: dict[str, tuple[str, int, int, int]] = {
    "workload.users": ("Users", 1, 16, 1),
    "workload.prompt": ("Prompt, tokens", 128, 8192, 1024),
    "workload.output": ("Output, tokens", 128, 8192, 1024),
    "adapter.rank": ("Adapter rank, 0 none", 0, 0, 16),
    "workload.adapters": ("Adapters in SRAM", 1, 32, 1),
}
"""Label, lowest, highest and first value; the highest rank is the chip's own."""

WIDEN = 2.0
"""A slider goes so far beyond the range of its parameter: a what-if may leave what is believed."""

LOAD_STEP = 128
_FORMATS = ("int8", "int4", "float16")
_STEPS = 60


@dataclass(frozen=True)
class Answer:
    """What the closed forms say of one position of the sliders.

    Attributes
    ----------
    free_rank : highest rank at no cost on all linear layers.
    obstacle : why the design cannot run its load, in one sentence; empty where it can.
    warning : what is wrong with a design that runs; empty where nothing is.
    """

    design: Design
    prediction: Prediction
    sram: SramBudget
    free_rank: int
    obstacle: str
    warning: str

    @property
    def breakdown_s(self) -> dict[str, float]:
        """The mean decode step of a user by operation, waiting and power cap included."""
        parts = {name: float(part) for name, part in self.prediction.breakdown_s.items()}
        step, throttle = float(self.prediction.token_s), float(self.prediction.power.throttle)
        if throttle:
            waiting = step * throttle - sum(parts.values())
            parts["waiting"] = waiting if waiting > 1e-9 * step else 0.0
            parts["power_cap"] = step * (1 - throttle)
        return parts

    @property
    def power_by_part_w(self) -> dict[str, float]:
        """Card power by where it goes, in watts; the sum is ``power_w``."""
        report, chip = self.prediction.power, self.design.chip
        rate = float(self.prediction.decode_tokens_per_s_chip)
        moved = {name: float(energy) * rate for name, energy in report.blocks_j.items()}
        board = float(chip.power.board_w)
        return {
            "Leakage, clock": float(report.static_w),
            "ROM read": moved.pop("rom read"),
            "Accumulate": moved.pop("accumulate"),
            "Broadcast": moved.pop("broadcast"),
            "KV, LoRA, vector": sum(moved.values()),
            "Regulators": float(report.card_w) - board - float(report.chip_w),
            "Board": board,
        }


def what_if(base: Design, settings: Mapping[str, Any]) -> Answer:
    """The answer for one set of settings.

    Parameters
    ----------
    base : what is not set.
    settings : by the names that studies use; ``adapter.rank`` 0 stands for no adapter.

    Raises
    ------
    InputError
        If a word among the settings cannot be used.
    ValueError
        If the adapter is not one of equal modules.
    """
    chosen = dict(settings)
    if chosen.get("adapter.rank") == 0:
        chosen = {k: v for k, v in chosen.items() if not k.startswith("adapter.")}
        chosen["adapter"] = "none"
    design = base.with_settings(chosen)
    chip, model, adapter = design.chip, design.model, design.adapter
    if not isinstance(adapter, AdapterShape | None):
        raise ValueError("what-if takes adapters of one rank on the same targets of every layer")
    size: Any = 0 if adapter is None else design.adapters * shape_bytes(chip, model, adapter)
    context = design.prompt + design.output
    budget = sram_budget(
        chip, model, users=design.users, context_tokens=context, adapter_bytes=size
    )
    prediction = _predict(design)
    fmt = str((adapter.sram_format if adapter else None) or chip.formats.adapter)
    code = int(evaluate(design, {}, ())["obstacle"][0])
    return Answer(
        design=design,
        prediction=prediction,
        sram=budget,
        free_rank=int(free_rank(chip, model, TARGETS, fmt)),
        obstacle=_obstacle(code, design, budget),
        warning=_warning(chip, prediction),
    )


def _predict(design: Design) -> Prediction:
    with np.errstate(divide="ignore", invalid="ignore"):
        return predict(
            design.chip,
            design.model,
            adapter=design.adapter,
            prompt=design.prompt,
            output=design.output,
            users=design.users,
        )


def _obstacle(code: int, design: Design, budget: SramBudget) -> str:
    if code == 0:
        return ""
    if budget.free_bytes >= 0:
        text = OBSTACLES[code]
        return f"{text[0].upper()}{text[1:]}."
    lacking = -float(budget.free_bytes)
    context = design.prompt + design.output
    return (
        f"KV cache and adapters lack {mib(lacking)} of {design.chip.sram.capacity_mib:,.0f} MiB. "
        f"What fits is {int(budget.max_users)} of {design.users} users with {context:,} tokens, or "
        f"{int(budget.max_context_tokens):,} tokens for each."
    )


def _warning(chip: Chip, prediction: Prediction) -> str:
    total, die = float(prediction.area_mm2["total"]), float(chip.die.area_mm2)
    said = []
    if total > die:
        said.append(f"The blocks take {total - die:.1f} mm² more than the die of {die:g} mm².")
    throttle = float(prediction.power.throttle)
    if 0 < throttle < 1:
        said.append(
            f"The power limit of {chip.power.limit_w:g} W holds the rate at {throttle:.0%}."
        )
    return " ".join(said)


def summary_html(answer: Answer) -> str:
    """Headline numbers as HTML; each stands in an element whose class is its name."""
    found, chip = answer.prediction, answer.design.chip
    rate, area = float(found.decode_tokens_per_s_user), float(found.area_mm2["total"])
    facts = {
        "decode_tokens_per_s_user": ("tokens/s, one user", count(rate)),
        "decode_tokens_per_s_chip": ("tokens/s, chip", count(found.decode_tokens_per_s_chip)),
        "token_s": ("time per token", si(float(found.token_s), "s", 4)),
        "ttft_s": ("to the first token", si(float(found.ttft_s), "s", 3)),
        "power_w": ("card power", f"{float(found.power_w):.0f} W"),
        "energy_j_per_token": ("energy per token", si(float(found.energy_j_per_token), "J")),
        "sram_free": ("SRAM free", mib(float(answer.sram.free_bytes)).replace("-", "−")),
        "area_mm2": (f"of {chip.die.area_mm2:g} mm² die", f"{area:.0f} mm²"),
        "free_rank": ("free up to rank", str(answer.free_rank)),
    }
    if answer.obstacle:  # a design that cannot run has no rates and no power, but a size
        for name in list(facts)[:6]:
            facts[name] = (facts[name][0], "–")
    cells = "".join(
        f'<div><div class="{name}" style="font-size:1.35em;'
        f'font-weight:600;white-space:nowrap">{value}</div>'
        f'<div style="color:#666">{label}</div></div>'
        for name, (label, value) in facts.items()
    )
    said = []
    for name, text, color in (
        ("obstacle", answer.obstacle, "#b2182b"),
        ("warning", answer.warning, "#9a5b00"),
    ):
        if text:
            said.append(f'<div class="{name}" style="color:{color}">{escape(text)}</div>')
    return (
        '<div class="hardwire-what-if" style="line-height:1.35">'
        f'<div style="display:grid;grid-template-columns:repeat(auto-fill,minmax(9.2em,1fr));'
        f'gap:0.5em 1em">{cells}</div>'
        f"{''.join(said)}</div>"
    )


def panels_html(answer: Answer) -> str:
    """Rate, breakdown, SRAM and power as four panels that wrap where the page is narrow."""
    found, chip = answer.prediction, answer.design.chip
    time, watts = "", ""
    if not answer.obstacle:
        time = bars(
            [
                Bar(OPERATION_NAMES[name], part, f"{part * 1e6:.2f} µs", COLORS[name])
                for name, part in answer.breakdown_s.items()
                if part or name in found.breakdown_s
            ]
        )
        watts = bars(
            [Bar(name, part, f"{part:.1f} W") for name, part in answer.power_by_part_w.items()]
        )
    parts = [
        Bar("KV cache", float(answer.sram.kv_bytes), mib(answer.sram.kv_bytes), BLUE),
        Bar("Adapters", float(answer.sram.adapter_bytes), mib(answer.sram.adapter_bytes), ORANGE),
    ]
    token = si(float(found.token_s), "s", 4)
    used = float(answer.sram.kv_bytes) + float(answer.sram.adapter_bytes)
    panels = (
        ("Rate against the adapter's rank", _rate_plot(answer)),
        ("Where a token's time goes" if answer.obstacle else f"{token} per token of a user", time),
        (
            f"SRAM: {used / BYTES_PER_MIB:,.1f} of {chip.sram.capacity_mib:,.1f} MiB",
            stack(parts, float(answer.sram.capacity_bytes)),
        ),
        ("Card power" if answer.obstacle else f"{float(found.power_w):.1f} W, card", watts),
    )
    cells = "".join(
        f'<div style="flex:1 1 290px;min-width:0"><div style="font-weight:600;margin-bottom:4px">'
        f"{escape(title)}</div>{body or 'does not run'}</div>"
        for title, body in panels
    )
    return (
        f"<style>{CSS}</style>"
        f'<div style="display:flex;flex-wrap:wrap;gap:1.2em 2em;line-height:1.35">{cells}</div>'
    )


def _rate_plot(answer: Answer) -> str:
    """Rate against rank at these settings, with a point at the rank chosen."""
    design = answer.design
    top = int(design.chip.formats.max_rank)
    ranks = np.arange(1, top + 1)
    fmt = design.adapter.sram_format if isinstance(design.adapter, AdapterShape) else None
    shape = AdapterShape(design.model, ranks, TARGETS, fmt)
    room = answer.sram.capacity_bytes - answer.sram.kv_bytes
    fits = design.adapters * shape_bytes(design.chip, design.model, shape) <= room
    rates = _predict(dataclasses.replace(design, adapter=shape)).decode_tokens_per_s_user
    point = None
    if not answer.obstacle:
        rank = 0 if design.adapter is None else int(design.adapter.max_rank)
        point = (rank, float(answer.prediction.decode_tokens_per_s_user))
    return plot(
        [Line("", ranks, np.where(fits, rates, np.nan))],
        x_label="rank, all linear layers", y_label="tokens/s, one user",
        point=point, limit=TARGET_TOKENS_PER_S, x_range=(0, top),
    )  # fmt: skip


class WhatIf:
    """Sliders over one chip and its load, with the numbers and four panels beside them.

    Parameters
    ----------
    chip : catalogue name or a chip's YAML file.

    Attributes
    ----------
    controls : widget by the name of the setting that it moves.
    answer : of the present position.
    view : the whole as one widget.

    Raises
    ------
    InputError
        If there is no such chip, or ``ipywidgets`` is not installed.
    """

    def __init__(self, chip: str = "hc1") -> None:
        widgets = needs("ipywidgets", "the what-if")
        self._widgets: Any = widgets
        self._base = Design.open(chip)
        self._quiet = False
        self._filed = {name: self._base.chip.value(name) for name in CHIP_SLIDERS}
        self.controls = self._make_controls()
        self._first = self.settings
        self._headline = widgets.HTML()
        self._panels = widgets.HTML()
        reset = widgets.Button(description="As filed", tooltip="Back to where it began")
        reset.on_click(lambda _: self.reset())
        for control in self.controls.values():
            control.observe(lambda _: self._update(), names="value")
        rows = [*self.controls.values(), reset]
        title = widgets.HTML(f"<b>{escape(self._base.chip.title)}</b>")
        left = widgets.VBox([title, *rows], layout={"width": "370px", "flex": "0 0 auto"})
        right = widgets.VBox(
            [self._headline, self._panels], layout={"flex": "1 1 460px", "min_width": "300px"}
        )
        self.view = widgets.HBox([left, right], layout={"flex_flow": "row wrap", "grid_gap": "1em"})
        self._update()

    @property
    def settings(self) -> dict[str, Any]:
        """The present position, by setting."""
        return {
            name: self._filed[name]
            if _same(self._filed.get(name), control.value)
            else control.value
            for name, control in self.controls.items()
        }

    def reset(self) -> None:
        """Put every control back to where it began."""
        self._quiet = True
        try:
            for name, value in self._first.items():
                self.controls[name].value = value
        finally:
            self._quiet = False
        self._update()

    def _update(self) -> None:
        if self._quiet:
            return
        self.answer = what_if(self._base, self.settings)
        self._headline.value = summary_html(self.answer)
        self._panels.value = panels_html(self.answer)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.view._repr_mimebundle_(**kwargs)

    def _make_controls(self) -> dict[str, Any]:
        widgets, chip = self._widgets, self._base.chip
        look = {"style": {"description_width": "150px"}, "layout": {"width": "360px"}}
        made: dict[str, Any] = {}
        for name, label in CHIP_SLIDERS.items():
            low, high, step, integer = slider_range(chip, name)
            kind = widgets.IntSlider if integer else widgets.FloatSlider
            made[name] = kind(
                value=chip.value(name), min=low, max=high, step=step, description=label, **look
            )
        for name, (label, lowest, highest, value) in LOAD_SLIDERS.items():
            top = int(chip.formats.max_rank) if name == "adapter.rank" else highest
            made[name] = widgets.IntSlider(
                value=min(value, top), min=lowest, max=top, step=LOAD_STEP if lowest > 1 else 1,
                description=label, **look,
            )  # fmt: skip
        formats = (str(chip.formats.adapter), *(f for f in _FORMATS if f != chip.formats.adapter))
        for name, label, options in (
            ("datapath.issue", "Issue", DECLARED["datapath.issue"].choices),
            ("formats.kv_bits", "Bits of KV cache", KV_BITS),
            ("adapter.format", "Adapter format", formats),
        ):
            filed = formats[0] if name == "adapter.format" else chip.value(name)
            made[name] = widgets.Dropdown(options=options, value=filed, description=label, **look)
        return made


def slider_range(chip: Chip, name: str) -> tuple[float, float, float, bool]:
    """Lowest and highest value, step, and whether whole, of a parameter's slider.

    From the parameter's own range in the chip file, widened by ``WIDEN`` to both sides, within
    its legal bounds. The value as filed is one of the steps: browsers move a slider that begins
    between two.
    """
    spec, parameter = DECLARED[name], chip.parameters[name]
    value = float(chip.value(name))
    low, high = parameter.range or (value, value)
    low, high = max(low / WIDEN, spec.low), min(high * WIDEN, spec.high)
    rough = (high - low) / _STEPS
    if spec.integer:
        step = float(max(1, 2 ** round(math.log2(max(rough, 1)))))
    else:
        step = 10.0 ** math.floor(math.log10(rough))
        step *= 5 if rough > 5 * step else 1
    below, above = math.floor((value - low) / step), math.floor((high - value) / step)
    return value - below * step, value + above * step, step, spec.integer


def _same(filed: Any, value: Any) -> bool:
    """Whether a slider stands where it began, but for the rounding of a browser."""
    return filed is not None and math.isclose(filed, value, rel_tol=1e-9)
