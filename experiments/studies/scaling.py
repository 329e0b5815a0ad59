"""The scaling study: how far hardwiring goes, from one die of 8B to sixty of a large MoE.

``python -m hardwire.experiments.studies.scaling [--out DIR] [--quick]`` runs everything behind
``docs/scaling-study.md`` and writes its tables (CSV) and figures (PNG) to a folder.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from hardwire.experiments.studies.command import Say, Tables, run_study
from hardwire.experiments.studies.serving_bench import Row
from hardwire.experiments.system.answer import ask
from hardwire.experiments.system.many import ManyAnswers, ask_many
from hardwire.experiments.system.plan import GROUPS, Load, arranged, fewest_stages
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import draw, quantities
from hardwire.models.published import published
from hardwire.models.system.link import LinkKind, LinkSheet
from hardwire.models.system.system import System
from hardwire.simulator.belief.draws import MIN_ACCEPTED, SEED, draw_chips, interval, stream

HC1, HC2 = "hc1", "hc2"
MODELS = ("llama-3.1-8b", "llama-3.1-70b", "gpt-oss-120b", "llama-3.1-405b", "deepseek-r1")
LINKS = ("ucie", "board", "cxl", "nvlink", "ethernet")
CLAIM = "dies.r1"
"""The published row of the vendor's figure for R1."""

NUMBERS = ("lane_gb_per_s", "lanes", "latency_ns", "pj_per_bit", "lane_w", "port_gb_per_s")
"""Of a link's sheet, all but the words."""


Kinds = list[tuple[tuple[str, ...], LinkKind]]
"""Names of kinds of links, and these as one whose numbers are arrays."""


@dataclass(frozen=True)
class Settings:
    """What is run: models, chips, dies of a stage, kinds of links, and draws for the bands."""

    models: tuple[str, ...] = MODELS
    chips: tuple[str, ...] = (HC2, HC1)
    groups: tuple[int, ...] = GROUPS
    links: tuple[str, ...] = LINKS
    draws: int = 20


QUICK = Settings(MODELS[:2], (HC2,), (1, 2), ("ucie", "board"), 2)
"""A few small runs, to try it."""


@dataclass(frozen=True)
class Layout:
    """A model on the fewest stages of groups of one size that hold it with one user."""

    model: LanguageModel
    chip: Chip
    group: int
    stages: int

    @classmethod
    def fewest(cls, model: LanguageModel, chip: Chip, group: int) -> Layout | None:
        """The layout, or None where no number of stages holds the model."""
        kind = LinkKind.open(LINKS[0])  # on which no size depends
        stages = fewest_stages(model, chip, kind, Load(), group)
        return None if stages is None else cls(model, chip, group, stages)

    def ask(self, kind: LinkKind) -> ManyAnswers:
        """For one user, and for one a stage or as many as SRAM has room for: a row each, over the
        links."""
        system = arranged(self.model, self.chip, kind, self.stages, self.group)
        assert system is not None, "was arranged before"
        found = ask_many(system, users=np.array([[1], [self.stages]]))
        room = max(found.one.max_users, 1)
        return found if room >= self.stages else ask_many(system, users=np.array([[1], [room]]))


def together(names: Sequence[str]) -> Kinds:
    """Kinds of links as one whose numbers are arrays; those over a switch apart, since the message
    has another way."""
    return [
        (tuple(kind.name for kind in kinds), _joined(kinds, kinds))
        for kinds in _by_way([LinkKind.open(name) for name in names])
    ]


def _by_way(kinds: list[LinkKind]) -> list[list[LinkKind]]:
    ways = dict.fromkeys(kind.sheet.way for kind in kinds)
    return [[kind for kind in kinds if kind.sheet.way == way] for way in ways]


def _joined(kinds: list[LinkKind], numbers: list[LinkKind]) -> LinkKind:
    """One kind, whose numbers are arrays of those of several."""
    arrays = {key: np.array([getattr(one.sheet, key) for one in numbers]) for key in NUMBERS}
    name = " ".join(kind.name for kind in kinds)
    return dataclasses.replace(
        kinds[0], name=name, sheet=dataclasses.replace(kinds[0].sheet, **arrays)
    )


def drawn_links(names: Sequence[str], count: int) -> list[Kinds]:
    """As ``together`` for each draw of all numbers that have a range."""
    specs = quantities(LinkSheet)

    def drawn(kind: LinkKind) -> dict[str, Any]:
        return {
            key: draw(parameter, specs[key], count, stream(SEED, f"{kind.name} {key}"))
            for key, parameter in kind.parameters.items()
            if parameter.range is not None
        }

    kinds = [LinkKind.open(name) for name in names]
    values = {kind.name: drawn(kind) for kind in kinds}

    def at(kind: LinkKind, i: int) -> LinkKind:
        own = {key: column[i].item() for key, column in values[kind.name].items()}
        return dataclasses.replace(kind, sheet=dataclasses.replace(kind.sheet, **own))

    return [
        [
            (tuple(kind.name for kind in same), _joined(same, [at(kind, i) for kind in same]))
            for same in _by_way(kinds)
        ]
        for i in range(count)
    ]


def drawn_chips(chip: Chip, count: int) -> list[Chip]:
    """Chips as they may be, see ``hardwire.simulator.belief.draws.draw_chips``."""
    found = draw_chips(chip, max(MIN_ACCEPTED, count))
    uncertain = [name for name, one in chip.parameters.items() if one.range is not None]
    columns = {name: np.asarray(found.value(name)) for name in uncertain}
    return [
        chip._replaced({name: column[i].item() for name, column in columns.items()})
        for i in range(count)
    ]


