"""The bytes of a trace: plain or compressed, as text, or a sentence that says what they are."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn, TextIO, cast

from hardwire.models.errors import InputError
from hardwire.models.files import read_bytes, reason

DELIMITERS = (",", ";", "\t")

_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_NO_TEXT = {
    b"PAR1": "is a Parquet file",
    b"PK\x03\x04": "is a ZIP archive or a workbook",
    b"BZh": "is compressed with bzip2",
    b"\xfd7zXZ": "is compressed with xz",
}


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Give a trace as text without a byte order mark, unpacked where it is gzip or zstandard.

    Raises
    ------
    InputError
        If the file cannot be read, its compressed data are damaged, or it is known to be no text.
    """
    with _opened(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        yield file


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    start = read_bytes(path, count=8)
    for magic, what in _NO_TEXT.items():
        if start.startswith(magic):
            raise InputError(f"{path}: {what}; a trace is CSV or JSON, plain, .gz or .zst")
    packed = start.startswith((_GZIP, _ZSTANDARD))
    try:
        with _unpacked(path, start) as file:
            yield file
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: its compressed data are damaged or cut off ({error})") from error
    except OSError as error:
        what = "its compressed data are damaged" if packed else "cannot be read"
        raise InputError(f"{path}: {what} ({reason(error)})") from error


def _unpacked(path: Path, start: bytes) -> IO[bytes]:
    if start.startswith(_GZIP):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if start.startswith(_ZSTANDARD):
        import pyarrow  # noqa: PLC0415 - takes a while, and few traces need it

        stream: Any = pyarrow.input_stream(str(path), compression="zstd", buffer_size=1 << 16)
        return io.BufferedReader(stream)
    return path.open("rb")


def delimiter_of(header: str) -> str:
    """Return what separates the cells of a header: comma, semicolon or tab."""
    return max(DELIMITERS, key=header.count)


def refuse_encoding(path: Path) -> NoReturn:
    """Name the place that is not UTF-8: a second pass, as only errors need it."""
    header: list[bytes] = []
    mark = b","
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if not header:
                mark = delimiter_of(line.decode("utf-8", "replace")).encode()
                header = line.split(mark)
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                column = f"byte {error.start + 1}"
                if number > 1 and not header[0].lstrip().startswith((b"{", b"[")):
                    cell = min(line[: error.start].count(mark), len(header) - 1)
                    column = f"column {header[cell].decode('utf-8-sig').strip()}"
                raise InputError(f"{path}: line {number}, {column}: is not UTF-8 text") from None
    raise InputError(f"{path}: is not UTF-8 text")  # it has changed since
