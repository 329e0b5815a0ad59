"""Language models: exact counts for real configurations, refusals for all others."""

import json
import math
import os
from pathlib import Path

import pytest

from hardwire.models import catalogue
from hardwire.models.errors import InputError
from hardwire.models.language_model import TARGETS, LanguageModel, module_path

# Parameters of the published checkpoints (sum of all tensor sizes in their safetensors index).
PARAMETERS = {
    "meta-llama--Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama--Meta-Llama-3.1-8B": 8_030_261_248,
    "meta-llama--Meta-Llama-3.1-70B": 70_553_706_496,
    "meta-llama--Meta-Llama-3.1-405B": 405_853_388_800,
    "meta-llama--Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama--Llama-3.2-3B-Instruct": 3_212_749_824,
    "mistralai--Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "mistralai--Mistral-Nemo-Instruct-2407": 12_247_782_400,
    "Qwen--Qwen2.5-1.5B": 1_543_714_304,
    "Qwen--Qwen2.5-7B": 7_615_616_512,
    "Qwen--Qwen2.5-32B": 32_763_876_352,
    "Qwen--Qwen2.5-72B": 72_706_203_648,
    "Qwen--Qwen3-8B": 8_190_735_360,
    "Qwen--Qwen3-14B": 14_768_307_200,
    "Qwen--Qwen3-32B": 32_762_123_264,
    "Qwen--Qwen3-0.6B_dims": 596_049_920,
    "Qwen--Qwen3-1.7B_dims": 1_720_574_976,
    "Qwen--Qwen3-4B_dims": 4_022_468_096,
    # 2.4e9 as its card says: a tied embedding, 30 layers, and two sub-norms in each.
    "microsoft--bitnet-b1.58-2B-4T_dims": 2_412_820_480,
    "deepseek-ai--DeepSeek-R1": 671_026_419_200,
    "deepseek-ai--DeepSeek-V3": 671_026_419_200,
    "google--gemma-3-1b_dims": 999_885_952,
    "mistralai--Mixtral-8x7B-v0.1": 46_702_792_704,
    "openai--gpt-oss-120b": 116_829_156_672,
    "openai--gpt-oss-20b": 20_914_757_184,
    "Qwen--Qwen3-30B-A3B": 30_532_122_624,
}
REFUSED = {
    "google--gemma-2_dims": "model_type: must be one of .* missing",
    "google--gemma-4-26B-A4B": "'gemma4' is Gemma 4",
}
CATALOGUE = {
    "bitnet-b1.58-2b-4t": 2_412_820_480,
    "deepseek-r1": 671_026_419_200,
    "deepseek-v3": 671_026_419_200,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-1b": 999_885_952,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "mixtral-8x7b": 46_702_792_704,
    "qwen3-30b-a3b": 30_532_122_624,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b-v0.3": 7_248_023_552,
    "mistral-nemo-12b": 12_247_782_400,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "tinyllama-1.1b": 1_100_048_384,
}
TINY = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 256,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_exact_for_real_configs(shared_data: Path, name: str) -> None:
    model = LanguageModel.from_config(shared_data / "configs" / f"{name}.json")
    assert model.parameter_count == PARAMETERS[name]
    assert model.name == name


@pytest.mark.parametrize("name", REFUSED)
def test_other_families_are_refused_by_name(shared_data: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}.json: .*{REFUSED[name]}"):
        LanguageModel.from_config(shared_data / "configs" / f"{name}.json")


def test_every_shared_config_is_counted_or_refused(shared_data: Path) -> None:
    files = {path.stem for path in (shared_data / "configs").glob("*.json")}
    assert files == PARAMETERS.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue_models_have_their_published_size(name: str) -> None:
    model = LanguageModel.open(name.upper())
    assert (model.name, model.parameter_count) == (name, CATALOGUE[name])


def test_catalogue_lists_exactly_the_tested_models() -> None:
    assert catalogue.names("model") == sorted(CATALOGUE)


