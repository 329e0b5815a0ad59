"""``hardwire replay`` as a user meets it: answers, files, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from interrupts import interrupt_at
from shell import Shell

import hardwire as hw
from hardwire.experiments.replay import replay as replaying
from hardwire.experiments.replay.config import read_config
from hardwire.experiments.replay.save import FILES
from hardwire.experiments.replay.setup import Setup
from hardwire.models import schema
from hardwire.models.errors import InputError

PROMISED = {
    "server", "requests", "completed", "refused", "generated_tokens", "prompt_tokens",
    "duration_s", "output_tokens_per_s", "ttft_s", "tpot_s", "e2e_s", "goodput", "swaps",
    "adapter_hit_rate", "swap_wait_s", "peak_sram_bytes", "server_energy_j_per_output_token",
    "usd_per_million_tokens",
}  # fmt: skip
SHORT = ["--requests", "60", "--adapters", "5"]
CONV = ["replay", "azure-conv"]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Three requests: of an adapter, of the base alone, and of another adapter."""
    path = tmp_path / "trace.csv"
    path.write_text(
        "arrival_s,prompt_tokens,output_tokens,adapter\n0,100,10,math\n0.5,50,1,\n1,200,20,law\n"
    )
    return path


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    path = tmp_path / "catalogue.yaml"
    path.write_text(
        "adapters:\n"
        "- {name: math, shape: r16:all-linear, pinned: true}\n"
        "- {name: law, shape: r8:qv, weight: 3}\n"
    )
    return path


@pytest.mark.parametrize("server", ["hc1x10", "hc1x10-pipelined", "vllm-h100"])
def test_replay_prints_its_tables(hardwire: Shell, server: str) -> None:
    status, out, err = hardwire(*CONV, *SHORT, "--server", server, "--slo", "ttft=0.2,tpot=0.02")
    assert (status, err) == (0, "")
    memory = "GPU memory" if server == "vllm-h100" else "SRAM of one card"
    for words in (
        "all 60 requests served", "5 adapters of rank 16", "offered", "Output tokens/s", "Goodput",
        "TTFT ≤ 200 ms, TPOT ≤ 20.0 ms", "End to end", "p99", "Hit rate", "Swaps",
        "Waiting for swaps", "Utilization", "Compute", memory, "Energy an output token",
        "USD per M tokens", "Definitions", "first output token − arrival",
    ):  # fmt: skip
        assert words in out, words


@pytest.mark.parametrize("server", ["hc1x10", "vllm-h100"])
def test_c9_json_has_the_promised_keys_and_the_same_bytes(hardwire: Shell, server: str) -> None:
    data = hardwire.answer(*CONV, *SHORT, "--server", server)
    assert data.keys() >= PROMISED and data["server"] == server
    for key in ("ttft_s", "tpot_s", "e2e_s"):
        assert data[key].keys() == {"mean", "p50", "p90", "p99"}
        assert 0 < data[key]["p50"] <= data[key]["p99"]
    assert data["requests"] == data["completed"] == 60
    assert data["swaps"] > 0
    again = hardwire.answer(*CONV, *SHORT, "--server", server)
    assert again == data
    other = hardwire.answer(*CONV, *SHORT, "--server", server, "--seed", 1)
    assert other["generated_tokens"] != data["generated_tokens"]


def test_engines_give_the_same_answer(hardwire: Shell) -> None:
    for server in ("hc1x10", "vllm-h100"):
        load = [*CONV, "--requests", "12", "--adapters", "3", "--server", server]
        answers = [hardwire.answer(*load, "--engine", e) for e in ("events", "reference")]
        assert answers[0] == answers[1]


def test_reserving_from_the_begin_is_strictly_by_arrival(
    hardwire: Shell, tmp_path: Path, trace: Path
) -> None:
    folder = tmp_path / "out"
    load = ["replay", "azure-conv", "--requests", "80", "--rate", "400", "--server", "hc1x10"]
    load += ["--routing", "round_robin", "--schedule", "shortest"]
    assert hardwire(*load, "--reserve", "0", "--save", folder)[0] == 0
    frame = pd.read_parquet(folder / "requests.parquet")
    for _, here in frame.groupby("unit"):
        assert here.sort_values("arrival_s")["start_s"].is_monotonic_increasing
    saved = (folder / "config.yaml").read_text()
    assert "reserve: 0" in saved
    assert saved.startswith(f"{schema.EDITOR_LINE}{schema.schema_file('config').as_uri()}\n")
    assert "--reserve" in hardwire.refused(*load, "--reserve", "-1")
    assert "reserve" in hardwire.refused("replay", trace, "--server", "vllm-h100", "--reserve", "1")


