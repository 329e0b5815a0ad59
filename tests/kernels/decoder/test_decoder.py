"""The decoder against transformers and PEFT, its laws over batches and pages, and bad input."""

import importlib.util
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from small_models import (
    ADAPTERS_OF,
    DIMENSIONS,
    LLAMA,
    MODELS,
    TOKENS,
    write_adapter,
    write_model,
    write_tensors,
)

from hardwire.kernels.decoder.decoder import Decoder
from hardwire.kernels.decoder.kv_cache import PAGE_TOKENS
from hardwire.kernels.decoder.kv_cache import Sequence as KVSequence
from hardwire.kernels.decoder.rope import Rope, YarnScaling
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.errors import InputError
from hardwire.models.language_model import HEAD, TARGETS, LanguageModel

pytestmark = pytest.mark.slow

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "decoder_logits.npz"
CLOSE = {"rtol": 0, "atol": 5e-5}
TINY = LanguageModel.from_config(DIMENSIONS | LLAMA, name="tiny")
needs_reference = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "peft")),
    reason="torch, transformers and peft (the extra 'reference') are not installed",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every model of `small_models`, and every adapter for each of two of them."""
    folder = tmp_path_factory.mktemp("models")
    for name in MODELS:
        model = write_model(folder / name, name)
        for adapter in ADAPTERS_OF.get(name, ()):
            write_adapter(folder / f"{name}-{adapter}", adapter, model)
    return folder


def token_by_token(
    decoder: Decoder, tokens: np.ndarray, adapter: str | None = None
) -> tuple[np.ndarray, KVSequence]:
    sequence = KVSequence()
    rows = [decoder.step([token], [sequence], [adapter])[0] for token in tokens]
    return np.array(rows), sequence


# --- against the reference ------------------------------------------------------------------


@pytest.mark.parametrize("case", np.load(FIXTURE).files)
def test_logits_equal_the_stored_reference(files: Path, case: str) -> None:
    name, _, adapter = case.partition("/")
    decoder = Decoder.load(files / name)
    path = files / f"{name}-{adapter}" if adapter else None
    np.testing.assert_allclose(decoder.logits(TOKENS, path)[5::6], np.load(FIXTURE)[case], **CLOSE)


@needs_reference
@pytest.mark.parametrize("name", MODELS)
def test_base_logits_equal_transformers(files: Path, name: str) -> None:
    from reference_logits import reference_logits

    expected = reference_logits(files / name, None, TOKENS)
    decoder = Decoder.load(files / name)
    np.testing.assert_allclose(decoder.logits(TOKENS), expected, **CLOSE)
    np.testing.assert_allclose(token_by_token(decoder, TOKENS)[0], expected, **CLOSE)
    assert expected.std() > 1


@needs_reference
@pytest.mark.parametrize(("name", "adapter"), [(n, a) for n in ADAPTERS_OF for a in ADAPTERS_OF[n]])
def test_adapter_logits_equal_peft(files: Path, name: str, adapter: str) -> None:
    from reference_logits import reference_logits

    path = files / f"{name}-{adapter}"
    expected = reference_logits(files / name, path, TOKENS)
    decoder = Decoder.load(files / name)
    decoder.add_adapter("a", path)
    np.testing.assert_allclose(decoder.logits(TOKENS, "a"), expected, **CLOSE)
    np.testing.assert_allclose(token_by_token(decoder, TOKENS, "a")[0], expected, **CLOSE)
    assert np.abs(decoder.logits(TOKENS) - expected).max() > 1


def test_a_checkpoint_that_computes_with_quantized_weights_is_refused(tmp_path: Path) -> None:
    """BitNet's bfloat16 master weights, too: transformers rounds them as it multiplies."""
    write_model(tmp_path / "m", "bitnet")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    for said in ({"quant_method": "bitnet", "quantization_mode": "online"}, "gptq"):
        path.write_text(json.dumps(config | {"quantization_config": said}))
        with pytest.raises(
            InputError,
            match=r"quantization_config: (weights quantized by 'bit|must be a mapping, not 'gp)",
        ):
            Decoder.load(tmp_path / "m")


@needs_reference
def test_shards_and_bfloat16_equal_transformers(tmp_path: Path) -> None:
    from reference_logits import reference_logits

    write_model(tmp_path / "m", "llama", "BF16", shards=3)
    expected = reference_logits(tmp_path / "m", None, TOKENS)
    np.testing.assert_allclose(Decoder.load(tmp_path / "m").logits(TOKENS), expected, **CLOSE)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