def test_llama_8b_has_the_documented_dimensions_and_sizes() -> None:
    model = LanguageModel.by_name("llama-3.1-8b")
    assert (model.layers, model.hidden, model.intermediate) == (32, 4096, 14336)
    assert (model.heads, model.kv_heads, model.head_dim, model.vocab) == (32, 8, 128, 128256)
    assert model.linear_weights == 32 * 218_103_808
    assert model.embedding_weights == 525_336_576 and not model.tied_embeddings
    assert model.kv_elements_per_token == 2 * 32 * 8 * 128
    assert model.linear_shape("down_proj") == (4096, 14336)
    assert module_path(3, "v_proj") == "model.layers.3.self_attn.v_proj"
    assert module_path(0, "down_proj") == "model.layers.0.mlp.down_proj"


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "bitnet"])
@pytest.mark.parametrize("tied", [False, True])
def test_tensors_agree_with_the_summary_properties(family: str, tied: bool) -> None:
    config = TINY | {"model_type": family, "tie_word_embeddings": tied, "head_dim": 32}
    if family == "bitnet":
        config |= {"hidden_act": "relu2", "num_attention_heads": 2}
    model = LanguageModel.from_config(config | {"attention_bias": True, "mlp_bias": True})
    tensors = model.tensors()
    assert ("lm_head.weight" in tensors) is not tied
    linear = sum(
        math.prod(tensors[f"{module_path(layer, target)}.weight"])
        for layer in range(2)
        for target in TARGETS
    )
    assert linear == model.linear_weights == model.active_linear_weights
    assert tensors["model.layers.1.self_attn.q_proj.weight"] == (model.heads * 32, 64)
    assert tensors["model.layers.1.self_attn.o_proj.weight"] == (64, model.heads * 32)
    # Which of the biases a family really has, whatever the config asks for.
    biases = {name.split(".")[-2] for name in tensors if name.endswith(".bias")}
    attention, output = set(TARGETS[:3]), {"o_proj"}
    assert (
        biases
        == {
            "llama": set(TARGETS),
            "mistral": set(),
            "qwen2": attention,
            "qwen3": attention | output,
            "bitnet": attention | output,
        }[family]
    )
    assert ("model.layers.0.self_attn.k_norm.weight" in tensors) == (family == "qwen3")


def test_bitnet_norms_before_its_o_and_down_projections() -> None:
    bitnet = {"model_type": "bitnet", "hidden_act": "relu2"}
    model = LanguageModel.from_config(TINY | bitnet)
    tensors = model.tensors()
    assert model.activation == "relu2"
    assert tensors["model.layers.1.self_attn.attn_sub_norm.weight"] == (64,)
    assert tensors["model.layers.1.mlp.ffn_sub_norm.weight"] == (160,)
    with pytest.raises(InputError, match="hidden_act: must be 'relu2', not 'silu'"):
        LanguageModel.from_config(TINY | {"model_type": "bitnet", "hidden_act": "silu"})
    with pytest.raises(InputError, match="head_dim: 4 heads of 8 must make hidden_size, 64"):
        LanguageModel.from_config(TINY | bitnet | {"head_dim": 8})


def test_head_dim_is_read_before_it_is_derived() -> None:
    assert LanguageModel.from_config(TINY).head_dim == 16
    assert LanguageModel.from_config(TINY | {"head_dim": 8}).head_dim == 8
    # Qwen3's own default, though hidden_size / heads is 16.
    assert LanguageModel.from_config(TINY | {"model_type": "qwen3"}).head_dim == 128


