"""Tensor containers of adapters: safetensors and GGUF, checked before a byte of data is used.

Formats: the safetensors README ("Format") and the GGUF specification in the ggml repository. A
header says how long names, arrays and tensors are, and a hostile one lies, so every length is held
against the bytes that are there before anything is read or allocated.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.models.files import file_size, parse_json_object, read_bytes

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
# A header of 10,000 tensors takes 1.5 MB; the limit keeps a lying one from filling the memory.
_LARGEST_HEADER = 8 * 2**20
_GGUF_TYPES = {0: "F32", 1: "F16", 8: "Q8_0", 30: "BF16"}
_GGUF_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_GGUF_STRING, _GGUF_ARRAY = 8, 9
_ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "U8": 1, "F8_E4M3": 1}
FLOATS = ("F32", "F16", "BF16")
"""Types of tensors that are what they say, and need no scales from another one."""
# All exponent bits set is infinity or NaN in each of the three formats.
_EXPONENT = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}

_WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_ROOTS = ("base_model", "model", "language_model")
_DECODER_PARTS = ("layers", "embed_tokens", "norm", "lm_head")
_LORA_HALVES = ("lora_A", "lora_B")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that lies in a file.

    Attributes
    ----------
    path : Path
    name : str
    dtype : {"F32", "F16", "BF16", "U8", "F8_E4M3", "Q8_0"}
        Q8_0 is GGUF's blocks of 32 int8 values with one float16 scale each; what U8 and F8_E4M3
        hold, another tensor scales.
    shape : tuple of int
        Row-major, slowest dimension first.
    offset, size : int
        Place in the file, in bytes.
    """

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int

    def check_finite(self) -> None:
        """Raise `InputError` if the tensor holds an infinity or a NaN."""
        kind, words = self.dtype, self._bytes()
        if kind == "Q8_0":
            kind, words = "F16", np.ascontiguousarray(words.reshape(-1, 34)[:, :2])
        bits = words.reshape(-1).view(f"<u{_ITEM_BYTES[kind]}")
        if np.any((bits & _EXPONENT[kind]) == _EXPONENT[kind]):
            raise InputError(f"{self.path}: {self.name}: holds values that are not finite numbers")

    def read(self) -> NDArray[np.float32]:
        """Return the values as float32, widened or dequantized.

        Raises
        ------
        InputError
            If the file has become shorter or unreadable since it was checked.
        """
        raw = self._bytes()
        if self.dtype == "BF16":
            values = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        elif self.dtype == "Q8_0":
            blocks = raw.reshape(-1, 34)
            scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
            values = scales * blocks[:, 2:].view(np.int8)
        else:
            values = raw.view("<f4" if self.dtype == "F32" else "<f2").astype(np.float32)
        return values.reshape(self.shape)

    def codes(self) -> NDArray[np.uint8]:
        """Return the bytes of elements of one byte, in the tensor's shape; raises as `read`."""
        return self._bytes().reshape(self.shape)

    def _bytes(self) -> NDArray[np.uint8]:
        # Read, not mapped: a file that shrinks under a mapping would kill the process.
        content = read_bytes(self.path, offset=self.offset, count=self.size)
        if len(content) != self.size:
            raise InputError(f"{self.path}: {self.name}: the file has changed while it was read")
        return np.frombuffer(content, np.uint8)


def shown(name: str) -> str:
    """Return a name from a file, fit to be printed: no control characters, not without end."""
    return name if len(name) <= 120 and name.isprintable() else f"{name[:80]!r}"


