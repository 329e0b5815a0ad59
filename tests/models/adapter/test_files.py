"""Adapter containers: GGUF equals PEFT, BF16, pickles, and files that lie or are damaged."""

import json
import math
import os
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.files import read_safetensors
from hardwire.models.adapter.write import write_adapter
from hardwire.models.errors import InputError
from hardwire.models.language_model import HEAD, TARGETS, LanguageModel

DIMENSIONS = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "max_position_embeddings": 256,
}
FAMILIES = {
    family: LanguageModel.from_config(DIMENSIONS | {"model_type": family}, name=family)
    for family in ("llama", "mistral", "qwen2", "qwen3")
}
TINY = FAMILIES["llama"]
GGUF_NAMES = dict(
    zip(
        TARGETS,
        ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
        strict=True,
    )
)


def permute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Reorder rows for llama.cpp's rotary embedding, as its converter does."""
    shape = (heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return rows.reshape(shape).swapaxes(1, 2).reshape(rows.shape)


def write_gguf(
    path: Path,
    source: Adapter,
    model: LanguageModel,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    change: Callable[[dict[str, Any], dict[str, np.ndarray]], None] = lambda fields, tensors: None,
) -> Path:
    """Convert an adapter of one scale as llama.cpp's convert_lora_to_gguf.py does."""
    architecture = "llama" if model.family == "mistral" else model.family
    fields: dict[str, Any] = {
        "general.architecture": architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        # The format knows no rsLoRA: the converter has to fold the root of the rank into alpha.
        "adapter.lora.alpha": source.modules[0].scale * source.modules[0].rank,
    }
    tensors = {}
    for module in source.modules:
        a, b = source.weights(module.layer, module.target)
        if architecture == "llama" and module.target in ("q_proj", "k_proj"):
            b = permute(b, model.heads if module.target == "q_proj" else model.kv_heads)
        at_head = module.target == HEAD
        stem = "output" if at_head else f"blk.{module.layer}.{GGUF_NAMES[module.target]}"
        stem += ".weight"
        tensors[f"{stem}.lora_a"], tensors[f"{stem}.lora_b"] = a, b
    change(fields, tensors)
    writer = gguf.GGUFWriter(path, fields.pop("general.architecture"))
    for key, value in fields.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_float32(key, value)
    for name, tensor in tensors.items():
        data = np.ascontiguousarray(tensor, dtype=np.float32)
        fits = kind != gguf.GGMLQuantizationType.Q8_0 or tensor.shape[-1] % 32 == 0
        used = kind if fits else gguf.GGMLQuantizationType.F16
        writer.add_tensor(name, gguf.quants.quantize(data, used), raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def update(adapter: Adapter, layer: int, target: str) -> np.ndarray:
    """Return scale * B A, what the adapter adds to a weight matrix."""
    module = next(m for m in adapter.modules if (m.layer, m.target) == (layer, target))
    a, b = adapter.weights(layer, target)
    return module.scale * (b @ a)


def make_peft(
    folder: Path, family: str = "llama", rank: int = 4, targets: str = "all-linear", **config: Any
) -> Adapter:
    """Write a PEFT adapter, then change its configuration."""
    model = FAMILIES[family]
    write_adapter(folder, model, rank, targets, alpha=12, dtype="float32")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return Adapter.open(folder, model)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rslora", [False, True], ids=["plain", "rslora"])
def test_gguf_equals_peft(tmp_path: Path, family: str, rslora: bool) -> None:
    targets = (*TARGETS, HEAD)
    peft = make_peft(tmp_path / "peft", family, targets="+".join(targets), use_rslora=rslora)
    path = write_gguf(tmp_path / "x.gguf", peft, FAMILIES[family])
    adapter = Adapter.open(path, FAMILIES[family])
    assert (adapter.name, adapter.ranks, adapter.targets) == ("x", {4}, targets)
    expected = 12 / math.sqrt(4) if rslora else 12 / 4
    for module in adapter.modules:
        assert module.scale == pytest.approx(expected, rel=1e-6)
        got, want = (update(it, module.layer, module.target) for it in (adapter, peft))
        np.testing.assert_allclose(got, want, atol=1e-7)


def test_gguf_stores_q_and_k_rows_in_another_order(tmp_path: Path) -> None:
    peft = make_peft(tmp_path / "peft")
    stored = gguf.GGUFReader(write_gguf(tmp_path / "x.gguf", peft, TINY)).tensors
    by_name = {tensor.name: tensor.data for tensor in stored}
    b = peft.weights(0, "k_proj")[1]
    assert not np.array_equal(by_name["blk.0.attn_k.weight.lora_b"], b)
    # Interleaved rows 0 and 1 of a head are its rows 0 and head_dim / 2.
    np.testing.assert_array_equal(by_name["blk.0.attn_k.weight.lora_b"][1], b[8])


@pytest.mark.parametrize(
    ("kind", "error"),
    [("F16", 2**-11), ("BF16", 2**-8), ("Q8_0", 2**-7)],
)
def test_gguf_types_agree_with_the_reference_library(
    tmp_path: Path, kind: str, error: float
) -> None:
    peft = make_peft(tmp_path / "peft", "qwen2", rank=32)
    ggml = gguf.GGMLQuantizationType[kind]
    path = write_gguf(tmp_path / "x.gguf", peft, FAMILIES["qwen2"], ggml)
    adapter = Adapter.open(path, FAMILIES["qwen2"])
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for module in adapter.modules:
        stem = f"blk.{module.layer}.{GGUF_NAMES[module.target]}.weight"
        exact = peft.weights(module.layer, module.target)
        for half, values, full in zip(
            "ab", adapter.weights(module.layer, module.target), exact, strict=True
        ):
            tensor = stored[f"{stem}.lora_{half}"]
            assert tensor.tensor_type == ggml
            reference = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            np.testing.assert_array_equal(values, reference)
            assert np.max(np.abs(values - full)) <= error * np.max(np.abs(full))


def test_gguf_ranks_may_differ_between_modules(tmp_path: Path) -> None:
    def change(fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        stem = "blk.1.ffn_up.weight"
        tensors[f"{stem}.lora_a"] = np.ones((3, 64))
        tensors[f"{stem}.lora_b"] = np.ones((96, 3))

    peft = make_peft(tmp_path / "peft")
    path = write_gguf(tmp_path / "x.gguf", peft, TINY, change=change)
    adapter = Adapter.open(path, TINY)
    assert (adapter.rank(1, "up_proj"), adapter.rank(0, "up_proj")) == (3, 4)
    scales = {module.rank: module.scale for module in adapter.modules}
    assert scales == {3: pytest.approx(4.0), 4: pytest.approx(3.0)}


def test_gguf_alpha_of_zero_means_scale_one_as_in_llama_cpp(tmp_path: Path) -> None:
    peft = make_peft(tmp_path / "peft")
    path = write_gguf(
        tmp_path / "x.gguf", peft, TINY, change=lambda f, t: f.update({"adapter.lora.alpha": 0.0})
    )
    assert {module.scale for module in Adapter.open(path, TINY).modules} == {1.0}


@pytest.mark.parametrize(
    ("fields", "tensors", "message"),
    [
        ({"general.type": "model"}, {}, "general.type: must be 'adapter'"),
        ({"adapter.type": "ia3"}, {}, "adapter.type: must be 'lora'"),
        ({"adapter.type": None}, {}, "adapter.type: must be 'lora' .*missing"),
        ({"general.architecture": "qwen2"}, {}, "general.architecture: must be 'llama'"),
        ({"adapter.lora.alpha": None}, {}, "adapter.lora.alpha: must be a finite float"),
        ({"adapter.lora.alpha": 16}, {}, "adapter.lora.alpha: must be a finite float, not 16"),
        ({"adapter.lora.alpha": math.nan}, {}, "adapter.lora.alpha: must be a finite float"),
        ({"adapter.alora.invocation_tokens": [1, 2]}, {}, "aLoRA is not modelled"),
        ({"general.alignment": 24}, {}, "general.alignment: must be a power of two"),
        ({}, {"blk.0.attn_q.weight.lora_b": None}, "attn_q.weight.lora_b: this tensor is miss"),
        ({}, {"blk.0.attn_q.weight.lora_a": (4, 63)}, r"lora_a: shape must be \(rank, 64\)"),
        ({}, {"blk.0.attn_k.weight.lora_b": (64, 4)}, r"lora_b: shape must be \(32, 4\)"),
        ({}, {"blk.2.attn_q.weight.lora_a": (4, 64)}, "belongs to no linear layer"),
        ({}, {"blk.0.attn_norm.weight": (64,)}, "would replace base weights"),
        ({}, {"output.weight.lora_a": (4, 64)}, "output.weight.lora_b: this tensor is missing"),
        ({}, {"token_embd.weight.lora_a": (4, 64)}, "token_embd.*look-up of one ROM row"),
        ({}, {"blk.1.ffn_up.weight.lora_a": math.nan}, "lora_a: .*not finite"),
    ],
    ids=range(17),
)
def test_gguf_that_does_not_fit_is_refused(
    tmp_path: Path, fields: dict[str, Any], tensors: dict[str, Any], message: str
) -> None:
    def change(all_fields: dict[str, Any], all_tensors: dict[str, np.ndarray]) -> None:
        for key, value in fields.items():
            all_fields[key] = value
            if value is None:
                del all_fields[key]
        for name, value in tensors.items():
            if isinstance(value, tuple):
                all_tensors[name] = np.zeros(value)
            elif value is None:
                del all_tensors[name]
            else:
                all_tensors[name] = np.full((4, 64), value)

    peft = make_peft(tmp_path / "peft")
    path = write_gguf(tmp_path / "x.gguf", peft, TINY, change=change)
    with pytest.raises(InputError, match=f"x.gguf: .*{message}"):
        Adapter.open(path, TINY)


def test_gguf_non_finite_scale_of_a_quantized_block_is_found(tmp_path: Path) -> None:
    peft = make_peft(tmp_path / "peft", "qwen2", rank=32)
    kind = gguf.GGMLQuantizationType.Q8_0
    path = write_gguf(tmp_path / "x.gguf", peft, FAMILIES["qwen2"], kind)
    tensor = gguf.GGUFReader(path).tensors[3]
    content = bytearray(path.read_bytes())
    content[tensor.data_offset + 34 : tensor.data_offset + 36] = b"\x00\x7c"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{tensor.name}: .*not finite"):
        Adapter.open(path, FAMILIES["qwen2"])


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GG",
        b"GGUF",
        b"GGUF" + struct.pack("<I", 3),
        b"GGUF" + struct.pack("<I", 1) + bytes(16),
        b"GGUF" + struct.pack(">I", 3) + bytes(16),
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62) + bytes(64),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string(b"\xff\xfe") + bytes(64),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string(b"a") + struct.pack("<I", 99) + bytes(64),
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + string(b"a")
        + struct.pack("<IIQ", 9, 0, 2**63)
        + bytes(64),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string(b"a") + struct.pack("<IIQ", 9, 9, 1) * 40,
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (string(b"a") + struct.pack("<IB", 0, 1)) * 2,
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string(b"t") + struct.pack("<I", 2**31),
        b"GGUF"
        + struct.pack("<IQQ", 3, 1, 0)
        + string(b"t")
        + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0),
        b"GGUF"
        + struct.pack("<IQQ", 3, 1, 0)
        + string(b"t")
        + struct.pack("<IQIQ", 1, 8, 0, 2**50),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string(b"t") + struct.pack("<IQIQ", 1, 8, 12, 0),
        b"GGUF"
        + struct.pack("<IQQ", 3, 2, 0)
        + (string(b"t") + struct.pack("<IQIQ", 1, 8, 0, 0)) * 2
        + bytes(256),
    ],
    ids=range(19),
)
def test_lying_gguf_headers_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.gguf: ") as caught:
        Adapter.open(path, TINY)
    assert "\n" not in str(caught.value)