def measures(found: ManyAnswers, links: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the tables have of a layout, by kind of link."""
    one = found.one
    # A system without links has the same numbers over all of them.
    shape = (2, len(links))
    rate = np.broadcast_to(found.decode_tokens_per_s_system, shape)
    power = np.broadcast_to(found.power_w, shape)
    usd = np.broadcast_to(found.usd_per_million_tokens, shape)
    idle = np.broadcast_to(one.power.idle_w, shape[1:])
    on_links = np.broadcast_to(one.unlimited.latency_s["link_latency"], shape)
    token = np.broadcast_to(one.unlimited.token_s, shape)
    return {
        name: {
            "dies": one.dies,
            "variants": one.variants,
            "users": int(found.users[1, 0]),
            "tokens_per_s_user": float(rate[0, i]),
            "tokens_per_s_all": float(rate[1, i]),
            "tokens_per_j": float(rate[1, i] / power[1, i]),
            "tokens_per_j_alone": float(rate[0, i] / power[0, i]),
            "power_w": float(power[1, i]),
            "idle_w": float(idle[i]),
            "link_share": float(on_links[0, i] / token[0, i]),
            "usd_per_million_tokens": float(usd[1, i]),
            "cards_usd": one.cards_usd,
            "masks_usd": one.masks_usd["total"],
        }
        for i, name in enumerate(links)
    }


BANDS = (
    "dies", "tokens_per_s_user", "tokens_per_s_all", "tokens_per_j", "power_w",
    "usd_per_million_tokens", "cards_usd", "masks_usd",
)  # fmt: skip
"""Measures with an interval."""

NOTHING = dict.fromkeys(BANDS, np.inf) | dict.fromkeys(
    ("tokens_per_s_user", "tokens_per_s_all", "tokens_per_j"), 0.0
)
"""Of a draw whose dies hold the model in no layout of this kind."""


def scaling(settings: Settings, say: Callable[[str], None]) -> list[Row]:
    """Every layout over every kind of link: as filed, and on HC2's dies with intervals.

    Each draw of dies is planned anew, so that the number of dies is uncertain, too. ``planned`` is
    the share of draws for which there is a layout.
    """
    filed, drawn = together(settings.links), drawn_links(settings.links, settings.draws)
    chips = {HC2: drawn_chips(Chip.open(HC2), settings.draws)}
    rows = []
    for chip in map(Chip.open, settings.chips):
        for model, group in product(map(LanguageModel.open, settings.models), settings.groups):
            layout = Layout.fewest(model, chip, group)
            if layout is None:
                continue
            nominal = _over(layout, filed)
            values = []
            for other, kinds in zip(chips.get(chip.name, ()), drawn, strict=False):
                again = Layout.fewest(model, other, group)
                values.append(None if again is None else _over(again, kinds))
            planned = sum(one is not None for one in values)
            rows += [
                {
                    "model": model.name,
                    "chip": chip.name,
                    "dies_of_a_stage": group,
                    "stages": layout.stages,
                    "link": name,
                    **nominal[name],
                    **_bands([NOTHING if one is None else one[name] for one in values]),
                    "planned": planned / len(values) if values else "",
                }
                for name in settings.links
            ]
            say(f"{model.name} on {chip.name} by {group}")
    return rows


def _over(layout: Layout, kinds: Kinds) -> dict[str, dict[str, Any]]:
    """What the table has of a layout, by kind of link."""
    found: dict[str, dict[str, Any]] = {}
    for names, kind in kinds:
        found |= measures(layout.ask(kind), names)
    return found


def _bands(drawn: list[dict[str, Any]]) -> Row:
    """5th and 95th percentile of each measure; empty without draws."""
    found: Row = {}
    for key in BANDS:
        ends = interval([one[key] for one in drawn]) if drawn else ("", "")
        found |= {f"{key}_low": ends[0], f"{key}_high": ends[1]}
    return found


def claims() -> list[Row]:
    """The vendor's figure for R1, which is a claim, beside the catalogue's system for it."""
    (row,) = (one for one in published("dies") if one.id == CLAIM)
    loads = row.conditions
    found = ask(
        System.open(str(loads["system"])), prompt=int(loads["prompt"]), output=int(loads["output"])
    )
    return [
        {
            "system": found.system.name,
            "model": found.system.model.name,
            "claimed_tokens_per_s_user": row.value,
            "tokens_per_s_user": found.decode_tokens_per_s_user,
            "dies": found.dies,
            "overflowing": len(found.obstacles),
        }
    ]


def study(settings: Settings, say: Callable[[str], None]) -> dict[str, list[Row]]:
    """All tables by name.

    Parameters
    ----------
    say : called with the name of each layout when it is done.
    """
    return {"scaling": scaling(settings, say), "claims": claims()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; the exit status."""
    return run_study("scaling", arguments, _tables, _figures)


def _tables(quick: bool, say: Say) -> Tables:
    return study(QUICK if quick else Settings(), say)


def _figures(tables: Tables) -> dict[str, Any]:
    from hardwire.experiments.studies.scaling_plot import figures  # noqa: PLC0415 - matplotlib is slow to import

    return figures(tables)


if __name__ == "__main__":
    sys.exit(main())