def test_absent_kv_heads_mean_one_per_head_in_llama_only() -> None:
    config = {key: value for key, value in TINY.items() if key != "num_key_value_heads"}
    assert LanguageModel.from_config(config).kv_heads == 4
    with pytest.raises(InputError, match="num_key_value_heads: this field is missing"):
        LanguageModel.from_config(config | {"model_type": "qwen2"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers: must be a whole number, not None"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: must be at least 1, not 0"),
        ({"hidden_size": -64}, "hidden_size: must be at least 1, not -64"),
        ({"hidden_size": 64.5}, "hidden_size: must be a whole number, not 64.5"),
        ({"hidden_size": "64"}, "hidden_size: must be a whole number, not '64'"),
        ({"hidden_size": True}, "hidden_size: must be a whole number, not True"),
        ({"hidden_size": 10**30}, "hidden_size: must be at most 1048576"),
        ({"hidden_size": 66}, "head_dim: .*no multiple"),
        ({"head_dim": 15}, "head_dim: must be even"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: 3 must divide .*, 4"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: must be true or false"),
        ({"hidden_act": "gelu"}, "hidden_act: must be 'silu', not 'gelu'"),
        ({"model_type": "bert"}, "model_type: 'bert' is a family which is not modelled"),
        ({"model_type": None}, "model_type: must be one of llama, mistral, qwen2, qwen3"),
        ({"model_type": ["llama"]}, "model_type: must be one of"),
        ({"num_local_experts": 8}, "num_local_experts: .*mixture of experts"),
        ({"kv_lora_rank": 512}, "kv_lora_rank: .*multi-head latent attention"),
        ({"rope_scaling": 3}, "rope_scaling: must be an object"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": "4"}},
            "rope_scaling.factor: must be a number from 1 to 268435456, not '4'",
        ),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 0.5}},
            "rope_parameters.factor: must be a number from 1",
        ),
        (
            {"model_type": "qwen2", "layer_types": ["full_attention", "linear_attention"]},
            "layer_types: asks for",
        ),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types: asks for"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_field_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^config.json: {message}") as caught:
        LanguageModel.from_config(TINY | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", [key for key in TINY if key != "num_key_value_heads"])
def test_missing_field_is_named(field: str) -> None:
    config = {key: value for key, value in TINY.items() if key != field}
    with pytest.raises(InputError, match=f"{field}: .*missing"):
        LanguageModel.from_config(config)


def test_silu_may_be_called_swish() -> None:
    assert LanguageModel.from_config(TINY | {"hidden_act": "swish"}).layers == 2


@pytest.mark.parametrize(
    ("change", "window"),
    [
        ({"model_type": "mistral", "sliding_window": 128}, 128),
        ({"model_type": "mistral", "max_position_embeddings": 8192}, 4096),  # the key is absent
        (
            {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 128}
            | {"max_window_layers": 1},
            128,
        ),
        (
            {"model_type": "qwen3", "use_sliding_window": True, "sliding_window": 64}
            | {"layer_types": ["full_attention", "sliding_attention"]},
            64,
        ),
    ],
    ids=["mistral", "absent", "qwen2", "layer-types"],
)
def test_c10_a_sliding_window_bounds_what_is_kept_and_not_the_context(
    change: dict[str, object], window: int
) -> None:
    model = LanguageModel.from_config(TINY | change)
    assert model.sliding_window == window
    assert model.max_position == change.get("max_position_embeddings", 256)
    assert str(model.max_position) in model.limit().replace(",", "")


def test_an_inactive_sliding_window_is_no_obstacle() -> None:
    qwen = {"model_type": "qwen2", "sliding_window": 131072, "use_sliding_window": False}
    assert LanguageModel.from_config(TINY | qwen).family == "qwen2"
    wide = {"model_type": "mistral", "sliding_window": 256}
    assert LanguageModel.from_config(TINY | wide).family == "mistral"


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize(
    "change",
    [
        {"sliding_window": None, "max_window_layers": 1},
        {"sliding_window": 128, "max_window_layers": 2},
        {"sliding_window": 128},  # 28 layers are before the first that slides
        {"sliding_window": 256, "max_window_layers": 0},  # as long as the context
        {"sliding_window": 128, "max_window_layers": 0, "layer_types": ["full_attention"] * 2},
    ],
    ids=["null", "past-last-layer", "default", "as-long-as-context", "layer-types"],
)
def test_qwen_in_which_no_layer_slides_is_read(family: str, change: dict[str, object]) -> None:
    config = TINY | {"model_type": family, "use_sliding_window": True} | change
    assert LanguageModel.from_config(config).layers == 2


@pytest.mark.parametrize("folder", ["window-null", "window-past-last-layer"])
def test_reported_qwen_in_which_no_layer_slides(shared_data: Path, folder: str) -> None:
    model = LanguageModel.from_config(shared_data / "reports/qwen2-no-layer-slides" / folder)
    assert (model.family, model.max_position) == ("qwen2", 2048)


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 200}, 800),
        ({"rope_type": "yarn", "factor": 4.0}, 1024),
        ({"rope_type": "yarn", "original_max_position_embeddings": 200}, 200),
        ({"rope_type": "linear", "factor": 2.5}, 640),
        ({"rope_type": "dynamic", "factor": 2}, 512),
        ({"rope_type": "dynamic", "type": "yarn", "factor": 1.3}, 332),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64}, 256),
        ({"rope_type": "longrope", "factor": 8.0}, 256),
        ({"rope_type": "default"}, 256),
        (None, 256),
    ],
)
@pytest.mark.parametrize("field", ["rope_scaling", "rope_parameters"])
def test_the_context_follows_rope_scaling_as_in_vllm(
    field: str, scaling: dict[str, object] | None, context: int
) -> None:
    assert LanguageModel.from_config(TINY | {field: scaling}).max_position == context


