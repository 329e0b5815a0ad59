"""``import hardwire as hw``: a function per command, names and paths, and sentences."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shell import Shell

import hardwire as hw
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.sweep import Study
from hardwire.experiments.validation import gpu
from hardwire.models.adapter.write import write_adapter
from hardwire.models.catalogue import resolve
from hardwire.resolve import argument_words
from hardwire.serving import ReplayOptions
from hardwire.simulator.serving.replay import open_server

pytestmark = pytest.mark.slow

OBJECTS = ["Adapter", "Chip", "InputError", "LanguageModel", "Server", "__version__"]
OBJECTS += ["fit_server", "make_server", "schema"]
QUESTIONS = [
    "calibrate", "compare", "diff", "predict", "replay", "report", "run", "search", "sensitivity",
    "solve", "sweep", "validate",
]  # fmt: skip
LOAD = {"prompt": 64, "output": 32}
TINY = {
    "axes": {"datapath.lanes": [12, 16, 20, 24]},
    "objectives": {"decode_tokens_per_s_user": "max", "area_mm2.total": "min"},
}


@pytest.fixture
def hardwire(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_tab_completion_shows_the_curated_names_only() -> None:
    assert dir(hw) == sorted(OBJECTS + QUESTIONS)
    assert sorted(hw.__all__) == dir(hw)
    for name in dir(hw):
        assert getattr(hw, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        hw.runn  # noqa: B018


def test_the_import_is_lazy() -> None:
    heavy = {"numpy", "pandas", "pydantic", "rich", "hardwire.models", "hardwire.simulator"}
    program = f"import sys, hardwire; print(*({heavy} & set(sys.modules)), hardwire.__version__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == hw.__version__


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_examples_of_a_function_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "SERVER_DRAWS", 2)  # the example of validate shows none
    function = getattr(hw, name)
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(function, name, importlib.import_module(function.__module__))
    assert test.examples
    options = doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=options)
    said: list[str] = []
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_docstring_says_what_goes_in_and_what_comes_out(name: str) -> None:
    text = inspect.getdoc(getattr(hw, name)) or ""
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"{section}\n{'-' * len(section)}\n" in text
    arguments = set(inspect.signature(getattr(hw, name)).parameters)
    if name == "replay":
        arguments = arguments - {"options"} | set(ReplayOptions.__annotations__)
    for argument in arguments:
        assert re.search(rf"\b{argument}\b", text), argument


def test_the_choices_of_a_replay_are_those_of_the_command() -> None:
    assert {*ReplayOptions.__annotations__, "source", "server", "servers"} == set(
        Setup.model_fields
    )


def test_run_gives_what_the_command_gives(hardwire: Shell) -> None:
    command = hardwire.json(
        "--adapter", "r16:qv", "--prompt", 64, "--output", 32, "--users", 2, "--issue", "pipelined",
        "--set", "datapath.lanes=20",
    )  # fmt: skip
    result = hw.run(
        "hc1", adapter="r16:qv", users=2, issue="pipelined", settings={"datapath.lanes": 20}, **LOAD
    )
    assert json.loads(json.dumps(result.to_dict())) == command


def test_replay_and_compare_give_what_the_commands_give(hardwire: Shell) -> None:
    options = ["--adapters", 8, "--requests", 60, "--slo", "ttft=0.2,tpot=0.02", "--seed", 3]
    _, out, _ = hardwire("compare", "azure-conv", *options, "--json")
    asked = {"adapters": 8, "requests": 60, "slo": {"ttft": 0.2, "tpot": 0.02}, "seed": 3}
    both = hw.compare("azure-conv", **asked)
    assert both.done[0].summary["intervals"]
    assert [without_wall(one.to_dict()) for one in both.done] == [
        without_wall(one) for one in json.loads(out)["servers"]
    ]
    alone = hw.replay("azure-conv", **{**asked, "slo": "ttft=0.2,tpot=0.02"}, intervals=True)
    assert without_wall(alone.to_dict()) == without_wall(both.done[0].to_dict())


def test_replay_takes_a_traces_unit_and_order_and_clients_rates(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n2000,100,10\n0,200,20\n1000,50,5\n")
    with pytest.raises(hw.InputError, match=r"or give sort$"):
        hw.replay(trace, time_unit="ms")
    done = hw.replay(trace, time_unit="ms", sort=True)
    assert done.to_frame()["arrival_s"].tolist() == [0, 1, 2]
    both = hw.compare(trace, time_unit="ms", sort=True, intervals=False)
    assert without_wall(both.done[0].to_dict()) == without_wall(done.to_dict())
    clients = tmp_path / "clients.csv"
    clients.write_text("client,mean_rate_req_s,rate_weighted_cv\n1,2,1\n2,1,1.5\n")
    load = {"client_rates": clients, "duration": 30}
    assert hw.replay("azure-conv", **load).workload.adapters == ("client-1", "client-2")


def without_wall(data: dict) -> dict:
    return json.loads(json.dumps({k: v for k, v in data.items() if k != "wall_s"}))


def test_sensitivity_gives_what_the_command_gives(hardwire: Shell) -> None:
    _, out, _ = hardwire("sensitivity", "hc1", "--adapter", "r16:qv", "--samples", 64, "--json")
    found = hw.sensitivity("hc1", adapter="r16:qv", samples=64)
    assert json.loads(json.dumps(found.to_dict())) == json.loads(out)


def test_names_paths_and_objects_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = hw.LanguageModel.open("llama-3.1-8b")
    (tmp_path / "mine.yaml").write_bytes(resolve("chip", "hc1").read_bytes())
    (tmp_path / "server.yaml").write_bytes(resolve("server", "hc1x10").read_bytes())
    (tmp_path / "config.json").write_bytes(resolve("model", "llama-3.1-8b").read_bytes())
    small = hw.LanguageModel.open("llama-3.2-1b")
    write_adapter(tmp_path / "lora", small, 4, "qv")

    def rate(*question: object) -> float:
        return hw.run(*question, **LOAD).base.decode_tokens_per_s_user

    by_name = rate("hc1", "llama-3.1-8b", "r16:qv")
    assert rate(hw.Chip.open("hc1"), model, hw.Adapter.from_shape("r16:qv", model)) == by_name
    assert rate(Path("mine.yaml"), Path("config.json"), "r16:qv") == by_name
    assert rate("mine.yaml", "./config.json", "r16:qv") == by_name
    on_disk = hw.run("hc1", "llama-3.2-1b", Path("lora"), **LOAD)
    assert on_disk.adapter is not None
    assert on_disk.adapter.adapter.max_rank == 4
    assert hw.run("hc1", "llama-3.2-1b", "lora", **LOAD).to_dict() == on_disk.to_dict()
    replays = [
        hw.replay("azure-conv", server=server, requests=30).summary["server_energy_j"]
        for server in ("hc1x10", Path("server.yaml"), hw.Server.open("hc1x10"))
    ]
    assert replays[0] == replays[1] == replays[2]
    both = hw.compare(
        "azure-conv", [open_server("vllm-h100"), "hc1x10"], requests=20, intervals=False
    )
    assert both.to_frame()["server"].tolist() == ["vllm-h100", "hc1x10"]
    study = Study.from_dict("study", TINY)
    frames = [hw.sweep(one, "store").to_frame() for one in (TINY, study)]
    assert frames[0].equals(frames[1])


def test_one_call_takes_arrays_of_designs() -> None:
    lanes, ranks = np.array([12, 16, 24]), np.array([4, 8, 16])
    found = hw.predict("hc1", settings={"datapath.lanes": lanes}, prompt=ranks * 100, output=64)
    for place in range(3):
        alone = hw.predict(
            "hc1",
            settings={"datapath.lanes": int(lanes[place])},
            prompt=int(ranks[place]) * 100,
            output=np.int64(64),
        )
        assert found.decode_tokens_per_s_user[place] == alone.decode_tokens_per_s_user
        assert found.area_mm2["total"][place] == alone.area_mm2["total"]
    frame = found.to_frame()
    assert frame["datapath.lanes"].tolist() == [12, 16, 24]
    assert frame["prompt"].tolist() == [400, 800, 1600]
    assert "output" not in frame


def foreign() -> hw.Adapter:
    return hw.Adapter.from_shape("r16:all-linear", hw.LanguageModel.open("qwen2.5-1.5b"))


def wider() -> hw.Chip:
    return hw.Chip.open("hc1").with_values({"datapath.lanes": 24})


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: hw.run("hc3"), "'hc3' is no chip in the catalogue; did you mean hc2 or hc1?"),
    (lambda: hw.run(3), "chip: a name, a path or a Chip is expected, not 3"),
    (lambda: hw.run("hc1", ["x"]), "model: a name, a path or a LanguageModel"),
    (lambda: hw.run("hc1", "llama-3.1"), "is no model in the catalogue"),
    (lambda: hw.run("hc1", adapter=16), "adapter: a name, a path or an Adapter"),
    (lambda: hw.run("hc1", adapter="r16:every"), "r16:every"),
    (lambda: hw.run("hc1", adapter=foreign()), "was made for qwen2.5-1.5b"),
    (lambda: hw.predict("hc1", adapter=foreign()), "was made for qwen2.5-1.5b"),
    (lambda: hw.predict(settings={"datapath.lane": np.arange(3)}), "datapath.lane: no such param"),
    (lambda: hw.predict(settings={"datapath.lanes": [8, -3]}), "datapath.lanes: "),
    (lambda: hw.run("hc1", prompt="1k"), "prompt: '1k'"),
    (lambda: hw.run("hc1", prompt=0), "prompt: 0 is out of range"),
    (lambda: hw.run("hc1", output=1), "output: 1 is out of range"),
    (lambda: hw.run("hc1", users=2.5), "users: 2.5 must be a whole number"),
    (lambda: hw.run("hc1", prompt=200_000), "prompt and output: 201,024 tokens exceed the 131,072"),
    (lambda: hw.run("hc1", issue="pipeline"), "datapath.issue: 'pipeline' is not allowed"),
    (lambda: hw.run("hc1", engine="fast"), "engine: 'fast' is not one of compiled, reference"),
    (lambda: hw.run(settings={"sram.capacity": 1}), "sram.capacity: no such parameter; did you"),
    (lambda: hw.run(settings={"sram.capacity_mib": -5}), "sram.capacity_mib: -5 is out of range"),
    (lambda: hw.predict(prompt=[5, 0]), "prompt: 0 is out of range"),
    (lambda: hw.predict(output=np.array([2, 2.5, 8])), "output: must be whole numbers"),
    (lambda: hw.predict(users=np.array([])), "users: an array of numbers is expected"),
    (lambda: hw.replay("azur"), "'azur' is no file and no preset"),
    (lambda: hw.replay("azure-conv", "hc1x"), "is no server in the catalogue; did you mean hc1x10"),
    (lambda: hw.replay("azure-conv", adaptors=3), "adaptors: no such argument; did you mean adap"),
    (lambda: hw.replay("azure-conv", rate=-1), "rate: must be above 0, not -1"),
    (lambda: hw.replay("azure-conv", slo="ttft=x"), "slo ttft=x: ttft: a number is expected"),
    (lambda: hw.replay("azure-conv", popularity="uniform"), "popularity: needs adapters"),
    (lambda: hw.replay("azure-conv", adapter_rates=[1.0]), "adapter_rates: needs duration"),
    (lambda: hw.replay("azure-conv", client_rates="c.csv"), "client_rates: needs duration"),
    (lambda: hw.replay("azure-conv", client_rates=3), "client_rates: a name, a path or its text"),
    (lambda: hw.replay("azure-conv", time_unit="h"), "time_unit: 'h' is not allowed (one of s, ms"),
    (lambda: hw.Server.open("vllm-h100"), "vllm-h100.yaml: is a GPU server: replays and comparis"),
    (lambda: hw.compare("azure-conv", "hc1x10"), "servers: a list of at least one server"),
    (lambda: hw.compare("azure-conv", ["hc1x10", "hc1x10"]), "one is named twice"),
    (lambda: hw.sweep("lanes"), "'lanes' is no ready study"),
    (lambda: hw.sweep({"axis": {}}), "study: axis is unknown; did you mean axes?"),
    (lambda: hw.search({"axes": {"datapath.lanes": [8, 16]}}), "a search needs objectives"),
    (lambda: hw.sensitivity("hc1", "tokens"), "tokens"),
    (lambda: hw.sensitivity("hc1", []), "metrics: at least one name is expected"),
    (lambda: hw.sensitivity(wider(), calibrated=True), "hc1: calibrated: is for a chip"),
    (lambda: hw.calibrate("mine"), "mine"),
    (lambda: hw.calibrate("hc1", ["r16"]), "adapter r16: give a shape"),
    (lambda: hw.validate("nowhere"), "data nowhere: is no folder"),
    (lambda: hw.report("nowhere"), "nowhere: no such folder"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_bad_input_is_one_sentence_about_arguments(
    ask: Callable[[], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(hw.InputError) as caught:
        ask()
    message = str(caught.value)
    assert words in message
    assert "--" not in message and "\n" not in message
    assert not any(tmp_path.iterdir()), "a refused question leaves nothing behind"


def test_a_sentence_about_options_becomes_one_about_arguments() -> None:
    for option, argument in (
        ("--set datapath.lanes: 0 is out of range", "datapath.lanes: 0 is out of range"),
        ("--adapter-rates: needs --duration", "adapter_rates: needs duration"),
        ("a-b: 3 – 4 and x--y", "a-b: 3 – 4 and x--y"),
    ):
        assert argument_words(option) == argument


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hardwire", "show", "hc3"], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.decode().startswith("hardwire: 'hc3' is no chip")
