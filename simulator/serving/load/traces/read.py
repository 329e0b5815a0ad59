"""Reader of request traces: whatever is wrong with a file is told with its line and column.

Formats are told apart by content, not by the file's ending; see `read_workload`. Files are read in
chunks, so memory follows the requests and not the text.
"""

from __future__ import annotations

from pathlib import Path

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.files import file_size
from hardwire.simulator.serving.load.traces.csv_reader import read_csv
from hardwire.simulator.serving.load.traces.json_reader import read_json
from hardwire.simulator.serving.load.traces.source import delimiter_of, open_text, refuse_encoding
from hardwire.simulator.serving.load.traces.times import UNITS
from hardwire.simulator.serving.load.workload import Workload


def read_workload(
    path: str | Path, *, time_unit: str | None = None, sort: bool = False
) -> Workload:
    """Read a request trace, plain or compressed with gzip or zstandard.

    Formats:

    - CSV of the Azure LLM inference traces: ``TIMESTAMP,ContextTokens,GeneratedTokens``;
    - CSV of BurstGPT: ``Timestamp`` (s), ``Request tokens``, ``Response tokens`` and others;
      requests without a response failed there and are left out;
    - JSON Lines of Mooncake: ``timestamp`` (ms), ``input_length``, ``output_length`` and,
      optionally, ``hash_ids`` of 512-token prompt blocks, which become ``prefixes``;
    - the same with ``parent_chat_id``, as in Qwen-Bailian's traces: ``timestamp`` is in seconds,
      ``hash_ids`` stand for 16 tokens and are joined to whole blocks of 512;
    - plain CSV with the header ``arrival_s,prompt_tokens,output_tokens,adapter``, columns in any
      order, ``adapter`` optional and empty for the base model;
    - the same without ``arrival_s``, a list of lengths: all requests arrive at 0;
    - JSON Lines, or one JSON array, of objects with the plain CSV's columns;
    - a result of ``vllm bench serve --save-detailed``: ``input_lens``, ``output_lens`` and, where
      it is there, ``start_times`` (s), in whose order they arrive; requests with an entry in
      ``errors`` are left out.

    CSV may have commas, semicolons or tabs. Times count from the first request, except for
    ``arrival_s``, which is taken as it is. Numbers from 1e9 on count from 1970, in the one of
    seconds, milliseconds, microseconds and nanoseconds that puts them between 2001 and 5138.
    Adapters are numbered in the order in which they first appear. A byte order mark, Windows line
    ends and empty lines are accepted.

    Parameters
    ----------
    path : path
    time_unit : {"s", "ms", "us", "ns"}, optional
        Unit of times that are numbers, whatever the format says.
    sort : bool
        Put requests in order of arrival, keeping that of the file where they are equal.

    Returns
    -------
    Workload
        ``duration_s`` is the last arrival, ``skipped`` the requests that were left out.

    Raises
    ------
    InputError
        If the file cannot be read or is of no known format, a cell is malformed, empty or out of
        range, or arrivals fall and ``sort`` is not given. The sentence names the file, the line as
        an editor counts (the entry, in a JSON array) and the column. Requests of 0 output tokens
        are refused as well. So are ``timestamp`` values in Mooncake's format, which has
        milliseconds, that are no whole numbers or make more than 100 requests/s: they may be
        seconds, and ``time_unit`` says it.
    """
    path = Path(path)
    if time_unit is not None and time_unit not in UNITS:
        near = did_you_mean(time_unit, UNITS)
        raise InputError(f"time unit: must be one of {', '.join(UNITS)}, not '{time_unit}'{near}")
    if file_size(path) == 0:
        raise InputError(f"{path}: is empty")
    try:
        with open_text(path) as file:
            start = next((line for line in file if not line.isspace()), "")
        if not start:
            raise InputError(f"{path}: is empty")
        if start.lstrip().startswith(("{", "[")):
            return read_json(path, start, unit=time_unit, sort=sort)
        return read_csv(path, delimiter_of(start), unit=time_unit, sort=sort)
    except UnicodeDecodeError:
        refuse_encoding(path)
