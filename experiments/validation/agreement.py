"""The simulator's fidelities against each other: closed form, compiled engine, reference.

What is slower and nearer to the rules is the truth of the next: the reference of the compiled
engine, the engine of the closed form, token-by-token serving of the fast path.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from hardwire.experiments.validation.system_agreement import system_cases, system_errors
from hardwire.models import catalogue
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.simulator.belief.draws import SEED
from hardwire.simulator.closed_form import predict
from hardwire.simulator.engines import compiled as engine
from hardwire.simulator.engines import reference
from hardwire.simulator.program import TokenProgram, build_program
from hardwire.simulator.requests import Requests
from hardwire.simulator.serving.gpu.server import simulate_batch
from hardwire.simulator.serving.load.synthetic import stream
from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.policies.policy import CHOICES, Policy
from hardwire.simulator.serving.replay import replay

T = TypeVar("T")

DESIGNS = 1000
LOADS = 20
"""Random loads of each kind of server; token by token takes a tenth of a second each."""

PROMPTS, OUTPUTS = (8, 160), (2, 80)
STEP_LIMIT, QUEUED_LIMIT, TTFT_LIMIT = 1e-3, 1e-2, 1e-3
"""What the closed form promises for chips of the catalogue: of a decode step, of one behind other
users' tokens on shared units, and of TTFT."""

MOST_USERS = 8
LENGTHS = ((256, 256), (1024, 128))
"""Chips of the catalogue are compared for every number of users up to this one, with requests of
these prompts and outputs: on ROMA, two users queue most with the first, and three with the second.
"""

QUEUES = (
    "Tokens of several users queue on the units that layers share. The closed form follows a few "
    "steps of each user, visit by visit, and takes them for all."
)

TIMED = (
    "datapath.",
    "sram.write",
    "attention.",
    "lora.read",
    "lora.macs",
    "lora.activations",
    "sampling.",
)
"""Parameters that a token's time depends on."""

SHAPES = ("r1:qv:int8", "r4:attention:int8", "r8:qv:int4", "r2:all-linear:int8")


@dataclass(frozen=True)
class Agreement:
    """One comparison: relative errors over some cases, signs dropped.

    ``limit`` is what the worst may be: 0 where both must be the same, None where nothing is
    promised.
    """

    id: str
    metric: str
    mean: float
    worst: float
    cases: int
    limit: float | None = 0.0
    note: str = ""


@dataclass(frozen=True)
class Case:
    """A chip with a load: equal requests that arrive together."""

    chip: Chip
    model: LanguageModel
    adapter: Adapter | None
    prompt: int
    output: int
    users: int


def random_chip(chip: Chip, rng: np.random.Generator) -> Chip:
    """A chip with all that time depends on redrawn from half to twice its value, and choices."""
    values: dict[str, Any] = {}
    for name, spec in DECLARED.items():
        if not name.startswith(TIMED) or name not in chip.parameters:
            continue
        if spec.choices:
            values[name] = str(rng.choice(spec.choices))
        else:
            near = float(chip.parameters[name].value) * float(2.0 ** rng.uniform(-1, 1))
            near = min(max(near, spec.low), spec.high)
            values[name] = max(round(near), 1) if spec.integer else near
    values["lora.order"] = str(rng.choice(DECLARED["lora.order"].choices))
    return chip._replaced(values)


def random_cases(count: int, seed: int) -> Iterator[Case]:
    """Random designs with random loads; every other one has an adapter."""
    rng = stream(seed, "designs")
    base = Chip.open("hc1")
    model = LanguageModel.by_name(base.model)
    # Making an adapter of a model's size takes longer than simulating it: a few for all designs.
    adapters = [None, *(Adapter.from_shape(f"r{rank}:all-linear", model) for rank in (4, 16, 64))]
    for _ in range(count):
        chip = random_chip(base, rng)
        adapter = adapters[int(rng.choice(4, p=[0.5, 0.2, 0.2, 0.1]))]
        prompt, output = int(rng.integers(*PROMPTS)), int(rng.integers(*OUTPUTS))
        yield Case(chip, model, adapter, prompt, output, int(rng.integers(1, 4)))


def catalogue_cases() -> Iterator[Case]:
    """Each chip of the catalogue, serial and pipelined, with users, without and with an adapter."""
    for name in catalogue.names("chip"):
        chip = Chip.open(name)
        model = LanguageModel.by_name(chip.model)
        adapter = Adapter.from_shape("r16:all-linear", model)
        for issue in ("serial", "pipelined"):
            issued = chip._replaced({"datapath.issue": issue})
            for loaded, users in itertools.product((None, adapter), range(1, MOST_USERS + 1)):
                for prompt, output in LENGTHS:
                    yield Case(issued, model, loaded, prompt, output, users)