@pytest.mark.parametrize("adapter", ["all-linear", "qv", "rslora", "lm-head"])
def test_gguf_adapters_give_the_same_logits(
    files: Path, tmp_path: Path, name: str, adapter: str
) -> None:
    decoder = Decoder.load(files / name)
    peft = files / f"{name}-{adapter}"
    path = to_gguf(tmp_path / "x.gguf", Adapter.open(peft, decoder.model), decoder.model)
    case = f"{name}/{adapter}"
    got = decoder.logits(TOKENS, path)
    np.testing.assert_allclose(got[5::6], np.load(FIXTURE)[case], **CLOSE)
    np.testing.assert_allclose(got, decoder.logits(TOKENS, peft), **CLOSE)


def to_gguf(path: Path, adapter: Adapter, model: LanguageModel) -> Path:
    """Convert as llama.cpp does: interleaved rows of q and k for llama, alpha as scale times r."""
    import gguf

    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    names = dict(zip(TARGETS, parts, strict=True))
    writer = gguf.GGUFWriter(path, model.family)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    first = adapter.modules[0]
    writer.add_float32("adapter.lora.alpha", first.scale * first.rank)
    for module in adapter.modules:
        a, b = adapter.weights(module.layer, module.target)
        if model.family == "llama" and module.target in ("q_proj", "k_proj"):
            heads = model.heads if module.target == "q_proj" else model.kv_heads
            b = b.reshape(heads, 2, -1, module.rank).swapaxes(1, 2).reshape(b.shape)
        at_head = module.target == HEAD
        stem = "output.weight" if at_head else f"blk.{module.layer}.{names[module.target]}.weight"
        writer.add_tensor(f"{stem}.lora_a", a)
        writer.add_tensor(f"{stem}.lora_b", np.ascontiguousarray(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# --- laws: a token's logits are its own -----------------------------------------------------


@pytest.mark.parametrize("kv_bits", [32, 16, 8, "e4m3", 4])
@pytest.mark.parametrize("weights", ["float32", "rom3", "rom3+6", "rom4", "rom6", "ternary/tensor"])
def test_prefill_and_decode_give_the_same_bits(weights: str, kv_bits: int | str) -> None:
    one = Decoder.random(TINY, 1, weights, kv_bits=kv_bits)
    two = Decoder.random(TINY, 1, weights, kv_bits=kv_bits, threads=2)
    whole = one.logits(TOKENS[:70])
    np.testing.assert_array_equal(token_by_token(one, TOKENS[:70])[0], whole)
    np.testing.assert_array_equal(two.logits(TOKENS[:70]), whole)
    np.testing.assert_array_equal(one.logits(TOKENS[:33]), whole[:33])


@examples(25)
@given(
    data=st.data(),
    kv_bits=st.sampled_from([32, 8, 4]),
    weights=st.sampled_from(["float32", "rom3"]),
)
def test_each_token_in_a_batch_equals_running_it_alone(
    files: Path, data: st.DataObject, kv_bits: int, weights: str
) -> None:
    """Random schedules of users, adapters and swaps in mixed batches."""
    decoder = Decoder.load(files / "llama", weights, kv_bits=kv_bits)
    names = [None, "all-linear", "qv", "rslora", "lm-head"]
    for name in names[1:]:
        decoder.add_adapter(str(name), files / f"llama-{name}")
    users: list[tuple[str | None, KVSequence, list[int], list[np.ndarray]]] = []
    for _ in range(data.draw(st.integers(1, 4))):
        users.append((data.draw(st.sampled_from(names)), KVSequence(), [], []))
    for _ in range(data.draw(st.integers(1, 6))):
        order = data.draw(st.lists(st.integers(0, len(users) - 1), min_size=1, max_size=12))
        tokens = data.draw(st.lists(st.integers(0, 127), min_size=len(order), max_size=len(order)))
        chosen = [users[index] for index in order]
        logits = decoder.step(tokens, [u[1] for u in chosen], [u[0] for u in chosen])
        for user, token, row in zip(chosen, tokens, logits, strict=True):
            user[2].append(token)
            user[3].append(row)
        # An adapter that leaves and comes back in between changes nothing for the others.
        if data.draw(st.booleans()):
            decoder.add_adapter("other", files / "llama-patterns")
    for adapter, _, tokens, rows in users:
        if tokens:
            np.testing.assert_array_equal(decoder.logits(tokens, adapter), np.array(rows))


def test_a_swap_between_layers_leaves_tokens_in_flight_alone(files: Path) -> None:
    decoder = Decoder.load(files / "llama")
    decoder.add_adapter("a", files / "llama-all-linear")
    expected = decoder.logits(TOKENS[:3], "a")
    sequence = KVSequence()
    batch, x = decoder.begin(TOKENS[:3], [sequence] * 3, ["a"] * 3)
    x = decoder.layer(0, x, batch)
    decoder.remove_adapter("a")
    decoder.add_adapter("a", files / "llama-patterns")
    x = decoder.layer(1, x, batch)
    np.testing.assert_array_equal(decoder.head(x, batch.adapters), expected)
    with pytest.raises(ValueError, match="version 1 cannot be read by a token of adapter version"):
        decoder.step([1], [sequence], ["a"])


def test_a_page_of_another_owner_is_never_read(files: Path) -> None:
    decoder = Decoder.load(files / "llama")
    decoder.add_adapter("a", files / "llama-qv")
    mine = KVSequence()
    decoder.step([1], [mine], ["a"])
    batch, x = decoder.begin([2], [mine], ["a"])
    x = decoder.layer(0, x, batch)
    decoder.cache.release(mine)  # while the token is still on its way
    other = KVSequence()
    decoder.step([3], [other], [None])
    with pytest.raises(ValueError, match="KV page 0 belongs to another adapter"):
        decoder.layer(1, x, batch)


def test_pages_are_given_back(files: Path) -> None:
    decoder = Decoder.load(files / "llama", kv_bits=4)
    decoder.logits(TOKENS)
    decoder.generate(TOKENS, PAGE_TOKENS)
    assert decoder.cache.pages_in_use == 0
    with pytest.raises(ValueError):
        decoder.logits([0, 128])
    assert decoder.cache.pages_in_use == 0


# --- formats --------------------------------------------------------------------------------


def test_more_bits_are_closer_to_float32() -> None:
    exact = Decoder.random(TINY, 3).logits(TOKENS)

    def error(weights: str, kv_bits: int) -> float:
        got = Decoder.random(TINY, 3, weights, kv_bits=kv_bits).logits(TOKENS)
        return 10 * math.log10((exact**2).mean() / ((got - exact) ** 2).mean())

    weights = [error(f"rom{bits}", 32) for bits in (3, 4, 6)]
    cache = [error("float32", bits) for bits in (4, 8, 16)]
    assert weights == sorted(weights) and cache == sorted(cache)
    assert weights[0] > 10 and weights[2] > 25 and cache[0] > 20 and cache[2] > 70


def test_packed_weights_take_their_bits() -> None:
    model = LanguageModel.from_config(
        DIMENSIONS | LLAMA | {"hidden_size": 128, "intermediate_size": 256}
    )
    head = {name: Decoder.random(model, 0, name).base.head.nbytes for name in ("rom3", "rom4")}
    weights = model.vocab * model.hidden
    assert head == {"rom3": weights * 3.5 / 8, "rom4": weights * 4.5 / 8}


# --- generation -----------------------------------------------------------------------------


def test_greedy_generation_follows_the_logits(files: Path) -> None:
    decoder = Decoder.load(files / "llama")
    tokens = list(TOKENS[:10])
    new = decoder.generate(tokens, 8)
    logits = decoder.logits(tokens + new)
    assert new == list(np.argmax(logits[9:-1], axis=1))
    assert decoder.generate(tokens, 8, top_k=1, temperature=1.0) == new
    assert decoder.generate(tokens, 0) == []
    with_adapter = decoder.generate(tokens, 8, files / "llama-all-linear")
    assert with_adapter != new


def test_sampling_repeats_with_its_seed(files: Path) -> None:
    decoder = Decoder.load(files / "llama")

    def draw(seed: int) -> list[int]:
        return decoder.generate(TOKENS[:5], 12, top_k=20, temperature=2.0, seed=seed)

    assert draw(1) == draw(1) != draw(2)


# --- bad input ------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    write_model(tmp_path / "m", "llama")
    return tmp_path / "m"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_theta": -1}, r"config\.json: rope_theta: must be a positive number, not -1"),
        ({"rope_scaling": {"rope_type": "dynamic"}}, "must be default, linear, llama3 or yarn, n"),
        ({"rope_scaling": {"rope_type": "yarn"}}, r"rope_scaling\.factor: must be a positive num"),
        ({"rope_scaling": {"rope_type": "llama3"}}, r"rope_scaling\.factor: must be a positive"),
        ({"rope_scaling": 3}, "rope_scaling: must be an object"),
        ({"rms_norm_eps": "x"}, "rms_norm_eps: must be between 0 and 1, not 'x'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: must be 1"),
        ({"vocab_size": 127}, r"embed_tokens\.weight: shape must be \(127, 64\) for m"),
        ({"num_hidden_layers": 3}, r"model\.layers\.2\..*: this tensor of m is missing"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\..*: is no tensor of m"),
    ],
    ids=range(10),
)
def test_bad_configurations_are_refused(broken: Path, change: dict[str, Any], message: str) -> None:
    path = broken / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message) as caught:
        Decoder.load(broken)
    assert "\n" not in str(caught.value)