def standard_names(
    tensors: Mapping[str, StoredTensor], prefix: str = ""
) -> dict[str, StoredTensor]:
    """Return tensors under the names that Hugging Face gives them, where those are unambiguous.

    Tools leave marks of their own in names: ``_orig_mod.`` (torch.compile), ``module.`` (DDP), the
    ``language_model.`` of a model that also sees, a missing ``base_model.model.`` or ``model.``,
    and the adapter's name behind ``lora_A`` and ``lora_B``. Names in which no part of a decoder is
    recognized stay as they are.

    Parameters
    ----------
    tensors : mapping
        By stored name.
    prefix : str
        What stands before every name: ``base_model.model.`` in PEFT's files.

    Raises
    ------
    InputError
        If two stored names mean the same tensor, or an adapter's file holds several adapters.
    """
    found: dict[str, StoredTensor] = {}
    adapters: set[str] = set()
    for stored, tensor in tensors.items():
        parts = [part for part in stored.split(".") if part not in _WRAPPERS]
        while parts and parts[0] in _ROOTS:
            del parts[0]
        name = stored
        if parts and parts[0] in _DECODER_PARTS:
            root = [] if parts[0] == "lm_head" else ["model"]
            if len(parts) > 3 and parts[-3] in _LORA_HALVES:
                adapters.add(parts.pop(-2))
            name = prefix + ".".join(root + parts)
        if name in found:
            other = shown(found[name].name)
            raise InputError(f"{tensor.path}: {shown(stored)}: means the same tensor as {other}")
        found[name] = tensor
    if len(adapters) > 1:
        path = next(iter(tensors.values())).path
        names = ", ".join(map(shown, sorted(adapters)[:5]))
        raise InputError(f"{path}: holds {len(adapters)} adapters ({names}); save one alone")
    return found


def missing(name: str, what: str, stored: Iterable[str], path: Path) -> InputError:
    """Return the refusal for a tensor that is not there: what was sought, and what was found."""
    first, *more = [*map(shown, stored)][:2] or ["nothing else"]
    found = f"{first} and others" if more else first
    return InputError(f"{path}: {name}: {what} is missing; the file holds {found}")


def refuse_pickle(path: Path) -> None:
    """Raise `InputError` if a file is a pickle by its name or its first bytes."""
    file_size(path)  # a pipe would be waited for without end
    start = read_bytes(path, count=9)
    # A safetensors header of the right length begins with the same bytes as a pickle; its '{' in
    # the ninth place tells them apart.
    looks = start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[1:2] <= b"\x05")
    if path.suffix.lower() in PICKLE_SUFFIXES or (looks and start[8:] != b"{"):
        raise InputError(f"{path}: pickle files can run code and are refused; save as safetensors")


def read_safetensors(path: Path, dtypes: tuple[str, ...] = FLOATS) -> dict[str, StoredTensor]:
    """Read and check the header of a safetensors file.

    Parameters
    ----------
    path : Path
    dtypes : tuple of str
        The types that tensors may have.

    Returns
    -------
    dict
        Tensors by name, in the file's order.

    Raises
    ------
    InputError
        If the file is no safetensors file, is truncated, or its header does not describe the
        bytes that follow it exactly: in bounds, without overlaps or gaps, in one of the types.
    """
    size = file_size(path)
    refuse_pickle(path)
    if size < 8:
        raise InputError(f"{path}: is no safetensors file: it has {size} bytes, and 8 are needed")
    length = int.from_bytes(read_bytes(path, count=8), "little")
    if length > size - 8:
        raise InputError(
            f"{path}: is truncated or no safetensors file: its header should have {length} bytes, "
            f"but only {size - 8} follow"
        )
    if length > _LARGEST_HEADER:
        raise InputError(f"{path}: its header has {length} bytes; at most {_LARGEST_HEADER} may be")
    header = parse_json_object(read_bytes(path, offset=8, count=length), f"{path}: header")
    header.pop("__metadata__", None)
    tensors = {
        name: _safetensors_entry(path, name, entry, dtypes) for name, entry in header.items()
    }
    _check_layout(path, tensors.values(), data_bytes=size - 8 - length)
    start = 8 + length
    return {
        name: StoredTensor(path, name, t.dtype, t.shape, t.offset + start, t.size)
        for name, t in tensors.items()
    }


