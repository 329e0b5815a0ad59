"""What a prompt token of HC1 takes: which explanations its demo's first tokens can tell apart.

As filed a prompt token is a decode step without LM head and sampling. The demo's were all faster.
Each hypothesis is the chip with one parameter moved and its clock solved anew for the step that was
measured at the same time, so that only the share of a prompt token in it moves. Errors of the ten
rows are normal in the logarithm, with the error that each row states.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hardwire.models.chip import DECLARED, Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import at_quantiles
from hardwire.models.published import PublishedRow, published
from hardwire.simulator.belief.draws import calibrate
from hardwire.simulator.closed_form import predict

CHIP = "hc1-demo"
LOOP, HOST, OVERLAP = "sampling.loop_cycles", "sampling.host_us", "datapath.prompt_overlap"
FIXED = "fixed"
"""Microseconds of a request, whatever its prompt: no parameter of a chip."""

GRIDS: dict[str, NDArray[np.float64]] = {
    LOOP: np.geomspace(100, 30_000, 150),
    HOST: np.linspace(0, 20, 101),
    OVERLAP: np.arange(17) / 32,
    FIXED: np.linspace(0, 1000, 51),
}
"""Values to try: beyond the range in the file of the chip, where the chip allows it."""

QUANTILES = (np.arange(100) + 0.5) / 100
SUPPORTED = 2.0
"""Log-likelihood that a value may lie below the best: with one unknown, about a 95 % interval."""
LONG = 1024

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Hypothesis:
    """One explanation, against the measured first tokens.

    Attributes
    ----------
    name : for tables.
    best : values of what it moves, by name, at the largest likelihood.
    supported : lowest and highest value that is supported as well, by name.
    log_likelihood : at the best, less that of the chip as filed.
    evidence : mean likelihood over the range in the chip's file, over that of the chip as filed;
        None where a file has no such range.
    ratios : measured over predicted at the best, mean by ``groups``.
    long_ttft_s : what it says of a prompt of ``LONG`` tokens, at the demo's clock since September.
    """

    name: str
    best: dict[str, float]
    supported: dict[str, tuple[float, float]]
    log_likelihood: float
    evidence: float | None
    ratios: dict[str, float]
    long_ttft_s: float


def first_tokens() -> list[PublishedRow]:
    """The measured times to first token of HC1's demo."""
    return [row for row in published("hc1") if row.metric == "ttft_s"]


def hypotheses(rows: Sequence[PublishedRow]) -> list[Hypothesis]:
    """All explanations of some times to first token, the chip as filed first."""
    chip = Chip.open(CHIP)
    filed = _Answers.of(chip, {LOOP: np.array([float(chip.sampling.loop_cycles)])}, rows)
    grids = {name: grid for name, grid in GRIDS.items() if name != FIXED}
    found = [_best("as filed", filed, {}, filed)]
    names = {LOOP: "a longer sampling loop", HOST: "a host for each sampled token",
             OVERLAP: "overlap in a prompt"}  # fmt: skip
    for name, grid in grids.items():
        found.append(_best(names[name], _Answers.of(chip, {name: grid}, rows), {name: grid}, filed))
    fixed = GRIDS[FIXED]
    found.append(_best("a fixed time of a request", filed.later(fixed), {FIXED: fixed}, filed))
    every, also = (part.ravel() for part in np.meshgrid(GRIDS[OVERLAP], fixed, indexing="ij"))
    both = _Answers.of(chip, {OVERLAP: every}, rows).later(also)
    moved = {OVERLAP: every, FIXED: also}
    found.append(_best("overlap, and a fixed time of a request", both, moved, filed))
    return found


def groups(rows: Sequence[PublishedRow]) -> dict[str, list[int]]:
    """Rows by prompt length, and those before the demo changed its speed apart."""
    found: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        found.setdefault(_group(row), []).append(number)
    return dict(sorted(found.items()))


def _group(row: PublishedRow) -> str:
    month = str(row.conditions["date"])[:7]
    return f"{row.conditions['prompt']} tokens" + (", March" if month == "2026-03" else "")