def test_no_adapters_are_adapters_off(hardwire: Shell, trace: Path) -> None:
    load = [*CONV, "--requests", "20"]
    off, none = hardwire.answer(*load), hardwire.answer(*load, "--adapters", "0")
    assert off == none
    assert off["adapter_hit_rate"] is None and off["swaps"] == 0
    assert "Hit rate" not in hardwire(*load)[1]
    assert hardwire.answer("replay", trace, "--adapters", "0")["swaps"] == 0


def test_options_reach_the_server(hardwire: Shell) -> None:
    load = [*CONV, "--requests", "400", "--adapters", "64", "--rate", "60"]
    base = hardwire.answer(*load)
    slow = hardwire.answer(*load[:-2])  # the trace's own 5.53 requests/s
    ratio = base["offered"]["requests_per_s"] / slow["offered"]["requests_per_s"]
    assert ratio == pytest.approx(60 / 5.53, rel=1e-3)
    assert hardwire.answer(*load, "--slots", "2")["adapter_hit_rate"] < base["adapter_hit_rate"]
    # Smaller adapters: more of them stay.
    assert hardwire.answer(*load, "--rank", "4")["adapter_hit_rate"] > base["adapter_hit_rate"]
    spread = hardwire.answer(*load, "--routing", "round_robin")
    assert spread["adapter_hit_rate"] < base["adapter_hit_rate"]
    local = hardwire.answer(*load, "--popularity", "local:0.95")
    assert local["adapter_hit_rate"] > base["adapter_hit_rate"]
    blocking = hardwire.answer(*load, "--swap", "blocking", "--prefetch", "0")
    assert blocking["swap_wait_s"] > base["swap_wait_s"]
    capped = hardwire.answer(*load, "--power-limit", "1700")
    assert capped["e2e_s"]["mean"] > base["e2e_s"]["mean"]
    cut = hardwire.answer(*CONV, "--duration", "30", "--until", "30", "--adapters", "3")
    assert cut["duration_s"] == pytest.approx(30, rel=1e-3)
    tight = hardwire.answer(*load, "--slo", "ttft=0.0001")
    assert tight["goodput"] == 0 and base["goodput"] == base["served"]["requests_per_s"]


def test_each_adapter_at_its_rate(hardwire: Shell) -> None:
    load = ["replay", "sharegpt", "--adapters", "4", "--duration", "200"]
    data = hardwire.answer(*load, "--adapter-rates", "2,0.5")
    assert data["requests"] == pytest.approx(1000, rel=0.2)
    assert data["offered"]["duration_s"] == 200