def _safetensors_entry(path: Path, name: str, entry: Any, dtypes: tuple[str, ...]) -> StoredTensor:
    where = f"{path}: {shown(name)}"
    if not isinstance(entry, dict):
        raise InputError(f"{where}: its header entry must be a JSON object")
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in dtypes:
        *most, last = dtypes
        allowed = f"{', '.join(most)} or {last}"
        raise InputError(f"{where}: dtype must be {allowed}, not {dtype!r:.40}")
    if not _are_counts(shape):
        raise InputError(f"{where}: shape must be a list of whole numbers >= 0")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise InputError(f"{where}: data_offsets must be two whole numbers >= 0")
    size = math.prod(shape) * _ITEM_BYTES[dtype]
    if offsets[1] - offsets[0] != size:
        raise InputError(
            f"{where}: data_offsets span {offsets[1] - offsets[0]} bytes, but shape "
            f"{shape!r:.60} in {dtype} takes {size}"
        )
    return StoredTensor(path, name, dtype, tuple(shape), offsets[0], size)


def _are_counts(value: Any) -> TypeGuard[list[int]]:
    """Say whether ``value`` is a list of at most 8 non-negative integers of at most 63 bits."""
    return (
        isinstance(value, list)
        and len(value) <= 8
        and all(type(item) is int and 0 <= item < 2**63 for item in value)
    )


def _check_layout(path: Path, tensors: Iterable[StoredTensor], data_bytes: int) -> None:
    """Require that tensors fill the data part from its first byte to its last."""
    end = 0
    for tensor in sorted(tensors, key=lambda t: (t.offset, t.size)):
        if tensor.offset < end:
            raise InputError(
                f"{path}: {shown(tensor.name)}: its data overlap those of another tensor"
            )
        if tensor.offset > end:
            raise InputError(f"{path}: {shown(tensor.name)}: unused bytes lie before its data")
        end += tensor.size
        if end > data_bytes:
            raise InputError(
                f"{path}: {shown(tensor.name)}: its data lie beyond the end of the file"
            )
    if end != data_bytes:
        raise InputError(f"{path}: {data_bytes - end} bytes after the last tensor belong to none")


