"""Systems of several dies: what lies where, and which files are refused."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.rom import rom_weights
from hardwire.models.system.contents import contents
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import HOST, Stage, balanced, dealt, evenly
from hardwire.models.system.system import System
from hardwire.models.system.write import system_text

HC1 = Chip.open("hc1")
SMALL = dataclasses.replace(
    LanguageModel.open("llama-3.2-1b"), layers=6, hidden=256, intermediate=512, heads=8,
    kv_heads=4, head_dim=32, vocab=1000,
)  # fmt: skip
BOARD = LinkKind.open("board")


@st.composite
def systems(draw: st.DrawFn) -> System:
    """Small systems: layers in stages, each on a group of one, two or four dies."""
    number = draw(st.integers(1, SMALL.layers))
    ends = sorted(draw(st.permutations(range(1, SMALL.layers)))[: number - 1])
    stages, first = [], 0
    for begin, end in zip([0, *ends], [*ends, SMALL.layers], strict=True):
        size = draw(st.sampled_from((1, 2, 4)))
        rows = draw(st.sampled_from([rows for rows in (1, 2, 4) if size % rows == 0]))
        split = draw(
            st.fixed_dictionaries(
                {
                    matrix: st.sampled_from(("output", "input", "grid", "replicated"))
                    for matrix in ("qkv", "o", "gate_up", "down")
                }
            )
        )
        kv = draw(st.sampled_from(("head", "position", "grid", "layer")))
        dies = tuple(f"d{first + place}" for place in range(size))
        stages.append(Stage(range(begin, end), dies, rows, split, kv))
        first += size
    names = [die for stage in stages for die in stage.dies]
    tied = draw(st.booleans())
    model = dataclasses.replace(SMALL, tied_embeddings=tied)
    embedding = draw(st.sampled_from([HOST, *names]))
    return System.pipeline("drawn", HC1, model, BOARD, stages, embedding=embedding)


@given(systems())
@examples(60)
def test_dies_hold_the_model_once(system: System) -> None:
    held = contents(system)
    model = system.model
    total = sum(sum(one.weights.values()) for one in held.values())
    on_dies = system.placement.embedding != HOST and not model.tied_embeddings
    stored = rom_weights(HC1, dataclasses.replace(model, tied_embeddings=True))
    assert total == stored + on_dies * model.embedding_weights
    for layer in range(model.layers):
        assert sum(one.kv_share.get(layer, Fraction(0)) for one in held.values()) == 1
    assert sum(one.head_rows for one in held.values()) == model.vocab


CONFIG = {
    "model_type": "llama", "num_hidden_layers": 6, "hidden_size": 256, "intermediate_size": 512,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 1000,
    "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip


@given(systems())
@examples(20)
def test_a_written_system_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, system: System
) -> None:
    folder = tmp_path_factory.mktemp("systems")
    (folder / "small.json").write_text(json.dumps(CONFIG))
    model = LanguageModel.open(str(folder / "small.json"))
    known = dataclasses.replace(system, model=model, source="drawn", places=7)
    path = folder / "drawn.yaml"
    path.write_text(system_text(known, folder, model="small.json"), encoding="utf-8")
    again = System.open(path)
    assert again.links == known.links and again.placement == known.placement
    assert (again.model, again.places, again.title) == (model, 7, known.title)
    assert [die.name for die in again.dies] == [die.name for die in known.dies]


def test_a_system_of_one_die_holds_what_the_chip_does() -> None:
    model = LanguageModel.open("llama-3.1-8b")
    (one,) = contents(System.of_one(HC1, model)).values()
    assert one.held == rom_weights(HC1, model)
    assert not sum(one.copies.values())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 12))
@examples(60)
def test_layers_are_cut_evenly(weights: list[int], groups: int) -> None:
    groups = min(groups, len(weights))
    cut = evenly(weights, groups)
    assert [layer for part in cut for layer in part] == list(range(len(weights)))
    assert len(cut) == groups and all(cut)
    heaviest = max(sum(weights[layer] for layer in part) for part in cut)
    assert heaviest == _least_heaviest(weights, groups)


def _least_heaviest(weights: list[int], groups: int) -> int:
    """By trying every first cut."""
    if groups == 1:
        return sum(weights)
    return min(
        max(sum(weights[:end]), _least_heaviest(weights[end:], groups - 1))
        for end in range(1, len(weights) - groups + 2)
    )


@given(st.lists(st.floats(0, 100), min_size=1, max_size=16), st.integers(1, 5))
@examples(40)
def test_experts_are_shared_out(counts: list[float], dies: int) -> None:
    for places in (dealt(len(counts), dies), balanced(counts, dies)):
        numbers = [places.count(die) for die in range(dies)]
        assert sum(numbers) == len(counts) and max(numbers) - min(numbers) <= 1


@pytest.mark.parametrize("dies", [["d0", "d1", "d2"], ["d2", "d0", "d1"]])
def test_the_order_of_dies_changes_nothing(dies: list[str]) -> None:
    chain = System.pipeline(
        "chain", HC1, SMALL, BOARD, [Stage(range(2 * n, 2 * n + 2), (f"d{n}",)) for n in range(3)]
    )
    other = dataclasses.replace(chain, dies=tuple(chain.die(name) for name in dies))
    assert contents(other) == contents(chain)
    assert other.route("d0", "d2") == chain.route("d0", "d2")