def test_gguf_metadata_of_any_type_is_skipped_over(tmp_path: Path) -> None:
    extra = (
        string(b"list of bytes")
        + struct.pack("<IIQ", 9, 0, 6 * 2**20)
        + bytes(6 * 2**20)
        + string(b"list of strings")
        + struct.pack("<IIQ", 9, 8, 2)
        + string(b"a")
        + string(b"b")
        + string(b"flag")
        + struct.pack("<IB", 7, 1)
        + string(b"double")
        + struct.pack("<Id", 12, 0.5)
    )
    peft = make_peft(tmp_path / "peft")
    path = write_gguf(tmp_path / "x.gguf", peft, TINY)
    content = path.read_bytes()
    values = struct.unpack_from("<Q", content, 16)[0]
    # The values are put first, in a multiple of the alignment, so that the data stay in place.
    padding = string(b"pad") + struct.pack("<I", 8)
    padding += string(b" " * (-(len(extra) + len(padding) + 8) % 32))
    path.write_bytes(content[:16] + struct.pack("<Q", values + 5) + extra + padding + content[24:])
    adapter = Adapter.open(path, TINY)
    np.testing.assert_array_equal(adapter.weights(1, "q_proj")[1], peft.weights(1, "q_proj")[1])


# --- safetensors ----------------------------------------------------------------------------


