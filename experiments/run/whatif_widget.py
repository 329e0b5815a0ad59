"""What if: sliders over a chip and its load that redraw rate, breakdown, SRAM and power at once.

In a notebook the last expression of a cell shows it::

    from hardwire.experiments.run.whatif_widget import WhatIf

    WhatIf("hc1")

Everything is closed form, so that the picture follows the slider.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from hardwire.experiments.report.charts import Bar, Chart, Line, bars, plot, stack
from hardwire.experiments.report.draw import svg
from hardwire.experiments.run.floorplan import SMALLEST_MM2
from hardwire.experiments.run.whatif import Answer, what_if
from hardwire.experiments.shared.extras import needs
from hardwire.experiments.shared.style import (
    COLORS,
    MEMORY_COLORS,
    OPERATION_NAMES,
    SAID,
    SILVER,
    block_color,
    block_name,
)
from hardwire.experiments.shared.tables import count, mib, si
from hardwire.experiments.sweep.design import Design
from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.chip import DECLARED, KV_BITS, Chip

CHIP_SLIDERS: dict[str, str] = {
    "datapath.lanes": "Broadcast lanes",
    "datapath.clock_ghz": "Clock, GHz",
    "datapath.fill_cycles": "Pipeline fill, cycles",
    "attention.kv_read_bytes_per_cycle": "KV read, B/cycle",
    "attention.macs_per_cycle": "Attention MACs/cycle",
    "lora.read_bytes_per_cycle": "LoRA read, B/cycle",
    "lora.macs_per_cycle": "LoRA MACs/cycle",
    "lora.activations_per_cycle": "LoRA activations/cycle",
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
PANEL_PX = 360
_LABEL = {"description_width": "150px"}
_LOOK = """
.hardwire-frame { display: grid; grid-template-columns: 370px minmax(0, 1fr); gap: 0 24px;
  grid-template-areas: "controls headline" "controls answers"; grid-template-rows: auto 1fr;
  align-items: start; line-height: 1.35; }
.hardwire-controls { grid-area: controls; } .hardwire-answers { grid-area: answers; }
.hardwire-headline { grid-area: headline; position: sticky; top: 0; z-index: 2;
  background: var(--jp-layout-color0, Canvas); border-bottom: 1px solid SILVER;
  box-shadow: 0 -20px 0 var(--jp-layout-color0, Canvas); }
.hardwire-frame .facts { display: grid; gap: 4px 14px; line-height: 1.3;
  grid-template-columns: repeat(auto-fill, minmax(116px, 1fr)); padding: 4px 0; }
.hardwire-frame .number { font-size: 1.35em; font-weight: 600; white-space: nowrap; }
.hardwire-frame .label { color: QUIET; }
.hardwire-frame .said { max-height: 7em; overflow-y: auto; line-height: 1.35; }
.hardwire-frame .columns { columns: 270px 2; column-gap: 24px; max-width: 960px; }
.hardwire-frame .panel { break-inside: avoid; padding: 10px 0 6px; }
.hardwire-frame .title { font-weight: 600; line-height: 1.35; margin-bottom: 4px; }
.hardwire-panels svg { width: 100%; max-width: 460px; height: auto; overflow: visible; }
@media (max-width: 760px) {
  .hardwire-frame { grid-template-columns: minmax(0, 1fr);
    grid-template-areas: "headline" "controls" "answers"; }
  .hardwire-frame .facts {
    gap: 0 8px; grid-template-columns: repeat(auto-fill, minmax(100px, 1fr)); }
  .hardwire-headline .label { font-size: 0.85em; }
}
/* What scrolls around the headline would hold it: only the page may. */
:is(.widget-box, .jp-OutputArea, .jp-OutputArea-child, .jp-OutputArea-output):has(.hardwire-frame),
.hardwire-frame.widget-box { overflow: visible; }
""".replace("SILVER", SILVER).replace("QUIET", SAID["quiet"])
_FORMATS = ("int8", "int4", "float16")
_STEPS = 60


def summary_html(answer: Answer) -> str:
    """The answer in a few numbers, and what stands in its way, as HTML.

    Each number stands in an element whose class is its name, here as in ``details_html``.
    """
    found, chip = answer.prediction, answer.design.chip
    rate, area = float(found.decode_tokens_per_s_user), float(found.area_mm2["total"])
    loaded = _loaded(answer)
    facts = {
        "decode_tokens_per_s_user": (f"tokens/s, one user{loaded}", count(rate)),
        "ttft_s": ("to the first token", si(float(found.ttft_s), "s", 3)),
        "power_w": (f"card power{loaded}", f"{float(found.power_w):.0f} W"),
        "sram_free": ("SRAM free", mib(float(answer.sram.free_bytes)).replace("-", "−")),
        "area_mm2": (f"of {chip.die.area_mm2:g} mm² die", f"{area:.0f} mm²"),
        "free_rank": ("free up to rank", str(answer.free_rank)),
    }
    said = []
    for name, text, color in (
        ("obstacle", answer.obstacle, SAID["bad"]),
        ("warning", answer.warning, SAID["warning"]),
    ):
        if text:
            said.append(f'<div class="{name}" style="color:{color}">{escape(text)}</div>')
    cells = _facts_html(answer, facts)
    return f'<div class="hardwire-what-if">{cells}<div class="said">{"".join(said)}</div></div>'


def details_html(answer: Answer) -> str:
    """The numbers beside the headline's, as HTML."""
    found, loaded = answer.prediction, _loaded(answer)
    facts = {
        "decode_tokens_per_s_chip": ("tokens/s, chip", count(found.decode_tokens_per_s_chip)),
        "token_s": ("time per token", si(float(found.token_s), "s", 4)),
        "energy_j_per_decode_token": (
            f"energy per decode token{loaded}",
            si(float(found.energy_j_per_decode_token), "J"),
        ),
        "die_cost_usd": ("die cost", _usd(answer, "die_cost_usd", ",.0f")),
        "usd_per_million_tokens": (
            "per million tokens",
            _usd(answer, "usd_per_million_tokens", ".4f"),
        ),
    }
    return _facts_html(answer, facts)