def test_clients_with_measured_rates(hardwire: Shell, tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    path.write_text("client,t_s,rate,cv\na,0,2,1\nb,0,6,2\na,100,2,1\n")
    load = ["replay", "sharegpt", "--client-rates", path, "--duration", "200"]
    data = hardwire.answer(*load)
    assert data["adapters"] == 2 and data["requests"] == pytest.approx(1000, rel=0.2)
    assert hardwire.answer(*load, "--rate", "1")["requests"] == pytest.approx(200, rel=0.25)
    hardwire.answer(*load, "--adapters", "3", "--rank", "8", "--save", tmp_path / "out")
    saved = read_config(tmp_path / "out/config.yaml")
    assert saved["client_rates"] == str(path)
    path.write_text(path.read_text() + "b,100,1,1\n")
    assert "has changed" in hardwire.refused("replay", "--config", tmp_path / "out/config.yaml")


def test_options_of_trace_files_and_what_was_left_out(hardwire: Shell, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    rows = [{"timestamp": t, "input_length": 9, "output_length": 4} for t in (2.5, 0, 30)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert "--time-unit s or ms" in hardwire.refused("replay", path)
    assert "give --sort" in hardwire.refused("replay", path, "--time-unit", "s")
    data = hardwire.answer("replay", path, "--time-unit", "s", "--sort")
    assert (data["requests"], data["offered"]["duration_s"]) == (3, 30)
    assert "skipped" not in data
    result = {"input_lens": [10, 20], "output_lens": [5, 0], "errors": ["", "HTTP 500"]}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    assert hardwire.answer("replay", path)["skipped"] == 1
    words = "result.json: 1 request in 0 s (1 that failed there left out)"
    for command, folder in (("replay", tmp_path / "one"), ("compare", tmp_path / "several")):
        status, out, _ = hardwire(command, path, "--save", folder)
        assert status == 0 and words in " ".join(out.replace("│", " ").split())
        assert hardwire("report", folder)[0] == 0
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert "result.json (1 that failed there left out)" in page


def test_a_trace_with_adapters(hardwire: Shell, trace: Path, catalogue: Path) -> None:
    plain = hardwire.answer("replay", trace)
    assert (plain["requests"], plain["adapters"]) == (3, 2)
    assert plain["generated_tokens"] == 31 and plain["prompt_tokens"] == 350
    assert plain["adapter_hit_rate"] == 0 and plain["swaps"] == 2
    pinned = hardwire.answer("replay", trace, "--adapters", catalogue)
    assert pinned["adapter_hit_rate"] == 0.5 and pinned["swaps"] == 1
    drawn = hardwire.answer("replay", trace, "--adapters", 7, "--popularity", "uniform")
    assert drawn["adapters"] == 7


def test_save_writes_all_files_and_the_same_bytes(hardwire: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    status, out, _ = hardwire(*CONV, *SHORT, "--slo", "ttft=1", "--save", folder)
    assert status == 0 and "Saved in" in out
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    data = json.loads((folder / "summary.json").read_text())
    assert data.keys() >= PROMISED
    requests = pd.read_parquet(folder / "requests.parquet")
    assert len(requests) == 60 and (requests.status == "completed").all()
    assert requests.ttft_s.mean() == pytest.approx(data["ttft_s"]["mean"])
    assert requests.tpot_s.quantile(0.9) == pytest.approx(data["tpot_s"]["p90"])
    assert requests.adapter_hit.mean() == pytest.approx(data["adapter_hit_rate"])
    assert (requests.arrival_s <= requests.start_s).all()
    assert (requests.start_s < requests.first_token_s).all()
    adapters = pd.read_parquet(folder / "adapters.parquet")
    assert (adapters.kind == "adapter load").sum() == data["swaps"]
    memory = pd.read_parquet(folder / "memory.parquet")
    assert (memory.kv_bytes + memory.adapter_bytes).max() == data["peak_sram_bytes"]
    before = {name: (folder / name).read_bytes() for name in FILES}
    again = tmp_path / "again"
    status, _, err = hardwire("replay", "--config", folder / "config.yaml", "--save", again)
    assert (status, err) == (0, "")
    assert {name: (again / name).read_bytes() for name in FILES} == before


def test_config_names_files_and_refuses_changed_ones(
    hardwire: Shell, tmp_path: Path, trace: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load = ["replay", trace.name, "--adapters", catalogue.name, "--server", "vllm-h100"]
    assert hardwire(*load, "--save", "out")[0] == 0
    config = tmp_path / "out" / "config.yaml"
    before = (tmp_path / "out" / "requests.parquet").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert hardwire("replay", "--config", config, "--save", "out")[0] == 0
    assert Path("out/requests.parquet").read_bytes() == before
    assert hardwire.answer("replay", "--config", config, "--server", "hc1x10")["swaps"] == 1
    trace.write_text(trace.read_text() + "2,10,10,law\n")
    assert "source" in (message := hardwire.refused("replay", "--config", config))
    assert "has changed" in message
    trace.unlink()
    assert "does not exist" in hardwire.refused("replay", "--config", config)
    config.write_text("source: azure-conv\nserver: hc1x10\nseeds: 1\n")
    assert "seeds" in hardwire.refused("replay", "--config", config)


def fail(error: BaseException) -> Callable[..., None]:
    def write(*_: object) -> None:
        raise error

    return write


def test_save_leaves_an_earlier_result_when_it_fails(
    hardwire: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    assert hardwire(*CONV, *SHORT, "--save", folder)[0] == 0
    before = {name: (folder / name).read_bytes() for name in FILES}
    full = OSError(28, "No space left on device")
    monkeypatch.setattr("hardwire.experiments.replay.trace.write_trace", fail(full))
    message = hardwire.refused(*CONV, *SHORT, "--seed", "3", "--save", folder)
    assert "--save" in message and "No space left on device" in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    fresh = tmp_path / "fresh"
    hardwire.refused(*CONV, *SHORT, "--save", fresh)
    assert not fresh.exists()
    monkeypatch.setattr("hardwire.experiments.replay.trace.write_trace", fail(KeyboardInterrupt()))
    status, _, err = hardwire(*CONV, *SHORT, "--save", folder)
    assert (status, err) == (130, "hardwire: interrupted\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("server", ["hc1x10", "hc1x10-pipelined", "vllm-h100"])
def test_interrupt_saves_what_is_complete(
    hardwire: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    interrupt_at(monkeypatch, 100)
    folder = tmp_path / "out"
    load = [*CONV, "--requests", "3000", "--adapters", "9", "--server", server]
    status, out, err = hardwire(*load, "--save", folder)
    assert status == 130
    assert "Interrupted at" in out and "unfinished" in out
    assert f"what was complete is saved in {folder}" in err and "interrupted" in err
    data = json.loads((folder / "summary.json").read_text())
    assert data["interrupted"] and 0 < data["completed"] < 3000
    assert data["completed"] + data["refused"] + data["unfinished"] == 3000
    requests = pd.read_parquet(folder / "requests.parquet")
    assert (requests.status == "completed").sum() == data["completed"]
    served = requests[requests.status == "completed"]
    last = served.finish_s.max()  # no later arrival of a refused request counts as time served
    assert last <= data["duration_s"] <= last + 10
    status, out, _ = hardwire(*load, "--json")
    assert status == 130 and json.loads(out)["unfinished"] == data["unfinished"]


def test_a_broken_display_fails_no_run() -> None:
    calls = []

    def broken(now: float) -> None:
        calls.append(now)
        raise RuntimeError("no terminal")

    setup = Setup(source="azure-conv", server="hc1x10", requests=2000)
    done = replaying.run(replaying.prepare(setup), broken)
    assert done.summary["completed"] + done.summary["refused"] == 2000 and len(calls) == 1


def test_a_replay_runs_on_the_chip_that_was_opened_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(source="azure-conv", server="hc1x10", requests=5)
    prepared = replaying.prepare(setup)
    monkeypatch.delattr(replaying.Chip, "open")
    assert replaying.run(prepared).summary["completed"] == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["azur-conv"], ["'azur-conv' is no file and no preset", "did you mean azure-conv"]),
        ([], ["SOURCE", "preset", "--config"]),
        (["no/such.csv"], ["no/such.csv", "does not exist"]),
        (["azure-conv", "--server", "hc1x11"], ["hc1x11", "did you mean hc1x10"]),
        (["azure-conv", "--adapters", "-3"], ["adapters", "0 to"]),
        (["azure-conv", "--adapters", "no.yaml"], ["no.yaml", "does not exist"]),
        (["azure-conv", "--adapters", "3", "--popularity", "zip:1"], ["zip:1", "zipf"]),
        (["azure-conv", "--popularity", "zipf:1"], ["--popularity", "--adapters"]),
        (["azure-conv", "--slo", "tft=1"], ["--slo tft=1", "did you mean ttft"]),
        (["azure-conv", "--slo", "ttft"], ["--slo ttft", "ttft=SECONDS"]),
        (["azure-conv", "--slo", "ttft=fast"], ["--slo", "a number is expected", "not 'fast'"]),
        (["azure-conv", "--slo", "ttft=1,ttft=2"], ["ttft is given twice"]),
        (["azure-conv", "--slo", "ttft=-1"], ["--slo ttft", "must be above 0"]),
        (["azure-conv", "--rate", "0"], ["--rate", "must be above 0"]),
        (["azure-conv", "--rate", "nan"], ["--rate"]),
        (["azure-conv", "--requests", "0"], ["--requests", "must be at least 1, not 0"]),
        (["azure-conv", "--seed", "-1"], ["--seed"]),
        (["azure-conv", "--slots", "0"], ["--slots"]),
        (["azure-conv", "--adapters", "3", "--slots", "999"], ["999 adapter slots", "no room"]),
        (["azure-conv", "--residency", "mru"], ["--residency", "one of lru", "'mru'"]),
        (["azure-conv", "--engine", "fast"], ["--engine", "one of events, compiled, reference"]),
        (["azure-conv", "--server", "vllm-h100", "--schedule", "slo"], ["GPU server"]),
        (["azure-conv", "--server", "trtllm-h100", "--adapters", "2"], ["without adapters"]),
        (["azure-conv", "--server", "vllm-h100", "--adapters", "9", "--slots", "256"], ["memory"]),
        (["sharegpt"], ["sharegpt", "rate"]),
        (["sharegpt", "--adapter-rates", "1", "--duration", "9"], ["--adapters"]),
        (["sharegpt", "--adapter-rates", "1", "--adapters", "2"], ["--duration"]),
        (["sharegpt", "--adapter-rates", "1,x", "--adapters", "2"], ["--adapter-rates 1,x", "'x'"]),
        (["sharegpt", "--adapter-rates", "1", "--adapters", "2", "--rate", "3"], ["--rate"]),
        (["sharegpt", "--client-rates", "no.csv", "--duration", "9"], ["no.csv", "not exist"]),
        (["sharegpt", "--client-rates", "no.csv"], ["--client-rates", "--duration"]),
        (["x.csv", "--client-rates", "no.csv", "--duration", "9"], ["--client-rates", "x.csv"]),
        (["sharegpt", "--client-rates", "c", "--adapter-rates", "1"], ["--client-rates"]),
        (["sharegpt", "--client-rates", "c", "--requests", "1"], ["--requests"]),
        (["azure-conv", "--time-unit", "s"], ["time unit", "azure-conv is a preset"]),
        (["azure-conv", "--sort"], ["sort", "azure-conv is a preset"]),
        (["azure-conv", "--time-unit", "sec"], ["--time-unit", "one of s, ms, us, ns", "'sec'"]),
        (["azure-conv", "--power-limit", "1"], ["power"]),
        (["--config", "no.yaml"], ["no.yaml", "does not exist"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(hardwire: Shell, arguments: list[str], words: list[str]) -> None:
    message = hardwire.refused("replay", *arguments)
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"x,10,10,a", ["line 3", "arrival_s"]),
        (b"0,10,10,a", ["line 3", "arrival_s"]),
        (b"2,-1,10,a", ["line 3", "prompt_tokens"]),
        (b"2,10,,a", ["line 3", "output_tokens"]),
        (b"2,10,1e30,a", ["line 3", "output_tokens"]),
        (b"2,10,10,\xff", ["UTF-8"]),
    ],
)
def test_bad_traces_are_one_sentence(
    hardwire: Shell, tmp_path: Path, row: bytes, words: list[str]
) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(b"arrival_s,prompt_tokens,output_tokens,adapter\n1,10,10,a\n" + row + b"\n")
    message = hardwire.refused("replay", path)
    for word in ["bad.csv", *words]:
        assert word in message, message


def test_unknown_adapters_of_a_trace(hardwire: Shell, trace: Path, catalogue: Path) -> None:
    trace.write_text(trace.read_text().replace("math", "maths"))
    message = hardwire.refused("replay", trace, "--adapters", catalogue)
    assert "'maths' is not in the catalogue" in message and "did you mean math" in message
    assert "names 2 adapters" in hardwire.refused("replay", trace, "--adapters", "1")
    assert "--rank" in hardwire.refused("replay", trace, "--adapters", catalogue, "--rank", "8")


def test_what_can_never_be_served_is_counted_or_refused(hardwire: Shell, tmp_path: Path) -> None:
    trace = tmp_path / "long.csv"
    trace.write_text(
        "arrival_s,prompt_tokens,output_tokens,adapter\n0,9,9,big\n1,9,9,\n2,200000,9,\n3,9,9,small\n"
    )
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(
        "adapters:\n- {name: big, shape: r512:all-linear}\n- {name: small, shape: r8:qv}\n"
    )
    load = ["replay", trace, "--adapters", catalogue]
    data = hardwire.answer(*load)
    assert (data["completed"], data["refused"]) == (2, 2)
    assert data["refusals"] == {"too_long": 1, "adapter_too_big": 1}
    out = hardwire(*load)[1]
    assert "2 of 4 requests served" in out and "1 request refused: an adapter that can never" in out
    assert "rank 512 exceeds" in out
    cause = data["refusal_causes"]["adapter_too_big"]
    assert cause == "rank 512 exceeds what hc1 takes (formats.max_rank: 1 to 64)"
    message = hardwire.refused(*load, "--strict")
    assert "long.csv: request 1 " in message and "adapter big" in message and "2 of 4" in message
    few = [*CONV, "--requests", "20", "--adapters", "3", "--power-limit", "3000"]
    assert not hardwire(*few, "--strict")[0]


def test_a_load_of_which_nothing_can_be_served_was_a_success(
    hardwire: Shell, tmp_path: Path
) -> None:
    """All of 500 requests refused for their adapters' rank, at exit 0, without the cause."""
    load = [*CONV, "--requests", "30", "--adapters", "4", "--rank", "128"]
    message = hardwire.refused(*load, "--save", tmp_path / "out")
    assert "30 requests refused" in message and "nothing of azure-conv" in message
    assert "rank 128 exceeds what hc1 takes (formats.max_rank: 1 to 64)" in message
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="rank 128 exceeds"):
        hw.replay("azure-conv", requests=30, adapters=4, rank=128)
    both = hw.compare("azure-conv", requests=30, adapters=4, rank=128, intervals=False)
    assert "rank 128 exceeds" in both.obstacles["hc1x10"]
    assert [one.summary["server"] for one in both.done] == ["vllm-h100"]