def closed_form_errors(case: Case, program: TokenProgram) -> tuple[float, float]:
    """Relative errors of the closed form's decode step and mean TTFT against the engine."""
    requests = Requests.uniform(case.users, case.prompt, case.output, len(program.adapters))
    timeline = engine.simulate(program, requests)
    times = [timeline.output_times(requests, user) for user in range(case.users)]
    first = float(np.mean([t[0] for t in times]))
    step = float(np.mean([(t[-1] - t[0]) / (case.output - 1) for t in times]))
    # The power limit is no rule of the engines: lift it.
    free = case.chip._replaced({"power.limit_w": 1e9})
    shape = AdapterShape.of_adapter(case.adapter) if case.adapter else None
    predicted = predict(
        free, case.model, adapter=shape, prompt=case.prompt, output=case.output, users=case.users
    )
    hertz = program.clock_hz
    return (
        abs(float(predicted.token_s) * hertz / step - 1),
        abs(float(predicted.ttft_s) * hertz / first - 1),
    )


def engines_differ(program: TokenProgram) -> float:
    """Largest relative difference of a token's end between the compiled engine and SimPy."""
    # Two tokens, since Python takes milliseconds to walk one: the second is decoded, or follows the
    # first through the prompt.
    prompt = 1 if program.serial else 2
    few = Requests.uniform(1, prompt, 3 - prompt, len(program.adapters))
    expected = reference.simulate(program, few).done
    return float(np.max(np.abs(engine.simulate(program, few).done - expected) / expected))


def queued(case: Case) -> bool:
    """Whether several tokens are in flight on units that layers share, so that they queue."""
    path = case.chip.datapath
    return bool(path.layers == "shared" and path.issue == "pipelined" and case.users > 1)


def chip_agreements(
    cases: Iterator[Case], name: str, what: str, *, promised: bool
) -> list[Agreement]:
    """Closed form against engine, and engine against reference, over some cases.

    Steps behind each other on shared units are listed apart, for those are followed and not
    computed. The engines are compared once for cases in a row of one chip and adapter.
    """
    limits = (STEP_LIMIT, QUEUED_LIMIT, TTFT_LIMIT) if promised else (None, None, None)
    step_limit, queued_limit, ttft_limit = limits
    steps: list[float] = []
    behind: list[float] = []
    firsts: list[float] = []
    engines: list[float] = []
    before: Case | None = None
    for case in cases:
        if before is None or case.chip is not before.chip or case.adapter is not before.adapter:
            adapters = [] if case.adapter is None else [case.adapter]
            program = build_program(case.chip, case.model, adapters)
            engines.append(engines_differ(program))
        before = case
        step, first = closed_form_errors(case, program)
        (behind if queued(case) else steps).append(step)
        firsts.append(first)
    closed = "closed form against engine"
    return [
        _agreement(f"{name}.closed_form.step", f"{closed}, decode step: {what}", steps, step_limit),
        _agreement(
            f"{name}.closed_form.queued",
            f"{closed}, decode step: {what}, several users in flight on shared units",
            behind,
            queued_limit,
            QUEUES,
        ),
        _agreement(f"{name}.closed_form.ttft", f"{closed}, mean TTFT: {what}", firsts, ttft_limit),
        _agreement(
            f"{name}.engine", f"engine against SimPy reference, each token: {what}", engines
        ),
    ]


def random_load(rng: np.random.Generator) -> Workload:
    """Some short requests of up to six adapters."""
    count, adapters = int(rng.integers(1, 13)), int(rng.integers(0, 7))
    span = float(rng.choice([0.0, 1e-3, 1e-2, 0.1]))
    return Workload(
        "random",
        np.sort(rng.uniform(0, span, count)),
        rng.integers(1, 60, count),
        rng.integers(1, 40, count),
        rng.integers(BASE, adapters, count).astype(np.int32),
        tuple(f"a{number}" for number in range(adapters)),
        span,
    )


def cards_differ(
    base: Server, chip: Chip, shapes: Sequence[Adapter], rng: np.random.Generator
) -> float:
    """Largest relative difference of a request's end: fast path against token by token."""
    machine = dataclasses.replace(
        base.machine,
        cards=int(rng.integers(1, 4)),
        users_per_card=int(rng.choice([1, 2, 5])),
        links=str(rng.choice(["each", "shared"])),
    )
    issue = str(rng.choice(["serial", "pipelined"]))
    server = dataclasses.replace(base, issue=issue, machine=machine)
    chosen: dict[str, Any] = {name: str(rng.choice(options)) for name, options in CHOICES.items()}
    policy = Policy(**chosen, prefetch=int(rng.integers(0, 4)))
    load = random_load(rng)
    adapters = [shapes[number % len(shapes)] for number in range(len(load.adapters))]
    fast, slow = (
        replay(server, load, adapters, policy, chip=chip, engine=name)
        for name in ("events", "reference")
    )
    return _largest_difference(fast.finish_s, slow.finish_s)