_OF_A_RUN = {
    "decode_tokens_per_s_user", "decode_tokens_per_s_chip", "token_s", "ttft_s", "power_w",
    "energy_j_per_decode_token", "usd_per_million_tokens",
}  # fmt: skip
"""What a design that cannot run does not have: rates and power, where its size it has."""


def _facts_html(answer: Answer, facts: Mapping[str, tuple[str, str]]) -> str:
    """Numbers, each over its label; by name: label and number."""
    cells = "".join(
        f'<div><div class="{name} number">{"–" if answer.obstacle and name in _OF_A_RUN else value}'
        f'</div><div class="label">{label}</div></div>'
        for name, (label, value) in facts.items()
    )
    return f'<div class="facts">{cells}</div>'


def _loaded(answer: Answer) -> str:
    return "" if answer.design.adapter is None else ", with adapter"


def _usd(answer: Answer, name: str, form: str) -> str:
    """A cost, which a die that cannot be made has not."""
    value = float(getattr(answer.prediction, name))
    return f"{value:{form}} USD" if math.isfinite(value) else "–"


def panels_html(answer: Answer) -> str:
    """Rate, breakdown, SRAM, area and power in columns of panels, one where the page is narrow."""
    found, chip = answer.prediction, answer.design.chip
    times, watts = "Where a token's time goes", "Card power"
    time = power = None
    if not answer.obstacle:
        times = f"{si(float(found.token_s), 's', 4)} per token of a user"
        watts = f"{float(found.power_w):.1f} W, card"
        time = bars(
            [
                Bar(OPERATION_NAMES[name], part, f"{part * 1e6:.2f} µs", COLORS[name])
                for name, part in answer.breakdown_s.items()
                if part or name in found.breakdown_s
            ],
            alt=times,
        )
        power = bars(
            [Bar(name, part, f"{part:.1f} W") for name, part in answer.power_by_part_w.items()],
            alt=watts,
        )
    parts = [
        Bar(name, float(size), mib(size), MEMORY_COLORS[key])
        for name, key, size in (
            ("KV cache", "kv", answer.sram.kv_bytes),
            ("Adapters", "adapters", answer.sram.adapter_bytes),
            ("Free", "free", max(float(answer.sram.free_bytes), 0.0)),
        )
    ]
    blocks = sorted(
        ((name, float(mm2)) for name, mm2 in found.area_mm2.items() if name != "total"),
        key=lambda block: -block[1],
    )
    area = [
        Bar(block_name(name), mm2, f"{mm2:,.1f} mm²", block_color(name))
        for name, mm2 in blocks
        if mm2 >= SMALLEST_MM2
    ]
    total, die_area_mm2 = float(found.area_mm2["total"]), float(chip.die.area_mm2)
    taken = f"Area: {total:,.1f} of {die_area_mm2:,g} mm²; dashed: the die"
    used = float(answer.sram.kv_bytes) + float(answer.sram.adapter_bytes)
    memory = (
        f"SRAM: {used / BYTES_PER_MIB:,.1f} of {chip.sram.capacity_mib:,.1f} MiB; dashed: capacity"
    )
    drawn = (
        ("Rate against the adapter's rank", _rate_plot(answer)),
        (times, time),
        (watts, power),
        (memory, stack(parts, float(answer.sram.capacity_bytes), alt=memory)),
        (taken, stack(area, die_area_mm2, alt=taken)),
    )
    cells = "".join(
        f'<div class="panel"><div class="title">{escape(title)}</div>'
        f"{svg(chart, PANEL_PX) if chart else 'does not run'}</div>"
        for title, chart in drawn
    )
    panels = f'{details_html(answer)}<div class="columns">{cells}</div>'
    return f'<div class="hardwire-panels">{panels}</div>'


