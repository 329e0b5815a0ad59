"""A GPU server from measurements of its parts: step times by least squares, with their spread.

Every measured time is a sum of the coefficients of a step (``models/gpu_server.py``), each times
what the run has of it. All are fitted together, by relative errors, so that their covariance says
what the rows do not tell apart. Method and sources: docs/gpu-servers.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.calibration.profile import Run, read_profile
from hardwire.models.errors import InputError
from hardwire.models.gpu_parts import check_measured
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import TARGETS, LanguageModel

PARTS = ("weights_us", "token_us", "head_us", "pair_ns")
"""What a step's time from parts has besides straight lines: none of it beside fitted ones."""

UNITS = {"us": 1e-3, "ns": 1e-6}
"""A coefficient's unit, by the end of its name, in milliseconds."""

LONE = "lone_us"
"""What the LoRA part of a step takes less for a request that is alone from the begin: known of the
measured runs, and of no server."""

PRIOR = 0.5
"""Relative deviation of the base server's coefficients as a guess of this one's: they serve where
rows do not tell coefficients apart, and hardly count where they do."""

OPEN = 0.5
"""A coefficient whose deviation is still this part of ``PRIOR`` or more is mostly the base's."""

DEVIATIONS = 2.0
"""A range reaches so many standard deviations to both sides: 95 % of a normal distribution."""

LEAST_NOISE = 0.003
"""Relative deviation of a measured time that no fit goes below: a mean of a run, repeated."""

_ROUNDS = 20
_SHARED = 4


@dataclass(frozen=True)
class Point:
    """A measured time and what the fit gives for it, ms."""

    label: str
    quantity: str
    measured: float
    fitted: float

    @property
    def error(self) -> float:
        """Relative."""
        return self.fitted / self.measured - 1

    def to_dict(self) -> dict[str, Any]:
        """Values as a row of JSON, in seconds."""
        return {
            "run": self.label,
            "quantity": self.quantity,
            "measured_s": self.measured / 1e3,
            "fitted_s": self.fitted / 1e3,
            "error": self.error,
        }


@dataclass(frozen=True)
class Coefficient:
    """A fitted parameter of the server.

    Attributes
    ----------
    name, value, deviation : in the unit of the parameter.
    guess : the base server's, scaled by the sizes of the models.
    rows : measured times that it is part of.
    open : whether the rows hardly say more than the guess.
    """

    name: str
    value: float
    deviation: float
    guess: float
    rows: int
    open: bool


@dataclass(frozen=True)
class ServerFit:
    """What the rows of a profile say of a server.

    Attributes
    ----------
    profile : the file's name.
    model, base : the model that was measured, and the server that gives all else.
    coefficients : that were fitted.
    covariance : (N, N) of their values.
    points : every row.
    residual : root mean square of the relative errors.
    domain : least and most of what the runs span.
    """

    profile: str
    model: LanguageModel
    base: BatchServer
    coefficients: tuple[Coefficient, ...]
    covariance: NDArray[np.float64]
    points: tuple[Point, ...]
    residual: float
    domain: dict[str, tuple[float, float]]

    @property
    def values(self) -> dict[str, float]:
        """By name."""
        return {one.name: one.value for one in self.coefficients}

    def to_dict(self) -> dict[str, Any]:
        """The object of ``--json``; coefficients in the units of a server's file."""
        return {
            "profile": self.profile,
            "model": self.model.name,
            "base": self.base.name,
            "coefficients": [vars(one) for one in self.coefficients],
            "covariance": self.covariance.tolist(),
            "residual": self.residual,
            "domain": {name: list(span) for name, span in self.domain.items()},
            "rows": [point.to_dict() for point in self.points],
        }


def fit_profile(
    profile: Path, model: LanguageModel | None = None, base: BatchServer | None = None
) -> ServerFit:
    """Fit a server to the rows of a CSV file.

    Parameters
    ----------
    profile : with the columns of ``profile.COLUMNS``, or of Agulló et al.
    model : whose rows; by default the base server's.
    base : gives memory and limits, and a guess of the coefficients that rows do not tell apart; by
        default ``vllm-h100``.

    Raises
    ------
    InputError
        As ``read_profile`` and ``fit``.
    """
    base = base or BatchServer.open("vllm-h100")
    model = model or base.model
    return fit(read_profile(profile, model.name), base, model, profile.name)


