"""One chip, model, adapter and load: ``run`` simulates it, ``predict`` is the closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hardwire.experiments.run import several
from hardwire.experiments.shared.style import BAD
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.brief import brief
from hardwire.models.sram import sram_budget
from hardwire.resolve import (
    AdapterLike,
    ChipLike,
    ModelLike,
    Named,
    adapter_of,
    chip_of,
    folder_of,
    format_of,
    in_python_words,
    model_of,
    shape_of,
)
from hardwire.show import Shown, chosen, picture
from hardwire.simulator import closed_form, single
from hardwire.simulator.datapath import adapter_bytes, shape_bytes
from hardwire.simulator.load import check_load
from hardwire.simulator.obstacles import Obstacle, obstacles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType


class Result(Shown, single.Result):
    """The answer of ``run``: see ``hardwire.simulator.single.Result`` for its fields."""

    def tables(self) -> RenderableType:
        """The verdict, as ``hardwire run`` prints it."""
        from hardwire.experiments.run.view import render  # noqa: PLC0415

        return render(self)

    def to_frame(self, what: Literal["metrics", "breakdown", "tokens"] = "metrics") -> pd.DataFrame:
        """The numbers, SI units.

        Parameters
        ----------
        what : {"metrics", "breakdown", "tokens"}
            A row per metric: ``base``, the ends ``low`` and ``high`` of its 90 % interval and, if
            there is an adapter, ``with_adapter``; seconds of a decode step by operation; or times
            of every token.
        """
        return chosen(
            "what",
            what,
            {
                "metrics": self._metrics,
                "breakdown": self._breakdown,
                "tokens": lambda: single.tokens_frame(self),
            },
        )

    def _metrics(self) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415

        loaded = self.adapter
        rows = {}
        for name, (low, high) in self.interval.items():
            if not name.startswith("adapter_"):
                rows[name] = {"base": _metric(name, self.base, self.prediction)}
                rows[name] |= {"low": low, "high": high}
                if loaded is not None:
                    rows[name]["with_adapter"] = _metric(name, loaded.rates, loaded.prediction)
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")

    def _breakdown(self) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415

        columns = {"base": self.base.breakdown_s}
        if self.adapter is not None:
            columns["with_adapter"] = self.adapter.rates.breakdown_s
        return pd.DataFrame(columns).rename_axis("operation")

    def plot(
        self,
        what: Literal["breakdown", "rank", "floorplan", "timeline", "pipeline"] = "breakdown",
    ) -> Figure:
        """One of the figures that ``save`` writes.

        Parameters
        ----------
        what : {"breakdown", "rank", "floorplan", "timeline", "pipeline"}
            Where a token's time goes; the decode rate against the rank of an adapter; the blocks to
            scale in the outline of the die; a token on its way through the units; tokens in serial
            and in pipelined issue.
        """
        from hardwire.experiments.run.curve import rank_curve  # noqa: PLC0415
        from hardwire.experiments.run.floorplan import floorplan  # noqa: PLC0415
        from hardwire.experiments.run.floorplan_plot import floorplan_figure  # noqa: PLC0415
        from hardwire.experiments.run.plot import (  # noqa: PLC0415
            breakdown_figure,
            figure_title,
            rank_figure,
        )
        from hardwire.experiments.run.timeline import timeline  # noqa: PLC0415
        from hardwire.experiments.run.timeline_plot import (  # noqa: PLC0415
            flight_figure,
            token_figure,
        )

        title = figure_title(self)
        return picture(
            chosen(
                "what",
                what,
                {
                    "breakdown": lambda: breakdown_figure(self),
                    "rank": lambda: rank_figure(self, rank_curve(self)),
                    "floorplan": lambda: floorplan_figure(floorplan(self.to_dict()), title),
                    "timeline": lambda: token_figure(timeline(self), title),
                    "pipeline": lambda: flight_figure(timeline(self), title),
                },
            )
        )

    @in_python_words
    def save(self, folder: Named, figures: str = "png") -> list[Path]:
        """Write the files of ``hardwire run --save`` to a folder: all of them or none.

        Figures are written as ``png``, ``svg`` or ``pdf``.
        """
        from hardwire.experiments.run.save import save  # noqa: PLC0415

        return save(self, self.to_dict(), folder_of("folder", folder), format_of(figures))


@dataclass(frozen=True, repr=False)
class Prediction(Shown, closed_form.Prediction):
    """The answer of ``predict``: see ``hardwire.simulator.closed_form.Prediction`` for its fields.

    Attributes
    ----------
    question : what was asked, by name: chip, model, adapter, load, and settings over the chip.
    obstacles : what stands in the way of one design, the worst first; of several, ``fits_die`` and
        ``power_capped`` say which.
    """

    question: Mapping[str, Any]
    obstacles: tuple[Obstacle, ...] = ()

    def _values(self) -> dict[str, Any]:
        """Metrics by the names that sweeps have for them."""
        rates = (
            "decode_tokens_per_s_user", "decode_tokens_per_s_chip", "token_s", "ttft_s",
            "prefill_tokens_per_s", "power_w", "idle_w", "energy_j_per_decode_token",
            "energy_j_per_utilized_token", "energy_j_per_request",
        )  # fmt: skip
        costs = {
            # What cannot be made has no cost.
            name: np.where(np.isfinite(self.die_cost_usd), getattr(self, name), np.nan)[()]
            for name in ("die_cost_usd", "usd_per_million_tokens")
        }
        return {
            **{name: getattr(self, name) for name in rates},
            **costs,
            "fits_die": self.fits_die,
            "power_capped": self.power_capped,
            "power_throttle": self.power.throttle,
            "closed_form_error_bound": self.error_bound,
            "transistors": self.transistors["total"],
            **{f"area_mm2.{k.replace(' ', '_')}": v for k, v in self.area_mm2.items()},
            **{f"breakdown_s.{name}": part for name, part in self.breakdown_s.items()},
        }

    def to_frame(self) -> pd.DataFrame:
        """A row per design: what varies between them, then every metric, SI units."""
        import pandas as pd  # noqa: PLC0415

        varied = {name: value for name, value in self.question.items() if np.ndim(value)}
        columns = {**varied, **self._values()}
        arrays = np.broadcast_arrays(*(np.asarray(value) for value in columns.values()))
        return pd.DataFrame(dict(zip(columns, map(np.ravel, arrays), strict=True)))

    def tables(self) -> RenderableType:
        """What was asked, and each metric: its ends where there are several designs."""
        from rich.console import Group  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        from hardwire.experiments.shared.tables import QUIET, plain_table  # noqa: PLC0415

        asked = ", ".join(
            f"{name} {brief(value)}" for name, value in self.question.items() if value is not None
        )
        table = plain_table("Prediction", "", "SI units")
        for name, value in self._values().items():
            table.add_row(name, _shown(value))
        said = [Text(text, style=f"bold {BAD}") for text in self._problems()]
        return Group(*said, table, Text(asked, style=QUIET))

    def _problems(self) -> list[str]:
        """What stands in the way: sentences for one design, how many it concerns for several."""
        if self.obstacles:
            return [str(one) for one in self.obstacles]
        flags = np.broadcast_arrays(self.fits_die, self.power_capped)
        lost, held = int(np.sum(~flags[0])), int(np.sum(flags[1]))
        designs = flags[0].size
        return [
            f"{number:,} of {designs:,} designs {words}"
            for number, words in (
                (lost, "do not fit the die: their rates are on paper"),
                (held, "are held by the power limit"),
            )
            if number
        ]


@in_python_words
def run(
    chip: ChipLike = "hc1",
    model: ModelLike | None = None,
    adapter: AdapterLike | None = None,
    *,
    prompt: int = 1024,
    output: int = 1024,
    users: int = 1,
    issue: Literal["serial", "pipelined"] | None = None,
    settings: Mapping[str, Any] | None = None,
    engine: single.Engine = "compiled",
    target: float | None = None,
) -> Result:
    """Simulate a chip under a load, without an adapter and with one.

    Parameters
    ----------
    chip : str, path or Chip
        Catalogue name or YAML file.
    model : str, path or LanguageModel, optional
        Catalogue name or a Hugging Face config.json, by default the chip's own.
    adapter : str, path or Adapter, optional
        A PEFT folder, a GGUF file, or a shape such as ``r16:all-linear:int8``.
    prompt, output : int
        Tokens of each user's request.
    users : int
        Users at a time.
    issue : {"serial", "pipelined"}, optional
        Instead of the chip's.
    settings : mapping, optional
        Parameters of the chip by dotted name, as ``{"datapath.lanes": 24}``.
    engine : {"compiled", "reference"}
        Both give the same; the reference is slow.
    target : float, optional
        Tokens/s for one user to reach, by default what was announced of the chip with the model.

    Returns
    -------
    Result
        With ``to_frame``, ``plot`` and ``save``; ``print`` shows the verdict. ``obstacles`` are
        what stands in the way of the design, the worst first: ``fits_die``, ``power_capped``.

    Raises
    ------
    InputError
        On what cannot be read, is out of range, does not go together, or does not fit the SRAM.

    Examples
    --------
    >>> import hardwire as hw
    >>> result = hw.run("hc1", adapter="r16:all-linear")
    >>> round(result.base.decode_tokens_per_s_user)
    16960
    >>> result.adapter.free_rank
    0
    >>> result.to_frame().loc[["token_s", "power_w"], ["base", "low", "high"]].round(6)
                   base        low        high
    metric
    token_s    0.000059   0.000056    0.000062
    power_w  182.319032  97.225376  285.097688
    >>> hw.run("hc1", users=3, issue="pipelined").critical_unit
    'topk'
    """
    values = {**(settings or {}), **({} if issue is None else {"datapath.issue": issue})}
    chip_ = chip_of(chip, values)
    base = model_of(model, chip_)
    loaded = adapter_of(adapter, base)
    found = several.run(
        chip_, base, loaded, prompt=prompt, output=output, users=users, engine=engine,
        target=target,
    )  # fmt: skip
    return Result.of(found)


@in_python_words
def predict(
    chip: ChipLike = "hc1",
    model: ModelLike | None = None,
    adapter: AdapterLike | AdapterShape | None = None,
    *,
    prompt: Any = 1024,
    output: Any = 1024,
    users: Any = 1,
    settings: Mapping[str, Any] | None = None,
) -> Prediction:
    """Predict rates, power, area and cost in closed form, for one design or for arrays of them.

    Parameters
    ----------
    chip, model, adapter
        As ``run`` takes them. An ``AdapterShape`` may have an array of ranks.
    prompt, output, users : int or integer array
        The load; arrays of shape ``(designs,)``.
    settings : mapping, optional
        Parameters of the chip by dotted name, each a value or an array of shape ``(designs,)``.

    Returns
    -------
    Prediction
        Fields are numbers, or arrays of shape ``(designs,)``.

    Raises
    ------
    InputError
        On what cannot be read or is out of range. Whether a load fits the SRAM is not asked:
        ``run`` does.

    Examples
    --------
    >>> import hardwire as hw
    >>> import numpy as np
    >>> one = hw.predict("hc1", prompt=1024, output=1024)
    >>> f"{one.decode_tokens_per_s_user:,.0f} tokens/s at {one.power_w:.0f} W"
    '16,960 tokens/s at 182 W'
    >>> many = hw.predict("hc1", settings={"datapath.lanes": np.arange(12, 25, 4)})
    >>> many.to_frame()[["datapath.lanes", "decode_tokens_per_s_user"]].round(0)
       datapath.lanes  decode_tokens_per_s_user
    0              12                   13900.0
    1              16                   16960.0
    2              20                   19486.0
    3              24                   21660.0
    """
    chip_ = chip_of(chip, settings)
    base = model_of(model, chip_)
    loaded = shape_of(adapter, base)
    prompt, output, users = check_load(prompt=prompt, output=output, users=users)
    found = closed_form.predict(
        chip_, base, adapter=loaded, prompt=prompt, output=output, users=users
    )
    question = {
        "chip": chip_.name,
        "model": base.name,
        **_adapter_words(loaded),
        "prompt": prompt,
        "output": output,
        "users": users,
        **chip_.overrides,
        **(settings or {}),
    }
    in_the_way: tuple[Obstacle, ...] = ()
    if np.ndim(found.token_s) == np.ndim(found.fits_die) == 0:
        size: Any = 0
        if loaded is not None:
            size = (
                shape_bytes(chip_, base, loaded)
                if isinstance(loaded, AdapterShape)
                else adapter_bytes(chip_, loaded)
            )
        taken = sram_budget(
            chip_, base, users=users, context_tokens=prompt + output, adapter_bytes=size
        )
        in_the_way = obstacles(
            chip_,
            base,
            found.area_mm2,
            found.power,
            found.prefill_power,
            sram_bytes=float(taken.kv_bytes + size),
        )
    return Prediction.of(found, question=question, obstacles=in_the_way)


def _shown(value: Any) -> str:
    """A number or the ends of several; a truth, or how many hold; a dash for what there is not."""
    array = np.asarray(value)
    if array.dtype == bool:
        return str(bool(array)) if array.ndim == 0 else f"{array.sum():,} of {array.size:,}"
    known = array[np.isfinite(array)]
    return "cannot be made" if known.size == 0 else brief(value if array.ndim == 0 else known)


def _metric(name: str, rates: single.Rates, prediction: closed_form.Prediction) -> float:
    """Rates as simulated, everything else in closed form."""
    if hasattr(rates, name):
        return float(getattr(rates, name))
    value = getattr(prediction, name.removesuffix(".total"))
    return float(value["total"] if isinstance(value, dict) else value)


def _adapter_words(adapter: Any) -> dict[str, Any]:
    if adapter is None:
        return {}
    if isinstance(adapter, AdapterShape):
        return {"adapter.rank": adapter.rank, "adapter.targets": "+".join(adapter.targets)}
    return {"adapter": adapter.name}