BESIDE = {"rope_type": "default", "rope_theta": 500000.0}


@pytest.mark.parametrize("field", ["rope_scaling", "rope_parameters"])
def test_rope_scaling_beside_rope_parameters_wins(broken: Path, field: str) -> None:
    """As in transformers 5, whose RotaryEmbeddingConfigMixin takes `rope_scaling or ...`."""
    path = broken / "config.json"
    config = json.loads(path.read_text())
    expected = Decoder.load(broken).logits(TOKENS[:80])
    scaling = config.pop("rope_scaling") | {"rope_theta": config.pop("rope_theta")}
    path.write_text(json.dumps(config | {"rope_parameters": BESIDE, field: scaling}))
    np.testing.assert_array_equal(Decoder.load(broken).logits(TOKENS[:80]), expected)
    path.write_text(json.dumps(config | {"rope_parameters": BESIDE}))
    assert not np.array_equal(Decoder.load(broken).logits(TOKENS[:80]), expected)


def test_yarn_beside_rope_parameters_wins() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 500000.0}
    config = {"max_position_embeddings": 512, "rope_scaling": yarn}
    alone = Rope.from_config(config, "c")
    assert alone == Rope.from_config(config | {"rope_parameters": BESIDE}, "c")
    assert alone.scaling is not None and alone != Rope.from_config({"rope_parameters": BESIDE}, "c")


