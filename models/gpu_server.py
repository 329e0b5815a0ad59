"""A GPU server: the time of one step of continuous batching, and the memory left for KV pages."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardwire.models import catalogue
from hardwire.models.brief import one_line
from hardwire.models.description import GPU_MARKS, FileKind, mark_of, read_description
from hardwire.models.errors import InputError
from hardwire.models.gpu import Gpu, GpuSheet
from hardwire.models.gpu_fit import Domain, Fitted, read_domain, read_fit
from hardwire.models.gpu_parts import (
    ADMISSIONS,
    Parts,
    check_measured,
    experts_met,
    values_of_parts,
)
from hardwire.models.language_model import TARGETS, LanguageModel
from hardwire.models.parameters import (
    Parameter,
    Quantity,
    choice,
    count,
    quantities,
    quantity,
    to_frame,
)
from hardwire.models.server import Ownership

if TYPE_CHECKING:
    import pandas as pd

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that the buffers of vLLM's adapter slots can have (``--max-lora-rank``)."""

EXTRA_VOCABULARY = 256
"""Tokens that vLLM 0.8 lets an adapter add to the vocabulary (``--lora-extra-vocab-size``)."""

EMBEDDING_FAMILIES = ("llama", "mistral")
"""Families whose embedding and head may have adapters: those of ``LlamaForCausalLM`` in vLLM 0.8.
``Qwen2ForCausalLM`` has ``embedding_modules = {}``."""

LORA_ITEM_BYTES = 2  # slots are kept in the model's bfloat16


@dataclass(frozen=True)
class Batching(Ownership):
    """What the file of a GPU server states with value, kind and source.

    Times are of one step. What a file leaves out takes no time: the LoRA part, of a server that
    runs the base model only, and the roofline of the linear layers and the attention of prompts,
    where straight lines were fitted to measurements that hold them.
    """

    gpu_memory_gb: Any = quantity("GB", 1, 1000, "memory of the GPU")
    memory_share: Any = quantity("", 0.1, 1, "share of it that the server takes")
    weights_gb: Any = quantity("GB", 0.1, 1000, "weights of the base model")
    overhead_gb: Any = quantity("GB", 0, 100, "activations, CUDA context and graphs")
    kv_byte_per_element: Any = count("B", 1, 4, "bytes of a key or value element")
    block_tokens: Any = count("", 1, 4096, "tokens of a KV block")
    admission: Any = choice(ADMISSIONS, "a request is let in when its prompt fits, or all of it")
    context_tokens: Any = count("", 1, 10**7, "longest request, prompt and output together")
    max_seqs: Any = count("", 1, 65536, "requests in a step")
    max_batched_tokens: Any = count("", 1, 10**6, "tokens in a step")
    step_us: Any = quantity("us", 0, 1e6, "of every step")
    sequence_us: Any = quantity("us", 0, 1e5, "per decoding request")
    kv_token_ns: Any = quantity("ns", 0, 1e5, "per token of context of the decoding requests")
    prefill_token_us: Any = quantity("us", 0, 1e5, "per prompt token")
    request_us: Any = quantity("us", 0, 1e6, "per request that is let in")
    frontend_us: Any = quantity("us", 0, 1e7, "before a request reaches the queue")
    idle_w: Any = quantity("W", 0, 1e5, "power while no step runs, host share included")
    busy_w: Any = quantity("W", 0, 1e5, "power while steps run, host share included")
    weights_us: Any = quantity("us", 0, 1e6, "per step to read the weights once", default=0.0)
    experts_us: Any = quantity(
        "us", 0, 1e6, "to read all experts of a mixture once; a step reads those it meets",
        default=0.0,
    )  # fmt: skip
    token_us: Any = quantity(
        "us", 0, 1e5, "arithmetic per token, while the weights are read", default=0.0
    )
    head_us: Any = quantity(
        "us", 0, 1e5, "the same of the output layer, per decoding request", default=0.0
    )
    pair_ns: Any = quantity(
        "ns", 0, 1e4, "per prompt token and token that it attends to", default=0.0
    )
    slots: Any = count("", 0, 4096, "adapter slots by default; 0 for none", default=0)
    host_adapters: Any = count("", 0, 10**6, "adapters that host memory keeps", default=0)
    lora_step_us: Any = quantity("us", 0, 1e6, "of every step with LoRA enabled", default=0.0)
    slot_us: Any = quantity("us", 0, 1e5, "per slot, used or not, up to rank 16", default=0.0)
    slot_rank_us: Any = quantity("us", 0, 1e4, "per slot and rank above 16", default=0.0)
    distinct_us: Any = quantity("us", 0, 1e6, "per distinct adapter in the step", default=0.0)
    lora_sequence_us: Any = quantity("us", 0, 1e5, "per decoding LoRA request", default=0.0)
    slot_prefill_ns: Any = quantity("ns", 0, 1e5, "per slot and prompt token", default=0.0)
    passed_ns: Any = quantity(
        "ns", 0, 1e5, "per waiting request that is passed over for want of a slot", default=0.0
    )
    load_us: Any = quantity("us", 0, 1e7, "per adapter copied from host memory", default=0.0)
    padded_load_us: Any = quantity(
        "us", 0, 1e7, "more where the adapter's rank is below the slots'", default=0.0
    )
    disk_load_us: Any = quantity("us", 0, 1e8, "per adapter read from disk before", default=0.0)