def fit(runs: Sequence[Run], base: BatchServer, model: LanguageModel, profile: str) -> ServerFit:
    """Fit a server to runs, see `fit_profile`.

    Raises
    ------
    InputError
        If runs with adapters are to be fitted over a server without, the GPU cannot hold the model,
        or too few runs are left.
    """
    if any(run.slots for run in runs) and not base.serves_adapters:
        raise InputError(f"{base.name}: serves no adapters, which {profile} has: another --base")
    server = over(base, model)
    try:
        server.kv_tokens(0, 8)
    except InputError:
        weights = server.batching.weights_gb
        raise InputError(
            f"{base.name}: cannot hold {model.name}: its weights take {weights:.0f} GB"
        ) from None
    guesses = _guesses(base, model)
    names = [*guesses, LONE]
    guess = np.array([*guesses.values(), 0.0])
    weight = np.where(guess > 0, 1 / (PRIOR * np.maximum(guess, 1e-30)), 0.0)
    rank_us = guesses["slot_rank_us"] / max(guesses["slot_us"], 1e-9)
    kept = np.ones(len(names), bool)
    noise: NDArray[np.float64] | float = 0.03
    for _ in range(_ROUNDS):  # the growth with rank, and the noise of each kind of run, settle
        equations = list(_equations(runs, server, rank_us))
        x = np.array([[e.features.get(name, 0.0) * _ms(name) for name in names] for e in equations])
        x = x.reshape(len(equations), len(names))
        y = np.array([e.measured - e.known for e in equations])
        scale = np.array([e.measured for e in equations])
        used = (x != 0).any(axis=0)
        if len(equations) <= used.sum():
            raise InputError(
                f"{profile}: too few rows of {model.name}: {len(equations)} measured times for "
                f"{int(used.sum())} coefficients"
            )
        chosen = used & kept
        deviation = noise * scale
        value, covariance = _solve(x / deviation[:, None], y / deviation, guess, weight, chosen)
        if (value < 0)[chosen & (np.array(names) != LONE)].any():
            negative = np.where(np.array(names) == LONE, 0.0, value)
            kept[int(np.argmin(np.where(chosen, negative, 0.0)))] = False
            continue
        errors = (x @ value - y) / scale
        noise = _noise(errors, [(e.quantity, e.kind) for e in equations], int(chosen.sum()))
        rank_us = value[names.index("slot_rank_us")] / max(value[names.index("slot_us")], 1e-9)
    residual = math.sqrt(float(errors @ errors) / len(errors))
    place = [i for i, name in enumerate(names) if chosen[i] and name != LONE]
    coefficients = []
    for i in place:
        spread = math.sqrt(covariance[i, i])
        coefficients.append(
            Coefficient(
                names[i],
                float(value[i]),
                spread,
                float(guess[i]),
                int((x[:, i] != 0).sum()),
                bool(guess[i] > 0 and spread >= OPEN * PRIOR * guess[i]),
            )
        )
    fitted = x @ value + [e.known for e in equations]
    points = tuple(
        Point(e.label, e.quantity, e.measured, float(f))
        for e, f in zip(equations, fitted, strict=True)
    )
    return ServerFit(
        profile,
        model,
        base,
        tuple(coefficients),
        covariance[np.ix_(place, place)],
        points,
        residual,
        _domain(runs),
    )


def _noise(
    errors: NDArray[np.float64], kinds: Sequence[tuple[str, str]], fitted: int
) -> NDArray[np.float64]:
    """Standard deviation of each relative error, from those of its kind of run.

    A kind of few rows takes after all: their deviation counts for ``_SHARED`` rows of each kind.
    """
    whole = float(errors @ errors) / max(len(errors) - fitted, 1)
    found = np.zeros(len(errors))
    for kind in set(kinds):
        of_kind = np.array([one == kind for one in kinds])
        square = float(errors[of_kind] @ errors[of_kind])
        found[of_kind] = math.sqrt((square + _SHARED * whole) / (of_kind.sum() + _SHARED))
    return np.maximum(found, LEAST_NOISE)


def over(base: BatchServer, model: LanguageModel) -> BatchServer:
    """The base server with another model: its weights, and requests of any length."""
    check_measured(model)
    b = base.batching
    weights_gb = b.weights_gb * model.parameter_count / base.model.parameter_count
    load_us = b.load_us * scales(base.model, model)["load_us"]
    batching = dataclasses.replace(b, weights_gb=weights_gb, load_us=load_us, context_tokens=1)
    return dataclasses.replace(base, model=model, batching=batching)