def safetensors_bytes(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes"),
        (b"\x01\x02", "has 2 bytes"),
        (struct.pack("<Q", 2**63), "is truncated or no safetensors file"),
        (safetensors_bytes({}, length=100), "is truncated or no safetensors file"),
        (safetensors_bytes(b"not json"), "header: is not valid JSON"),
        (safetensors_bytes(b"[]"), "header: must hold a JSON object"),
        (safetensors_bytes(b'{"a":' * 100_000), "header: is JSON nested too deeply"),
        (safetensors_bytes({"t": 1}), "t: its header entry must be"),
        (safetensors_bytes({"t": entry("I8")}, bytes(8)), "t: dtype must be .*not 'I8'"),
        (safetensors_bytes({"t": entry(["F32"])}, bytes(8)), "t: dtype must be"),
        (safetensors_bytes({"t": entry(shape=[-2])}, bytes(8)), "t: shape must be"),
        (safetensors_bytes({"t": entry(shape=[2.0])}, bytes(8)), "t: shape must be"),
        (safetensors_bytes({"t": entry(shape=[10**40])}, bytes(8)), "t: shape must be"),
        (safetensors_bytes({"t": entry(shape=None)}, bytes(8)), "t: shape must be"),
        (safetensors_bytes({"t": entry(offsets=[0])}, bytes(8)), "t: data_offsets must be"),
        (safetensors_bytes({"t": entry(offsets=[8, 0])}, bytes(8)), "t: data_offsets span -8"),
        (safetensors_bytes({"t": entry(shape=[3])}, bytes(8)), "t: data_offsets span 8 .* 12"),
        (safetensors_bytes({"t": entry(offsets=[8, 16])}, bytes(16)), "t: unused bytes lie before"),
        (safetensors_bytes({"t": entry()}, bytes(7)), "t: its data lie beyond the end"),
        (safetensors_bytes({"t": entry()}, bytes(9)), "1 bytes after the last tensor"),
        (
            safetensors_bytes({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
            "b: its data overlap",
        ),
        (
            safetensors_bytes({"\x1b[31m" + "x" * 10_000: entry("I8")}, bytes(8)),
            r"'\\x1b\[31mx+'?: dtype",
        ),
    ],
    ids=range(22),
)
def test_lying_safetensors_headers_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"x.safetensors: .*{message}") as caught:
        read_safetensors(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**40))
        file.truncate(2**41)  # sparse
    with pytest.raises(InputError, match="its header has 1099511627776 bytes; at most"):
        read_safetensors(path)


