"""How many dies a model takes that does not fit one, and how to ask for them."""

from __future__ import annotations

from typing import Any

from hardwire.experiments.system.plan import Load, fewest
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.area import area
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.system.link import LinkKind
from hardwire.simulator import single
from hardwire.simulator.obstacles import fits_die
from hardwire.simulator.single import Result

USUAL_LINK = "board"
"""As ``hardwire plan`` takes where none is named; how many dies fit does not depend on it."""


def run(
    chip: Chip, model: LanguageModel, adapter: Adapter | None = None, **load: Any
) -> single.Result:
    """``hardwire.simulator.single.run``; where a model that is too large for one die is refused,
    the sentence also says how many dies it takes.

    Raises
    ------
    InputError
        As ``hardwire.simulator.single.run``.
    """
    try:
        return single.run(chip, model, adapter, **load)
    except InputError as error:
        asked = {name: load[name] for name in ("prompt", "output", "users") if name in load}
        try:
            hint = dies_needed(chip, model, Load(adapter=adapter, **asked))
        except InputError:
            hint = ""
        raise InputError(f"{error}; {hint}" if hint else str(error)) from None


def several_dies(result: Result) -> str:
    """A sentence on a model whose blocks do not fit the die of its chip; empty where they do, or
    where no number of dies would help."""
    adapter = result.adapter.adapter if result.adapter else None
    load = Load(result.prompt, result.output, result.users, adapter)
    return dies_needed(result.chip, result.model, load)


def dies_needed(chip: Chip, model: LanguageModel, load: Load) -> str:
    """As ``several_dies``, of a load that may have been refused."""
    if chip.datapath.layers != "distinct" or fits_die(chip, area(chip, model)):
        return ""
    dies = fewest(model, chip, LinkKind.open(USUAL_LINK), load)
    if dies is None or dies == 1:
        return ""
    ask = f"hardwire plan {model.name} --chip {chip.name}"
    return f"{dies} dies of {chip.name} hold {model.name}: {ask}"