def test_what_the_winning_field_does_not_say_is_not_taken_from_the_other() -> None:
    config = {"rope_scaling": {"rope_type": "default"}, "rope_parameters": BESIDE}
    assert Rope.from_config(config, "c").theta == 10_000
    assert Rope.from_config(config | {"rope_theta": 7.0}, "c").theta == 7
    half = {"partial_rotary_factor": 1, "rope_parameters": BESIDE | {"partial_rotary_factor": 0.5}}
    with pytest.raises(InputError, match="partial_rotary_factor: must be 1"):
        Rope.from_config(half, "c")


def test_an_original_context_that_is_not_said_is_the_whole_one() -> None:
    scaling = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}
    config = {"rope_scaling": scaling, "max_position_embeddings": 512}
    rope = Rope.from_config(config, "c")
    assert rope.scaling is not None and rope.scaling.original_positions == 512


def test_reported_tokens_of_rope_scaling_beside_rope_parameters(shared_data: Path) -> None:
    folder = shared_data / "reports/rope-scaling-beside-rope-parameters"
    prompt = [k % 64 for k in range(400)]
    both, alone = (Decoder.load(folder / name) for name in ("both", "scaling-only"))
    np.testing.assert_array_equal(both.logits(prompt), alone.logits(prompt))
    assert isinstance(Decoder.load(folder / "yarn").rope.scaling, YarnScaling)


@pytest.mark.parametrize(
    "stored",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: name.removeprefix("model."),
        lambda name: (
            name if name == "lm_head.weight" else name.replace("model.", "model.language_model.")
        ),
        lambda name: f"language_model.{name}",
    ],
    ids=["torch-compile", "no-prefix", "language-model", "language-model-outside"],
)
def test_checkpoints_with_marks_of_other_tools_in_their_names_are_read(
    tmp_path: Path, stored: Callable[[str], str]
) -> None:
    from safetensors.numpy import load_file, save_file

    write_model(tmp_path / "m", "llama")
    expected = Decoder.load(tmp_path / "m").logits(TOKENS[:9])
    path = tmp_path / "m" / "model.safetensors"
    tensors = load_file(path)
    path.unlink()
    save_file({stored(name): value for name, value in tensors.items()}, path)
    np.testing.assert_array_equal(Decoder.load(tmp_path / "m").logits(TOKENS[:9]), expected)


