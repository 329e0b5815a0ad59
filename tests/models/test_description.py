"""Description files: one way to read them, parsed once per content, and never spoiled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Chip, InputError, catalogue, parameters
from hardwire.models.chip import CHIP, DECLARED
from hardwire.models.description import mark_of, read_description
from hardwire.models.gpu_server import GPU_SERVER, BatchServer
from hardwire.models.parameters import FastLoader, StrictLoader, load_strictly, read_yaml
from hardwire.models.process import PROCESS
from hardwire.models.server import SERVER, Server
from hardwire.models.server_of_systems import SYSTEM_SERVER
from hardwire.models.server_split import SPLIT_SERVER
from hardwire.simulator.serving.replay import open_server

SLOTS = "slots: {value: 16, kind: assumed, range: [8, 64], source: what if}\n"


def test_a_file_is_parsed_once_per_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    load = yaml.load

    def counted(text: str, **options: Any) -> Any:
        parsed.append(text)
        return load(text, **options)

    monkeypatch.setattr(yaml, "load", counted)
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\n")
    assert read_yaml(path) == read_yaml(path) == {"a": 1}
    assert len(parsed) == 1
    before = path.stat()
    path.write_text("a: 2\n")  # of the same size, and by its times of the same age
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read_yaml(path) == {"a": 2}
    path.write_text("a: 1\n")
    assert read_yaml(path) == {"a": 1}
    assert len(parsed) == 2


MODELS = Path(parameters.__file__).parent
CATALOGUE_TEXTS = [path.read_text(encoding="utf-8") for path in sorted(MODELS.glob("*/*.yaml"))]
SIGNS = list("{}[]:,#&*!|>'\"%@`-? \t\n\r\\0e.+~=<é\x85\u2028\ufeffa1")


def read(text: str, load: Callable[[str], Any]) -> Any:
    try:
        return load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("text", CATALOGUE_TEXTS)
def test_libyaml_reads_the_catalogue_as_python_does(text: str) -> None:
    """Whole files of our own; where PyYAML lacks libyaml, both are the same."""
    assert yaml.load(text, Loader=FastLoader) == yaml.load(text, Loader=StrictLoader)


@given(st.data())
def test_what_a_file_holds_does_not_depend_on_libyaml(data: st.DataObject) -> None:
    """Some lines of a file with signs put in and lines cut: the same values or the same words."""
    lines = data.draw(st.sampled_from(CATALOGUE_TEXTS)).splitlines(keepends=True)
    begin = data.draw(st.integers(0, len(lines) - 1))
    text = "".join(lines[begin : begin + data.draw(st.integers(1, 12))])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text)))
        sign = data.draw(st.sampled_from(SIGNS))
        text = text[:at] + sign + text[at + data.draw(st.integers(0, 2)) :]
    strictly = read(text, lambda one: yaml.load(one, Loader=StrictLoader))
    assert repr(read(text, load_strictly)) == repr(strictly)  # by words: NaN is not NaN


@pytest.mark.parametrize("sign", ["\t", "?"])
def test_what_libyaml_would_take_is_refused(sign: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load_strictly(f"a: {{value: 1{sign}, kind: x{sign}y}}\n")


def test_a_large_file_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: [" + "1, " * 30_000 + "1]\n")
    assert len(read_yaml(path)["a"]) == 30_001


def test_what_a_caller_does_to_it_stays_with_the_caller() -> None:
    path = catalogue.resolve("chip", "hc1")
    read_yaml(path)["sram"]["capacity_mib"]["value"] = 1
    chip: Any = Chip.open("hc1")
    chip.parameters.clear()
    chip.overrides["datapath.lanes"] = 3
    fresh = Chip.open("hc1")
    assert fresh.sram.capacity_mib == 448 and not fresh.overrides
    assert set(fresh.parameters) <= set(DECLARED) and len(fresh.parameters) > 60


def test_kinds_declare_every_parameter() -> None:
    of_process = [f"process.{name}" for name in PROCESS.names]
    assert [*CHIP.names, *of_process] == list(DECLARED)
    # Straight lines that were fitted to all of a step leave out what parts alone would say.
    parts = {"weights_us", "token_us", "head_us", "pair_ns", "experts_us"}
    for kind, name, left_out in (
        (SERVER, "hc1x10", set()),
        (GPU_SERVER, "vllm-h100", parts),
        (SYSTEM_SERVER, "llama-70b-hc1", set()),
        (SPLIT_SERVER, "gpu-hc1", set()),
        (PROCESS, "n6", set()),
    ):
        found = read_description(catalogue.resolve(kind.catalogue, name), kind)
        assert found.name == name and found.title and found.parent is None
        assert set(found.parameters) == set(kind.names) - left_out


def test_a_gpu_server_may_extend_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: vllm-h100\ntitle: mine\n{SLOTS}")
    mine, parent = open_server(path), BatchServer.open("vllm-h100")
    assert isinstance(mine, BatchServer)
    assert mark_of(path, "server") == "batch"
    assert (mine.batching.slots, mine.title, mine.model) == (16, "mine", parent.model)
    assert mine.batching.step_us == parent.batching.step_us


@pytest.mark.parametrize(
    ("opened", "name", "words"),
    [
        (Server.open, "vllm-h100", "vllm-h100.yaml: is a GPU server: replays"),
        (BatchServer.open, "hc1x10", "hc1x10.yaml: kind: must be batch, but it is left out"),
    ],
)
def test_a_server_of_the_other_kind_is_refused(opened: Any, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        opened(name)