def test_bf16_is_widened_exactly(tmp_path: Path) -> None:
    words = np.array([0x3F80, 0xC000, 0x0001, 0x7F7F, 0x8000, 0x3EAB], "<u2")
    header = {"t": entry("BF16", [2, 3], [0, 12])}
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes(header, words.tobytes()))
    tensor = read_safetensors(path)["t"]
    tensor.check_finite()
    values = tensor.read()
    assert values.dtype == np.float32 and values.shape == (2, 3)
    assert values[0, 0] == 1.0 and values[0, 1] == -2.0 and values[1, 2] == 171 / 512
    np.testing.assert_array_equal(values.reshape(-1).view(np.uint32) >> 16, words)
    for bad in (0x7F80, 0xFFC0):
        path.write_bytes(safetensors_bytes(header, np.full(6, bad, "<u2").tobytes()))
        with pytest.raises(InputError, match="t: holds values that are not finite"):
            read_safetensors(path)["t"].check_finite()


# --- pickles and paths ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt", "adapter.pkl"])
@pytest.mark.parametrize("as_zip", [False, True], ids=["pickle", "zip"])
def test_pickles_are_refused_under_any_name(tmp_path: Path, name: str, as_zip: bool) -> None:
    def write(path: Path) -> Path:
        if as_zip:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("data.pkl", pickle.dumps({}))
        else:
            path.write_bytes(pickle.dumps({"a": list(range(100))}))
        return path

    message = "pickle files can run code and are refused; save as safetensors"
    for path in (name, "x.gguf", "noending"):
        with pytest.raises(InputError, match=message):
            Adapter.open(write(tmp_path / path), TINY)
    folder = tmp_path / "peft"
    make_peft(folder)
    write(folder / "adapter_model.safetensors")
    with pytest.raises(InputError, match=rf"adapter_model\.safetensors: {message}"):
        Adapter.open(folder, TINY)
    (folder / "adapter_model.safetensors").unlink()
    write(folder / "adapter_model.bin")
    with pytest.raises(InputError, match=rf"adapter_model\.bin: {message}"):
        Adapter.open(folder, TINY)


def test_a_safetensors_header_that_begins_like_a_pickle_is_none(tmp_path: Path) -> None:
    # A header of 640 bytes begins with 80 02, as a pickle of protocol 2 does.
    text = json.dumps({"t": entry()}).encode().ljust(640)
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes(text, bytes(8)))
    assert path.read_bytes()[:2] == pickle.dumps({}, protocol=2)[:2]
    assert list(read_safetensors(path)) == ["t"]


