"""What a sweep has found: its best points, and why the others fall out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from hardwire.experiments.shared.headline import sound_mark
from hardwire.experiments.sweep.metrics import Better
from hardwire.experiments.sweep.results import identifier, results, study_view
from hardwire.experiments.sweep.runner import Swept
from hardwire.experiments.sweep.store import view_name
from hardwire.simulator.pipelined import EXACT

BEST = 8

BOUND = "closed_form_error_bound"


@dataclass(frozen=True)
class Summary:
    """What is shown of a sweep.

    Attributes
    ----------
    name : of the study's view in ``hardwire results``.
    best : feasible points, best first by the first objective, or the first metric without one;
        ``fits_die`` and ``power_capped`` say whether such a design can be made, and whether the
        card's limit slows its decoding (which replays do not store), and of closed forms
        ``closed_form_error_bound`` what times are off by at most.
    reasons : points by why they fall out, most first.
    inexact : points whose times the closed form knows less well, for tokens queue on shared units.
    """

    swept: Swept
    name: str
    best: pd.DataFrame
    reasons: dict[str, int]
    inexact: int

    @property
    def name_taken(self) -> bool:
        """Whether another study of the store has the study's name for its view."""
        return self.name != view_name(self.swept.study)

    def marks(self) -> list[str]:
        """What stands in the way of each of the best points, empty where nothing does."""
        return [
            sound_mark(row["fits_die"], row.get("power_capped", False))
            for row in self.best.to_dict(orient="records")
        ]

    def bounds(self) -> list[float]:
        """What times of each of the best points are off by at most; 0 where they are simulated."""
        if BOUND not in self.best:
            return [0.0] * len(self.best)
        return [float(bound) for bound in self.best[BOUND]]

    def obstacles(self) -> list[str]:
        """What stands in the way of the answer: no feasible point, or that the best is none."""
        if self.best.empty:
            return ["no feasible point"]
        return [f"the best point: {mark}" for mark in self.marks()[:1] if mark]

    def to_dict(self) -> dict[str, Any]:
        """The object of ``--json``, SI units."""
        swept = self.swept
        return {
            "study": swept.study.name,
            "title": swept.study.title,
            "fidelity": swept.study.fidelity,
            "store": str(swept.store),
            "view": self.name,
            "name_taken": self.name_taken,
            "points": swept.study.points,
            "computed": swept.counts.computed,
            "reused": swept.counts.reused,
            "failed": swept.counts.failed,
            "feasible": swept.counts.feasible,
            "interrupted": swept.interrupted,
            "wall_s": swept.seconds,
            "infeasible": self.reasons,
            "inexact": self.inexact,
            "best": self.best.to_dict(orient="records"),
        }


def aims(swept: Swept) -> dict[str, Better]:
    """Metrics that decide what is best, and the better side: objectives, or else the metrics."""
    study = swept.study
    return dict(study.objectives) or {
        name: study.known_metrics[name].better for name in study.metrics
    }


def summarize(swept: Swept) -> Summary:
    """Ask the store for what is shown."""
    study = swept.study
    name = study_view(swept.folder)
    wanted = list(dict.fromkeys([a.name for a in study.axes] + [*aims(swept), *study.metrics]))
    columns = ", ".join(map(identifier, wanted))
    # A die that cannot be made costs infinitely much; one of a GPU has neither area nor cost.
    made = 'NOT isinf("die_cost_usd")'
    flags = f'coalesce("area_mm2.total" <= "die_area_mm2" AND {made}, true) AS fits_die'
    if study.fidelity == "system":  # one that does not fit is infeasible
        flags = "true AS fits_die"
    if study.fidelity != "replay":
        flags += ', "power_throttle" < 1 AS power_capped'
    if study.fidelity == "closed-form" and BOUND not in wanted:
        flags += f", {identifier(BOUND)}"
    order = ", ".join(
        f"{identifier(metric)} {'DESC' if side == 'max' else 'ASC'} NULLS LAST"
        for metric, side in aims(swept).items()
    )
    if swept.counts.points == 0:
        return Summary(swept, name, pd.DataFrame(), {}, 0)
    best = results(
        swept.store,
        f'SELECT {columns}, {flags} FROM "{name}" WHERE feasible '
        f"ORDER BY {order}, number LIMIT {BEST}",
    )
    reasons = results(
        swept.store,
        f'SELECT reason, count(*) AS n FROM "{name}" WHERE NOT feasible '
        "GROUP BY ALL ORDER BY n DESC, reason",
    )
    inexact = 0
    if study.fidelity == "closed-form":
        query = f'SELECT count(*) AS n FROM "{name}" WHERE {identifier(BOUND)} > {EXACT}'
        inexact = int(results(swept.store, query)["n"].iloc[0])
    return Summary(
        swept, name, best, dict(zip(reasons["reason"], reasons["n"].tolist(), strict=True)), inexact
    )
