"""What the chip's number formats cost against float32: in products, in logits, in the distribution.

One text goes through a model in float32 and then in each format. Three things are compared: each
matrix's product on the same input (its own error), the logits (the error after all layers), and the
distribution of the next token (what a user meets).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.formats.divergence import (
    Divergence,
    divergence,
    entropy_nats,
    scale_to_entropy,
)
from hardwire.experiments.run.kernels import decibels
from hardwire.experiments.run.tokens import decoder_threads
from hardwire.kernels.decoder.base_weights import WEIGHT_FORMATS, Matrix
from hardwire.kernels.decoder.checkpoint import RandomWeights
from hardwire.kernels.decoder.decoder import Decoder, ResidentAdapter
from hardwire.kernels.decoder.kv_cache import KV_FORMATS, KVCache
from hardwire.kernels.decoder.rope import LLAMA_3_1_ROPE
from hardwire.kernels.lowrank.batch import LowRankBatch
from hardwire.kernels.lowrank.formats import FORMATS
from hardwire.kernels.lowrank.lowrank import LowRankImage, reference
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.errors import InputError
from hardwire.models.language_model import HEAD, TARGETS, LanguageModel, module_path

RANKS = (1, 4, 16, 64, 256)
"""Ranks of the random adapters, as far as the model is that wide."""

ADAPTER_STRENGTH = 0.2
"""Random adapters: norm of s · B A x over that of W x, in every linear layer.

Range 0.1 to 0.3: an adapter that changes what its base does, and does not replace it.
"""

ENTROPY_NATS = 2.0
"""Random models: entropy of the next token in float32.

Range 1 to 3: a perplexity of e^2, about 7, is that of a model of this kind on ordinary text, and
in a calibrated one entropy is its logarithm. Logits of random weights as drawn are nearly equal.
"""

SCORE_SPREAD = 2.0
"""Random models: standard deviation of attention scores before softmax, about.

Range 1 to 4: at 1 a token attends to most others and errors of the KV cache average out, at 4 to
very few.
"""

_PRODUCT_TOKENS = 64  # of the text on which single products are compared, which bounds memory
_SCALE_TOKENS = 64  # whose entropy sets a random model's logit scale
_DRAWN_STD = 0.02  # of the matrices of RandomWeights

Place = tuple[int, str]
Modules = dict[Place, tuple[NDArray[np.float32], NDArray[np.float32], float]]
Products = dict[Place, tuple[NDArray[np.float32], NDArray[np.float32]]]


def small_llama() -> LanguageModel:
    """Llama 3.1 8B with an eighth of its widths, heads, layers and vocabulary."""
    return LanguageModel.from_config(
        {
            "model_type": "llama",
            "num_hidden_layers": 4,
            "hidden_size": 512,
            "intermediate_size": 1792,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 128,
            "vocab_size": 16032,
            "max_position_embeddings": 131072,
        },
        name="llama-3.1-8b at 1/8",
    )


@dataclass(frozen=True)
class BaseError:
    """Error of one format of weights and KV cache, the base alone.

    ``weight_bits`` and ``kv_stored_bits`` are bits per weight and element as stored, scales and
    padding included. ``product_sqnr_db`` is of the matrices' products, which the KV cache does not
    change: noise over signal, mean over the matrices.
    """

    weights: str
    weight_bits: float
    kv_bits: int
    kv_format: str
    kv_stored_bits: float
    product_sqnr_db: float
    error: Divergence


@dataclass(frozen=True)
class AdapterError:
    """Error of one format of an adapter's image, on a float32 base.

    ``adapter_bits`` are stored per weight. ``product_sqnr_db`` is of s · B A x against float64,
    ``error`` against the float32 image.
    """

    adapter_format: str
    rank: int
    adapter_bits: float
    product_sqnr_db: float
    error: Divergence


@dataclass(frozen=True)
class FormatReport:
    """All formats of a model.

    Attributes
    ----------
    model
        Its name.
    random_weights
        Whether they stand in for real ones.
    tokens, seed
        Length of the text, and where its random tokens (and random weights) come from.
    entropy_nats
        Of the distribution in float32, mean over the tokens.
    adapter
        Name, or None for random ones.
    adapter_strength
        Norm of s · B A x over that of W x, root mean square over the adapted layers.
    base, adapters
    """

    model: str
    random_weights: bool
    tokens: int
    seed: int
    entropy_nats: float
    adapter: str | None
    adapter_strength: float
    base: tuple[BaseError, ...]
    adapters: tuple[AdapterError, ...]

    @property
    def title(self) -> str:
        """Name of the model, its weights and the text."""
        source = "random weights" if self.random_weights else "its own weights"
        return f"{self.model} · {source} · {self.tokens:,} random tokens · seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        data = dataclasses.asdict(self)
        for part in ("base", "adapters"):
            data[part] = [_flat(row) for row in data[part]]
        return data

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per measurement; a row has no adapter, or a float32 base beside one."""
        exact = dataclasses.asdict(self.base[0])
        common = ("weights", "weight_bits", "kv_bits", "kv_format", "kv_stored_bits")
        plain = {key: exact[key] for key in common}
        none = {"adapter_format": None, "rank": None, "adapter_bits": None}
        rows = []
        for base in self.base:
            row = _flat(dataclasses.asdict(base))
            rows.append({key: row[key] for key in plain} | none | row)
        for adapter in self.adapters:
            row = _flat(dataclasses.asdict(adapter))
            rows.append(plain | {key: row.pop(key) for key in none} | row)
        return rows


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in row if key != "error"} | row["error"]


