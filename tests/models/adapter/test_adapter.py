"""Adapters as shapes, configurations and PEFT folders: exact sizes, and what is refused."""

import csv
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hardwire.models.adapter import write
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.write import write_adapter
from hardwire.models.errors import InputError
from hardwire.models.language_model import TARGETS, LanguageModel, module_path

TINY = LanguageModel.from_config(
    {
        "model_type": "llama",
        "num_hidden_layers": 3,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 128,
        "max_position_embeddings": 256,
    },
    name="tiny",
)
MINIMAL = {"peft_type": "LORA", "target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 8}

# Base model and trainable parameters of every shared adapter that applies. Parameters are
# rank * sum(in + out) over the targets, worked out by hand per model and rank.
APPLIES = {
    "Alneyadi_DPO_r16_all7__llama3.2-1b": ("llama-3.2-1b", 16 * 704_512),
    "LamKelly_Verilog_r64_all7__llama3.2-1b": ("llama-3.2-1b", 64 * 704_512),
    "Ey-luccas_r16_all7__llama3.2-3b": ("llama-3.2-3b", 16 * 1_519_616),
    "speedwagon1299_RickBot_r16_all7__llama3.2-3b": ("llama-3.2-3b", 16 * 1_519_616),
    "peft_lora_llama-3.2-3B-rank10-target-mlp": ("llama-3.2-3b", 9_461_760),
    "peft_lora_llama-3.2-3B-rank32": ("llama-3.2-3b", 9_175_040),
    "peft_lora_llama-3.2-3B-rank32-lorafa": ("llama-3.2-3b", 9_175_040),
    "peft_lora_llama-3.2-3B-rank64": ("llama-3.2-3b", 18_350_080),
    "peft_lora_llama-3.2-3B-rank64-rslora": ("llama-3.2-3b", 18_350_080),
    "FS8B-finetuned_r8_qv__foundation-sec-8b": ("llama-3.1-8b", 8 * 425_984),
    "TANGHULU6_r16_all7__llama3-8b": ("llama-3.1-8b", 16 * 2_621_440),
    "WSZYO_r16_all7__llama3.1-8b": ("llama-3.1-8b", 16 * 2_621_440),
    "george-m2_hansard_r16_all7__llama3-8b": ("llama-3.1-8b", 16 * 2_621_440),
    "satyagalla_r16_all7__llama3-8b": ("llama-3.1-8b", 16 * 2_621_440),
    "joy-caption_r64_all7__llama3.1-8b": ("llama-3.1-8b", 64 * 2_621_440),
    "tinyllama_r16__tinyllama-1.1b": ("tinyllama-1.1b", 16 * 788_480),
    "unsloth-GRPO_r32_all7__qwen2.5-7b": ("qwen2.5-7b", 32 * 2_523_136),
    "Ilyass_r8_qv__qwen3-14b": ("qwen3-14b", 8 * 40 * (10_240 + 6_144)),
}
REFUSED = {
    "peft_adalora_llama-3.2-3B-rank32": "peft_type: must be LORA, not 'ADALORA'",
    "peft_lora_llama-3.2-3B-rank14-target-mlp-bdlora": "use_bdlora: .*block-diagonal",
    "peft_lora_llama-3.2-3B-rank32-dora": "use_dora: .*base weights are fixed in ROM",
    "vllm7441_r16_all7_seqcls_modules_to_save__llama3.1-8b": "modules_to_save: .*fixed in ROM",
}
# Its base is no model that can be described, which is where it is refused.
OTHER_BASE = {"Kanicsha_r64_attn4__gemma-2b": "gemma"}


@pytest.mark.parametrize("name", APPLIES)
def test_real_configs_have_exact_parameter_counts(shared_data: Path, name: str) -> None:
    base, parameters = APPLIES[name]
    model = LanguageModel.by_name(base)
    adapter = Adapter.from_config(shared_data / "adapters" / f"{name}.json", model)
    assert adapter.parameters == parameters
    assert adapter.name == name
    assert adapter.source is None


@pytest.mark.parametrize("name", REFUSED)
def test_real_configs_that_do_not_apply_are_refused(shared_data: Path, name: str) -> None:
    model = LanguageModel.by_name("llama-3.2-3b")
    with pytest.raises(InputError, match=f"{name}.json: {REFUSED[name]}"):
        Adapter.from_config(shared_data / "adapters" / f"{name}.json", model)


def test_every_shared_adapter_is_sized_or_refused(shared_data: Path) -> None:
    files = {path.stem for path in (shared_data / "adapters").glob("*.json")}
    assert files == APPLIES.keys() | REFUSED.keys() | OTHER_BASE.keys()
    for family in OTHER_BASE.values():
        with pytest.raises(InputError, match=f"'{family}' is a Gemma model"):
            LanguageModel.from_config({"model_type": family})


def test_checkpoint_bytes_equal_those_of_real_runs(shared_data: Path) -> None:
    folder = shared_data / "adapters"
    model = LanguageModel.by_name("llama-3.2-3b")
    with (folder / "peft_metamathqa_adapter_sizes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["peft_type"] == "LORA"]
    checked = 0
    for row in rows:
        run = row["experiment"].removeprefix("lora/")
        path = folder / f"peft_lora_{run}.json"
        if path.stem in REFUSED or not path.exists():
            continue
        adapter = Adapter.from_config(path, model)
        assert adapter.checkpoint_bytes() == int(row["checkpoint_bytes"])
        # LoRA-FA trains B only, but its file holds both halves.
        if "lorafa" not in run:
            assert adapter.parameters == int(row["num_trainable"])
        assert adapter.max_rank == int(row["r"])
        checked += 1
    assert checked == 5


@pytest.mark.parametrize(("dtype", "kind"), [("F32", np.float32), ("F16", np.float16)])
@pytest.mark.parametrize("shape", ["r4:qv", "r3:all-linear", "r7:mlp"])
def test_checkpoint_bytes_equal_what_the_library_writes(
    tmp_path: Path, dtype: str, kind: type, shape: str
) -> None:
    adapter = Adapter.from_shape(shape, TINY)
    tensors = {}
    for module in adapter.modules:
        stem = f"base_model.model.{module_path(module.layer, module.target)}"
        tensors[f"{stem}.lora_A.weight"] = np.zeros((module.rank, module.in_features), kind)
        tensors[f"{stem}.lora_B.weight"] = np.zeros((module.out_features, module.rank), kind)
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    assert adapter.checkpoint_bytes(dtype) == os.path.getsize(tmp_path / "x.safetensors")


# --- shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "per_rank"),
    [("qv", 425_984), ("attention", 851_968), ("mlp", 1_769_472), ("all-linear", 2_621_440)],
)
@pytest.mark.parametrize("rank", [1, 16, 64])
def test_shape_sizes_for_llama_8b(targets: str, per_rank: int, rank: int) -> None:
    adapter = Adapter.from_shape(f"r{rank}:{targets}", LanguageModel.by_name("llama-3.1-8b"))
    assert adapter.parameters == rank * per_rank


def test_shape_is_read_whole() -> None:
    adapter = Adapter.from_shape("R16:v_proj+q_proj,mlp:INT8", TINY)
    assert adapter.targets == ("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj")
    assert (adapter.ranks, adapter.max_rank, adapter.adapter_format) == ({16}, 16, "int8")
    assert (adapter.rank(2, "v_proj"), adapter.rank(2, "o_proj")) == (16, 0)
    order = [(module.layer, TARGETS.index(module.target)) for module in adapter.modules]
    assert order == sorted(order)
    assert Adapter.from_shape("r2:qv", TINY).adapter_format is None
    with pytest.raises(ValueError, match="has a shape only"):
        adapter.weights(0, "q_proj")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r16", "must look like r16:all-linear"),
        ("16:qv", "must look like"),
        ("r:qv", "must look like"),
        ("r1.5:qv", "must look like"),
        ("r-1:qv", "must look like"),
        ("r16:qv:int8:x", "must look like"),
        ("r" + "9" * 5000 + ":qv", "must look like"),
        ("r0:qv", "from 1 to 160, .* not 0"),
        ("r161:qv", "from 1 to 160, .* not 161"),
        ("r4:qproj", "'qproj' is no target; .*did you mean q_proj"),
        ("r4:attn", "'attn' is no target; .*did you mean attention"),
        ("r4:", "'' is no target"),
        (
            "r4:qv:int9",
            "adapter format must be one of float32, float16, int8, int4, int2, not 'int9'",
        ),
    ],
)
def test_bad_shape_is_explained(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Adapter.from_shape(text, TINY)
    assert len(str(caught.value)) < 300


# --- configurations -------------------------------------------------------------------------


def ranks_and_scales(**changes: Any) -> dict[tuple[int, str], tuple[int, float]]:
    adapter = Adapter.from_config(MINIMAL | changes, TINY)
    return {(m.layer, m.target): (m.rank, m.scale) for m in adapter.modules}


def test_minimal_config_of_the_wild() -> None:
    assert ranks_and_scales() == {
        (layer, target): (4, 2.0) for layer in range(3) for target in ("q_proj", "v_proj")
    }


def test_defaults_are_those_of_peft() -> None:
    adapter = Adapter.from_config({"peft_type": "LORA", "target_modules": None}, TINY)
    assert (adapter.targets, adapter.ranks) == (("q_proj", "v_proj"), {8})
    assert {module.scale for module in adapter.modules} == {1.0}


def test_rslora_divides_by_the_root_of_the_rank() -> None:
    result = ranks_and_scales(use_rslora=True, rank_pattern={"v_proj": 16})
    assert result[0, "q_proj"] == (4, 8 / math.sqrt(4))
    assert result[0, "v_proj"] == (16, 8 / math.sqrt(16))


def test_rank_and_alpha_patterns_match_as_in_peft() -> None:
    result = ranks_and_scales(
        # The first match counts; a key is a regular expression that ends the module path and
        # begins at a dot or at the path's start.
        rank_pattern={r"layers.1.self_attn.q_proj": 2, r"self_attn\.q_proj": 6, "_proj": 50},
        alpha_pattern={r"model.layers.[02].self_attn.v_proj": 3.0},
    )
    assert [result[layer, "q_proj"][0] for layer in range(3)] == [6, 2, 6]
    assert [result[layer, "v_proj"][0] for layer in range(3)] == [4, 4, 4]
    assert [result[layer, "v_proj"][1] for layer in range(3)] == [0.75, 2.0, 0.75]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"target_modules": "all-linear"}, {(i, t) for i in range(3) for t in TARGETS}),
        (
            {"target_modules": r".*\.1\..*\.(q|up)_proj"},
            {(1, "q_proj"), (1, "up_proj")},
        ),
        # A string pattern has to match the whole path.
        ({"target_modules": r"model\.layers\.0\.mlp\.down_proj"}, {(0, "down_proj")}),
        (
            {"target_modules": ["model.layers.2.self_attn.q_proj", "self_attn.k_proj"]},
            {(2, "q_proj")} | {(i, "k_proj") for i in range(3)},
        ),
        ({"layers_to_transform": 1}, {(1, "q_proj"), (1, "v_proj")}),
        (
            {"layers_to_transform": [0, 2], "layers_pattern": "layers"},
            {(i, t) for i in (0, 2) for t in ("q_proj", "v_proj")},
        ),
        ({"exclude_modules": ["v_proj"]}, {(i, "q_proj") for i in range(3)}),
        ({"exclude_modules": r".*\.[01]\..*"}, {(2, "q_proj"), (2, "v_proj")}),
        (
            # The kind of pattern that Unsloth writes.
            {
                "target_modules": r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj).*?)"
                r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|v_proj)))"
            },
            {(i, t) for i in range(3) for t in ("q_proj", "v_proj")},
        ),
    ],
    ids=range(9),
)
def test_targets_are_chosen_as_in_peft(
    changes: dict[str, Any], expected: set[tuple[int, str]]
) -> None:
    assert ranks_and_scales(**changes).keys() == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora: .*fixed in ROM"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: .*fixed in ROM"),
        ({"bias": "all"}, "bias: must be 'none', not 'all'"),
        ({"lora_bias": True}, "lora_bias: "),
        ({"use_bdlora": {"nblocks": 2}}, "use_bdlora: "),
        ({"use_qalora": True}, "use_qalora: "),
        ({"fan_in_fan_out": True}, "fan_in_fan_out: "),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication: "),
        ({"target_parameters": ["mlp.experts.gate"]}, "target_parameters: "),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices: .*fixed in ROM"),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens: "),
        ({"arrow_config": {"top_k": 3}}, "arrow_config: "),
        ({"use_something_new": True}, "use_something_new: is a variant of LoRA"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights: .*changes the base"),
        ({"task_type": "SEQ_CLS"}, "task_type: must be CAUSAL_LM, not 'SEQ_CLS'"),
        ({"peft_type": "LOHA"}, "peft_type: must be LORA, not 'LOHA'"),
        ({"peft_type": None}, "peft_type: must be text, not None"),
        (
            {"target_modules": ["q_proj", "embed_tokens"]},
            "target_modules: includes model.embed_tokens: .*look-up of one ROM row",
        ),
        ({"target_modules": ["embed_tokens"]}, "target_modules: includes model.embed_tokens"),
        ({"target_modules": ".*"}, "target_modules: includes model.embed_tokens"),
        ({"target_modules": ["c_attn"]}, "target_modules: 'c_attn' is no linear layer of tiny"),
        ({"target_modules": ["vproj"]}, "target_modules: 'vproj' .*did you mean v_proj"),
        ({"target_modules": []}, "target_modules: matches no linear layer"),
        ({"target_modules": "nothing"}, "target_modules: matches no linear layer"),
        ({"target_modules": 5}, "target_modules: "),
        ({"target_modules": "(q_proj"}, "target_modules: .*is no regular expression"),
        ({"target_modules": "(.*)*!"}, "target_modules: .*too complicated"),
        ({"target_modules": "(_|o|_o)+!"}, "target_modules: .*too complicated"),
        ({"target_modules": ".*" * 20 + "!"}, "target_modules: .*too complicated"),
        ({"rank_pattern": {"(a+)+": 4}}, "rank_pattern: .*too complicated"),
        ({"rank_pattern": {f"q{i}": 4 for i in range(2001)}}, "rank_pattern: .*at most 2000"),
        ({"target_modules": ["q_proj"] * 2001}, "target_modules: "),
        ({"layers_to_transform": [True]}, "layers_to_transform"),
        ({"layers_to_transform": [3]}, "layers_to_transform: layer 3 .*layers 0 to 2"),
        (
            {"target_modules": ".*q_proj", "layers_to_transform": [1]},
            "layers_to_transform: cannot be used with",
        ),
        ({"r": 0}, "r: .*at least 1, not 0"),
        ({"r": 4.5}, "r: must be a whole number, not 4.5"),
        ({"r": "4"}, "r: must be a whole number, not '4'"),
        ({"r": 161}, "r: the rank must be from 1 to 160"),
        ({"rank_pattern": {"q_proj": -1}}, "rank_pattern.q_proj: .*not -1"),
        ({"rank_pattern": {"q_proj": 10**9}}, "r: the rank must be from 1 to 160"),
        ({"lora_alpha": "8"}, "lora_alpha: .*number, not '8'"),
        ({"lora_alpha": math.nan}, "lora_alpha: .*finite number"),
        ({"alpha_pattern": {"q_proj": math.inf}}, "alpha_pattern.q_proj: .*finite number"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_unusable_configuration_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^adapter_config.json: {message}") as caught:
        Adapter.from_config(MINIMAL | change, TINY)
    assert "\n" not in str(caught.value)


def test_unset_keys_and_those_of_training_are_ignored() -> None:
    harmless = {
        "use_dora": False,
        "modules_to_save": None,
        "bias": "none",
        "layer_replication": None,
        "loftq_config": {},
        "init_lora_weights": "gaussian",
        "megatron_core": "megatron.core",
        "lora_dropout": 0.05,
        "qalora_group_size": 16,
        "use_something_new": None,
        "peft_version": "0.19.1",
    }
    assert ranks_and_scales(**harmless) == ranks_and_scales()


# --- PEFT folders ---------------------------------------------------------------------------


def make(folder: Path, **options: Any) -> Adapter:
    return write_adapter(folder, TINY, 4, "attention+down_proj", dtype="float32", **options)


def test_written_adapter_is_what_the_library_reads(tmp_path: Path) -> None:
    adapter = make(tmp_path / "mine", alpha=8)
    tensors = load_file(tmp_path / "mine" / "adapter_model.safetensors")
    assert adapter.name == "mine"
    assert adapter.parameters == sum(tensor.size for tensor in tensors.values())
    assert len(tensors) == 2 * len(adapter.modules) == 2 * 3 * 5
    for module in adapter.modules:
        a, b = adapter.weights(module.layer, module.target)
        stem = f"base_model.model.{module_path(module.layer, module.target)}"
        np.testing.assert_array_equal(a, tensors[f"{stem}.lora_A.weight"])
        np.testing.assert_array_equal(b, tensors[f"{stem}.lora_B.weight"])
        assert a.shape == (4, module.in_features)
        assert b.shape == (module.out_features, 4)
        assert a.dtype == b.dtype == np.float32
        assert a.any() and b.any()
        assert module.scale == 2.0


@pytest.mark.parametrize(("dtype", "error"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_narrow_formats_round_to_nearest(tmp_path: Path, dtype: str, error: float) -> None:
    exact = make(tmp_path / "exact")
    adapter = write_adapter(tmp_path / "narrow", TINY, 4, "attention+down_proj", dtype=dtype)
    for module in adapter.modules:
        for narrow, full in zip(
            adapter.weights(module.layer, module.target),
            exact.weights(module.layer, module.target),
            strict=True,
        ):
            # float16 has subnormal numbers below 6e-5, whose spacing is 6e-8.
            np.testing.assert_allclose(narrow, full, rtol=error, atol=3.0e-8)
    size = os.path.getsize(tmp_path / "narrow" / "adapter_model.safetensors")
    assert size == adapter.checkpoint_bytes("BF16" if dtype == "bfloat16" else "F16")


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    def content(name: str, seed: int) -> bytes:
        make(tmp_path / name, seed=seed)
        return (tmp_path / name / "adapter_model.safetensors").read_bytes()

    assert content("a", 1) == content("b", 1) != content("c", 2)


def test_patterns_are_followed_in_files(tmp_path: Path) -> None:
    config = MINIMAL | {
        "use_rslora": True,
        "rank_pattern": {r"layers\.1\..*q_proj": 9},
        "alpha_pattern": {"v_proj": 5},
    }
    folder = write_peft(tmp_path, config)
    adapter = Adapter.open(folder, TINY)
    assert [adapter.rank(layer, "q_proj") for layer in range(3)] == [4, 9, 4]
    assert adapter.weights(1, "q_proj")[0].shape == (9, 64)
    scales = {(m.layer, m.target): m.scale for m in adapter.modules}
    assert scales[1, "q_proj"] == pytest.approx(8 / 3)
    assert scales[0, "v_proj"] == pytest.approx(5 / 2)


def write_peft(
    folder: Path,
    config: dict[str, Any],
    change: Callable[[dict[str, np.ndarray]], None] = lambda tensors: None,
) -> Path:
    """Write a PEFT folder with the safetensors library, after a change to its tensors."""
    rng = np.random.default_rng(0)
    tensors = {}
    for module in Adapter.from_config(config, TINY).modules:
        stem = f"base_model.model.{module_path(module.layer, module.target)}"
        tensors[f"{stem}.lora_A.weight"] = rng.normal(
            size=(module.rank, module.in_features)
        ).astype(np.float32)
        tensors[f"{stem}.lora_B.weight"] = rng.normal(
            size=(module.out_features, module.rank)
        ).astype(np.float32)
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


STEM = "base_model.model.model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (f"{STEM}.lora_B.weight", None, "lora_B.weight: this tensor is missing"),
        (f"{STEM}.lora_A.weight", np.zeros((4, 65)), r"shape must be \(rank, 64\) for tiny"),
        (f"{STEM}.lora_A.weight", np.zeros(64), r"shape must be \(rank, 64\)"),
        (f"{STEM}.lora_A.weight", np.zeros((0, 64)), r"shape must be \(rank, 64\)"),
        (f"{STEM}.lora_B.weight", np.zeros((32, 5)), r"shape must be \(32, 4\) for tiny"),
        (f"{STEM}.lora_B.weight", np.full((32, 4), np.nan), "lora_B.weight: .*not finite"),
        (f"{STEM}.lora_A.weight", np.full((4, 64), -np.inf), "lora_A.weight: .*not finite"),
        (f"{STEM}.lora_magnitude_vector", np.ones(64), "DoRA rescales base weights"),
        (f"{STEM}.lora_B.bias", np.ones(64), "bias vectors cannot be changed"),
        ("base_model.model.lm_head.weight", np.ones((128, 64)), "would replace base weights"),
        (
            "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight",
            np.ones((4, 64)),
            "belongs to no module",
        ),
        (
            "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight",
            np.ones((4, 64)),
            "belongs to no module",
        ),
    ],
    ids=range(12),
)
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, name: str, value: np.ndarray | None, message: str
) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value.astype(np.float32)

    folder = write_peft(tmp_path, MINIMAL, change)
    with pytest.raises(InputError, match=f"adapter_model.safetensors: .*{message}") as caught:
        Adapter.open(folder, TINY)
    assert name.rsplit(".", 3)[0] in str(caught.value)


PEFT = "base_model.model."


@pytest.mark.parametrize(
    "stored",
    [
        lambda name: name.removesuffix("weight") + "default.weight",
        lambda name: name.removeprefix(PEFT),
        lambda name: name.removeprefix(f"{PEFT}model."),
        lambda name: f"_orig_mod.{name}",
        lambda name: name.replace(PEFT, f"{PEFT}_orig_mod."),
        lambda name: name.replace(".self_attn", "._orig_mod.self_attn"),
        lambda name: f"module.{name}",
        lambda name: name.replace(f"{PEFT}model.", f"{PEFT}model.language_model."),
        lambda name: name.replace(f"{PEFT}model.", f"{PEFT}language_model.model."),
    ],
    ids=[
        "adapter-name", "no-base-model", "no-prefix", "torch-compile", "compiled-inside",
        "compiled-layer", "ddp", "language-model", "language-model-outside",
    ],
)  # fmt: skip
def test_tensors_with_marks_of_other_tools_in_their_names_are_read(
    tmp_path: Path, stored: Callable[[str], str]
) -> None:
    folders = tmp_path / "plain", tmp_path / "marked"

    def change(tensors: dict[str, np.ndarray]) -> None:
        renamed = {stored(name): tensors.pop(name) for name in list(tensors)}
        assert len(renamed) == 2 * 2 * 3
        tensors.update(renamed)

    for folder in folders:
        folder.mkdir()
    plain = Adapter.open(write_peft(folders[0], MINIMAL), TINY)
    marked = Adapter.open(write_peft(folders[1], MINIMAL, change), TINY)
    assert marked.modules == plain.modules
    for module in plain.modules:
        for one, other in zip(
            plain.weights(module.layer, module.target),
            marked.weights(module.layer, module.target),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "name",
    [
        "adapter-key-prefix/adapter-name-in-key",
        "adapter-key-prefix/language-model",
        "adapter-key-prefix/no-prefix",
        "adapter-key-prefix/torch-compile",
        "default_in_name",
        "prefix_language_model",
        "prefix_none",
        "target-modules-superset/adapter",
    ],
)
def test_reported_adapters_are_read(shared_data: Path, name: str) -> None:
    reports = shared_data / "reports"
    model = LanguageModel.from_config(reports / "tiny.json")
    adapter = Adapter.open(reports / name, model)
    assert (len(adapter.modules), adapter.ranks) == (4, {4})
    assert adapter.targets == ("q_proj", "v_proj")


@pytest.mark.parametrize("name", ["language_model.model.layers", "model.language_model.layers"])
def test_the_configuration_may_name_layers_as_a_model_that_also_sees_does(name: str) -> None:
    config = MINIMAL | {
        "target_modules": rf"{name}\.\d+\.self_attn\.(q|v)_proj",
        "rank_pattern": {f"{name}.1.self_attn.q_proj": 2},
        "alpha_pattern": {f"{name}.2.self_attn.v_proj": 1},
    }
    adapter = Adapter.from_config(config, TINY)
    assert [(m.layer, m.target, m.rank, m.scale) for m in adapter.modules] == [
        (0, "q_proj", 4, 2), (0, "v_proj", 4, 2),
        (1, "q_proj", 2, 4), (1, "v_proj", 4, 2),
        (2, "q_proj", 4, 2), (2, "v_proj", 4, 0.25),
    ]  # fmt: skip
    listed = MINIMAL | {"target_modules": [f"{name}.0.self_attn.q_proj"]}
    assert len(Adapter.from_config(listed, TINY).modules) == 1


def test_two_adapters_in_one_file_are_refused(tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        for name in list(tensors):
            adapter = "a" if ".layers.0." in name else "b"
            tensors[name.removesuffix("weight") + f"{adapter}.weight"] = tensors.pop(name)

    folder = write_peft(tmp_path, MINIMAL, change)
    with pytest.raises(InputError, match=r"safetensors: holds 2 adapters \(a, b\); save one alone"):
        Adapter.open(folder, TINY)


def test_two_names_of_one_tensor_are_refused(tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[f"{STEM.removeprefix(PEFT)}.lora_A.weight"] = tensors[f"{STEM}.lora_A.weight"] * 2

    folder = write_peft(tmp_path, MINIMAL, change)
    with pytest.raises(InputError, match=r"lora_A\.weight: means the same tensor as .*lora_A\.wei"):
        Adapter.open(folder, TINY)


def test_a_missing_tensor_is_told_with_what_was_found(tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        for name in list(tensors):
            tensors[f"tower.{name}"] = tensors.pop(name)

    folder = write_peft(tmp_path, MINIMAL, change)
    sought = r"base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight"
    found = rf"is missing; the file holds tower\.{sought} and others$"
    with pytest.raises(InputError, match=f"{sought}: this tensor {found}"):
        Adapter.open(folder, TINY)


def test_a_listed_target_that_matches_nothing_is_passed_over_as_in_peft(tmp_path: Path) -> None:
    config = MINIMAL | {"target_modules": ["q_proj", "v_proj", "c_attn", "query_key_value", "w1"]}
    assert Adapter.open(write_peft(tmp_path, config), TINY).targets == ("q_proj", "v_proj")
    for name in ("norm", "mlp", "layers.1"):  # there, and no linear layers
        config = MINIMAL | {"target_modules": ["q_proj", name]}
        with pytest.raises(InputError, match=f"target_modules: '{name}' is no linear layer of"):
            Adapter.from_config(config, TINY)


def test_rank_that_disagrees_with_the_config_is_refused(tmp_path: Path) -> None:
    folder = write_peft(tmp_path, MINIMAL)
    (folder / "adapter_config.json").write_text(json.dumps(MINIMAL | {"r": 8}))
    with pytest.raises(InputError, match=r"its rank is 4, but adapter_config\.json gives 8"):
        Adapter.open(folder, TINY)


def test_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(InputError, match=r"q_proj\.lora_A\.weight: shape must be \(rank, 2048\)"):
        Adapter.open(tmp_path / "x", LanguageModel.by_name("llama-3.2-1b"))


def test_an_adapter_of_another_model_was_told_a_shape_and_not_the_model(tmp_path: Path) -> None:
    write_adapter(tmp_path / "x", LanguageModel.by_name("qwen2.5-1.5b"), 2, "v_proj")
    config = tmp_path / "x" / "adapter_config.json"
    with pytest.raises(InputError, match=r"; it was made for qwen2.5-1.5b, as adapter_config.json"):
        Adapter.open(tmp_path / "x", LanguageModel.by_name("llama-3.1-8b"))
    config.write_text(config.read_text().replace("qwen2.5-1.5b", ""))
    with pytest.raises(InputError, match=r"not \(2, 1536\); so wide is qwen2.5-1.5b$"):
        Adapter.open(tmp_path / "x", LanguageModel.by_name("llama-3.1-8b"))


def test_file_that_changes_after_opening_is_refused(tmp_path: Path) -> None:
    adapter = make(tmp_path / "x")
    path = tmp_path / "x" / "adapter_model.safetensors"
    os.truncate(path, path.stat().st_size - 1000)
    with pytest.raises(InputError, match="the file has changed"):
        adapter.weights(2, "v_proj")
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        adapter.weights(0, "q_proj")


# --- writing --------------------------------------------------------------------------------


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("full", "file", "dangling"):
        with pytest.raises(InputError, match=f"{name}: already exists"):
            make(tmp_path / name)
    with pytest.raises(InputError, match="gone/x: cannot be written"):
        make(tmp_path / "gone" / "x")
    make(tmp_path / "empty")
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file", "empty", "dangling"}


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(28, "No space left on device"), InputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["disk full", "interrupted"],
)
def test_an_unfinished_adapter_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, raised: type
) -> None:
    encode, calls = write.encode, []

    def fail_later(*args: Any) -> bytes:
        calls.append(args)
        if len(calls) > 5:
            raise error
        return encode(*args)

    monkeypatch.setattr(write, "encode", fail_later)
    with pytest.raises(raised, match="No space left" if raised is InputError else None):
        make(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank: the rank must be from 1 to 160"),
        ({"targets": "qproj"}, "targets: 'qproj' is no target"),
        ({"dtype": "int8"}, "dtype: must be one of float32, float16, bfloat16, not 'int8'"),
        ({"alpha": math.inf}, "alpha: must be a finite number"),
        ({"seed": -1}, "seed: must be 0 or more"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_options_of_a_new_adapter(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_adapter(tmp_path / "x", TINY, **({"rank": 4, "targets": "qv"} | options))
    assert list(tmp_path.iterdir()) == []