_OUTSIDE = ("frontend_us", "passed_ns", "load_us", "padded_load_us", "disk_load_us")

STEP_TERMS = tuple(
    name
    for name, spec in quantities(Batching).items()
    if spec.unit in ("us", "ns") and name not in _OUTSIDE
)
"""Coefficients of a step's arithmetic and memory reads; loads and the way to the queue are none."""


@dataclass(frozen=True)
class StepTime:
    """Coefficients of a step's time, in whole picoseconds, so that engines agree exactly.

    ``step + max(weights + experts[n], token·n + head·decoding)
    + sequence·decoding + kv_token·context + prefill_token·prompt tokens + pair·pairs
    + request·let in + distinct·distinct adapters + lora_sequence·decoding with an adapter
    + passed·passed over + load·loads + padded_load·loads of a rank below the slots'
    + disk_load·disk loads``; the parts of slots are in ``step`` and ``prefill_token``.

    ``n`` is the tokens of the step, decoding and of prompts; ``experts[n]`` the time to read the
    experts that so many meet (``hardwire.models.gpu_parts.experts_met``), empty in dense models.
    The larger of weights and arithmetic is the roofline of the linear layers, which read all
    weights once in a step (Williams et al., CACM 2009). ``pairs`` are of a prompt token and a token
    that it attends to, itself included: ``take·(computed + (take + 1) / 2)`` of a piece of ``take``
    tokens after ``computed`` ones, so a prompt's attention grows with the square of its length,
    however it is cut.
    """

    step: int
    sequence: int
    kv_token: int
    prefill_token: int
    request: int
    distinct: int
    lora_sequence: int
    passed: int
    load: int
    padded_load: int
    disk_load: int
    weights: int
    token: int
    head: int
    pair: int
    experts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Origin:
    """What the numbers of a server of ``kind: parts`` follow from."""

    parts: Parts
    gpu: Gpu