def test_paths_that_hold_no_adapter(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    make_peft(tmp_path / "no-config")
    (tmp_path / "no-config" / "adapter_config.json").unlink()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.gguf")
    make_peft(tmp_path / "folder-inside")
    (tmp_path / "folder-inside" / "adapter_model.safetensors").unlink()
    (tmp_path / "folder-inside" / "adapter_model.safetensors").mkdir()
    for name, message in {
        "gone": "does not exist",
        "empty": "holds no adapter_model.safetensors",
        "text.txt": "is no adapter; give a PEFT folder",
        "no-config": "holds no adapter_config.json",
        "loop": "cannot be read",
        "pipe": "is no regular file",
        "pipe.gguf": "is no regular file",
        "folder-inside": "is a folder",
    }.items():
        with pytest.raises(InputError, match=f"{name}.*: {message}"):
            Adapter.open(tmp_path / name, TINY)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "."])
def test_files_without_permission_are_refused(tmp_path: Path, name: str) -> None:
    make_peft(tmp_path / "x")
    (tmp_path / "x" / name).chmod(0)
    try:
        with pytest.raises(InputError, match="cannot be read"):
            Adapter.open(tmp_path / "x", TINY)
    finally:
        (tmp_path / "x" / name).chmod(0o700)


# --- damaged files --------------------------------------------------------------------------


@cache
def sound_files() -> dict[str, bytes]:
    """Return the bytes of a sound adapter in each container, and of its configuration."""
    with tempfile.TemporaryDirectory() as folder:
        peft = make_peft(Path(folder) / "peft")
        path = write_gguf(Path(folder) / "x.gguf", peft, TINY)
        return {
            "adapter_config.json": (Path(folder) / "peft" / "adapter_config.json").read_bytes(),
            "adapter_model.safetensors": (
                Path(folder) / "peft" / "adapter_model.safetensors"
            ).read_bytes(),
            "x.gguf": path.read_bytes(),
        }


def check_opens_or_is_refused(name: str, content: bytes) -> None:
    """Open a file of a sound adapter after damage: a valid adapter or one clear sentence."""
    with tempfile.TemporaryDirectory() as folder:
        for other, sound in sound_files().items():
            (Path(folder) / other).write_bytes(content if other == name else sound)
        path = Path(folder) / name if name == "x.gguf" else Path(folder)
        try:
            adapter = Adapter.open(path, TINY)
        except InputError as error:
            assert str(error).startswith(folder)
            assert "\n" not in str(error)
            return
        for module in adapter.modules:
            a, b = adapter.weights(module.layer, module.target)
            assert a.shape == (module.rank, module.in_features)
            assert b.shape == (module.out_features, module.rank)
            assert np.isfinite(a).all() and np.isfinite(b).all()
            assert math.isfinite(module.scale)


FILES = st.sampled_from(["adapter_config.json", "adapter_model.safetensors", "x.gguf"])


@examples(150)
@given(name=FILES, share=st.floats(0, 1), from_header=st.booleans())
def test_truncated_files_are_refused_or_valid(name: str, share: float, from_header: bool) -> None:
    sound = sound_files()[name]
    reach = min(len(sound), 4000) if from_header else len(sound)
    check_opens_or_is_refused(name, sound[: int(share * reach)])


@examples(150)
@given(
    name=FILES,
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
    near=st.booleans(),
)
def test_flipped_bytes_are_refused_or_valid(
    name: str, changes: list[tuple[float, int]], near: bool
) -> None:
    content = bytearray(sound_files()[name])
    # Most fields that lie about lengths stand in the first bytes; the headers are about 4 kB.
    reach = min(len(content), 120 if near else 4500)
    for share, value in changes:
        content[int(share * (reach - 1))] = value
    check_opens_or_is_refused(name, bytes(content))


@examples(150)
@given(name=FILES, position=st.floats(0, 1), length=st.integers(0, 64), junk=st.binary(max_size=64))
def test_spliced_files_are_refused_or_valid(
    name: str, position: float, length: int, junk: bytes
) -> None:
    sound = sound_files()[name]
    start = int(position * min(len(sound), 4500))
    check_opens_or_is_refused(name, sound[:start] + junk + sound[start + length :])


@examples(80)
@given(word=st.integers(0, 2**64 - 1), position=st.integers(0, 600))
def test_random_lengths_in_gguf_are_refused_or_valid(word: int, position: int) -> None:
    content = bytearray(sound_files()["x.gguf"])
    content[position : position + 8] = struct.pack("<Q", word)
    check_opens_or_is_refused("x.gguf", bytes(content))
