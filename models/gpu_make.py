"""A GPU server's file, made of a GPU, a model, a precision and the defaults of an engine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from hardwire.models import catalogue
from hardwire.models.description import read_description
from hardwire.models.errors import InputError
from hardwire.models.files import write_new
from hardwire.models.gpu import PRECISIONS, Gpu
from hardwire.models.gpu_parts import ENGINE, Engine, Parts, values_of_parts, weights_gb
from hardwire.models.gpu_server import Batching, BatchServer, server_of_parts
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Parameter, check_value, check_word, quantities
from hardwire.models.schema import editor_line

SHORTEST_CONTEXT = 2048
"""Tokens of KV below which a GPU counts as too small for a model."""

WHOLE_BITS = {"bf16": 16, "fp8": 8, "int8": 8}
"""Bits of a weight by precision, where one scale covers a row or more."""

_HEAD = """\
{schema}
# Made by `hardwire server make`; nothing in it is fitted. A value of your own profile may take the
# place of any, {{value: 1.8, kind: measured, source: "how"}}; so may a GPU file of yours.
kind: parts
title: {title}
gpu: {gpu}
model: {model}
"""


def make_server(
    gpu: str | os.PathLike[str],
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    precision: str = "bf16",
    tp: int = 1,
    engine: str = "vllm",
) -> BatchServer:
    """Write the file of a GPU server of ``kind: parts``, and open it.

    Its step times follow from bytes and operations (``hardwire.models.gpu_parts``); nothing in it
    is fitted. The file names the GPU and has every other value with its kind, range and source.

    Parameters
    ----------
    gpu : a GPU of the catalogue, or a YAML file of one.
    model : a model of the catalogue, or a config.json.
    out : file to write; it must not exist.
    precision : of the weights: ``bf16``, ``fp8``, ``int8``, ``int4`` or ``fp4``.
    tp : GPUs that share every layer (tensor parallel).
    engine : ``vllm`` or ``trtllm``, whose defaults the file begins with.

    Raises
    ------
    InputError
        On a GPU, model, engine or precision that does not exist, a precision that the GPU does not
        compute in, heads that ``tp`` GPUs cannot share, a model that they cannot hold, or a file
        that exists or cannot be written.

    Examples
    --------
    >>> import hardwire as hw
    >>> server = hw.make_server("h100", "llama-3.1-8b", "mine.yaml", precision="fp8")
    >>> hw.replay("azure-conv", server="mine.yaml")  # doctest: +SKIP
    """
    path = Path(catalogue.name_or_path("out", out))
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"out: {path}: a server's file ends in .yaml")
    text = _text(gpu, model, path, parts_server(gpu, model, precision, tp, engine))
    write_new(path, text)
    return BatchServer.open(path)


def parts_server(
    gpu: str | os.PathLike[str],
    model: str | os.PathLike[str],
    precision: str = "bf16",
    tp: int = 1,
    engine: str = "vllm",
) -> BatchServer:
    """The server that ``make_server`` writes, without a file.

    Raises
    ------
    InputError
        As ``make_server``, but for what concerns its file.
    """
    found, of = Gpu.open(gpu), LanguageModel.open(model)
    kind = check_word("precision", precision, PRECISIONS)
    name = check_word("engine", engine, catalogue.names("engine"))
    count = check_value("tp", tp, quantities(Parts)["gpus"])
    defaults = read_description(catalogue.resolve("engine", name), ENGINE).parameters
    if defaults["vendors"].value not in ("any", found.sheet.vendor):
        raise InputError(f"engine: {name} does not run on {found.name}; vllm does")
    entries = _entries(found, of, kind, count, defaults)
    many = f"{count} × " if count > 1 else ""
    title = f"{many}{found.title}, {of.name} in {kind} with {name}, from parts"
    own = f"{name}-{found.name}" + (f"x{count}" if count > 1 else "")
    return server_of_parts(own, title, of, Parts(**_values(entries)), found, entries)


def _text(
    gpu: str | os.PathLike[str], model: str | os.PathLike[str], file: Path, server: BatchServer
) -> str:
    """A server's file, as it will lie at ``file``."""
    assert server.origin is not None
    text = _HEAD.format(
        schema=editor_line("server", file.absolute().parent),
        title=_quoted(server.title),
        gpu=_reference("gpu", gpu, server.origin.gpu.name, file),
        model=_reference("model", model, server.model.name, file),
    )
    own = {key: server.parameters[key] for key in quantities(Parts)}
    return text + "".join(f"{key}: {_entry(one)}\n" for key, one in own.items())


