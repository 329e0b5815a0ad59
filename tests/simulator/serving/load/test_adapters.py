"""Adapter sets: a number of equal ones, catalogue files, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardwire.models import LanguageModel
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.write import write_adapter
from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.adapters import AdapterSet
from hardwire.simulator.serving.load.popularity import Uniform, Weighted, assign_adapters
from hardwire.simulator.serving.load.synthetic import make_workload
from hardwire.simulator.serving.load.workload import BASE, Workload

LLAMA = LanguageModel.open("llama-3.1-8b")
SMALL = LanguageModel.from_config(
    {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 100,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
    },
    name="small",
)


@pytest.fixture
def write(tmp_path: Path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "catalogue.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_equal_adapters_share_one_object() -> None:
    adapters = AdapterSet.open("1001", LLAMA, rank=8)
    assert len(adapters) == 1001
    assert adapters.names[:2] == ("a000", "a001") and adapters.names[1000] == "a1000"
    assert len(set(map(id, adapters.adapters))) == 1
    # All-linear on Llama 3.1 8B has 2,621,440 weights per rank.
    assert adapters.adapters[0].parameters == 8 * 2_621_440
    assert adapters.adapters[0].adapter_format is None
    assert adapters.weights is None and adapters.pinned == ()
    assert adapters.popularity() == Uniform()


def test_no_adapters_is_the_base_alone() -> None:
    adapters = AdapterSet.open("0", LLAMA)
    assert len(adapters) == 0 and adapters.adapters == ()
    workload = assign_adapters(make_workload("azure-code"), adapters.names, adapters.popularity())
    assert (adapters.bind(workload).adapter == BASE).all()


def test_a_catalogue_file(write, tmp_path: Path) -> None:
    write_adapter(tmp_path / "mine", SMALL, rank=2, targets="qv")
    path = write(
        "adapters:\n"
        "  - {name: chat, shape: r16:all-linear:int8, weight: 2, pinned: true}\n"
        "  - {name: code, shape: R16:all-linear:int8}\n"
        "  - {name: '7', shape: r4:qv, weight: 0.5, pinned: false}\n"
        "  - {name: mine, path: mine}\n"
        "  - {name: mine too, path: mine}\n"
    )
    adapters = AdapterSet.open(str(path), SMALL)
    assert adapters.names == ("chat", "code", "7", "mine", "mine too")
    assert adapters.weights == (2, 1, 0.5, 1, 1)
    assert adapters.pinned == ("chat",)
    assert adapters.popularity() == Weighted((2, 1, 0.5, 1, 1))
    chat, code, seven, mine, too = adapters.adapters
    assert chat is code and chat == Adapter.from_shape("r16:all-linear:int8", SMALL)
    assert seven.max_rank == 4
    assert mine is too and mine.source is not None and mine.max_rank == 2


def test_weights_are_none_where_none_is_stated(write) -> None:
    path = write("adapters: [{name: a, shape: 'r8:qv', pinned: true}]")
    assert AdapterSet.from_file(path, LLAMA).weights is None


def test_a_workloads_adapters_are_found_by_name(write) -> None:
    path = write("adapters: [{name: a, shape: 'r8:qv'}, {name: b, shape: 'r8:qv'}]")
    adapters = AdapterSet.from_file(path, LLAMA)
    workload = Workload(
        name="t.csv",
        arrival_s=np.zeros(4),
        prompt=np.ones(4, dtype=np.int64),
        output=np.ones(4, dtype=np.int64),
        adapter=np.array([BASE, 0, 1, 0], dtype=np.int32),
        adapters=("b", "a"),
        duration_s=0.0,
    )
    bound = adapters.bind(workload)
    assert bound.adapters == ("a", "b") and bound.adapter.dtype == np.int32
    assert bound.adapter.tolist() == [BASE, 1, 0, 1]
    with pytest.raises(
        InputError, match=r"t\.csv: request 3, adapter: 'bb' is not in the cat.*b\?"
    ):
        adapters.bind(workload.with_adapters(("a", "bb"), workload.adapter))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1", "adapters: must be 0 to 1000000"),
        ("1000001", "adapters: must be 0 to 1000000"),
        ("9" * 5000, "adapters: must be 0 to 1000000"),
        ("sixty", "sixty: does not exist"),
    ],
)
def test_bad_options(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AdapterSet.open(text, LLAMA)


def test_bad_rank() -> None:
    with pytest.raises(InputError, match="rank"):
        AdapterSet.equal(4, LLAMA, rank=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a mapping of sections is expected"),
        ("adapters: [", "not valid YAML"),
        (b"adapters: \xff", "not UTF-8"),
        ("adapers: []", "adapers is no known key; did you mean adapters"),
        ("adapters: {a: 1}", "adapters: must be a list with at least one adapter"),
        ("adapters: []", "adapters: must be a list with at least one adapter"),
        ("adapters: [a]", r"adapters\[0\]: must be written"),
        ("adapters: [{shape: 'r8:qv'}]", r"adapters\[0\].name: must be a name"),
        ("adapters: [{name: 7, shape: 'r8:qv'}]", r"adapters\[0\].name: must be a name, in quotes"),
        ("adapters: [{name: '', shape: 'r8:qv'}]", r"adapters\[0\].name: must be a name"),
        ("adapters: [{name: a}]", r"adapters\[0\]: needs either a shape or a path"),
        ("adapters: [{name: a, shape: 'r8:qv', path: x}]", "needs either a shape or a path"),
        ("adapters: [{name: a, shpe: 'r8:qv'}]", r"adapters\[0\].shpe: .*did you mean shape"),
        ("adapters: [{name: a, shape: 8}]", r"adapters\[0\].shape: must be text"),
        ("adapters: [{name: a, path: ''}]", r"adapters\[0\].path: must be text"),
        ("adapters: [{name: a, shape: 'r8:q_prj'}]", r"adapters\[0\].shape: .*did you mean q_proj"),
        ("adapters: [{name: a, path: nowhere}]", r"adapters\[0\].path: .*nowhere: does not exist"),
        ("adapters: [{name: a, shape: 'r8:qv', weight: yes}]", "weight: must be a number"),
        ("adapters: [{name: a, shape: 'r8:qv', weight: -1}]", "weight: must be 0 to 1e9"),
        ("adapters: [{name: a, shape: 'r8:qv', weight: .nan}]", "weight: must be 0 to 1e9"),
        ("adapters: [{name: a, shape: 'r8:qv', weight: 0}]", "every weight is 0"),
        ("adapters: [{name: a, shape: 'r8:qv', pinned: 1}]", "pinned: must be true or false"),
        (
            "adapters: [{name: a, shape: 'r8:qv'}, {name: a, shape: 'r8:qv'}]",
            r"adapters\[1\].name: 'a' is the name of adapters\[0\] already",
        ),
    ],
)
def test_bad_catalogues(write, content: str | bytes, message: str) -> None:
    path = write(content)
    with pytest.raises(InputError, match=message) as caught:
        AdapterSet.from_file(path, LLAMA)
    assert str(caught.value).startswith(f"{path}: ") or str(caught.value).startswith(f"{path}.")
