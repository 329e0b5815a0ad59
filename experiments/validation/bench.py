"""What the predictors of a run share: chips, their draws, servers, each made once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.breakdown import Breakdown
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import draw
from hardwire.models.process import Process
from hardwire.simulator.belief.draws import DRAWS, SEED, draw_breakdown, draw_chips
from hardwire.simulator.closed_form import Prediction, predict
from hardwire.simulator.serving.load.synthetic import stream

EXTRAPOLATED = "extrapolated"
"""How words begin that tell of a prediction beyond what its server was measured on."""


@dataclass(frozen=True)
class Predicted:
    """What the models say of a row.

    Attributes
    ----------
    value : in the row's unit, or None where there is nothing to predict with.
    draws : (N,) the same for draws of the unpublished parameters, or None where none matters.
    published : of a row whose published value lies in a data file, or None.
    error : where it is not ``value / published - 1``: the mean or the worst of several.
    words : how a claim comes out, and the arithmetic.
    """

    value: float | None
    draws: NDArray[np.float64] | None = None
    published: float | None = None
    error: float | None = None
    words: str = ""


@dataclass
class Bench:
    """Chips and servers of one validation run.

    Attributes
    ----------
    data : folder of the measured serving runs, or None.
    slow : also run the rows that take minutes.
    """

    data: Path | None = None
    slow: bool = False
    seed: int = SEED
    _made: dict[tuple[str, str], Any] = field(default_factory=dict)

    def once(self, kind: str, name: str, make: Callable[[str], Any]) -> Any:
        """What ``make(name)`` gave the first time; ``kind`` keeps different things apart."""
        key = (kind, name)
        if key not in self._made:
            self._made[key] = make(name)
        return self._made[key]

    def chip(self, name: str) -> Chip:
        """A chip of the catalogue."""
        chip: Chip = self.once("chip", name, Chip.open)
        return chip

    def drawn(self, name: str) -> Chip:
        """The same with its unpublished parameters drawn, as arrays."""
        drawn: Chip = self.once("drawn", name, lambda n: draw_chips(self.chip(n), seed=self.seed))
        return drawn

    def model(self, chip: str) -> LanguageModel:
        """The model that is hardwired on a chip."""
        return LanguageModel.by_name(self.chip(chip).model)

    def gpu(self, name: str) -> BatchServer:
        """A GPU server of the catalogue."""
        server: BatchServer = self.once("gpu", name, BatchServer.open)
        return server

    def process(self, name: str) -> Process:
        """A process of the catalogue."""
        process: Process = self.once(
            "process", name, lambda n: Chip.open("hc1").with_process(n).process
        )
        return process

    def drawn_process(self, name: str) -> Process:
        """The same with each number that has a range drawn from it, as arrays."""

        def make(process: str) -> Process:
            chip = Chip.open("hc1").with_process(process)
            fields = {
                key.partition(".")[2]: draw(parameter, DECLARED[key], DRAWS, self.stream(key))
                for key, parameter in chip.parameters.items()
                if key.startswith("process.") and parameter.range is not None
            }
            return dataclasses.replace(chip.process, **fields)

        drawn: Process = self.once("drawn process", name, make)
        return drawn

    def breakdown(self, name: str) -> Breakdown:
        """A breakdown of the catalogue."""
        found: Breakdown = self.once("breakdown", name, Breakdown.open)
        return found

    def drawn_breakdown(self, name: str) -> Breakdown:
        """The same with its numbers and its process's drawn, as arrays."""
        drawn: Breakdown = self.once(
            "drawn breakdown", name, lambda n: draw_breakdown(self.breakdown(n), seed=self.seed)
        )
        return drawn

    def stream(self, name: str) -> np.random.Generator:
        """A random stream of its own for each row."""
        return stream(self.seed, name)

    def predictions(self, conditions: dict[str, Any]) -> tuple[Prediction, Prediction]:
        """The closed forms on the chip that the conditions name, and on its draws."""
        name = str(conditions["chip"])
        text = conditions.get("adapter")
        adapter = AdapterShape.from_text(text, self.model(name)) if text else None

        def answer(chip: Chip) -> Prediction:
            return predict(
                chip,
                self.model(name),
                adapter=adapter,
                prompt=int(conditions["prompt"]),
                output=int(conditions["output"]),
            )

        return answer(self.chip(name)), answer(self.drawn(name))
