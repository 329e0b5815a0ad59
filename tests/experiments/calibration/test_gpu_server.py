"""Servers are fitted to what made the data; a profile that cannot be used is refused."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shell import Shell

import hardwire as hw
from hardwire.experiments.calibration.gpu_server import FITTED, ServerFit, fit, fit_profile
from hardwire.experiments.calibration.gpu_server_file import write_server
from hardwire.experiments.calibration.profile import COLUMNS, Run
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel

pytestmark = pytest.mark.slow

SERVER = BatchServer.open("vllm-h100")
B = SERVER.batching
PLAIN: dict[str, Any] = {
    "model": "llama-3.1-8b", "requests": 1, "batch": 0, "prompt_tokens": 10, "output_tokens": 100,
    "slots": 0, "rank": 0, "adapters": 0, "in_turn": 0,
}  # fmt: skip


def blank(**settings: Any) -> Run:
    """A run whose times are still to be made."""
    values: dict[str, Any] = {
        "label": "", "requests": 1, "batch": 0, "prompt": 10.0, "output": 100.0, "slots": 0,
        "rank": 0, "adapters": 0, "in_turn": False, "duration_ms": 1.0, "ttft_ms": 1.0,
        "tpot_ms": 1.0,
    }  # fmt: skip
    return Run(**{**values, **settings})


def designed() -> Iterator[Run]:
    """Runs that tell all coefficients apart."""
    for batch in (50, 200, 800):
        for output in (100.0, 300.0):
            yield blank(requests=1600, batch=batch, prompt=5.0, output=output)
    for prompt in (50.0, 200.0, 800.0):
        yield blank(requests=4096, batch=100, prompt=prompt, output=1.0)
    for slots, rank in ((8, 8), (64, 16), (300, 8), (64, 32), (96, 32)):
        yield blank(slots=slots, rank=rank, adapters=1)
    for rank in (8, 16, 32):
        yield blank(requests=50, slots=1, rank=rank, adapters=1, in_turn=True, prompt=111.0)
    for adapters in (1, 50, 300):
        for batch in (50, 220):
            yield blank(
                requests=4400, batch=batch, slots=300, rank=8, adapters=adapters, prompt=5.0
            )
    yield blank(requests=4096, slots=300, rank=8, adapters=300, prompt=407.0, output=200.0)


def made(run: Run) -> Run:
    """The run with the times that the server's own coefficients give, worked out by hand."""
    growth = 1 + B.slot_rank_us / B.slot_us * max(run.rank - 16, 0)
    full = run.slots > 0 and run.batch == 0 and run.requests > 1 and not run.in_turn
    if run.in_turn:
        sizes = [1.0] * run.requests
    elif full:
        sizes = [248.0]
    else:
        limit = min(run.batch or run.requests, run.requests)
        sizes = [float(limit)] * (run.requests // limit)
        sizes += [float(run.requests % limit)] * (run.requests % limit > 0)
    weight = np.array(sizes) / sum(sizes)
    batch = float(weight @ sizes)
    lora_us = 0.0
    if run.slots:
        apart = [run.adapters * (1 - (1 - 1 / run.adapters) ** size) for size in sizes]
        lora_us = B.lora_step_us + (B.distinct_us * float(weight @ apart)) * growth
        lora_us += B.lora_sequence_us * batch * growth
        lora_us += run.slots * (B.slot_us + B.slot_rank_us * max(run.rank - 16, 0))
    context = batch * (run.prompt + run.output / 2)
    tpot = (B.step_us + B.sequence_us * batch + lora_us) / 1e3 + B.kv_token_ns * context / 1e6
    prompt = B.request_us / 1e3 + B.prefill_token_us / 1e3 * run.prompt
    prompt += B.slot_prefill_ns * run.slots * run.prompt * growth / 1e6
    first = prompt + (B.step_us + B.frontend_us) / 1e3
    if run.slots:
        first += (lora_us - B.lora_sequence_us * growth) / 1e3
    duration = 1.0
    if run.output == 1:
        steps = run.requests / min(run.batch, B.max_batched_tokens / run.prompt)
        duration = B.step_us / 1e3 * steps + run.requests * prompt
        tpot = 0.0
    elif full:
        each = prompt + tpot * (run.output - 1) / batch
        duration = run.requests * each
        tpot = batch * each / run.output  # so that Little's law gives the batch
    elif run.in_turn:
        first += (B.load_us + B.disk_load_us) / 1e3
        duration = run.requests * (first + (run.output - 1) * tpot)
    return dataclasses.replace(run, duration_ms=duration, ttft_ms=first, tpot_ms=tpot)


RUNS = [made(run) for run in designed()]


def other(factor: float) -> BatchServer:
    """A base server whose coefficients are all off."""
    changed = {name: getattr(B, name) * factor for name in FITTED}
    return dataclasses.replace(SERVER, batching=dataclasses.replace(B, **changed))


def fitted(base: BatchServer = SERVER) -> ServerFit:
    return fit(RUNS, base, SERVER.model, "made")


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_the_fit_recovers_what_made_the_data(factor: float) -> None:
    """Whatever the base server says: its coefficients are a guess only."""
    found = fitted(other(factor))
    assert [one.name for one in found.coefficients] == list(FITTED)
    for name, value in found.values.items():
        assert value == pytest.approx(getattr(B, name), rel=2e-2), name
    assert max(abs(point.error) for point in found.points) < 1e-3


def test_deviations_are_those_of_fits_to_noisy_data() -> None:
    """The law of least squares: deviations and correlations as fits to many noisy copies have."""
    rng = np.random.default_rng(0)
    noise, values, told = 0.01, [], []
    for _ in range(120):
        runs = [
            dataclasses.replace(
                run,
                duration_ms=run.duration_ms * (1 + noise * rng.standard_normal()),
                ttft_ms=run.ttft_ms * (1 + noise * rng.standard_normal()),
                tpot_ms=run.tpot_ms * (1 + noise * rng.standard_normal()),
            )
            for run in RUNS
            if run.slots == 0
        ]
        found = fit(runs, SERVER, SERVER.model, "noisy")
        values.append(list(found.values.values()))
        told.append(np.sqrt(np.diag(found.covariance)))
    spread = np.std(values, axis=0)
    ratio = np.mean(told, axis=0) / spread
    assert ((ratio > 0.6) & (ratio < 1.7)).all(), ratio


def test_what_rows_do_not_tell_apart_stays_as_the_base_has_it() -> None:
    """One batch only: the sum of step and sequences is known, its parts as in the base."""
    runs = [run for run in RUNS if run.slots == 0 and run.batch == 200 and run.output > 1]
    runs += [made(blank(requests=1600, batch=200, prompt=5.0, output=o)) for o in (50.0, 200.0)]
    found = fit(runs, other(1.3), SERVER.model, "made")
    values = found.values
    ratio = values["step_us"] / (values["sequence_us"] * 200)
    assert values["step_us"] + 200 * values["sequence_us"] == pytest.approx(
        B.step_us + 200 * B.sequence_us, rel=1e-3
    )
    assert ratio == pytest.approx(B.step_us / (B.sequence_us * 200), rel=0.35)
    assert found.coefficients[0].open or found.coefficients[1].open
    assert "distinct_us" not in values


def write(path: Path, *rows: dict[str, Any], without: str = "") -> Path:
    names = [name for name in COLUMNS if name != without]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows(**more: Any) -> list[dict[str, Any]]:
    """The runs without adapters as rows of the plain layout."""
    return [
        PLAIN
        | {
            "requests": run.requests, "batch": run.batch, "prompt_tokens": run.prompt,
            "output_tokens": run.output, "duration_s": run.duration_ms / 1e3,
            "ttft_ms": run.ttft_ms, "tpot_ms": run.tpot_ms,
        }
        | more
        for run in RUNS
        if run.slots == 0
    ]  # fmt: skip


def test_a_fitted_server_is_a_file_that_serves(tmp_path: Path) -> None:
    profile = write(tmp_path / "mine.csv", *rows(model="Qwen/Qwen2.5-7B-Instruct"))
    found = hw.fit_server(profile, "qwen2.5-7b")
    server = BatchServer.open(found.save(tmp_path / "mine.yaml"))
    assert server.model.name == "qwen2.5-7b" and server.fit is not None
    np.testing.assert_allclose(server.fit.matrix, found.covariance, rtol=1e-6)
    for one in found.coefficients:
        stated = server.parameters[one.name]
        assert stated.kind == "calibrated" and stated.range is not None
        assert stated.value == pytest.approx(one.value, rel=1e-3)
        assert stated.range[0] == pytest.approx(max(one.value - 2 * one.deviation, 0), rel=1e-3)
    # No row has an adapter: the guess by the models' sizes, and it says so.
    assert server.parameters["distinct_us"].kind == "assumed"
    assert "no row says it" in server.parameters["distinct_us"].source
    assert server.domain is not None and server.domain.batch == (50, 800)
    assert len(found.to_frame("rows")) == len(found.points)
    done = hw.replay("azure-conv", tmp_path / "mine.yaml", requests=20)
    assert done.summary["completed"] == 20
    assert any("prompts of" in sentence for sentence in done.summary["warnings"])
    with pytest.raises(InputError, match="already exists"):
        found.save(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("change", "without", "sentence"),
    [
        ({}, "tpot_ms", "column tpot_ms is missing"),
        ({"model": "qwen2.5-7b"}, "", r"has no run of llama-3\.1-8b \(of: qwen2\.5-7b\)"),
        ({"tpot_ms": "nan"}, "", "line 2: tpot_ms: a number of at least"),
        ({"tpot_ms": ""}, "", "line 2: tpot_ms: a number of at least"),
        ({"duration_s": "-1"}, "", "line 2: duration_s: a number"),
        ({"requests": "2.5"}, "", "line 2: requests: 2.5 is no count"),
        ({"slots": 8}, "", "line 2: rank: a number of at least 1"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused(
    tmp_path: Path, change: dict[str, Any], without: str, sentence: str
) -> None:
    path = write(tmp_path / "p.csv", *rows(**change), without=without)
    with pytest.raises(InputError, match=r"^p\.csv: " + sentence) as refused:
        fit_profile(path)
    assert "\n" not in str(refused.value)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", *rows()[:3])
    with pytest.raises(InputError, match=r"too few rows of llama-3\.1-8b: 3 measured times for 3"):
        fit_profile(path)


def test_a_model_that_the_gpu_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", *rows(model="llama-3.1-70b"))
    with pytest.raises(InputError, match=r"vllm-h100: cannot hold llama-3\.1-70b"):
        fit_profile(path, LanguageModel.by_name("llama-3.1-70b"))


def test_adapters_need_a_base_that_serves_them() -> None:
    base = BatchServer.open("trtllm-h100")
    with pytest.raises(InputError, match="trtllm-h100: serves no adapters, which made has"):
        fit(RUNS, base, base.model, "made")


def test_the_command_writes_a_file_or_nothing(tmp_path: Path, hardwire: Shell) -> None:
    profile, out = write(tmp_path / "p.csv", *rows()), tmp_path / "mine.yaml"
    status, told, _ = hardwire("server", "fit", str(profile), "--out", str(out))
    assert status == 0 and "step_us" in told and str(out) in told
    assert BatchServer.open(out).name == "mine"
    status, _, error = hardwire("server", "fit", str(profile), "--out", str(out))
    assert status == 2 and "already exists" in error
    bad = write(tmp_path / "bad.csv", *rows(), without="slots")
    status, _, error = hardwire("server", "fit", str(bad), "--out", str(tmp_path / "no.yaml"))
    assert status == 2 and error.strip().count("\n") == 0 and "bad.csv: column slots" in error
    assert not (tmp_path / "no.yaml").exists()


@pytest.mark.parametrize("name", ["vllm-h100", "vllm-h100-qwen2.5-7b"])
def test_the_files_of_the_catalogue_are_what_the_measurements_give(
    name: str, shared_data: Path
) -> None:
    server = BatchServer.open(name)
    found = fit_profile(shared_data / "measured" / "vllm_lora_components.csv", server.model)
    assert server.fit is not None and server.fit.names == tuple(found.values)
    for one in found.coefficients:
        assert getattr(server.batching, one.name) == pytest.approx(one.value, rel=2e-3), one.name
    deviation = np.sqrt(np.diag(server.fit.matrix))
    assert deviation == pytest.approx(np.sqrt(np.diag(found.covariance)), rel=0.02)
    errors = np.abs([point.error for point in found.points])
    assert errors.mean() < 0.02 and errors.max() < 0.1


def test_a_lone_request_is_quicker_than_the_step_says() -> None:
    """What is alone from the begin takes less of LoRA: known in the data, in no server's file."""
    runs = [
        dataclasses.replace(run, tpot_ms=run.tpot_ms - 1.0)
        if run.requests == 1 and run.slots
        else run
        for run in RUNS
    ]
    found = fit(runs, SERVER, SERVER.model, "made")
    assert found.values["lora_step_us"] == pytest.approx(B.lora_step_us, rel=0.03)
    assert not math.isnan(found.residual)


def test_a_base_made_from_parts_keeps_none_of_its_roofline(tmp_path: Path) -> None:
    base = tmp_path / "parts.yaml"
    base.write_text(
        "kind: batch\ntitle: Parts\nextends: vllm-h100\nweights_us: 5000\npair_ns: 2\n"
        f"step_us: {B.step_us - 5000}\n",
        encoding="utf-8",
    )
    found = fitted(BatchServer.open(base))
    step = next(one for one in found.coefficients if one.name == "step_us")
    assert step.guess == pytest.approx(B.step_us)
    server = BatchServer.open(write_server(found, tmp_path / "mine.yaml", str(base)))
    assert (server.batching.weights_us, server.batching.pair_ns) == (0, 0)
    assert server.batching.step_us == pytest.approx(B.step_us, rel=2e-2)


def test_a_written_file_extends_its_base_by_path(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("kind: batch\ntitle: Base\nextends: vllm-h100\nslots: 8\n", encoding="utf-8")
    (tmp_path / "sub").mkdir()
    out = write_server(fitted(BatchServer.open(base)), tmp_path / "sub" / "mine.yaml", str(base))
    assert BatchServer.open(out).batching.slots == 8