def safetensors_header(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> bytes:
    """Return the header, length field included, that the safetensors library would write.

    Parameters
    ----------
    shapes : mapping
        Shape by tensor name. The library stores tensors of one dtype in the order of their names.
    dtype : {"F32", "F16", "BF16"}

    Returns
    -------
    bytes
        8 bytes of length, then JSON with PEFT's metadata, padded with spaces to a multiple of 8.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        begin, end = end, end + math.prod(shapes[name]) * _ITEM_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shapes[name], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def encode(values: NDArray[np.float32], dtype: str) -> bytes:
    """Return the bytes of float32 values as F32, F16 or BF16 (to nearest, ties to even)."""
    if dtype == "BF16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return values.astype("<f4" if dtype == "F32" else "<f2").tobytes()


class _Cursor:
    """Takes typed values off the front of a file, never past the bytes that are there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = read_bytes(path, count=_LARGEST_HEADER)
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.content):
            raise InputError(f"{self.path}: is truncated, or its GGUF header lies about its length")
        self.position, start = end, self.position
        return self.content[start:end]

    def scalar(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def string(self) -> str:
        try:
            return self.take(self.scalar("<Q")).decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path}: a name in the GGUF header is not UTF-8") from error

    def value(self, kind: int, *, nested: bool = False) -> Any:
        if kind == _GGUF_STRING:
            return self.string()
        if kind in _GGUF_SCALARS:
            return self.scalar(_GGUF_SCALARS[kind])
        if kind != _GGUF_ARRAY or nested:
            raise InputError(f"{self.path}: the GGUF header holds a value of unknown type {kind}")
        item, count = self.scalar("<I"), self.scalar("<Q")
        # The shortest item takes one byte, so a count beyond the header cannot be true.
        if count > len(self.content) - self.position:
            raise InputError(f"{self.path}: the GGUF header holds an array of {count} items")
        if item in _GGUF_SCALARS:
            layout = f"<{count}{_GGUF_SCALARS[item][1]}"
            return list(struct.unpack(layout, self.take(struct.calcsize(layout))))
        return [self.value(item, nested=True) for _ in range(count)]


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """Read and check the header of a GGUF file of version 2 or 3, little-endian.

    Returns
    -------
    metadata : dict
        Values by key.
    tensors : dict
        Tensors by name. GGUF writes dimensions fastest first; the shapes here are row-major.

    Raises
    ------
    InputError
        If the file is no such GGUF file, is truncated, its header contradicts itself or the
        file, or a tensor is of another type than F32, F16, BF16 and Q8_0.
    """
    size = file_size(path)
    refuse_pickle(path)
    cursor = _Cursor(path)
    if cursor.content[:4] != b"GGUF":
        raise InputError(f"{path}: is no GGUF file: it does not begin with 'GGUF'")
    cursor.take(4)
    version = cursor.scalar("<I")
    if version not in (2, 3):
        raise InputError(f"{path}: GGUF version must be 2 or 3, little-endian, not {version}")
    tensor_count, value_count = cursor.scalar("<Q"), cursor.scalar("<Q")
    # The shortest entries take 13 bytes (a value) and 24 (a tensor without dimensions).
    if value_count * 13 + tensor_count * 24 > len(cursor.content):
        raise InputError(
            f"{path}: is truncated, or its GGUF header lies: it announces {tensor_count} tensors "
            f"and {value_count} values"
        )
    metadata: dict[str, Any] = {}
    for _ in range(value_count):
        key = cursor.string()
        if key in metadata:
            raise InputError(f"{path}: {shown(key)}: appears twice in the GGUF header")
        metadata[key] = cursor.value(cursor.scalar("<I"))
    entries = [_gguf_entry(cursor) for _ in range(tensor_count)]

    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= 2**16 or alignment & (alignment - 1):
        raise InputError(
            f"{path}: general.alignment: must be a power of two from 8 to 65536, not "
            f"{alignment!r:.40}"
        )
    start = cursor.position + -cursor.position % alignment
    tensors: dict[str, StoredTensor] = {}
    end = start
    for entry in sorted(entries, key=lambda t: (t.offset, t.size)):
        place = start + entry.offset
        if entry.name in tensors:
            raise InputError(f"{path}: {shown(entry.name)}: appears twice in the GGUF header")
        if place < end or entry.offset % alignment:
            raise InputError(f"{path}: {shown(entry.name)}: its data overlap or are not aligned")
        end = place + entry.size
        if end > size:
            raise InputError(
                f"{path}: {shown(entry.name)}: its data lie beyond the end of the file"
            )
        tensors[entry.name] = StoredTensor(
            path, entry.name, entry.dtype, entry.shape, place, entry.size
        )
    return metadata, tensors


def _gguf_entry(cursor: _Cursor) -> StoredTensor:
    name = cursor.string()
    where = f"{cursor.path}: {shown(name)}"
    dimensions = cursor.scalar("<I")
    if dimensions > 4:
        raise InputError(f"{where}: has {dimensions} dimensions; GGUF allows at most 4")
    shape = tuple(cursor.scalar("<Q") for _ in range(dimensions))[::-1]
    kind = cursor.scalar("<I")
    offset = cursor.scalar("<Q")
    if kind not in _GGUF_TYPES:
        raise InputError(f"{where}: type must be F32, F16, BF16 or Q8_0, not GGML type {kind}")
    dtype = _GGUF_TYPES[kind]
    if dtype != "Q8_0":
        size = math.prod(shape) * _ITEM_BYTES[dtype]
    elif shape and shape[-1] % 32 == 0:
        size = math.prod(shape) // 32 * 34
    else:
        raise InputError(f"{where}: rows in Q8_0 must be a multiple of 32 long")
    return StoredTensor(cursor.path, name, dtype, shape, offset, size)
