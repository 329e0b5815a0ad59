"""A whole decoder-only language model: prefill and decode, in float32 or in the chip's formats.

The path of a token is that of Hugging Face's models of the families that are modelled. Each of its
steps computes a token from that token's own values alone, in a fixed order, so logits do not
depend, to the last bit, on the batch, on how a prompt is cut, on the number of threads, or on what
other adapters are resident.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardwire.kernels.decoder.activation import soft_cap_plain
from hardwire.kernels.decoder.attention_kinds import grouped, latent, score_rule
from hardwire.kernels.decoder.base_weights import BaseWeights
from hardwire.kernels.decoder.batch import Batch, place
from hardwire.kernels.decoder.checkpoint import Checkpoint, RandomWeights, Weights
from hardwire.kernels.decoder.feed_forward import feed_forward
from hardwire.kernels.decoder.kv_cache import KVBits, KVCache
from hardwire.kernels.decoder.kv_cache import Sequence as KVSequence
from hardwire.kernels.decoder.norm import rms_norm
from hardwire.kernels.decoder.rope import LLAMA_3_1_ROPE, Rope
from hardwire.kernels.decoder.sampling import Sampler
from hardwire.kernels.decoder.settings import Settings
from hardwire.kernels.decoder.side_path import (
    Adapters,
    Image,
    LayerProducts,
    ResidentAdapter,
    add_low_rank,
    pack_image,
)
from hardwire.kernels.lowrank.lowrank import LowRankImage
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base
from hardwire.models.adapter.config import Place
from hardwire.models.language_model import HEAD, LanguageModel

_PREFILL_TOKENS = 256  # of a prompt together, which bounds the memory of their activations

_Named = Sequence[str | ResidentAdapter | None]


class Decoder:
    """A language model that runs; made by `Decoder.load` or `Decoder.random`.

    Attributes
    ----------
    model
    rope, window_rope
        Rotary embedding, and that of layers with a window.
    eps
        Of RMSNorm.
    base
        The model's weights.
    cache
        KV cache of all sequences.
    adapters
        Resident adapters by name.
    threads
        Threads of the matrix products; results do not depend on them.
    """

    def __init__(
        self,
        model: LanguageModel,
        source: Weights,
        *,
        weights: str,
        kv_bits: KVBits,
        rope: Rope,
        eps: float,
        threads: int,
        window_rope: Rope | None = None,
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.model, self.rope, self.eps, self.threads = model, rope, eps, threads
        self.window_rope = window_rope or rope
        self.cache = KVCache.of(model, kv_bits)
        self.adapters: dict[str, ResidentAdapter] = {}
        self._versions = itertools.count(1)
        self.base = BaseWeights.pack(model, source, weights)
        self._rules = [
            score_rule(model, layer, rope, self.base.layers[layer].sinks)
            for layer in range(model.layers)
        ]

    @classmethod
    def load(
        cls, folder: str | Path, weights: str = "float32", *, kv_bits: KVBits = 32, threads: int = 1
    ) -> Decoder:
        """Read a Hugging Face model: config.json and safetensors, whole or in shards.

        Tensors are read and packed one after the other, so that never more than a block of one is
        in float32 (besides what stays in float32).

        Parameters
        ----------
        folder
        weights
            Format of the matrices, one of `hardwire.kernels.decoder.base_weights.WEIGHT_FORMATS`.
        kv_bits
            Bits of a KV cache element: 32 (float32), 16 (float16), 8 or 4; or "e4m3", FP8.
        threads
            Threads of the matrix products.

        Raises
        ------
        InputError
            If a file is missing, damaged, not finite, or describes another kind of model.
        ValueError
            If another argument is out of range.
        """
        folder = Path(folder)
        model = LanguageModel.from_config(folder)
        settings = Settings.read(folder, model)
        return cls(
            model,
            Checkpoint(folder, model),
            weights=weights,
            kv_bits=kv_bits,
            rope=settings.rope,
            eps=settings.eps,
            threads=threads,
            window_rope=settings.window_rope,
        )

    @classmethod
    def random(
        cls,
        model: LanguageModel,
        seed: int = 0,
        weights: str = "float32",
        *,
        kv_bits: KVBits = 32,
        rope: Rope = LLAMA_3_1_ROPE,
        eps: float = 1e-5,
        threads: int = 1,
    ) -> Decoder:
        """Make a model of the same shapes with random weights, through the same packing.

        Parameters are those of `load`, and those of the model that its dimensions do not tell.

        Raises
        ------
        ValueError
            If an argument is out of range.
        """
        source = RandomWeights(model, seed)
        return cls(
            model, source, weights=weights, kv_bits=kv_bits, rope=rope, eps=eps, threads=threads
        )

    def add_adapter(
        self, name: str, source: Adapter | str | Path, fmt: str = "float32"
    ) -> ResidentAdapter:
        """Make an adapter resident under a name, in place of one that has the name.

        Parameters
        ----------
        name
        source
            An opened adapter, a PEFT folder or a GGUF adapter file.
        fmt
            Format of the images, one of `hardwire.kernels.FORMATS`.

        Raises
        ------
        InputError
            If the file cannot be used or is for another base; nothing has changed then.
        ValueError
            If the format is unknown or cannot hold a weight.
        """
        resident = self._open_adapter(name, source, fmt)
        self.adapters[name] = resident
        return resident

    def remove_adapter(self, name: str) -> None:
        """Evict an adapter; tokens that are in a batch with it keep it to their end.

        Raises
        ------
        ValueError
            If it is not resident.
        """
        del self.adapters[self._resident(name).name]

    def begin(
        self, token_ids: ArrayLike, sequences: Sequence[KVSequence], adapters: _Named
    ) -> tuple[Batch, NDArray[np.float32]]:
        """Give tokens a place in the KV cache and embed them.

        Parameters
        ----------
        token_ids
            (tokens,) integers.
        sequences
            Each token's sequence. Tokens of one sequence follow one another in the batch's order.
        adapters
            Each token's adapter: its name, the adapter itself, or None for the base alone.

        Returns
        -------
        The batch, and its activations (tokens, hidden) to take through `layer` 0 to the last.

        Raises
        ------
        ValueError
            If a token is not of the vocabulary, an adapter is not resident, a sequence belongs to
            another adapter or version, or would outgrow the model; nothing has changed then.
        """
        ids = np.asarray(token_ids)
        if ids.ndim != 1 or len(ids) == 0 or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError("token_ids must be a list of at least 1 integer")
        if ids.min() < 0 or ids.max() >= self.model.vocab:
            raise ValueError(f"token_ids must be from 0 to {self.model.vocab - 1}")
        if not len(ids) == len(sequences) == len(adapters):
            raise ValueError("every token needs a sequence and an adapter or None")
        chosen = tuple(self._resident(a) if isinstance(a, str) else a for a in adapters)
        ropes = self.rope, self.window_rope
        batch = place(self.model, self.cache, ropes, sequences, chosen)
        x = self.base.embedding[ids].astype(np.float32)
        if self.model.scaled_embedding:
            x *= np.float32(self.model.hidden**0.5)
        return batch, x

    def layer(self, index: int, x: NDArray[np.float32], batch: Batch) -> NDArray[np.float32]:
        """Take activations (tokens, hidden) through one decoder layer.

        A token of a sequence can enter a layer once those before it have.

        Raises
        ------
        ValueError
            If a KV page that a token would read is no longer its adapter's.
        """
        model, layer, eps = self.model, self.base.layers[index], self.eps
        products = LayerProducts(index, layer, batch.adapters, self.threads)
        reach = batch.reaches[self.cache.slides[index]]
        assert reach is not None
        seen = batch.where, reach, self.cache, self._rules[index]
        normed = rms_norm(x, layer.input_norm, eps)
        if layer.latent is not None:
            mixed = latent(model, products, normed, *seen)
        else:
            mixed = grouped(model, eps, products, normed, *seen)
        if layer.attention_norm is not None:
            mixed = rms_norm(mixed, layer.attention_norm, eps)
        mixed = products.of("o_proj", mixed)
        if layer.attention_out_norm is not None:
            mixed = rms_norm(mixed, layer.attention_out_norm, eps)
        x = x + mixed
        inner = feed_forward(model, eps, products, rms_norm(x, layer.post_norm, eps))
        if layer.mlp_out_norm is not None:
            inner = rms_norm(inner, layer.mlp_out_norm, eps)
        return x + inner

    def head(self, x: NDArray[np.float32], adapters: Adapters) -> NDArray[np.float32]:
        """Logits (tokens, vocab) from what the last layer gives, (tokens, hidden)."""
        normed = rms_norm(x, self.base.norm, self.eps)
        logits = self.base.head.apply(normed, self.threads)
        images = [a.images.get((self.model.layers, HEAD)) if a else None for a in adapters]
        own = [image if isinstance(image, LowRankImage) else None for image in images]
        add_low_rank(own, normed, logits, self.threads)
        cap = self.model.logit_softcap
        return logits if cap is None else soft_cap_plain(logits, cap)

    def step(
        self, token_ids: ArrayLike, sequences: Sequence[KVSequence], adapters: _Named
    ) -> NDArray[np.float32]:
        """Take a batch of tokens through the whole model: logits (tokens, vocab).

        Parameters and errors are those of `begin`.
        """
        batch, x = self._hidden(token_ids, sequences, adapters)
        return self.head(x, batch.adapters)

    def logits(
        self, token_ids: ArrayLike, adapter: str | Path | Adapter | None = None
    ) -> NDArray[np.float32]:
        """Logits after each token of a text.

        Parameters
        ----------
        token_ids
            (tokens,) integers.
        adapter
            Name of a resident adapter, or a PEFT folder, a GGUF file or an opened adapter, used in
            float32 for this call only; None for the base alone.

        Returns
        -------
        (tokens, vocab) float32.

        Raises
        ------
        InputError
            If an adapter file cannot be used.
        ValueError
            As `begin`.
        """
        ids = np.asarray(token_ids)
        resident, sequence = self._choose(adapter), KVSequence()
        try:
            parts = self._prefill(ids, sequence, resident)
            return np.concatenate([self.head(x, [resident] * len(x)) for x in parts])
        finally:
            self.cache.release(sequence)

    def generate(
        self,
        token_ids: ArrayLike,
        count: int,
        adapter: str | Path | Adapter | None = None,
        *,
        top_k: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[int]:
        """Continue a text by `count` tokens; greedily unless a temperature is given.

        Parameters
        ----------
        token_ids, adapter
            As in `logits`.
        count
            At least 0.
        top_k, temperature, seed
            As in `hardwire.kernels.decoder.sampling.Sampler`.

        Returns
        -------
        The new tokens.

        Raises
        ------
        InputError, ValueError
            As `logits`, or if a sampling argument is out of range.
        """
        if count < 0:
            raise ValueError(f"count must be 0 or more, not {count}")
        sampler = Sampler(top_k, temperature, seed)
        resident, sequence = self._choose(adapter), KVSequence()
        tokens: list[int] = []
        try:
            for x in self._prefill(np.asarray(token_ids), sequence, resident):
                last = x[-1:]
            while len(tokens) < count:
                if tokens:
                    _, last = self._hidden(tokens[-1:], [sequence], [resident])
                tokens.append(sampler.draw(self.head(last, [resident])[0]))
        finally:
            self.cache.release(sequence)
        return tokens

    def _prefill(
        self, ids: NDArray[np.int64], sequence: KVSequence, adapter: ResidentAdapter | None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield what the last layer gives for each part of a text, which `sequence` then holds."""
        for begin in range(0, max(1, ids.size), _PREFILL_TOKENS):
            part = ids[begin : begin + _PREFILL_TOKENS]
            yield self._hidden(part, [sequence] * len(part), [adapter] * len(part))[1]

    def _hidden(
        self, token_ids: ArrayLike, sequences: Sequence[KVSequence], adapters: _Named
    ) -> tuple[Batch, NDArray[np.float32]]:
        batch, x = self.begin(token_ids, sequences, adapters)
        for index in range(self.model.layers):
            x = self.layer(index, x, batch)
        return batch, x

    def _resident(self, name: str) -> ResidentAdapter:
        if name not in self.adapters:
            known = ", ".join(sorted(self.adapters)) or "none"
            raise ValueError(
                f"adapter {name!r} is not resident: it was evicted or never loaded "
                f"(resident: {known})"
            )
        return self.adapters[name]

    def _choose(self, adapter: str | Path | Adapter | None) -> ResidentAdapter | None:
        if adapter is None:
            return None
        if isinstance(adapter, str) and adapter in self.adapters:
            return self.adapters[adapter]
        return self._open_adapter(str(adapter), adapter, "float32")

    def _open_adapter(self, name: str, source: Adapter | str | Path, fmt: str) -> ResidentAdapter:
        adapter = source if isinstance(source, Adapter) else Adapter.open(source, self.model)
        check_base(adapter, self.model)
        images: dict[Place, Image] = {}
        for module in adapter.modules:
            place = module.layer, module.target
            a, b = adapter.weights(*place)
            images[place] = pack_image(self.model, place, a, b, module.scale, fmt)
        return ResidentAdapter(name, next(self._versions), images)
