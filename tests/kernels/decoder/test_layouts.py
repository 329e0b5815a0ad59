"""Checkpoints that hold a model's tensors in other ways than one by one give the same weights."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from small_models import DIMENSIONS, MODELS, weights, write_model

from hardwire.kernels.decoder.checkpoint import Checkpoint
from hardwire.kernels.decoder.float8 import from_e4m3, to_e4m3
from hardwire.kernels.decoder.layouts import layouts, own_tensors
from hardwire.kernels.decoder.mxfp4 import from_mxfp4
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel

Stored = dict[str, tuple[str, np.ndarray]]


def model_of(name: str, **changes: object) -> LanguageModel:
    return LanguageModel.from_config(DIMENSIONS | MODELS[name] | changes, name="m")


def listed(model: LanguageModel) -> Stored:
    """Its tensors as the checkpoint of Hugging Face names them, in float32."""
    shapes = model.tensors().items()
    return {name: ("F32", weights(name, shape, model)) for name, shape in shapes}


def written(folder: Path, tensors: Stored) -> Path:
    """A safetensors file of any types; values of one byte are given as bytes."""
    header, end = {}, 0
    for name, (dtype, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": values.shape}
        header[name]["data_offsets"] = [end, end := end + values.nbytes]
    text = json.dumps(header).encode()
    content = b"".join(np.ascontiguousarray(values).tobytes() for _, values in tensors.values())
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content)
    return folder


def everything(folder: Path, model: LanguageModel) -> dict[str, np.ndarray]:
    source = Checkpoint(folder, model)
    found = {name: source.read(name) for name in own_tensors(model)}
    for name, values in found.items():
        if values.ndim == 2:
            np.testing.assert_array_equal(np.concatenate([*source.blocks(name)]), values)
    return found


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_computes_with_the_parameters_that_it_counts(name: str) -> None:
    model = model_of(name)
    own = own_tensors(model)
    assert sum(int(np.prod(shape)) for shape in own.values()) == model.parameter_count
    assert layouts(model).keys() >= own.keys() | model.tensors().keys()
    if model.experts is None:
        assert own == model.tensors()


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "deepseek_v3"])
def test_experts_of_a_layer_in_one_tensor_are_those_one_by_one(tmp_path: Path, name: str) -> None:
    """As transformers 5 has them in memory: gate above up, experts in the first dimension."""
    model = model_of(name)
    each = everything(written(tmp_path / "each", listed(model)), model)
    fused: Stored = {}
    for own, values in each.items():
        head, experts, rest = own.partition(".experts.")
        if not experts:
            fused[own] = ("F32", values)
        elif rest.startswith("0.gate_proj"):
            parts = {
                target: [
                    each[f"{head}.experts.{number}.{target}.weight"]
                    for number in range(model.experts.count)
                ]
                for target in ("gate_proj", "up_proj", "down_proj")
            }
            gate_up = np.concatenate([np.stack(parts["gate_proj"]), np.stack(parts["up_proj"])], 1)
            fused[f"{head}.experts.gate_up_proj"] = ("F32", gate_up)
            fused[f"{head}.experts.down_proj"] = ("F32", np.stack(parts["down_proj"]))
    equal(everything(written(tmp_path / "fused", fused), model), each)


def mxfp4(model: LanguageModel) -> Stored:
    """gpt-oss as published: blocks and scales of the experts' matrices."""
    tensors, rng = listed(model), np.random.default_rng(0)
    for name in [name for name in tensors if name.endswith(("_blocks", "_scales"))]:
        low, high = (0, 256) if name.endswith("_blocks") else (118, 124)
        shape = tensors[name][1].shape
        tensors[name] = ("U8", rng.integers(low, high, shape).astype(np.uint8))
    return tensors


