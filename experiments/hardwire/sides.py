"""Two of a kind: ``diff`` says what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from hardwire.experiments.report import diff as differing
from hardwire.experiments.report.diff_lines import Diff as Record
from hardwire.experiments.report.diff_lines import Value
from hardwire.experiments.sweep import Study
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.resolve import AdapterLike, ModelLike, Named, in_python_words, text_of
from hardwire.show import Shown, chosen

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

Thing = Chip | Server | BatchServer | Study


class Diff(Shown, Record):
    """The answer of ``diff``: see ``hardwire.experiments.report.diff_lines.Diff``."""

    def tables(self) -> RenderableType:
        """What differs, below its headings."""
        from hardwire.experiments.report.diff_view import render  # noqa: PLC0415

        return render(self)

    def to_frame(self, what: Literal["results", "parameters"] = "results") -> pd.DataFrame:
        """A row per result or parameter that is shown.

        Parameters
        ----------
        what : {"results", "parameters"}
            ``low`` and ``high`` are the ends of 90 % intervals of results, and of the ranges that
            files state for parameters.
        """
        import pandas as pd  # noqa: PLC0415

        parts = chosen(
            "what", what, {"results": lambda: self.results, "parameters": lambda: self.parameters}
        )
        rows: list[dict[str, Any]] = []
        for part in parts:
            for line in part.lines:
                row: dict[str, Any] = {"part": part.title, "name": line.name, "unit": line.of.unit}
                for side, one in (("a", line.a), ("b", line.b)):
                    row |= _columns(side, one, with_kind=what == "parameters")
                row["change"] = line.change
                if what == "results":
                    row["change.low"], row["change.high"] = line.interval or (None, None)
                rows.append(row)
        return pd.DataFrame(rows)


def _columns(side: str, one: Value | None, *, with_kind: bool) -> dict[str, Any]:
    low, high = (None, None) if one is None or one.range is None else one.range
    found = {side: None if one is None else one.value, f"{side}.low": low, f"{side}.high": high}
    return {**found, f"{side}.kind": one.kind if one else ""} if with_kind else found


@in_python_words
def diff(
    a: Thing | Named,
    b: Thing | Named,
    *,
    model: ModelLike | None = None,
    adapter: AdapterLike | None = differing.ADAPTER,
    prompt: int | None = None,
    output: int | None = None,
    users: int | None = None,
) -> Diff:
    """Say what differs between two chips, servers, studies or saved runs.

    Parameters
    ----------
    a, b : str, path, Chip, Server or Study
        Of one kind: names, YAML files, objects, or folders that ``save`` has written.
    model, adapter, prompt, output, users
        For two chips, which are run: as ``run`` takes them. The model is the first chip's own
        unless it is named; with no adapter there is no free rank.

    Returns
    -------
    Diff
        With ``parameters``, ``results`` and ``to_frame``; ``print`` shows the tables.

    Raises
    ------
    InputError
        On what cannot be read, two of different kinds, or a load for what is not run.

    Examples
    --------
    >>> import hardwire as hw
    >>> chip = hw.Chip.open("hc1")
    >>> found = hw.diff(chip, chip.with_values({"sram.capacity_mib": 456}))
    >>> found.to_frame("parameters")[["name", "a", "b"]]
                    name    a    b
    0  sram.capacity_mib  448  456
    >>> found.summary
    '1 parameter and 15 results differ'
    """
    asked: dict[str, Any] = {"prompt": prompt, "output": output, "users": users}
    if model is not None:
        named = isinstance(model, LanguageModel)
        asked["model"] = model if named else text_of("model", model, "a LanguageModel")
    if adapter != differing.ADAPTER:
        as_it_is = adapter is None or isinstance(adapter, Adapter)
        asked["adapter"] = adapter if as_it_is else text_of("adapter", adapter, "an Adapter")
    first, second = (
        one if isinstance(one, Thing) else text_of(side, one, "a Chip, a Server or a Study")
        for side, one in (("a", a), ("b", b))
    )
    given = {name: v for name, v in asked.items() if v is not None or name == "adapter"}
    return Diff.of(differing.diff(first, second, given))
