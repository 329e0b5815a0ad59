"""The store of sweeps: each point once, whoever computes it, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from examples import PROFILE, examples
from hangs import HUNG_S
from hypothesis import given
from hypothesis import strategies as st

from hardwire.experiments.cli import app as cli
from hardwire.experiments.sweep import Study, results, runner, sweep
from hardwire.experiments.sweep import compute as computing
from hardwire.experiments.sweep.keys import KEY
from hardwire.experiments.sweep.store import Counts, Store, keys_of
from hardwire.models.errors import InputError

pytestmark = pytest.mark.slow

AXES: dict[str, Any] = {
    "datapath.lanes": {"from": 1, "to": 40},
    "datapath.clock_ghz": {"from": 0.5, "to": 2},
    "workload.users": [1, 2, 3, 4],
    "datapath.issue": ["serial", "pipelined"],
}
CONSTRAINTS = ["area_mm2.total <= die_area_mm2", "decode_tokens_per_s_user >= 9000"]


def make_study(points: int, name: str = "test", **changes: Any) -> Study:
    data = {"axes": AXES, "sample": {"random": points, "seed": 2}, "constraints": CONSTRAINTS}
    return Study.from_dict(name, {**data, **changes})


def all_of(store: Path, view: str) -> pd.DataFrame:
    """A study's view in the order of its points."""
    return results(store, f'SELECT * FROM "{view}" ORDER BY number')


