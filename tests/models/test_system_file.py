"""Which system files are refused, each with one sentence that names file and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hardwire.models import catalogue
from hardwire.models.errors import InputError
from hardwire.models.system.budget import budgets
from hardwire.models.system.contents import contents
from hardwire.models.system.placement import balanced
from hardwire.models.system.system import System

STAGES = [{"layers": [0, 15], "dies": ["d0"]}, {"layers": [16, 31], "dies": ["d1", "d2"]}]


def text(**changed: Any) -> str:
    """A system of three dies of Llama 3.1 8B, with some keys changed."""
    data: dict[str, Any] = {
        "title": "three",
        "source": "a test",
        "model": "llama-3.1-8b",
        "chip": "hc1",
        "dies": 3,
        "topology": {"shape": "chain", "kind": "board"},
        "placement": {"stages": STAGES, "embedding": "d0", "head": ["d1", "d2"]},
    }
    data |= changed
    return yaml.safe_dump({key: value for key, value in data.items() if value is not None})


def placed(**changed: Any) -> dict[str, Any]:
    """The file with a placement of its own."""
    whole = {"stages": STAGES, "embedding": "d0", "head": ["d1", "d2"]} | changed
    return {"placement": {key: value for key, value in whole.items() if value is not None}}


def opened(tmp_path: Path, **changed: Any) -> System:
    path = tmp_path / "mine.yaml"
    path.write_text(text(**changed))
    return System.open(path)


def test_the_file_as_it_is_opens(tmp_path: Path) -> None:
    system = opened(tmp_path)
    assert [die.name for die in system.dies] == ["d0", "d1", "d2"]
    held = contents(system)
    assert held["d1"].kv_share[16] == held["d2"].kv_share[31]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (placed(stages=[STAGES[0], {"layers": [17, 31], "dies": ["d1", "d2"]}]),
         "placement.stages[1].layers: layer 16 is in no stage"),
        (placed(stages=[STAGES[0], {"layers": [16, 29], "dies": ["d1", "d2"]}]),
         "placement.stages: layers 30 to 31 are in no stage"),
        (placed(stages=[STAGES[0], {"layers": [14, 31], "dies": ["d1", "d2"]}]),
         "placement.stages[1].layers: layers 14 to 15 are in a stage before it, too"),
        (placed(stages=[STAGES[0], {"layers": [16, 32], "dies": ["d1", "d2"]}]),
         "ends at layer 32, but the last one of the model is 31"),
        (placed(stages=[STAGES[0], {"layers": [16, 31], "dies": ["d1", "d7"]}]),
         "placement.stages[1].dies: there is no die 'd7' (there are d0, d1, d2)"),
        (placed(stages=[STAGES[0], {"layers": [16, 31], "dies": ["d0", "d1", "d2"]}]),
         "'d0' is already in stage 0"),
        (placed(stages=[{"layers": [0, 31], "dies": ["d0"]}], head=["d0"]),
         "placement: die 'd1' holds nothing"),
        (placed(stages=[{"layers": [0, 31], "dies": ["d0", "d1", "d2"]}], head=["d0"]),
         "do not divide by 3"),
        (placed(head=["d9"]), "placement.head: there is no die 'd9'"),
        (placed(embedding="d9"), "placement.embedding: there is no die 'd9'"),
        (placed(stages=[STAGES[0], {**STAGES[1], "split": {"qvk": "output"}}]),
         "placement.stages[1].split: 'qvk' is no matrix of these layers"),
        (placed(stages=[STAGES[0], {**STAGES[1], "split": {"qkv": "halves"}}]),
         "split.qkv: must be one of output, input, grid, replicated, not 'halves'"),
        (placed(stages=[STAGES[0], {**STAGES[1], "rows": 3}]), "do not make 3 whole rows"),
        (placed(stages=[STAGES[0], {**STAGES[1], "experts": [[0], [1]]}]),
         "these layers of llama-3.1-8b have no experts"),
        ({"topology": None, "links": [{"ends": ["d0", "d1"], "kind": "board"}]},
         "links: no way from 'd0' to 'd2'"),
        ({"links": [{"ends": ["d0", "d5"], "kind": "board"}]}, "links[2]: there is no die 'd5'"),
        ({"links": [{"ends": ["d0", "d1"], "kind": "bord"}]}, "did you mean board?"),
        ({"topology": {"shape": "grid", "kind": "cxl"}}, "topology.rows: is missing"),
        ({"topology": {"shape": "grid", "rows": 2, "kind": "cxl"}}, "do not make 2 whole rows"),
        ({"topology": {"shape": "chain", "kind": "ethernet"}}, "ethernet goes to a switch"),
        ({"topology": {"shape": "cain", "kind": "board"}}, "did you mean chain?"),
        ({"dies": 0}, "dies: a whole number of at least 1"),
        ({"dies": {"a": "hc1", "b": "hc9"}}, "'hc9' is no chip"),
        ({"source": None}, "source: is missing"),
        ({"places": 0}, "places: a whole number of at least 1"),
        ({"host_links": "none"}, "host_links"),
        ({"placement": None}, "placement: is missing"),
        ({"colour": 1}, "colour is no known section"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        opened(tmp_path, **changed)
    message = str(caught.value)
    assert words in message and "mine.yaml" in message and "\n" not in message


EXPERTS = {"model": "gpt-oss-20b", "dies": 2, "topology": {"shape": "all", "kind": "board"}}


def of_experts(experts: Any) -> dict[str, Any]:
    stage = {"layers": [0, 23], "dies": "all", "experts": experts}
    return {**EXPERTS, "placement": {"stages": [stage], "embedding": "host", "head": "all"}}


def test_experts_go_where_a_file_of_loads_says(tmp_path: Path) -> None:
    loads = np.random.default_rng(0).integers(0, 1000, (24, 32))
    np.savetxt(tmp_path / "loads.csv", loads, delimiter=",", fmt="%d")
    system = opened(tmp_path, **of_experts({"load": "loads.csv"}))
    (stage,) = system.placement.stages
    assert stage.experts[5] == balanced(loads[5].tolist(), 2)
    assert [stage.experts[layer].count(0) for layer in range(24)] == [16] * 24


@pytest.mark.parametrize(
    ("shape", "words"),
    [((24, 31), "24 lines of 31 numbers"), ((23, 32), "has 24 layers of 32 experts")],
)
def test_a_file_of_another_shape_is_refused(
    tmp_path: Path, shape: tuple[int, int], words: str
) -> None:
    np.savetxt(tmp_path / "loads.csv", np.ones(shape), delimiter=",")
    with pytest.raises(InputError, match=words):
        opened(tmp_path, **of_experts({"load": "loads.csv"}))


@pytest.mark.parametrize(
    ("experts", "words"),
    [
        ([list(range(16)), list(range(15, 32))], r"experts\[1\]: expert 15 is given twice"),
        ([list(range(16)), list(range(17, 32))], "expert 16 is on no die"),
        ([list(range(16)), list(range(16, 31))], "31 experts are listed, but layer 0 has 32"),
        ([list(range(32))], "a list for each of 2 dies"),
        ("by turns", "must be 'round robin'"),
        ({"load": "nowhere.csv"}, "does not exist"),
    ],
)
def test_experts_that_lie_nowhere_or_twice_are_refused(
    tmp_path: Path, experts: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        opened(tmp_path, **of_experts(experts))


@pytest.mark.parametrize("name", catalogue.names("system"))
def test_every_system_of_the_catalogue_opens(name: str) -> None:
    system = System.open(name)
    assert set(budgets(system)) == {die.name for die in system.dies}


def test_unlike_dies_have_budgets_of_their_own(tmp_path: Path) -> None:
    system = opened(tmp_path, dies={"d0": "hc1", "d1": "hc2", "d2": "hc2"}, chip=None)
    found = budgets(system)
    assert found["d0"].area_mm2["rom"] > 0 and not system.alike
    assert found["d1"].idle_w != found["d0"].idle_w
