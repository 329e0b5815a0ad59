"""Systems of several dies in Python: ``hw.plan`` and ``hw.run_system``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardwire.experiments.system import answer, plan_view, view
from hardwire.experiments.system import plan as planning
from hardwire.models.system.link import LinkKind
from hardwire.models.system.system import System
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
    text_of,
)
from hardwire.show import Shown, picture

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType


@dataclass(frozen=True, repr=False)
class SystemAnswer(Shown, answer.SystemAnswer):
    """What a system does with a load: the verdict of ``hardwire run --system``."""

    def tables(self) -> RenderableType:
        """The tables that the command prints."""
        return view.render(self)

    def to_frame(self) -> pd.DataFrame:
        """What each die holds and takes, a row each."""
        import pandas as pd  # noqa: PLC0415

        rows = {
            die: {key: value for key, value in one.items() if not isinstance(value, dict | list)}
            for die, one in self.to_dict()["by_die"].items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("die")

    def plot(self) -> Figure:
        """The dies, what each holds, and what a token puts on the links."""
        from hardwire.experiments.system.plot import dies_figure  # noqa: PLC0415

        return picture(dies_figure(self))

    @in_python_words
    def save(self, folder: Named, figures: str = "png") -> list[Path]:
        """Write the files of ``hardwire run --system --save`` to a folder: all of them or none."""
        from hardwire.experiments.system.save import save  # noqa: PLC0415

        target = folder_of("folder", folder)
        return save(self, self.to_dict(), target, format_of(figures))


@dataclass(frozen=True, repr=False)
class Plan(Shown, planning.Plan):
    """The best placement of a model on dies, and all that were tried.

    Attributes
    ----------
    named : chip, model and kind of link, as they were named.
    """

    named: tuple[str, str, str] = ("", "", "")

    def tables(self) -> RenderableType:
        """The tables that the command prints."""
        return plan_view.render(self)

    def to_frame(self) -> pd.DataFrame:
        """The placements that fit, a row each, the best first."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame(self.to_dict()["options"])

    def plot(self) -> Figure:
        """The dies of the best placement."""
        from hardwire.experiments.system.plot import dies_figure  # noqa: PLC0415

        return picture(dies_figure(self.best))

    @in_python_words
    def save(self, folder: Named, figures: str = "png") -> list[Path]:
        """Write the files of ``hardwire plan --save`` to a folder: all of them or none."""
        from hardwire.experiments.system import save as files  # noqa: PLC0415

        target = folder_of("folder", folder)
        return files.save_plan(self, files.Named(*self.named), target, format_of(figures))


@in_python_words
def run_system(
    system: System | Named,
    adapter: AdapterLike | None = None,
    *,
    prompt: int = 1024,
    output: int = 1024,
    users: int = 1,
    adapters: int = 1,
    experts: str = "uniform",
    engine: str = answer.CLOSED_FORM,
) -> SystemAnswer:
    """What a system of several dies does with a load: fit, rates, power and cost.

    Parameters
    ----------
    system : System, str or path
        Of the catalogue, or a YAML file.
    adapter : Adapter, str or path, optional
        That all requests use: a folder, a file or a shape such as ``r16:all-linear``.
    prompt, output, users : int
        Tokens of each request, and how many at a time.
    adapters : int
        Of the adapter's size in SRAM at a time.
    experts : str
        How tokens choose experts: ``uniform``, ``zipf:1.1``, or a CSV file of counts.
    engine : {"closed form", "compiled", "reference"}
        What computes rates; the engines simulate every token.

    Returns
    -------
    SystemAnswer

    Raises
    ------
    InputError
        On what cannot be read or is out of range.

    Examples
    --------
    >>> import hardwire as hw
    >>> found = hw.run_system("llama-70b-hc1")
    >>> found.dies, found.fits
    (8, True)
    """
    opened = system
    if not isinstance(opened, System):
        opened = System.open(text_of("system", opened, "a System"))
    found = answer.ask(
        opened, prompt=prompt, output=output, users=users,
        adapter=adapter_of(adapter, opened.model), adapters=adapters, experts=experts,
        engine=engine,
    )  # fmt: skip
    return SystemAnswer.of(found)


@in_python_words
def plan(
    model: ModelLike,
    chip: ChipLike = "hc1",
    link: LinkKind | Named = "board",
    *,
    objective: str = "rate",
    prompt: int = 1024,
    output: int = 1024,
    users: int = 1,
    adapter: AdapterLike | None = None,
    adapters: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """Find the fewest dies that hold a model with its users and adapters, and the best placement.

    Parameters
    ----------
    model : LanguageModel, str or path
    chip : Chip, str or path
        Of all dies.
    link : LinkKind, str or path
        Kind of the links between them.
    objective : {"rate", "dies", "usd"}
        Tokens/s of one user, the fewest dies, or the cost of a token.
    prompt, output, users, adapter, adapters
        As ``run_system`` takes them.
    settings : mapping, optional
        Parameters of the chip by dotted name.

    Returns
    -------
    Plan
        ``best`` is the answer of the best placement, ``options`` are all that fit.

    Raises
    ------
    InputError
        If nothing fits, or on what cannot be read or is out of range.

    Examples
    --------
    >>> import hardwire as hw
    >>> found = hw.plan("llama-3.1-70b", objective="dies")
    >>> found.best.dies, found.best.fits
    (8, True)
    """
    opened = chip_of(chip, settings)
    base = model_of(model, opened)
    kind = (
        link if isinstance(link, LinkKind) else LinkKind.open(text_of("link", link, "a LinkKind"))
    )
    load = planning.Load(prompt, output, users, adapter_of(adapter, base), adapters)
    found = planning.plan(base, opened, kind, load, objective)
    named = (_name(chip, opened.name), _name(model, base.name), _name(link, kind.name))
    return Plan.of(found, named=named)


def _name(given: Any, name: str) -> str:
    """A path as it was given, or a name."""
    return os.fspath(given) if isinstance(given, str | os.PathLike) else name