def stored_keys(store: Path) -> list[bytes]:
    found = []
    for path in (store / "points").glob("*.parquet"):
        found += [bytes(key) for key in pd.read_parquet(path, columns=["key"])["key"]]
    return found


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CHUNK", {"closed-form": 100, "engine": 20, "replay": 2})


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks computed in this process: quicker than workers, with the same commits."""

    def compute_here(
        client: Any, study: Any, light: Any, store: Any, left: list[int], size: int, version: str
    ) -> Any:
        for number in left:
            chunk = runner.prepare(study, store, number, size)
            done = None
            if chunk.todo.any():
                given = chunk.settings_to_compute(), chunk.keys_to_compute(), version
                done = runner.compute(light, *given)
            yield chunk, done

    class Nobody:
        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(runner, "_distributed", compute_here)
    monkeypatch.setattr(runner, "_client", lambda *given: Nobody())


@pytest.mark.usefixtures("small_chunks", "here")
def test_a_sweep_is_its_points_evaluated(tmp_path: Path) -> None:
    study = make_study(950)
    done = sweep(study, tmp_path / "s")
    assert done.counts.computed + done.counts.reused == 950 and done.counts.failed == 0
    found = all_of(tmp_path / "s", "test")
    columns = study.chunk(0, 950)
    setting = study.settings(columns)
    metrics = study.evaluate(setting)
    code, reasons = study.judge(setting, metrics)
    for name, values in {**columns, **{n: metrics[n] for n in study.columns}}.items():
        assert np.array_equal(found[name].to_numpy(), values), name
    assert found["feasible"].tolist() == (code == 0).tolist()
    assert found["reason"].tolist() == [reasons[c] for c in code]
    assert int(found["feasible"].sum()) == done.counts.feasible
    assert len(stored_keys(tmp_path / "s")) == len(set(stored_keys(tmp_path / "s")))


@pytest.mark.usefixtures("small_chunks", "here")
def test_again_computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(300)
    first = sweep(study, tmp_path / "s")
    monkeypatch.setattr(runner, "compute", lambda *given: pytest.fail("computed again"))
    again = sweep(study, tmp_path / "s")
    assert again.counts == Counts(reused=300, feasible=first.counts.feasible)


@pytest.mark.usefixtures("small_chunks", "here")
def test_two_studies_share_points(tmp_path: Path) -> None:
    """The second has other axes, other constraints, and half its points in common."""
    common = {"datapath.lanes": [8, 12, 16], "datapath.clock_ghz": [1.0, 1.5]}
    one = Study.from_dict("one", {"axes": common})
    other_axes = {"datapath.clock_ghz": [1.5, 1.0], "workload.users": [1, 2]}
    other = Study.from_dict(
        "other",
        {"base": {"datapath.lanes": 12}, "axes": other_axes, "constraints": ["token_s <= 1e-4"]},
    )
    assert sweep(one, tmp_path / "s").counts.computed == 6
    assert sweep(other, tmp_path / "s").counts == Counts(computed=2, reused=2, feasible=2)
    assert len(stored_keys(tmp_path / "s")) == 8
    found = all_of(tmp_path / "s", "other")
    setting = other.settings(other.chunk(0, 4))
    assert np.array_equal(found["token_s"], other.evaluate(setting)["token_s"])
    views = results(tmp_path / "s")
    assert views.set_index("view")["points"].to_dict() == {"points": 8, "one": 6, "other": 4}


@pytest.mark.usefixtures("small_chunks", "here")
def test_points_that_a_study_has_twice_are_stored_once(tmp_path: Path) -> None:
    axes = {"datapath.lanes": {"from": 1, "to": 40}}
    study = Study.from_dict("twice", {"axes": axes, "sample": {"random": 500}})
    counts = sweep(study, tmp_path / "s").counts
    assert (counts.computed, counts.reused) == (40, 460)
    assert len(all_of(tmp_path / "s", "twice")) == 500
    assert len(set(stored_keys(tmp_path / "s"))) == len(stored_keys(tmp_path / "s")) == 40


@pytest.mark.usefixtures("small_chunks", "here")
def test_what_another_sweep_wrote_meanwhile_is_not_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, rival = make_study(100), make_study(60, name="rival")
    real, calls = runner.compute, []

    def overtaken(*given: Any) -> Any:
        if not calls:
            calls.append(1)
            assert sweep(rival, tmp_path / "s").counts.computed == 60
        return real(*given)

    monkeypatch.setattr(runner, "compute", overtaken)
    counts = sweep(study, tmp_path / "s").counts
    assert (counts.computed, counts.reused) == (40, 60)
    keys = stored_keys(tmp_path / "s")
    assert len(keys) == len(set(keys)) == 100
    assert len(all_of(tmp_path / "s", "test")) == 100


@pytest.mark.usefixtures("small_chunks", "here")
def test_a_point_that_fails_is_kept_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, real = make_study(150), computing.evaluate
    bad = study.chunk(0, 150)["datapath.clock_ghz"][7]

    def fails(study: Study, setting: dict[str, np.ndarray]) -> Any:
        if bad in setting["datapath.clock_ghz"]:
            raise RuntimeError("the\nmodel broke")
        return real(study, setting)

    monkeypatch.setattr(computing, "evaluate", fails)
    first = sweep(study, tmp_path / "s").counts
    assert (first.computed, first.failed) == (149, 1)
    found = all_of(tmp_path / "s", "test")
    assert found["reason"][7] == "failed: RuntimeError: the model broke"
    assert not found["feasible"][7] and np.isnan(found["token_s"][7])
    monkeypatch.setattr(computing, "evaluate", real)
    again = sweep(study, tmp_path / "s").counts
    assert (again.computed, again.reused, again.failed) == (1, 149, 0)
    assert not all_of(tmp_path / "s", "test")["reason"].str.startswith("failed").any()


@examples(25)
@given(st.lists(st.lists(st.integers(0, 60), max_size=30), max_size=12))
def test_the_index_finds_what_was_added(batches: list[list[int]]) -> None:
    store = Store.__new__(Store)
    store._known, store._files, store._runs = {}, [], []
    where: dict[tuple[int, int], int] = {}
    for number, batch in enumerate(batches):
        new = [(v // 7, v) for v in dict.fromkeys(batch) if (v // 7, v) not in where]
        # Few high halves: keys that share one must be told apart, at most two in a row.
        new = [key for key in new if sum(k[0] == key[0] for k in (*where, *new)) <= 2]
        where |= dict.fromkeys(new, number)
        store._index(f"{number}.parquet", np.array(new, KEY))
    asked = np.array([(v // 7, v) for v in range(61)], KEY)
    expected = [where.get((v // 7, v), -1) for v in range(61)]
    assert store.locate(asked).tolist() == expected


def command(study: Path, store: Path, *more: str) -> list[str]:
    """``hardwire sweep`` in a process of its own, from a file: workers import their main module."""
    script = study.parent / "small_chunks.py"
    script.write_text(RUN)
    return [sys.executable, str(script), str(study), str(store), *more]


# The command line with chunks so small that a sweep of a few seconds has many. It stands still
# before it commits more than CHUNKS of them, and heeds SIGINT, which jobs in the background ignore.
RUN = """
import os, signal, sys, time
from hardwire.experiments.cli import app as cli
from hardwire.experiments.sweep import runner
runner.CHUNK = {"closed-form": 400, "engine": 40, "replay": 2}
commit, left = runner._commit, iter(range(int(os.environ.get("CHUNKS", 1_000_000))))