def _entries(
    gpu: Gpu, model: LanguageModel, precision: str, tp: int, defaults: Mapping[str, Parameter]
) -> dict[str, Parameter]:
    """By name, every parameter of ``Parts``."""
    large = gpu.sheet.memory_gb >= defaults["large_gb"].value and gpu.sheet.fp8_tflops > 0
    size = "" if large else "small_"
    low = precision in ("fp8", "fp4")
    bits = defaults.get(f"{precision}_bits") or Parameter(
        value=WHOLE_BITS[precision], kind="derived", source=f"{precision}; scales are small"
    )
    chosen = {
        "gpus": Parameter(value=tp, kind="set", source="tensor parallel"),
        "precision": Parameter(value=precision, kind="set", source="chosen"),
        "weight_bits": bits,
        "head_bits": defaults["head_bits"],
        "kv_byte_per_element": defaults["low_kv_bytes" if low else "kv_bytes"],
    }
    entries = {name: defaults[name] for name in quantities(Engine)} | chosen
    for name in ("max_seqs", "max_batched_tokens"):
        entries[name] = defaults[f"{size}{name}"]
    context = _context(gpu, model, Parts(**_values(entries), context_tokens=1))
    whole = context == model.max_position
    why = (
        f"longest context of {model.name}"
        if whole
        else "the largest power of two that fits beside the weights"
    )
    entries["context_tokens"] = Parameter(value=context, kind="derived", source=why)
    return {name: entries[name] for name in quantities(Parts)}


def _values(entries: Mapping[str, Parameter]) -> dict[str, object]:
    return {name: entry.value for name, entry in entries.items()}


def _context(gpu: Gpu, model: LanguageModel, parts: Parts) -> int:
    """Tokens of the longest request: the model's own, or a power of two that fits."""
    batching = Batching(**values_of_parts(parts, gpu, model))
    tokens = BatchServer("", "", model, batching, {}).kv_room(0, 0)
    if tokens < min(SHORTEST_CONTEXT, model.max_position):
        many = f"{parts.gpus} × " if parts.gpus > 1 else ""
        raise InputError(
            f"{many}{gpu.name}: {gpu.sheet.memory_gb:g} GB cannot hold {model.name} in "
            f"{parts.precision}: weights are {weights_gb(model, parts):.1f} GB, and KV of "
            f"{SHORTEST_CONTEXT:,} tokens is wanted beside them; more GPUs (tp) or a lower "
            "precision may do"
        )
    return int(min(model.max_position, 1 << (tokens.bit_length() - 1)))


def _reference(kind: str, given: str | os.PathLike[str], name: str, file: Path) -> str:
    """A catalogue name as it is, a path relative to the file that will name it."""
    text = os.fspath(given)
    if catalogue.is_path(kind, text) or (kind == "model" and os.path.isdir(text)):
        return _quoted(os.path.relpath(Path(text).resolve(), file.absolute().parent.resolve()))
    return name


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _entry(one: Parameter) -> str:
    limits = f", range: [{one.range[0]:.10g}, {one.range[1]:.10g}]" if one.range else ""
    value = one.value if isinstance(one.value, str) else f"{one.value:.10g}"
    return f"{{value: {value}, kind: {one.kind}{limits}, source: {_quoted(one.source)}}}"