def batches_differ(server: BatchServer, adapter: Adapter, rng: np.random.Generator) -> float:
    """The same for a GPU server with little memory: compiled steps against plain Python."""
    slots = 2
    blocks = int(rng.integers(30, 80))
    block_gb = 16 * server.kv_bytes_per_token / 1e9
    small = dataclasses.replace(
        server.batching,
        memory_share=1.0,
        gpu_memory_gb=server.batching.weights_gb
        + slots * server.slot_bytes(16) / 1e9
        + (blocks + 0.5) * block_gb,
        overhead_gb=0.0,
        context_tokens=400,
        max_seqs=int(rng.integers(1, 7)),
        max_batched_tokens=int(rng.integers(6, 65)),
        admission=str(rng.choice(["prompt", "whole"])),
    )
    load = random_load(rng)
    fast, slow = (
        simulate_batch(
            dataclasses.replace(server, batching=small),
            load,
            [adapter] * len(load.adapters),
            slots=slots if load.adapters else 0,
            rank=16,
            engine=name,
        )
        for name in ("compiled", "reference")
    )
    return _largest_difference(fast.finish_s, slow.finish_s)


def cases(designs: int = DESIGNS, loads: int = LOADS) -> int:
    """How many cases the comparisons have."""
    chips = len(catalogue.names("chip"))
    systems = min(loads, len(list(system_cases())))
    return 4 * MOST_USERS * len(LENGTHS) * chips + designs + systems + 2 * loads


def agreements(
    designs: int = DESIGNS,
    loads: int = LOADS,
    seed: int = SEED,
    step: Callable[[], None] = lambda: None,
) -> list[Agreement]:
    """All comparisons, in the order of the table; ``step`` is called after each of the cases."""

    def each(of: Iterable[T]) -> Iterator[T]:
        for one in of:
            yield one
            step()

    cards, batches = stream(seed, "cards"), stream(seed, "batches")
    # Little SRAM, so that adapters and KV push each other out.
    chip = Chip.open("hc1").with_values({"sram.capacity_mib": 24})
    shapes = [Adapter.from_shape(shape, LanguageModel.by_name(chip.model)) for shape in SHAPES]
    server, gpu = Server.open("hc1x10"), BatchServer.open("vllm-h100")
    adapter = Adapter.from_shape("r16:all-linear", gpu.model)
    some = itertools.islice(system_cases(), loads)
    return [
        *chip_agreements(
            each(catalogue_cases()), "catalogue", "chips of the catalogue", promised=True
        ),
        *chip_agreements(
            each(random_cases(designs, seed)), "random", "random designs", promised=False
        ),
        *system_agreements([system_errors(case) for case in each(some)]),
        _agreement(
            "serving.cards",
            "serving on cards: fast path against token by token, ends of requests",
            [cards_differ(server, chip, shapes, cards) for _ in each(range(loads))],
        ),
        _agreement(
            "serving.batch",
            "serving on a GPU: compiled against step by step, ends of requests",
            [batches_differ(gpu, adapter, batches) for _ in each(range(loads))],
        ),
    ]


def system_agreements(errors: Sequence[tuple[float, float]]) -> Iterator[Agreement]:
    """Of systems of the catalogue: the closed form's step and time to first token."""
    steps, firsts = zip(*errors, strict=True)
    what = "closed form against engine, {}: systems of the catalogue"
    yield _agreement("systems.closed_form.step", what.format("decode step"), list(steps), None)
    yield _agreement(
        "systems.closed_form.ttft", what.format("time to first token"), list(firsts), None,
        "Tokens of a prompt meet on links that they visit in every layer.",
    )  # fmt: skip


def _agreement(
    name: str, metric: str, errors: list[float], limit: float | None = 0.0, note: str = ""
) -> Agreement:
    mean, worst = float(np.mean(errors)), float(np.max(errors))
    return Agreement(name, metric, mean, worst, len(errors), limit, note)


def _largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Relative; requests that never end must not end in both."""
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        return np.inf
    ended = ~np.isnan(expected)
    if not ended.any():
        return 0.0
    return float(
        np.max(np.abs(found[ended] - expected[ended]) / np.maximum(expected[ended], 1e-12))
    )