def test_bad_files_are_refused(broken: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            Decoder.load(broken)

    good = broken / "model.safetensors"
    write_tensors(broken / "x.safetensors", {"lm_head.weight": np.zeros((128, 64), "f4")}, "F32")
    index = broken / "model.safetensors.index.json"
    good.rename(broken / "y.safetensors")
    (broken / "pytorch_model.bin").write_bytes(b"\x80\x02")
    refused("pickle files can run code")
    (broken / "pytorch_model.bin").unlink()
    refused(r"holds neither model\.safetensors nor")
    for shard, message in {
        "../x.safetensors": "must be a file of the same folder",
        "gone.safetensors": "does not exist",
        "x.safetensors": "this tensor of m is missing; the file holds lm_head.weight$",
    }.items():
        index.write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
        refused(message)
    index.write_text(json.dumps({"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}))
    refused(r"lm_head\.weight: is also in x\.safetensors")
    index.write_text(json.dumps({"weight_map": 3}))
    refused("weight_map: must be an object")


@pytest.mark.parametrize("weights", ["float32", "rom4"])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, weights: str) -> None:
    write_model(tmp_path / "m", "llama")
    path = tmp_path / "m" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4:] = np.array([np.nan], "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.norm\.weight: holds values that are not finite"):
        Decoder.load(tmp_path / "m", weights)


def test_requests_that_cannot_be_served_change_nothing(files: Path, tmp_path: Path) -> None:
    decoder = Decoder.load(files / "llama")
    sequence = KVSequence()
    a = decoder.add_adapter("a", files / "llama-qv")
    decoder.remove_adapter("a")
    longest = decoder.model.max_position
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: decoder.step([1, 2], [sequence] * 2, [None, "a"]), "'a' is not resident"),
        (lambda: decoder.step([1, 2], [sequence] * 2, [None, a]), "of the base alone cannot be"),
        (lambda: decoder.step([128], [sequence], [None]), "must be from 0 to 127"),
        (lambda: decoder.step([-1], [sequence], [None]), "must be from 0 to 127"),
        (lambda: decoder.step([1.5], [sequence], [None]), "a list of at least 1 integer"),
        (lambda: decoder.step([], [], []), "a list of at least 1 integer"),
        (lambda: decoder.step([1], [], []), "every token needs a sequence"),
        (
            lambda: decoder.step(
                [0] * (longest + 1), [sequence] * (longest + 1), [None] * (longest + 1)
            ),
            "a sequence of 1,025 tokens exceeds the 1,024 positions",
        ),
        (lambda: decoder.remove_adapter("b"), r"'b' is not resident.*\(resident: none\)"),
        (lambda: decoder.generate([1], -1), "count must be 0 or more"),
        (lambda: decoder.generate([1], 1, top_k=0), "top_k must be at least 1"),
        (lambda: decoder.generate([1], 1, temperature=-1), "temperature must be 0 or more"),
        (lambda: decoder.generate([1], 1, seed=-1), "seed must be 0 or more"),
        (lambda: Decoder.load(files / "llama", "rom5"), "weights must be one of float32, rom3"),
        (lambda: Decoder.load(files / "llama", kv_bits=5), "kv_bits must be one of 32, 16, 8, 4"),
        (lambda: Decoder.load(files / "llama", threads=0), "threads must be at least 1"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    assert (sequence.length, sequence.pages, decoder.cache.pages_in_use) == (0, [], 0)


def test_an_adapter_for_another_base_is_refused(files: Path, tmp_path: Path) -> None:
    decoder = Decoder.load(files / "llama-deep")
    shutil.copytree(files / "llama-qv", tmp_path / "a")
    with pytest.raises(InputError, match="shape must be"):
        decoder.add_adapter("a", tmp_path / "a")
    opened = Adapter.open(files / "llama-qv", Decoder.load(files / "llama").model)
    refusal = r"llama-qv was made for llama \(hidden 64\); llama-deep has 72"
    with pytest.raises(InputError, match=refusal):
        decoder.add_adapter("a", opened)
    assert decoder.adapters == {}