def _rate_plot(answer: Answer) -> Chart | None:
    """Rate against rank at these settings, with a point at the rank chosen; None if none fits."""
    ranks, rates = answer.rate_by_rank()
    chip = answer.design.chip
    if not np.isfinite(rates).any():
        return None
    point = None
    if not answer.obstacle:
        adapter: Any = answer.design.adapter
        rank = 0 if adapter is None else int(adapter.max_rank)
        point = (rank, float(answer.prediction.decode_tokens_per_s_user))
    return plot(
        ranks, [Line("", rates, COLORS["lora"])],
        x_label="rank, all linear layers", y_label="tokens/s, one user",
        point=point, limit=chip.target_for(answer.design.model), x_range=(0, int(ranks[-1])),
    )  # fmt: skip


class WhatIf:
    """Sliders over one chip and its load, with the numbers and panels beside them.

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
        If there is no such chip, or ``ipywidgets`` or vl-convert is not installed.
    """

    def __init__(self, chip: str = "hc1") -> None:
        widgets = needs("ipywidgets", "the what-if")
        self._widgets: Any = widgets
        self._base = Design.open(chip)
        self._quiet = False
        self._rows: list[Any] = []
        self.controls = self._make_controls()
        self._first = self.settings
        self._headline = widgets.HTML().add_class("hardwire-headline")
        self._panels = widgets.HTML().add_class("hardwire-answers")
        reset = widgets.Button(description="As filed", tooltip="Back to where it began")
        reset.on_click(lambda _: self.reset())
        for control in self.controls.values():
            control.observe(lambda _: self._update(), names="value")
        title = widgets.HTML(f"<style>{_LOOK}</style><b>{escape(self._base.chip.title)}</b>")
        rows = widgets.VBox([title, reset, *self._rows]).add_class("hardwire-controls")
        self.view = widgets.Box([self._headline, rows, self._panels]).add_class("hardwire-frame")
        self._update()

    @property
    def settings(self) -> dict[str, Any]:
        """The present position, by setting."""
        return {name: control.value for name, control in self.controls.items()}

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
        """Fill ``_rows`` with what is shown, and give what holds the value by setting."""
        widgets, chip = self._widgets, self._base.chip
        made: dict[str, Any] = {}
        for name, label in CHIP_SLIDERS.items():
            low, high, step, whole = slider_range(chip, name)
            made[name] = self._slider(label, chip.value(name), low, high, step, whole=whole)
        for name, (label, lowest, highest, value) in LOAD_SLIDERS.items():
            top = int(chip.formats.max_rank) if name == "adapter.rank" else highest
            step = LOAD_STEP if lowest > 1 else 1
            made[name] = self._slider(label, min(value, top), lowest, top, step, whole=True)
        own = str(chip.formats.adapter_format)
        formats = (own, *(f for f in _FORMATS if f != own))
        for name, label, options in (
            ("datapath.issue", "Issue", DECLARED["datapath.issue"].choices),
            ("formats.kv_bits", "Bits of KV cache", KV_BITS),
            ("adapter.format", "Adapter format", formats),
        ):
            filed = formats[0] if name == "adapter.format" else chip.value(name)
            made[name] = widgets.Dropdown(
                options=options, value=filed, description=label, style=_LABEL,
                layout={"width": "auto"},
            )  # fmt: skip
            self._rows.append(made[name])
        return made

    def _slider(
        self, label: str, value: float, low: float, high: float, step: float, *, whole: bool
    ) -> Any:
        """A row with a box to type into, which holds the value, and a slider; the box.

        The slider counts steps: browsers round what stands between two, and would write it back.
        """
        widgets = self._widgets
        kind = widgets.BoundedIntText if whole else widgets.BoundedFloatText
        box = kind(
            value=value, min=low, max=high, step=step, description=label, style=_LABEL,
            layout={"width": "244px", "flex": "0 0 auto"},
        )  # fmt: skip
        least, most = round(low / step), round(high / step)
        slider = widgets.IntSlider(
            value=round(value / step), min=least, max=most, readout=False,
            layout={"flex": "1 1 auto", "width": "auto", "min_width": "0"},
        )  # fmt: skip

        def slid(_: Any) -> None:
            if slider.value != round(box.value / step):
                box.value = float(f"{slider.value * step:.9g}")

        def typed(_: Any) -> None:
            slider.value = round(box.value / step)

        slider.observe(slid, names="value")
        box.observe(typed, names="value")
        self._rows.append(widgets.HBox([box, slider]))
        return box


def slider_range(chip: Chip, name: str) -> tuple[float, float, float, bool]:
    """Lowest and highest value, step, and whether whole, of a parameter's slider.

    From the parameter's own range in the chip file, widened by ``WIDEN`` to both sides, within
    its legal bounds. Ends are multiples of the step, or legal bounds.
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
    low, high = (
        max(math.floor(low / step) * step, spec.low),
        min(math.ceil(high / step) * step, spec.high),
    )
    return float(f"{low:.9g}"), float(f"{high:.9g}"), step, spec.integer