def test_the_context_follows_the_scaling_that_wins() -> None:
    beside = {
        "rope_parameters": {"rope_type": "linear", "factor": 2},
        "rope_scaling": {"rope_type": "linear", "factor": 4},
    }
    assert LanguageModel.from_config(TINY | beside).max_position == 1024
    assert LanguageModel.from_config(TINY | beside | {"rope_scaling": {}}).max_position == 512
    nested = {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 3}}}
    assert LanguageModel.from_config(TINY | nested | {"model_type": "qwen2"}).max_position == 768
    # Llama's config class knows no kinds of layers, and takes the nested object for none.
    assert LanguageModel.from_config(TINY | nested).max_position == 256


def test_a_reported_yarn_config_has_its_long_context(shared_data: Path) -> None:
    path = shared_data / "reports/rope-scaling-context/yarn.json"
    assert LanguageModel.from_config(path).max_position == 131_072


def test_a_folder_or_a_file_may_be_given(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY))
    assert LanguageModel.open(str(folder)).name == "my-model"
    assert LanguageModel.open(str(folder / "config.json")).name == "my-model"
    assert LanguageModel.from_config(folder, name="other").name == "other"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe\x00", "is not valid JSON"),
        (b"[1, 2]", "must hold a JSON object, not a list"),
        (b"[" * 200_000, "is JSON nested too deeply"),
    ],
    ids=["empty", "truncated", "no-text", "list", "deep"],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"config.json: {message}"):
        LanguageModel.open(str(path))


def test_unreadable_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: does not exist"):
        LanguageModel.open(str(tmp_path / "gone.json"))
    with pytest.raises(InputError, match=r"config\.json: does not exist"):
        LanguageModel.open(str(tmp_path))
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match=r"loop\.json: cannot be read"):
        LanguageModel.open(str(loop))
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"pipe\.json: is no regular file"):
        LanguageModel.open(str(pipe))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY))
    path.chmod(0)
    with pytest.raises(InputError, match=r"config\.json: cannot be read"):
        LanguageModel.open(str(path))


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"'lama-3.1-8b' is no model .* did you mean llama-3.1-8b or .*list shows"
    ):
        LanguageModel.open("lama-3.1-8b")
    with pytest.raises(InputError, match=r"^'zzz' is no model in the catalogue \(hardwire list"):
        LanguageModel.open("zzz")
