"""LoRA on the LM head: how it is read and named, and which chips take it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hardwire.models import Adapter, Chip, InputError, LanguageModel
from hardwire.models.adapter.base import check_base, head_obstacle
from hardwire.models.adapter.modules import parse_targets, targets_text
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.adapter.write import write_adapter
from hardwire.models.area import transistors
from hardwire.models.language_model import ADAPTABLE, HEAD, TARGETS

HC1 = Chip.open("hc1")
WITH_PATH = HC1.with_values({"lora.head": "present"})
LLAMA = LanguageModel.by_name("llama-3.1-8b")


def test_the_reported_adapter_with_lm_head_is_read(shared_data: Path) -> None:
    """It was refused "because base weights are fixed in ROM", which is true of every matrix."""
    reports = shared_data / "reports"
    model = LanguageModel.from_config(reports / "tiny.json")
    adapter = Adapter.open(reports / "lm_head_lora", model)
    assert adapter.targets == ("q_proj", "v_proj", HEAD)
    assert len(adapter.modules) == 2 * model.layers + 1
    assert adapter.rank(model.layers, HEAD) == 4
    a, b = adapter.weights(model.layers, HEAD)
    assert (a.shape, b.shape) == ((4, model.hidden), (model.vocab, 4))
    assert head_obstacle(HC1, adapter.targets)
    assert head_obstacle(WITH_PATH, adapter.targets) is None


def test_all_linear_leaves_the_head_out_as_in_peft() -> None:
    assert parse_targets("all-linear", "x") == TARGETS
    assert parse_targets("lm_head+all-linear", "x") == ADAPTABLE
    with pytest.raises(InputError, match=r"'lm_hed' is no target.*did you mean lm_head"):
        parse_targets("lm_hed", "x")


@pytest.mark.parametrize("text", ["all-linear", "all-linear+lm_head", "qv+lm_head", "lm_head"])
def test_targets_are_written_as_they_are_read(text: str) -> None:
    assert targets_text(parse_targets(text, "x")) == text


def test_a_new_adapter_on_the_head_is_what_peft_would_write(tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24,
        "num_attention_heads": 2, "vocab_size": 40, "max_position_embeddings": 64,
    }  # fmt: skip
    model = LanguageModel.from_config(config)
    adapter = write_adapter(tmp_path / "a", model, 3, "q_proj+lm_head")
    assert [(m.layer, m.target) for m in adapter.modules] == [
        (0, "q_proj"), (1, "q_proj"), (2, HEAD),
    ]  # fmt: skip
    file = tmp_path / "a" / "adapter_model.safetensors"
    assert b'"base_model.model.lm_head.lora_B.weight"' in file.read_bytes()
    assert file.stat().st_size == adapter.checkpoint_bytes("F16")


def test_a_shape_counts_the_head_once() -> None:
    adapter = Adapter.from_shape("r4:qv+lm_head", LLAMA)
    shape = AdapterShape.of_adapter(adapter)
    assert shape is not None and shape.targets == ("q_proj", "v_proj", HEAD)
    assert adapter.parameters == 4 * (32 * (2 * 4096 + 4096 + 1024) + 4096 + 128_256)
    lacking = dataclasses.replace(adapter, modules=adapter.modules[1:])
    assert AdapterShape.of_adapter(lacking) is None


def test_a_vocabulary_counts_where_the_head_is_adapted() -> None:
    """Without the head, an instruct variant with more tokens takes the adapter; with it, none."""
    variant = dataclasses.replace(LLAMA, name="variant", vocab=128_258)
    with pytest.raises(InputError, match=r"\(vocab 128,256\); variant has 128,258"):
        check_base(Adapter.from_shape("r4:qv+lm_head", LLAMA), variant)


def test_a_chip_file_without_the_parameter_has_no_path(tmp_path: Path) -> None:
    from hardwire.models import catalogue

    text = catalogue.resolve("chip", "hc1").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("  head: ")]
    (tmp_path / "older.yaml").write_text("\n".join(lines))
    assert Chip.open(str(tmp_path / "older.yaml")).lora.head == "absent"


@pytest.mark.parametrize("name", ["hc1", "hc1-demo", "roma"])
def test_the_path_is_paid_for_as_one_more_of_the_layers(name: str) -> None:
    chip = Chip.open(name)
    model = LanguageModel.by_name(chip.model)
    with_path = chip.with_values({"lora.head": "present"})
    without, paid = (transistors(c, model) for c in (chip, with_path))
    one = chip.lora.macs_per_cycle * chip.process.mac_int8_transistors
    assert paid["lora"] - without["lora"] == one
    held = chip.lora.macs_per_cycle * chip.process.mac_int8_registers
    held *= chip.process.flop_transistors
    assert np.isclose(paid["registers"] - without["registers"], held, rtol=1e-6)
    assert np.isclose(paid["total"] - without["total"], one + held, rtol=1e-6)
