"""What the published measurements say: ``calibrate`` infers from them, ``validate`` checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hardwire.experiments.calibration import calibrate as calibrating
from hardwire.experiments.validation import rows
from hardwire.experiments.validation.bench import Bench
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.resolve import ChipLike, Named, folder_of, format_of, in_python_words, text_of
from hardwire.show import Shown, chosen, picture
from hardwire.simulator.belief.draws import SEED

QUANTILES = ("low", "median", "high")

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType


class Calibration(Shown, calibrating.Report):
    """The answer of ``calibrate``: see ``hardwire.experiments.calibration.calibrate.Report``."""

    def tables(self) -> RenderableType:
        """Parameters, predictions, and each measurement predicted from the others."""
        from hardwire.experiments.calibration.view import render  # noqa: PLC0415

        return render(self)

    def to_frame(
        self, what: Literal["parameters", "predictions", "left_out", "draws"] = "parameters"
    ) -> pd.DataFrame:
        """A row per parameter, prediction, left-out measurement or draw from the posterior.

        ``low``, ``median`` and ``high`` are the 5th, 50th and 95th percentile.
        """
        import pandas as pd  # noqa: PLC0415

        from hardwire.experiments.calibration.save import draws_frame  # noqa: PLC0415

        return chosen(
            "what",
            what,
            {
                "parameters": lambda: _spread(pd.DataFrame(self.parameters)),
                "predictions": lambda: _spread(pd.DataFrame(self.predictions)),
                "left_out": lambda: _spread(pd.DataFrame(self.left_out)),
                "draws": lambda: draws_frame(self),
            },
        )

    def plot(
        self, what: Literal["parameters", "corner", "predictions", "left_out"] = "parameters"
    ) -> Figure:
        """Parameters before and after, in pairs, predictions, or measurements left out."""
        from hardwire.experiments.calibration import plot  # noqa: PLC0415

        return picture(
            chosen(
                "what",
                what,
                {
                    "parameters": lambda: plot.parameter_figure(self),
                    "corner": lambda: plot.corner_figure(self),
                    "predictions": lambda: plot.prediction_figure(self),
                    "left_out": lambda: plot.left_out_figure(self),
                },
            )
        )

    @in_python_words
    def save(self, folder: Named, figures: str = "png") -> list[Path]:
        """Write the files of ``hardwire calibrate --save`` to a folder: all of them or none.

        Figures are written as ``png``, ``svg`` or ``pdf``.
        """
        from hardwire.experiments.calibration.save import save  # noqa: PLC0415

        return save(self, folder_of("folder", folder), format_of(figures))


def _spread(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of three percentiles as three columns each."""
    for name in ("prior", "rate_alone", "posterior", "interval"):
        if name in frame:
            place = list(frame.columns).index(name)
            values = zip(*frame.pop(name), strict=True)
            for step, (part, column) in enumerate(zip(QUANTILES, values, strict=True)):
                frame.insert(place + step, f"{name}.{part}", column)
    return frame


class Validation(Shown, rows.Validation):
    """The answer of ``validate``: ``rows``, and which are ``covered`` and ``missed``."""

    def tables(self) -> RenderableType:
        """Every published figure against its prediction."""
        from hardwire.experiments.validation.view import render  # noqa: PLC0415

        return render(self)

    def to_frame(self) -> pd.DataFrame:
        """A row per figure, SI units."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame([row.to_dict() for row in self.rows]).set_index("id")

    def plot(self) -> Figure:
        """Predictions with their intervals, over what was published."""
        from hardwire.experiments.validation.plot import validation_figure  # noqa: PLC0415

        return picture(validation_figure(self.rows))


@in_python_words
def calibrate(
    chip: ChipLike = "hc1",
    adapters: Sequence[str] = calibrating.ADAPTERS,
    *,
    seed: int = SEED,
) -> Calibration:
    """Infer a chip's unpublished parameters from all that was measured of it.

    Parameters
    ----------
    chip : str or Chip
        One of the catalogue that was measured.
    adapters : sequence of str
        Shapes whose cost is predicted.
    seed : int
        The same seed gives the same draws.

    Returns
    -------
    Calibration
        With ``to_frame``, ``plot`` and ``save``; ``print`` shows the tables.

    Raises
    ------
    InputError
        If not enough is published of the chip, or a shape is none.

    Examples
    --------
    >>> import hardwire as hw
    >>> found = hw.calibrate("hc1", adapters=["r16:all-linear"])
    >>> found.to_frame()["verdict"].iloc[0]
    'narrowed'
    """
    if isinstance(chip, Chip):
        if chip.overrides:
            raise InputError(f"{chip.name}: a chip as measured is expected, without settings")
        chip = chip.name
    shapes = [adapters] if isinstance(adapters, str) else adapters
    return Calibration.of(calibrating.calibrate(text_of("chip", chip, "a Chip"), shapes, seed=seed))


@in_python_words
def validate(
    data: Named | None = None, *, slow: bool = False, fidelities: bool = True
) -> Validation:
    """Run every published figure that the models can predict, and say how far off they are.

    Parameters
    ----------
    data : str or path, optional
        Folder of the measured serving runs; rows over them are left out by default.
    slow : bool
        Also the rows that take minutes, with ``data``.
    fidelities : bool
        Also compare closed forms, engines and replays with each other, which takes most of the
        time.

    Returns
    -------
    Validation
        With ``to_frame`` and ``plot``; ``print`` shows the table.

    Raises
    ------
    InputError
        If there is no such folder.

    Examples
    --------
    >>> import hardwire as hw
    >>> found = hw.validate(fidelities=False)
    >>> row = found.to_frame().loc["hc1.rate"]
    >>> f"{row.published:,.0f} {row.unit}, {row.predicted:,.0f} predicted: {row.status}"
    '16,960 tokens/s, 16,960 predicted: met'
    """
    folder = None if data is None else folder_of("data", data)
    if folder is not None and not folder.is_dir():
        raise InputError(f"data {folder}: is no folder")
    return Validation.of(rows.validate(Bench(data=folder, slow=slow), fidelities=fidelities))