def commit_some(*given):
    if next(left, None) is None:
        time.sleep(600)
    return commit(*given)

if __name__ == "__main__":
    runner._commit = commit_some
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["hardwire", "sweep", sys.argv[1], "--store", *sys.argv[2:], "--json"]
    cli.main()
"""


def write_study(folder: Path, points: int, fidelity: str = "closed-form") -> Path:
    path = folder / "killed.yaml"
    data = {
        "fidelity": fidelity, "axes": AXES, "constraints": CONSTRAINTS,
        "sample": {"random": points, "seed": 2},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(data))
    return path


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Worker processes, without Python's helper that tracks shared memory."""
    found = []
    for child in children(process):
        try:
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def kill_a_worker(process: subprocess.Popen[str], rng: random.Random) -> None:
    found = workers_of(process)
    if found:
        rng.choice(found).kill()


def wait_for(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + HUNG_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def moved_on(store: Path, began: int, process: subprocess.Popen[str]) -> bool:
    """Whether a sweep has committed a chunk, or ended."""
    done = len(list(store.glob("studies/*/chunk-*.parquet")))
    return done > began or process.poll() is not None


@pytest.mark.slow
def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """SIGKILL to workers and to the whole process at random moments, then to the end.

    Once, and twice at night. However late a kill comes, a fifth of the 30 chunks is left for the
    last run.
    """
    rng = random.Random(20260219)
    study = write_study(tmp_path, 12_000)
    store, calm = tmp_path / "killed", tmp_path / "calm"
    survivors: list[psutil.Process] = []
    for _ in range(2 if PROFILE == "nightly" else 1):
        began = len(list(store.glob("studies/*/chunk-*.parquet")))
        process = subprocess.Popen(
            command(study, store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "CHUNKS": "12"},
        )  # fmt: skip
        assert wait_for(partial(moved_on, store, began, process))
        time.sleep(rng.uniform(0, 0.3))
        kill_a_worker(process, rng)
        time.sleep(rng.uniform(0, 0.3))
        survivors += children(process)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert wait_for(lambda: not any(p.is_running() for p in survivors)), "workers live on"
    began = len(list(store.glob("studies/*/chunk-*.parquet")))
    process = subprocess.Popen(
        command(study, store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(partial(moved_on, store, began, process))
    kill_a_worker(process, rng)  # this time nothing else dies: its chunk goes to another
    out, errors = process.communicate(timeout=HUNG_S)
    assert process.returncode == 0, errors
    counts = json.loads(out)
    assert counts["computed"] + counts["reused"] == 12_000 and counts["failed"] == 0
    assert 0 < counts["computed"] < 12_000
    sweep(Study.open(str(study)), calm, workers=1)
    pd.testing.assert_frame_equal(all_of(store, "killed"), all_of(calm, "killed"))
    keys = stored_keys(store)
    assert len(keys) == len(set(keys))
    assert sorted(keys) == sorted(stored_keys(calm))
    assert not list(store.glob("*.tmp"))


def address_in(told: Path) -> str:
    """The address that a scheduler has written, once it is whole."""
    with suppress(OSError, ValueError):
        return str(json.loads(told.read_text())["address"])
    return ""


def start(part: str, *options: str) -> subprocess.Popen[bytes]:
    """A part of Dask as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{part}", "--no-dashboard", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_two_workers_on_a_tcp_scheduler(tmp_path: Path) -> None:
    """Scheduler and workers as processes of their own; both workers do a part of it."""
    study = write_study(tmp_path, 1_000, "engine")
    told = tmp_path / "scheduler.json"
    free = ["--host", "tcp://127.0.0.1:0", "--scheduler-file", str(told)]  # a port that it finds
    started = [start("scheduler", *free)]
    try:
        from distributed import Client

        assert wait_for(lambda: address_in(told) != "")
        address = address_in(told)
        for number in range(2):
            options = ["--nthreads", "1", "--no-nanny", "--name", f"w{number}"]
            started.append(start("worker", address, *options))
        with Client(address, timeout=HUNG_S, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=HUNG_S)
            options = ["--scheduler", address]
            done = subprocess.run(
                command(study, tmp_path / "far", *options),
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            shares = client.run(lambda dask_worker: dask_worker.state.executed_count)
        assert json.loads(done.stdout)["computed"] == 1_000
        assert min(shares.values()) > 0, shares
    finally:
        for process in reversed(started):
            process.kill()  # asked to end, a worker first waits for its scheduler
        for process in started:
            process.wait(timeout=HUNG_S)
    near = sweep(Study.open(str(study)), tmp_path / "near", workers=1)
    assert near.counts.computed == 1_000
    pd.testing.assert_frame_equal(
        all_of(tmp_path / "far", "killed"), all_of(tmp_path / "near", "killed")
    )


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    study, store = write_study(tmp_path, 40_000), tmp_path / "s"
    process = subprocess.Popen(
        command(study, store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CHUNKS": "12"},  # however late the interrupt comes, there is more to do
    )  # fmt: skip
    assert wait_for(partial(moved_on, store, 0, process))
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=HUNG_S)
    assert process.returncode == 130, errors
    assert "the same command goes on where this one stopped" in errors
    assert "Traceback" not in errors
    said = json.loads(out)
    assert said["interrupted"] and 0 < said["computed"] < 40_000
    assert len(stored_keys(store)) >= said["computed"]


def fails_with(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["hardwire", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("hardwire: ") and said.count("\n") == 1
    return said


def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, study = str(tmp_path / "s"), str(write_study(tmp_path, 1000))

    def said(*arguments: str) -> str:
        return fails_with(capsys, monkeypatch, *arguments)

    assert "is no ready study" in said("sweep", "sram", "--store", store)
    assert "does not exist" in said("sweep", "no.yaml", "--store", store)
    assert "holds no results of a sweep" in said("results", "--store", store)
    monkeypatch.setattr(runner, "CONNECT_S", 0.5)
    address = "tcp://127.0.0.1:1"  # which nobody listens on
    text = said("sweep", study, "--store", store, "--scheduler", address)
    assert f"--scheduler {address}: no Dask scheduler answers there" in text
    assert "no Dask scheduler answers" in said("sweep", study, "--store", store, "--scheduler", "x")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("keep")
    assert "a folder with something else in it" in said("sweep", study, "--store", str(other))
    assert "is no folder" in said("sweep", study, "--store", str(other / "mine.txt"))
    assert sorted(path.name for path in other.iterdir()) == ["mine.txt"]


def test_a_store_of_another_version_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(make_study(50), tmp_path / "s")
    stated = tmp_path / "s" / "store.json"
    stated.write_text(stated.read_text().replace("0.1.0+", "0.0.9+"))
    for arguments in (["sweep", "lanes-area-rate"], ["results"]):
        text = fails_with(capsys, monkeypatch, *arguments, "--store", str(tmp_path / "s"))
        assert "was written by hardwire 0.0.9+" in text and "give another --store" in text


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT tokens FROM test", 'column "tokens" not found'),
        ("SELECT * FROM tset", "tset does not exist"),
        ("SELECT datapath.lanes FROM test", 'stand in double quotes, as "sram.capacity_mib"'),
        ("SELEC", "syntax error"),
        ("DROP VIEW test", "one SELECT is expected"),
        ("SELECT 1; SELECT 2", "one SELECT is expected"),
        ("COPY points TO 'x.csv'", "one SELECT is expected"),
    ],
)
def test_a_query_that_cannot_be(tmp_path: Path, sql: str, message: str) -> None:
    sweep(make_study(50), tmp_path / "s")
    with pytest.raises(InputError) as caught:
        results(tmp_path / "s", sql)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_full_disk_leaves_whole_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    real = os.fsync

    def full(number: int) -> None:
        if list(store.glob("points/*.parquet")):
            raise OSError(28, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    study = make_study(50)
    with pytest.raises(InputError, match="No space left on device"):
        sweep(study, store)
    monkeypatch.setattr(os, "fsync", real)
    assert not list(store.glob("*.tmp")) and len(list(store.glob("points/*.parquet"))) == 1
    again = sweep(study, store).counts  # the points were written, their chunk was not
    assert (again.computed, again.reused) == (0, 50)


def test_the_commands_show_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "s")

    def printed(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["hardwire", *arguments, "--store", store])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 0
        return capsys.readouterr().out

    out = tmp_path / "out"
    text = printed("sweep", "lanes-area-rate", "--save", str(out))
    assert "2,565 computed, 0 reused, 0 failed; 110 feasible" in text
    assert "decode_tokens_per_s_user >= 17000     631" in text
    written = ["configuration.json", "points.parquet", "sweep.json", "sweep.png"]
    assert sorted(path.name for path in out.iterdir()) == written
    monkeypatch.setattr(sys, "argv", ["hardwire", "report", str(out)])
    with pytest.raises(SystemExit):
        cli.main()
    page = (out / "report.html").read_text()
    assert "110 of 2,565 points are feasible" in page and page.count("<figure") == 2
    assert "decode_tokens_per_s_user &gt;= 17000" in page and "broadcast" in page
    capsys.readouterr()
    assert len(pd.read_parquet(out / "points.parquet")) == 2565
    said = json.loads(printed("sweep", "lanes-area-rate", "--json"))
    assert (said["computed"], said["reused"], said["failed"]) == (0, 2565, 0)
    assert said["best"][0]["datapath.lanes"] == 16
    assert all(one["fits_die"] and not one["power_capped"] for one in said["best"])
    listed = json.loads(printed("results", "--json"))
    assert {row["view"] for row in listed} == {"points", "lanes_area_rate"}
    csv = printed("results", "SELECT count(*) AS n FROM lanes_area_rate WHERE feasible", "--csv")
    assert csv == "n\n110\n"
    assert "16,960" not in printed("results")
    table = printed("results", 'SELECT max("datapath.lanes") AS most FROM lanes_area_rate')
    assert "most" in table and "48" in table


def test_keys_of_an_empty_table(tmp_path: Path) -> None:
    sweep(make_study(50), tmp_path / "s")
    (path,) = (tmp_path / "s" / "points").glob("*.parquet")
    import pyarrow.parquet as pq

    assert len(keys_of(pq.read_table(path).slice(0, 0))) == 0
    assert len(keys_of(pq.read_table(path).slice(3, 5))) == 5


READY = ["lanes-area-rate", "model-size", "node-die", "rank-precision-bandwidth",
         "serial-pipelined-power", "sram-split"]  # fmt: skip


@pytest.mark.parametrize("name", READY)
def test_ready_studies_have_feasible_points_and_others(name: str, tmp_path: Path) -> None:
    study = Study.open(name)
    counts = sweep(study, tmp_path / "s").counts
    assert counts.failed == 0
    assert 0 < counts.feasible < counts.points == study.points
    assert study.objectives