@dataclass(frozen=True)
class _Answers:
    """Of a chip with something moved: times to first token by its values and rows.

    Attributes
    ----------
    ttft_s : (N, R)
    long_s : (N,), of a long prompt.
    """

    chip: Chip
    rows: Sequence[PublishedRow]
    ttft_s: Array
    long_s: Array

    @classmethod
    def of(cls, chip: Chip, moved: dict[str, Array], rows: Sequence[PublishedRow]) -> _Answers:
        """Of parameters by name, (N,) each."""
        model = LanguageModel.by_name(chip.model)
        assert chip.calibration is not None
        since = chip.calibration.value
        tried = chip._replaced({**moved, "power.limit_w": np.inf})
        size = len(next(iter(moved.values())))

        @functools.cache
        def at_step(step_s: float) -> Chip:
            clock, solved = calibrate(tried, np.full(size, step_s))
            assert np.all(solved)
            return tried._replaced({"datapath.clock_ghz": clock})

        def ttft(prompt: int, step_s: float) -> Array:
            found = predict(at_step(step_s), model, prompt=prompt, output=2).ttft_s
            return np.asarray(np.broadcast_to(found, size), float)

        each = [ttft(int(row.conditions["prompt"]), _step_s(row, since)) for row in rows]
        return cls(chip, rows, np.stack(each, axis=1), ttft(LONG, since))

    def later(self, fixed_us: Array) -> _Answers:
        """The same with a fixed time, for each of the values or each for the one, (N,)."""
        fixed_s = fixed_us * 1e-6
        return replace(self, ttft_s=self.ttft_s + fixed_s[:, None], long_s=self.long_s + fixed_s)

    @property
    def ratios(self) -> Array:
        """Measured over predicted, (N, R)."""
        return np.array([float(row.value or 0) for row in self.rows]) / self.ttft_s

    @property
    def log_likelihood(self) -> Array:
        """Up to a constant, (N,)."""
        errors = np.array([row.relative_error or 0.0 for row in self.rows])
        return np.asarray(-0.5 * ((np.log(self.ratios) / errors) ** 2).sum(axis=1))


def _step_s(row: PublishedRow, since_s: float) -> float:
    """The decode step of the time at which a row was measured: that of its own answer in March."""
    if "March" not in _group(row):
        return since_s
    rate = next(
        other.value
        for other in published("hc1")
        if other.metric == "reported_tokens_per_s" and other.conditions == row.conditions
    )
    assert rate is not None
    tokens = float(row.conditions["output"])
    return tokens / ((tokens - 1) * rate)


def _best(name: str, answers: _Answers, moved: dict[str, Array], filed: _Answers) -> Hypothesis:
    likelihood = answers.log_likelihood
    top = int(np.argmax(likelihood))
    supported = likelihood >= likelihood[top] - SUPPORTED
    ratios = answers.ratios[top]
    zero = float(filed.log_likelihood[0])
    return Hypothesis(
        name=name,
        best={key: float(values[top]) for key, values in moved.items()},
        supported={
            key: (float(values[supported].min()), float(values[supported].max()))
            for key, values in moved.items()
        },
        log_likelihood=float(likelihood[top]) - zero,
        evidence=_evidence(answers, moved, zero),
        ratios={key: float(ratios[at].mean()) for key, at in groups(answers.rows).items()},
        long_ttft_s=float(answers.long_s[top]),
    )


def _evidence(answers: _Answers, moved: dict[str, Array], filed: float) -> float | None:
    """Mean likelihood over the range of the one parameter, drawn as intervals draw it."""
    if len(moved) != 1 or FIXED in moved:
        return None
    name = next(iter(moved))
    values = at_quantiles(answers.chip.parameters[name], QUANTILES)
    if DECLARED[name].integer:
        values = np.rint(values)
    drawn = _Answers.of(answers.chip, {name: values}, answers.rows)
    return float(np.exp(drawn.log_likelihood - filed).mean())