@dataclass(frozen=True)
class BatchServer:
    """A GPU server file, resolved. ``parameters`` has the origin of each number.

    Attributes
    ----------
    name, title : in the catalogue.
    model : the base model that the step times were measured with, or computed for.
    batching : the numbers.
    fit : covariance of the values that were fitted together, where a fit left it.
    domain : what the measurements behind the step times span, where the file says so.
    origin : parts that ``batching`` follows from; None where the file states it itself.
    """

    name: str
    title: str
    model: LanguageModel
    batching: Batching
    parameters: Mapping[str, Parameter]
    fit: Fitted | None = None
    domain: Domain | None = None
    origin: Origin | None = None

    def __repr__(self) -> str:
        memory = f"{self.batching.gpu_memory_gb:g} GB"
        return one_line(self, self.name, self.title, self.model.name, memory)

    def to_frame(self) -> pd.DataFrame:
        """Every parameter, a row each: see ``hardwire.models.parameters.to_frame``."""
        return to_frame(self.parameters)

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> BatchServer:
        """Read a GPU server from the catalogue, or from a path that ends in ``.yaml``.

        A file that ``extends`` another states only what differs.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, a file of another kind than ``batch`` and
            ``parts``, an unknown or missing key, an unknown model or GPU, a wrong unit or a value
            out of range, and on parts that do not go together.
        """
        path = catalogue.locate("server", name)
        if mark_of(path, "server") == PARTS_SERVER.marked:
            return cls._of_parts(path)
        found = read_description(path, GPU_SERVER)
        batching = found.sections[""]
        _check(path.name, batching)
        model = LanguageModel.by_name(found.references["model"])
        try:
            check_measured(model)
            if batching.experts_us > 0:
                raise InputError(f"experts_us: {model.name} has no experts")
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None
        return cls(
            name=found.name,
            title=found.title,
            model=model,
            batching=batching,
            parameters=found.parameters,
            fit=read_fit(path.name, found.others.get("fit"), found.parameters),
            domain=read_domain(path.name, found.others.get("domain")),
        )

    @classmethod
    def _of_parts(cls, path: Path) -> BatchServer:
        found = read_description(path, PARTS_SERVER)
        gpu, parts = Gpu.open(found.references["gpu"]), found.sections[""]
        model = LanguageModel.open(found.references["model"])
        try:
            server = server_of_parts(found.name, found.title, model, parts, gpu, found.parameters)
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None
        _check(path.name, server.batching)
        return server

    @property
    def declared(self) -> dict[str, Quantity]:
        """By the names of ``parameters``, what the code knows about each."""
        if self.origin is None:
            return quantities(Batching)
        sheet = {f"{OF_GPU}{name}": spec for name, spec in quantities(GpuSheet).items()}
        return quantities(Parts) | sheet

    def changed(self, values: Mapping[str, Any]) -> BatchServer:
        """The same server with other values of some of its ``parameters``, such as draws.

        What follows from parts is computed anew, so that one draw of a GPU's bandwidth moves all
        that is read from its memory.
        """
        if self.origin is None:
            return dataclasses.replace(self, batching=dataclasses.replace(self.batching, **values))
        parts, gpu = self.origin.parts, self.origin.gpu
        of_gpu = {k.removeprefix(OF_GPU): v for k, v in values.items() if k.startswith(OF_GPU)}
        own = {k: v for k, v in values.items() if not k.startswith(OF_GPU)}
        parts = dataclasses.replace(parts, **own)
        gpu = dataclasses.replace(gpu, sheet=dataclasses.replace(gpu.sheet, **of_gpu))
        batching = Batching(**values_of_parts(parts, gpu, self.model))
        return dataclasses.replace(self, batching=batching, origin=Origin(parts, gpu))

    def value(self, name: str) -> Any:
        """The value of one of the ``parameters``."""
        if self.origin is None:
            return getattr(self.batching, name)
        of = self.origin.gpu.sheet if name.startswith(OF_GPU) else self.origin.parts
        return getattr(of, name.removeprefix(OF_GPU))

    @property
    def form_error(self) -> float:
        """Standard error of a step's time about its form, as a share; 0 where nobody says."""
        if self.origin is not None:
            return float(self.origin.parts.step_error)
        return 0.0 if self.fit is None else float(self.fit.residual)

    @property
    def serves_adapters(self) -> bool:
        """Whether the file has a LoRA part."""
        return self.batching.slots > 0

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values of one token."""
        return self.model.kv_elements_per_token * self.batching.kv_byte_per_element

    def slot_bytes(self, rank: int) -> int:
        """Bytes of one adapter slot whose buffers have this rank.

        vLLM keeps A and B of every linear layer, whatever the adapter targets. In families whose
        class names ``embedding_modules`` it keeps for embedding and head each: A and B over the
        vocabulary with the extra tokens, and the vectors of the extra tokens
        (``VocabParallelEmbeddingWithLoRA``, ``LogitsProcessorWithLoRA``).
        """
        model = self.model
        linear = model.layers * sum(sum(model.linear_shape(target)) for target in TARGETS)
        if model.family not in EMBEDDING_FAMILIES:
            return rank * linear * LORA_ITEM_BYTES
        vocabulary = 2 * (model.vocab + EXTRA_VOCABULARY + model.hidden)
        extra = 2 * EXTRA_VOCABULARY * model.hidden
        return (rank * (linear + vocabulary) + extra) * LORA_ITEM_BYTES

    def kv_room(self, slots: int, rank: int) -> int:
        """Tokens of KV that memory holds beside weights and slots, in whole blocks."""
        b = self.batching
        room = (b.gpu_memory_gb * b.memory_share - b.weights_gb - b.overhead_gb) * 1e9
        if slots > 0:
            room -= slots * self.slot_bytes(rank)
        block = b.block_tokens * self.kv_bytes_per_token
        return int(max(int(room // block), 0) * b.block_tokens)

    def kv_tokens(self, slots: int, rank: int) -> int:
        """Tokens of KV that fit beside weights and slots, in whole blocks.

        Raises
        ------
        InputError
            If the server cannot start: vLLM wants room for one request of the longest context.
        """
        b, tokens = self.batching, self.kv_room(slots, rank)
        if tokens < b.context_tokens:
            raise InputError(
                f"{self.name}: out of memory with {slots} adapter slots of rank {rank}: room for "
                f"{tokens} tokens of KV, and a request may have {b.context_tokens}"
            )
        return tokens

    def step_time(self, slots: int, rank: int) -> StepTime:
        """Coefficients with so many slots of a rank; 0 slots is LoRA disabled.

        LoRA kernels work on tiles of rank 16 or more, so that lower ranks cost the same. What a
        higher rank adds is measured for slots alone; as part of the time of a kernel's block it is
        taken to be the same for the blocks that do work.
        """
        b = self.batching
        lora = slots > 0
        slot_us = b.slot_us + b.slot_rank_us * max(rank - 16, 0)
        growth = slot_us / b.slot_us if b.slot_us > 0 else 1.0

        def ps(microseconds: float) -> int:
            return round(microseconds * 1e6)

        return StepTime(
            step=ps(b.step_us + (b.lora_step_us + slot_us * slots if lora else 0)),
            sequence=ps(b.sequence_us),
            kv_token=ps(b.kv_token_ns / 1e3),
            prefill_token=ps(b.prefill_token_us + b.slot_prefill_ns / 1e3 * slots * growth),
            request=ps(b.request_us),
            distinct=ps(b.distinct_us * growth),
            lora_sequence=ps(b.lora_sequence_us * growth),
            passed=ps(b.passed_ns / 1e3),
            load=ps(b.load_us),
            padded_load=ps(b.padded_load_us),
            disk_load=ps(b.disk_load_us),
            weights=ps(b.weights_us),
            token=ps(b.token_us),
            head=ps(b.head_us),
            pair=ps(b.pair_ns / 1e3),
            experts=self._experts_ps(),
        )

    def _experts_ps(self) -> tuple[int, ...]:
        """By tokens of a step, whole picoseconds to read the experts that they meet."""
        if self.model.experts is None:
            return ()
        whole, most = self.batching.experts_us * 1e6, self.batching.max_batched_tokens
        return tuple(round(whole * experts_met(self.model, n)) for n in range(int(most) + 1))


def server_of_parts(
    name: str,
    title: str,
    model: LanguageModel,
    parts: Parts,
    gpu: Gpu,
    parameters: Mapping[str, Parameter],
) -> BatchServer:
    """A server whose times follow from its parts; ``parameters`` has the origin of theirs.

    Raises
    ------
    InputError
        As ``values_of_parts``.
    """
    batching = Batching(**values_of_parts(parts, gpu, model))
    of_gpu = {f"{OF_GPU}{key}": entry for key, entry in gpu.parameters.items()}
    origin = Origin(parts, gpu)
    return BatchServer(name, title, model, batching, {**parameters, **of_gpu}, origin=origin)


def _check(where: str, batching: Batching) -> None:
    """Refuse values that do not go together."""
    if batching.max_batched_tokens < batching.max_seqs:
        raise InputError(
            f"{where}: max_batched_tokens: must be at least max_seqs "
            f"({batching.max_seqs}), so that every running request can decode"
        )
    if 0 < batching.host_adapters < batching.slots:
        raise InputError(f"{where}: host_adapters: must be at least slots")


OF_GPU = "gpu."
"""Before the names of a GPU's parameters among those of a server of its parts."""

GPU_SERVER = FileKind(
    "server",
    {"": Batching},
    references={"model": "model"},
    others=("fit", "domain"),
    marked=GPU_MARKS[0],
)
"""What may stand in the file of a GPU server whose times were measured."""

PARTS_SERVER = FileKind(
    "server",
    {"": Parts},
    references={"model": "model", "gpu": "gpu"},
    files=("model", "gpu"),
    marked=GPU_MARKS[1],
)
"""What may stand in the file of a GPU server whose times follow from its parts."""


def slot_rank(rank: int) -> int:
    """Smallest rank that slots can have for adapters of up to this rank.

    Raises
    ------
    InputError
        If the rank is above the largest that vLLM takes.
    """
    for allowed in RANKS:
        if rank <= allowed:
            return allowed
    raise InputError(f"rank: {rank} is above {RANKS[-1]}, the largest of an adapter slot")