def _ms(name: str) -> float:
    """A coefficient's unit in milliseconds."""
    return UNITS[name.rpartition("_")[2]]


def _solve(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    guess: NDArray[np.float64],
    weight: NDArray[np.float64],
    chosen: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares with a guess of each value, and the covariance.

    Columns are scaled to the guesses first: coefficients differ by many orders of magnitude.
    """
    scale = np.where(guess > 0, guess, 1.0)
    rows = np.vstack([x * scale, np.diag(weight * scale)])[:, chosen]
    sides = np.concatenate([y, weight * guess])
    inverse = np.linalg.pinv(rows.T @ rows, rcond=1e-12, hermitian=True)
    value, whole = np.zeros(len(guess)), np.zeros((len(guess), len(guess)))
    value[chosen] = inverse @ rows.T @ sides * scale[chosen]
    whole[np.ix_(chosen, chosen)] = inverse * np.outer(scale[chosen], scale[chosen])
    return value, whole


def _guesses(base: BatchServer, model: LanguageModel) -> dict[str, float]:
    """The base server's coefficients, scaled by what they are spent on."""
    b, factors = base.batching, scales(base.model, model)
    own = {name: getattr(b, name) for name in FITTED}
    # Of a base whose times are made from parts: the straight lines that its roofline lies on.
    own["step_us"] += b.weights_us
    own["prefill_token_us"] += b.token_us
    return {name: value * factors.get(name, 1.0) for name, value in own.items()}


FITTED = (
    "step_us", "sequence_us", "kv_token_ns", "prefill_token_us", "request_us", "frontend_us",
    "lora_step_us", "slot_us", "slot_rank_us", "distinct_us", "lora_sequence_us",
    "slot_prefill_ns", "disk_load_us",
)  # fmt: skip
"""Coefficients that rows can say something of."""


def scales(old: LanguageModel, new: LanguageModel) -> dict[str, float]:
    """Of a coefficient of one model, its guess for another: weights, KV, layers, A and B."""

    def lora(model: LanguageModel) -> int:
        return model.layers * sum(sum(model.linear_shape(target)) for target in TARGETS)

    weights = new.parameter_count / old.parameter_count
    adapters = lora(new) / lora(old)
    return {
        "step_us": weights,
        "prefill_token_us": weights,
        "kv_token_ns": new.kv_elements_per_token / old.kv_elements_per_token,
        "lora_step_us": new.layers / old.layers,
        **dict.fromkeys(
            (
                "slot_us", "slot_rank_us", "distinct_us", "lora_sequence_us", "slot_prefill_ns",
                "load_us", "padded_load_us", "disk_load_us",
            ),
            adapters,
        ),
    }  # fmt: skip


@dataclass(frozen=True)
class Equation:
    """A measured time as a sum: ``known`` and the coefficients times ``features``; ms."""

    label: str
    kind: str
    quantity: str
    measured: float
    features: dict[str, float]
    known: float = 0.0


def _equations(runs: Sequence[Run], server: BatchServer, rank_us: float) -> Iterator[Equation]:
    """What each run says; ``rank_us`` is the growth of LoRA's times per rank above 16."""
    budget = server.batching.max_batched_tokens
    for run in runs:
        growth = 1 + rank_us * max(run.rank - 16, 0)
        prompt = {
            "request_us": 1.0,
            "prefill_token_us": run.prompt,
            "slot_prefill_ns": run.slots * run.prompt * growth,
        }

        def equation(
            quantity: str, measured: float, features: dict[str, float], known: float = 0.0,
            run: Run = run,
        ) -> Equation:  # fmt: skip
            return Equation(run.label, _kind(run), quantity, measured, features, known)

        decode = _step(run, growth)
        if run.output <= 1:
            steps = run.requests / min(run.batch or run.requests, budget / run.prompt)
            whole = _times(prompt, run.requests) | {"step_us": steps}
            if run.slots == 0:
                yield equation("duration", run.duration_ms, whole)
        elif run.slots and run.batch == 0 and run.requests > 1 and not run.in_turn:
            # Full all the time: what a request adds to the duration is its prompt and its share of
            # the steps, whose batch is that of Little's law.
            each = _times(decode, (run.output - 1) / _little(run))
            per_request = {
                name: prompt.get(name, 0.0) + each.get(name, 0.0) for name in {*prompt, *each}
            }
            yield equation("duration", run.duration_ms / run.requests, per_request)
        elif _fits(run, server):
            yield equation("TPOT", run.tpot_ms, decode)
            if run.in_turn and run.slots:
                first_ms = run.duration_ms / run.requests - (run.output - 1) * run.tpot_ms
                load_ms = server.batching.load_us * 1e-3
                yield equation("load", first_ms, _first(run, prompt, growth), load_ms)
        if run.requests == 1 and run.output > 1:
            yield equation("TTFT", run.ttft_ms, _first(run, prompt, growth) | _alone(run))


def _kind(run: Run) -> str:
    """Runs whose times are off alike: alone, one after the other, or many, with adapters or not."""
    many = "in turn" if run.in_turn else "alone" if run.requests == 1 else "many"
    return f"{many}, {'adapters' if run.slots else 'none'}"


def _times(features: dict[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in features.items()}


def _little(run: Run) -> float:
    """Requests at a time of a run that is full from begin to end."""
    return run.requests * run.output * run.tpot_ms / run.duration_ms


def _fits(run: Run, server: BatchServer) -> bool:
    """Whether the batches fit into KV memory; those that do not preempt, which no wave shows."""
    most = float(run.waves.max()) * (run.prompt + run.output)
    try:
        return most <= server.kv_tokens(run.slots, run.rank)
    except InputError:
        return False


def _step(run: Run, growth: float) -> dict[str, float]:
    """What a decode step of a run has of each coefficient, over the run's requests."""
    full = run.batch == 0 and not run.in_turn and run.requests > 1
    waves = np.array([_little(run)]) if full else run.waves
    share = waves / waves.sum()
    batch = float(share @ waves)
    features = {
        "step_us": 1.0,
        "sequence_us": batch,
        "kv_token_ns": batch * (run.prompt + run.output / 2),
    }
    if run.slots:
        distinct = float(share @ _distinct(waves, run.adapters))
        features |= _with_slots(run)
        features |= {
            "distinct_us": distinct * growth,
            "lora_sequence_us": batch * growth,
            **_alone(run),
        }
    return features


def _with_slots(run: Run) -> dict[str, float]:
    """What each step takes with LoRA enabled, whatever is in it."""
    return {
        "lora_step_us": 1.0,
        "slot_us": float(run.slots),
        "slot_rank_us": run.slots * float(max(run.rank - 16, 0)),
    }


def _alone(run: Run) -> dict[str, float]:
    return {LONE: -1.0} if run.slots and run.requests == 1 else {}


def _first(run: Run, prompt: dict[str, float], growth: float) -> dict[str, float]:
    """What a lone request's first token takes."""
    features = {"step_us": 1.0, "frontend_us": 1.0, **prompt}
    if run.slots:
        features |= _with_slots(run) | {"distinct_us": growth}
    if run.in_turn:
        features["disk_load_us"] = 1.0
    return features


def _distinct(batch: NDArray[np.float64], adapters: int) -> NDArray[np.float64]:
    """Expected distinct adapters in a batch that draws each request's uniformly."""
    return adapters * (1 - (1 - 1 / adapters) ** batch)


def _domain(runs: Sequence[Run]) -> dict[str, tuple[float, float]]:
    """What the runs span, for the block ``domain`` of a server's file."""

    def span(of: Callable[[Run], float], chosen: Sequence[Run]) -> tuple[float, float]:
        values = [of(run) for run in chosen]
        return (min(values), max(values))

    with_adapters = [run for run in runs if run.slots]
    limited = [run for run in runs if run.batch or run.in_turn or run.requests == 1]
    found = {
        "prompt_tokens": span(lambda run: round(run.prompt), runs),
        "batch": span(lambda run: float(run.waves.max()), limited or runs),
    }
    if with_adapters:
        found["rank"] = span(lambda run: run.rank, with_adapters)
        found["slots"] = span(lambda run: run.slots, with_adapters)
        found["distinct"] = (
            1.0,
            max(round(float(_distinct(run.waves, run.adapters).max())) for run in with_adapters),
        )
    return found