def test_mxfp4_experts_are_dequantized_as_they_are_read(tmp_path: Path) -> None:
    """Rows of gate and up in turn; without blocks, transformers stores the matrices turned."""
    packed = model_of("gpt_oss", quantization_config={"quant_method": "mxfp4"})
    plain = model_of("gpt_oss")
    stored = mxfp4(packed)
    unpacked: Stored = {name: pair for name, pair in stored.items() if pair[0] == "F32"}
    for name, (_, blocks) in stored.items():
        if name.endswith("_blocks"):
            scales = stored[name.replace("_blocks", "_scales")][1]
            whole = np.stack([from_mxfp4(*one) for one in zip(blocks, scales, strict=True)])
            unpacked[name.removesuffix("_blocks")] = ("F32", whole.swapaxes(1, 2))
    found = everything(written(tmp_path / "packed", stored), packed)
    equal(found, everything(written(tmp_path / "plain", unpacked), plain))
    name = "model.layers.1.mlp.experts.gate_up_proj_blocks"
    blocks, scales = stored[name][1][2], stored[name.replace("_blocks", "_scales")][1][2]
    rows = from_mxfp4(blocks, scales)
    np.testing.assert_array_equal(found["model.layers.1.mlp.experts.2.up_proj.weight"], rows[1::2])
    scales[0, 0] = 255
    with pytest.raises(InputError, match="gate_up_proj_blocks: holds values that are not finite"):
        everything(written(tmp_path / "packed", stored), packed)
    del stored[name.replace("_blocks", "_scales")]
    with pytest.raises(InputError, match=r"gate_up_proj_scales: the scales of .* is missing"):
        Checkpoint(written(tmp_path / "packed", stored), packed)


def test_mxfp4_by_its_definition() -> None:
    """Codes 1 to 15 in order, the earlier in the low half; scales 2^-1 and 2^3."""
    codes = np.arange(32) % 16
    blocks = (codes[0::2] | codes[1::2] << 4).astype(np.uint8)
    got = from_mxfp4(np.stack([blocks, blocks])[None], np.array([[126, 130]], np.uint8))
    sizes = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    once = np.array(([*sizes, *(-size for size in sizes)]) * 2)
    np.testing.assert_array_equal(got, [np.concatenate([once / 2, once * 8])])


def test_fp8_tiles_are_scaled_as_they_are_read(tmp_path: Path) -> None:
    changes = {
        "hidden_size": 160,
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    }
    model = model_of("deepseek_v3", **changes)
    stored, plain = listed(model), {}
    for name in [name for name in stored if name.endswith("_scale_inv")]:
        own = name.removesuffix("_scale_inv")
        codes, scales = to_e4m3(stored[own][1] * 100), np.abs(stored[name][1]) + np.float32(0.1)
        stored |= {own: ("F8_E4M3", codes), name: ("F32", scales)}
        rows, columns = (np.arange(size) // 128 for size in codes.shape)
        plain[own] = from_e4m3(codes) * scales[rows][:, columns]
    found = everything(written(tmp_path, stored), model)
    assert len(plain) > 20
    for name, values in plain.items():
        np.testing.assert_array_equal(found[name], values)
    own = next(iter(plain))
    stored[own][1].view(np.uint8)[0, 0] = 0x7F
    with pytest.raises(InputError, match="holds values that are not finite numbers"):
        everything(written(tmp_path, stored), model)


def test_layers_that_predict_further_tokens_are_passed_over(tmp_path: Path) -> None:
    model = model_of("deepseek_v3")
    stored = listed(model)
    expected = everything(written(tmp_path, stored), model)
    extra = model.extra_tensors()
    assert len(extra) > 5
    more = {name: ("F32", np.zeros(shape, np.float32)) for name, shape in extra.items()}
    equal(everything(written(tmp_path, stored | more), model), expected)


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = model_of("mixtral")
    stored = listed(model)
    name = "model.layers.0.block_sparse_moe.experts.0.w1.weight"
    fused = "model.layers.0.mlp.experts.gate_up_proj"
    whole = ("F32", np.zeros((4, 320, 64), np.float32))
    wrong = ("F32", np.zeros((4, 64, 320), np.float32))
    cases = [
        ({name: ("U8", np.zeros((160, 64), np.uint8))}, "dtype must be F32 or F16 or BF16 in m, n"),
        ({name: ("F32", np.zeros((64, 160), np.float32))}, r"w1\.weight: shape must be \(160, 64"),
        ({fused: wrong}, r"gate_up_proj: shape must be \(4, 320, 64\) for m, not \(4, 64, 320\)"),
        ({fused: whole}, r"experts\.\d\.\w+\.weight, which .*, too"),
        ({"model.layers.0.mlp.router.weight": whole}, r"router\.weight: is no tensor of m"),
        ({name: ("I8", np.zeros((160, 64), np.int8))}, "dtype must be F32, F16, BF16, U8 or F8_E"),
    ]
    for change, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            Checkpoint(written(tmp_path, stored | change), model)
        assert "\n" not in str(caught.value)
    del stored[name]
    with pytest.raises(InputError, match=r"experts\.0\.gate_proj\.weight: this tensor of m is mi"):
        Checkpoint(written(tmp_path, stored), model)


def test_written_models_are_read(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", "gpt_oss")
    assert everything(tmp_path / "m", model).keys() == own_tensors(model).keys()