def measure(
    model: LanguageModel,
    folder: Path | None,
    adapter: Adapter | None,
    *,
    tokens: int = 256,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> FormatReport:
    """Take one random text through a model in every format.

    Parameters
    ----------
    model
        Its shapes.
    folder
        Hugging Face folder with its weights; None for random ones.
    adapter
        One with weights; None for random ones of `RANKS`.
    tokens, seed
    report
        Told after each format how many are done, and of how many.

    Returns
    -------
    FormatReport
        `base` has every format of the weights with every format of the KV cache, from float32 on;
        `adapters` every format of the images, for each rank.

    Raises
    ------
    InputError
        If a file cannot be used, the text is too long for the model, or a weight is beyond a
        format.
    """
    if tokens > model.max_position:
        raise InputError(f"--tokens {tokens}: exceeds {model.limit()}")
    if adapter is not None and adapter.source is None:
        raise InputError(f"--adapter {adapter.name}: is a shape without weights; give its file")
    text = np.random.default_rng(seed).integers(0, model.vocab, tokens)
    decoder = _open(model, folder, "float32", seed)
    exact, products = _recorded(decoder, text)
    factor = 1.0
    if folder is None:
        nats = min(ENTROPY_NATS, math.log(model.vocab) / 2)
        factor = scale_to_entropy(exact[:_SCALE_TOKENS], nats)
    scale = np.float32(factor)
    exact = exact * scale
    ranks = 1 if adapter is not None else sum(rank <= model.hidden for rank in RANKS)
    total, done = len(FORMATS) * ranks + len(WEIGHT_FORMATS) * len(KV_FORMATS), itertools.count(1)

    def step() -> None:
        report(next(done), total)

    adapters, strength = _adapter_errors(decoder, text, products, scale, adapter, seed, step)
    base: list[BaseError] = []
    for weights in WEIGHT_FORMATS:
        if weights != "float32":
            del decoder  # before the next one: a model may fill half of the memory
            decoder = _open(model, folder, weights, seed)
        noise = [
            _noise_ratio(y, _matrix(decoder, place).apply(x, decoder.threads))
            for place, (x, y) in products.items()
        ]
        for kv_format, bits in KV_FORMATS.items():
            kv_bits = kv_format if kv_format == "e4m3" else bits
            decoder.cache = KVCache(model.layers, model.kv_heads, model.head_dim, kv_bits)
            error = divergence(exact, decoder.logits(text) * scale)
            base.append(
                BaseError(
                    weights,
                    _weight_bits(decoder),
                    bits,
                    kv_format,
                    _kv_bits(decoder.cache),
                    decibels(1.0, float(np.mean(noise))),
                    error,
                )
            )
            step()
    return FormatReport(
        model.name,
        folder is None,
        tokens,
        seed,
        entropy_nats(exact),
        adapter.name if adapter else None,
        strength,
        tuple(base),
        tuple(adapters),
    )


class _StandIn:
    """Random weights with the powers of a network that can be trained.

    Each matrix is normal with standard deviation 1 / sqrt(in_features), so that its product keeps
    the power of its input; the query's is `SCORE_SPREAD` times that, and those that write to the
    residual stream are 1 / sqrt(N) times that with N the number of such matrices, as GPT-2 was
    initialised (Radford et al. 2019, section 2.3). The embedding has standard deviation 1.
    """

    def __init__(self, model: LanguageModel, seed: int) -> None:
        self._random = RandomWeights(model, seed)
        self._shapes = model.tensors()
        self._writers = 2 * model.layers

    def read(self, name: str) -> NDArray[np.float32]:
        return self._random.read(name)

    def blocks(self, name: str) -> Iterator[NDArray[np.float32]]:
        gain = 1.0 if "embed" in name else self._shapes[name][1] ** -0.5
        if "q_proj" in name:
            gain *= SCORE_SPREAD
        elif "o_proj" in name or "down_proj" in name:
            gain *= self._writers**-0.5
        for block in self._random.blocks(name):
            yield block * np.float32(gain / _DRAWN_STD)


@dataclass(eq=False)
class _Recorder:
    """A matrix that keeps what its first product read and gave."""

    matrix: Matrix
    kept: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def nbytes(self) -> int:
        return self.matrix.nbytes

    def apply(self, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        y = self.matrix.apply(x, threads)
        if self.kept is None:
            # Copies: biases, adapters and activations work in place.
            self.kept = x[:_PRODUCT_TOKENS].copy(), y[:_PRODUCT_TOKENS].copy()
        return y


def _open(model: LanguageModel, folder: Path | None, weights: str, seed: int) -> Decoder:
    threads = decoder_threads()
    if folder is None:
        return Decoder(
            model,
            _StandIn(model, seed),
            weights=weights,
            kv_bits=32,
            rope=LLAMA_3_1_ROPE,
            eps=1e-5,
            threads=threads,
        )
    try:
        return Decoder.load(folder, weights, threads=threads)
    except ValueError as error:
        raise InputError(f"{folder}: in {weights}: {error}") from None


def _recorded(decoder: Decoder, text: NDArray[np.int64]) -> tuple[NDArray[np.float32], Products]:
    """Logits of a text, and input and output of each matrix's product on its first tokens."""
    plain = decoder.base
    recorders: dict[Place, _Recorder] = {}
    layers = []
    for index, layer in enumerate(plain.layers):
        own = {target: _Recorder(matrix) for target, matrix in layer.matrices.items()}
        recorders |= {(index, target): recorder for target, recorder in own.items()}
        layers.append(dataclasses.replace(layer, matrices=dict(own)))
    recorders[decoder.model.layers, HEAD] = head = _Recorder(plain.head)
    decoder.base = dataclasses.replace(plain, layers=tuple(layers), head=head)
    try:
        logits = decoder.logits(text)
    finally:
        decoder.base = plain
    return logits, {place: r.kept for place, r in recorders.items() if r.kept is not None}


def _adapter_errors(
    decoder: Decoder,
    text: NDArray[np.int64],
    products: Products,
    scale: np.float32,
    adapter: Adapter | None,
    seed: int,
    step: Callable[[], None],
) -> tuple[list[AdapterError], float]:
    """Errors of every image format, by rank, and the adapters' strength."""
    if adapter is not None:
        modules: Modules = {
            (m.layer, m.target): (*adapter.weights(m.layer, m.target), m.scale)
            for m in adapter.modules
        }
        chosen = [(adapter.max_rank, modules)]
    else:
        whole = _random_modules(decoder.model, seed)
        ranks = [rank for rank in RANKS if rank <= decoder.model.hidden]
        chosen = [(rank, _cut(whole, rank, products)) for rank in ranks]
    found = []
    ratios = []
    for rank, modules in chosen:
        exact_products = {
            place: reference(a, b, factor, products[place][0].T).T
            for place, (a, b, factor) in modules.items()
        }
        ratios += [
            _power_ratio(value, products[place][1]) for place, value in exact_products.items()
        ]
        weights = sum(a.size + b.size for a, b, _ in modules.values())
        exact: NDArray[np.float32] | None = None
        for fmt in FORMATS:
            images = _images(modules, fmt, adapter)
            noise = [
                _noise_ratio(exact_products[place], _alone(image, products[place][0]))
                for place, image in images.items()
            ]
            decoder.adapters["adapter"] = ResidentAdapter("adapter", 1, images)
            logits = decoder.logits(text, "adapter") * scale
            decoder.remove_adapter("adapter")
            exact = logits if exact is None else exact
            found.append(
                AdapterError(
                    fmt,
                    rank,
                    8 * sum(image.nbytes for image in images.values()) / weights,
                    decibels(1.0, float(np.mean(noise))),
                    divergence(exact, logits),
                )
            )
            step()
    return found, math.sqrt(float(np.mean(ratios)))


def _random_modules(model: LanguageModel, seed: int) -> Modules:
    """Normal A and B of the highest rank beside every linear layer, each from its own stream."""
    rank = RANKS[-1]
    modules: Modules = {}
    for layer in range(model.layers):
        for target in TARGETS:
            out_features, in_features = model.linear_shape(target)
            name = f"adapter.{module_path(layer, target)}"
            rng = np.random.Generator(np.random.SFC64([seed, *name.encode()]))
            a = rng.standard_normal((rank, in_features), dtype=np.float32)
            b = rng.standard_normal((rank, out_features), dtype=np.float32)
            modules[layer, target] = (a, b.T, 1.0)
    return modules


def _cut(modules: Modules, rank: int, products: Products) -> Modules:
    """The first ranks of an adapter, scaled to `ADAPTER_STRENGTH` in each linear layer."""
    found: Modules = {}
    for place, (a, b, _) in modules.items():
        x, y = products[place]
        down, up = a[:rank], b[:, :rank]
        size = np.linalg.norm(reference(down, up, 1.0, x.T))
        found[place] = (down, up, ADAPTER_STRENGTH * float(np.linalg.norm(y) / size))
    return found


def _images(modules: Modules, fmt: str, adapter: Adapter | None) -> dict[Place, LowRankImage]:
    images = {}
    for place, (a, b, factor) in modules.items():
        try:
            images[place] = LowRankImage.pack(a, b, factor, fmt)
        except ValueError as error:
            name = adapter.source if adapter else "adapter"
            raise InputError(f"{name}: {module_path(*place)}: {error}") from None
    return images


def _alone(image: LowRankImage, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """s · B A x of several tokens."""
    y = np.zeros((len(x), image.out_features), np.float32)
    LowRankBatch([image]).apply(x, y, np.zeros(len(x), np.int64))
    return y


def _matrix(decoder: Decoder, place: Place) -> Matrix:
    layer, target = place
    return decoder.base.head if target == HEAD else decoder.base.layers[layer].matrices[target]


def _weight_bits(decoder: Decoder) -> float:
    """Stored bits per weight over all matrices."""
    model = decoder.model
    weights = model.linear_weights + model.vocab * model.hidden
    return 8 * (decoder.base.nbytes - decoder.base.embedding.nbytes) / weights


def _kv_bits(cache: KVCache) -> float:
    """Stored bits per element of the pages that a cache has made."""
    elements = 2 * cache.layers * cache.kv_heads * cache.head_dim * 32 * len(cache.owners)
    return 8 * cache.nbytes / elements


def _noise_ratio(exact: NDArray[Any], other: NDArray[Any]) -> float:
    return _power_ratio(other - exact, exact)


def _power_ratio(values: NDArray[Any], whole: NDArray[Any]) -> float:
    """Power of some values over that of others; 0 where those are all 0."""
    power = float(np.square(whole, dtype=np.float64).sum())
    return float(np.square(values, dtype=np.float64).sum()) / power if power else 0.0
