"""Readers of traces: exact on small files, round trips on random ones, one sentence on bad ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from examples import DEFAULT_EXAMPLES, examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.traces.read import read_workload
from hardwire.simulator.serving.load.traces.table import MOST_TOKENS
from hardwire.simulator.serving.load.workload import BASE

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PLAIN = "arrival_s,prompt_tokens,output_tokens,adapter\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(content: str | bytes, name: str = "trace.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


# -------------------------------------------------------------------------------------- formats


def test_azure_by_hand(write) -> None:
    path = write(
        AZURE + "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.9951690,396,109\n"
        "2023-11-17 00:00:00,1,2\n"
    )
    workload = read_workload(path)
    assert workload.name == "trace.csv"
    assert workload.arrival_s[0] == 0
    assert workload.arrival_s[1] == pytest.approx(4.314579, abs=1e-12)
    assert workload.arrival_s[2] == pytest.approx(5 * 3600 + 44 * 60 + 13.31941, abs=1e-9)
    assert workload.prompt.tolist() == [374, 396, 1]
    assert workload.output.tolist() == [44, 109, 2]
    assert workload.adapter.tolist() == [BASE] * 3
    assert workload.duration_s == workload.arrival_s[-1]


def test_azure_2024_writes_a_zone(write) -> None:
    rows = "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10T00:00:01.009930Z,2399,6\n"
    workload = read_workload(write(AZURE + rows))
    assert workload.arrival_s.tolist() == [0, 1]


def test_plain_by_hand(write) -> None:
    path = write(PLAIN + "0.5,10,20,b\n1,11,21,\n1,12,22, a \n2.5e0,13,23,b\n")
    workload = read_workload(path)
    assert workload.arrival_s.tolist() == [0.5, 1, 1, 2.5]
    assert workload.prompt.tolist() == [10, 11, 12, 13]
    assert workload.output.tolist() == [20, 21, 22, 23]
    assert workload.adapters == ("b", "a")
    assert workload.adapter.tolist() == [0, BASE, 1, 0]


def test_columns_in_any_order_and_without_adapter(write) -> None:
    workload = read_workload(write("Output_tokens, PROMPT_TOKENS ,arrival_s\n2,1,0\n"))
    assert (workload.prompt[0], workload.output[0]) == (1, 2)
    assert workload.adapters == () and workload.adapter.tolist() == [BASE]


def test_length_lists_arrive_at_once(write) -> None:
    as_csv = read_workload(write("prompt_tokens,output_tokens\n5,6\n7,8\n"))
    entries = [{"prompt_tokens": 5, "output_tokens": 6}, {"prompt_tokens": 7, "output_tokens": 8}]
    as_array = read_workload(write(json.dumps(entries, indent=1), "list.json"))
    as_lines = read_workload(write("\n".join(map(json.dumps, entries)), "list.jsonl"))
    vllm = {"backend": "vllm", "input_lens": [5, 7], "output_lens": [6, 8]}
    as_vllm = read_workload(write(json.dumps(vllm), "vllm.json"))
    as_vllm_indented = read_workload(write(json.dumps(vllm, indent=2), "vllm2.json"))
    for workload in (as_csv, as_array, as_lines, as_vllm, as_vllm_indented):
        assert workload.arrival_s.tolist() == [0, 0] and workload.duration_s == 0
        assert workload.prompt.tolist() == [5, 7] and workload.output.tolist() == [6, 8]


def test_mooncake_by_hand(write) -> None:
    rows = [
        {"timestamp": 3000, "input_length": 1024, "output_length": 5, "hash_ids": [0, 1]},
        {"timestamp": 3000, "input_length": 1025, "output_length": 6, "hash_ids": [0, 1, 2]},
        {"timestamp": 6001, "input_length": 1, "output_length": 7, "hash_ids": []},
    ]
    workload = read_workload(write("\n".join(map(json.dumps, rows)) + "\n", "m.jsonl"))
    assert workload.arrival_s.tolist() == [0, 0, 3.001]
    assert workload.prefixes is not None
    assert workload.prefixes.first.tolist() == [0, 2, 5, 5]
    assert workload.prefixes.hashes.tolist() == [0, 1, 0, 1, 2]


def test_mooncake_without_hashes(write) -> None:
    row = {"timestamp": 0, "input_length": 3, "output_length": 4, "chat_id": 9}
    assert read_workload(write(json.dumps(row), "m.jsonl")).prefixes is None


def test_adapters_in_json(write) -> None:
    rows = [
        {"arrival_s": k, "prompt_tokens": 1, "output_tokens": 1, "adapter": adapter}
        for k, adapter in enumerate(["x", None, "", "y", "x"])
    ]
    workload = read_workload(write("\n".join(map(json.dumps, rows)), "a.jsonl"))
    assert workload.adapters == ("x", "y")
    assert workload.adapter.tolist() == [0, BASE, BASE, 1, 0]


def test_byte_order_mark_windows_lines_blank_lines_and_quotes(write) -> None:
    text = PLAIN + '0,"1",2,"a,b"\n\n1,3.0,4,c\n\n'
    workload = read_workload(write(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()))
    assert workload.adapters == ("a,b", "c")
    assert workload.prompt.tolist() == [1, 3]


ROWS = st.lists(
    st.tuples(
        st.floats(0, 1e6, allow_subnormal=False),
        st.integers(1, MOST_TOKENS),
        st.integers(1, MOST_TOKENS),
        st.sampled_from(["", "a", "b", "ü"]),
    ),
    min_size=1,
    max_size=30,
)


@given(rows=ROWS, as_json=st.booleans())
def test_what_is_written_is_read(rows, as_json: bool, tmp_path_factory) -> None:
    rows.sort(key=lambda row: row[0])
    names = PLAIN.strip().split(",")
    if as_json:
        text = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    else:
        text = PLAIN + "\n".join(f"{a!r},{p},{o},{n}" for a, p, o, n in rows)
    path = tmp_path_factory.mktemp("t") / "trace"
    path.write_text(text, encoding="utf-8")
    workload = read_workload(path)
    assert workload.arrival_s.tolist() == [row[0] for row in rows]
    assert workload.prompt.tolist() == [row[1] for row in rows]
    assert workload.output.tolist() == [row[2] for row in rows]
    read = [workload.adapters[k] if k != BASE else "" for k in workload.adapter]
    assert read == [row[3] for row in rows]


@given(
    content=st.one_of(st.binary(max_size=60), st.text(alphabet=',[]{}":\n 0159.eNa-', max_size=60))
)
def test_any_bytes_are_read_or_refused_in_one_sentence(content, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("t") / "trace"
    body = content.encode() if isinstance(content, str) else content
    for head in (b"", AZURE.encode(), PLAIN.encode(), b"prompt_tokens,output_tokens\n", b"[", b"{"):
        path.write_bytes(head + body)
        try:
            read_workload(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


def test_chunks_join(write, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PLAIN + "".join(f"{k},{k + 1},{k + 2},a{k % 3}\n" for k in range(20))
    whole = read_workload(write(text))
    monkeypatch.setattr("hardwire.simulator.serving.load.traces.table._CHUNK_ROWS", 7)
    parts = read_workload(write(text))
    assert whole.adapters == parts.adapters
    for name in ("arrival_s", "prompt", "output", "adapter"):
        assert (getattr(whole, name) == getattr(parts, name)).all()
    with pytest.raises(InputError, match=r"line 17, column prompt_tokens: "):
        read_workload(write(text.replace("15,16,17", "15,x,17")))
    with pytest.raises(InputError, match=r"line 16, column arrival_s: '1' is earlier"):
        read_workload(write(text.replace("\n14,", "\n1,")))


# ------------------------------------------------------------------------------- compressed files


def zstd_bytes(content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("pack", [gzip.compress, zstd_bytes], ids=["gz", "zst"])
@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order-mark"])
def test_compressed_traces_are_read(write, pack, head: bytes) -> None:
    """Told by content, as the formats are: the file is called trace.csv."""
    workload = read_workload(write(pack(head + f"{PLAIN}0.5,10,20,b\n1,11,21,\n".encode())))
    assert workload.arrival_s.tolist() == [0.5, 1]
    assert workload.prompt.tolist() == [10, 11] and workload.adapters == ("b",)
    rows = json.dumps([{"prompt_tokens": 5, "output_tokens": 6}], indent=1)
    assert read_workload(write(pack(rows.encode()))).prompt.tolist() == [5]
    with pytest.raises(InputError, match="line 3, column prompt_tokens: must be a whole number"):
        read_workload(write(pack(f"{PLAIN}0,1,1,\n0,x,1,\n".encode())))
    with pytest.raises(InputError, match="line 2, column prompt_tokens: is not UTF-8 text"):
        read_workload(write(pack(PLAIN.encode() + b"0,\xff,1,\n")))
    with pytest.raises(InputError, match="is empty"):
        read_workload(write(pack(b"")))


@pytest.mark.parametrize("pack", [gzip.compress, zstd_bytes], ids=["gz", "zst"])
@given(data=st.data())
@examples(DEFAULT_EXAMPLES, HealthCheck.function_scoped_fixture)
def test_damaged_compressed_traces_end_in_one_sentence(write, pack, data) -> None:
    packed = bytearray(pack(PLAIN.encode() + b"".join(b"%d,1,2,\n" % k for k in range(200))))
    place = data.draw(st.integers(4, len(packed) - 1))
    if data.draw(st.booleans()):
        packed[place] ^= data.draw(st.integers(1, 255))
    else:
        del packed[place:]
    try:
        read_workload(write(bytes(packed)))
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"PAR1", "is a Parquet file"),
        (b"PK\x03\x04", "is a ZIP archive or a workbook"),
        (b"BZh9", "is compressed with bzip2"),
        (b"\xfd7zXZ\0", "is compressed with xz"),
    ],
)
def test_files_of_other_kinds_are_told_what_they_are(write, start: bytes, what: str) -> None:
    with pytest.raises(InputError, match=f"trace.csv: {what}; a trace is CSV or JSON, plain, .gz"):
        read_workload(write(start + b"\0" * 20))


# ----------------------------------------------------------------------------- times and their unit

BAILIAN = {"chat_id": 1, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 521,
           "output_length": 132, "type": "text", "turn": 1}  # fmt: skip


def lines(*rows: dict[str, object]) -> str:
    return "\n".join(map(json.dumps, rows))


def mooncake(*times: object) -> str:
    return lines(*({"timestamp": t, "input_length": 3, "output_length": 4} for t in times))


def test_seconds_of_a_bailian_trace_are_not_played_as_milliseconds(write) -> None:
    rows = BAILIAN, BAILIAN | {"timestamp": 91.114, "chat_id": 2}
    assert read_workload(write(lines(*rows))).arrival_s.tolist() == pytest.approx([0, 30])


def test_bailian_hashes_of_16_tokens_are_joined_to_blocks_of_512(write) -> None:
    first = list(range(33))  # 33 blocks of 16 tokens: one of 512, and one token more
    other = [*range(31), 99, 32]
    rows = (
        BAILIAN | {"input_length": 513, "hash_ids": first},
        BAILIAN | {"input_length": 1024, "hash_ids": [*first[:32], *range(100, 132)]},
        BAILIAN | {"input_length": 513, "hash_ids": other},
        BAILIAN | {"input_length": 500, "hash_ids": first[:31]},
        BAILIAN | {"input_length": 1024, "hash_ids": [*other[:32], *range(100, 132)]},
    )
    prefixes = read_workload(write(lines(*rows))).prefixes
    assert prefixes is not None and prefixes.first.tolist() == [0, 1, 3, 4, 4, 6]
    one, again, more, another, third, last = prefixes.hashes.tolist()
    assert one == again and another == third
    # The same small hashes behind another beginning are another prefix.
    assert len({one, more, another, last}) == 4
    with pytest.raises(InputError, match="34 hashes, more than the 33 blocks of 16 tokens"):
        read_workload(write(lines(BAILIAN | {"hash_ids": [*first, 1]})))


def test_mooncake_times_that_may_be_seconds_are_refused_with_the_option(write) -> None:
    broken = "line 2, column timestamp: '0.5' is no whole number of milliseconds.*--time-unit s or"
    fractional = write(mooncake(0.0, 0.5, 20.5), "fractional")
    with pytest.raises(InputError, match=broken):
        read_workload(fractional)
    assert read_workload(fractional, time_unit="s").arrival_s.tolist() == [0, 0.5, 20.5]
    assert read_workload(fractional, time_unit="ms").arrival_s.tolist() == [0, 0.0005, 0.0205]
    dense = write(mooncake(*range(31)), "dense")
    wanted = "column timestamp: as milliseconds, 31 requests would come in 0.03 s; say --time-unit"
    with pytest.raises(InputError, match=wanted):
        read_workload(dense)
    assert read_workload(dense, time_unit="s").duration_s == 30
    assert read_workload(dense, time_unit="ms").duration_s == 0.03
    # 100 requests a second on the mean are believed.
    assert read_workload(write(mooncake(*range(0, 301, 10)))).duration_s == 0.3
    assert read_workload(write(mooncake(7, 7, 7.0))).duration_s == 0


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9], ids=["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", ["plain", "azure", "burstgpt", "mooncake", "bailian"])
def test_times_since_1970_begin_at_0(write, kind: str, per_second: int) -> None:
    times = [1_700_000_000 * per_second, 1_700_000_002 * per_second]
    text = {
        "plain": PLAIN + "".join(f"{t},1,2,\n" for t in times),
        "azure": AZURE + "".join(f"{t},1,2\n" for t in times),
        "burstgpt": BURSTGPT + "".join(f"{t},m,1,2,3,x\n" for t in times),
        "mooncake": mooncake(*times),
        "bailian": lines(*(BAILIAN | {"timestamp": t} for t in times)),
    }[kind]
    if kind == "mooncake" and per_second == 1:  # or 20 days in milliseconds
        with pytest.raises(InputError, match="'1700000000' could be of several units; say --time"):
            read_workload(write(text))
        assert read_workload(write(text), time_unit="s").arrival_s.tolist() == [0, 2]
        return
    assert read_workload(write(text)).arrival_s.tolist() == [0, 2]


def test_nanoseconds_since_1970_keep_every_digit(write) -> None:
    begin = 1_700_000_000_000_000_000
    times = [begin + k for k in (1, 2, 100, 1_000_000_001)]
    workload = read_workload(write(PLAIN + "".join(f"{t},1,2,\n" for t in times)))
    assert workload.arrival_s.tolist() == [0, 1e-9, 99e-9, 1]


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        (PLAIN + "500,1,2,\n1500,1,2,\n", "ms", [0.5, 1.5]),
        (PLAIN + "1700000000500,1,2,\n1700000001000,1,2,\n", "ms", [0, 0.5]),
        (AZURE + "0.5,1,2\n2,1,2\n", "s", [0, 1.5]),
        (AZURE + "2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,1,2\n", "ms", [0, 1]),
        (mooncake(5_000_000, 6_000_000), "us", [0, 1]),
        (lines(BAILIAN, BAILIAN | {"timestamp": 64.114}), "ms", [0, 0.003]),
    ],
)
def test_the_option_says_the_unit_of_numbers(write, text: str, unit: str, expected) -> None:
    assert read_workload(write(text), time_unit=unit).arrival_s.tolist() == pytest.approx(expected)


def test_files_out_of_order_are_sorted_by_option(write) -> None:
    text = PLAIN + "3,1,2,a\n1,3,4,b\n3,5,6,\n0.5,7,8,a\n"
    with pytest.raises(InputError, match=r"line 3, .* sort the file, or give --sort"):
        read_workload(write(text))
    workload = read_workload(write(text), sort=True)
    assert workload.arrival_s.tolist() == [0.5, 1, 3, 3]  # as stated, not from the first
    assert workload.prompt.tolist() == [7, 3, 1, 5]
    assert workload.adapters == ("a", "b") and workload.adapter.tolist() == [0, 1, 0, BASE]
    rows = (
        {"timestamp": 6000, "input_length": 1025, "output_length": 1, "hash_ids": [1, 2, 3]},
        {"timestamp": 1000, "input_length": 1, "output_length": 2, "hash_ids": []},
        {"timestamp": 3000, "input_length": 600, "output_length": 3, "hash_ids": [4, 5]},
    )
    workload = read_workload(write(lines(*rows)), sort=True)
    assert workload.arrival_s.tolist() == [0, 2, 5] and workload.output.tolist() == [2, 3, 1]
    assert workload.prefixes is not None
    assert workload.prefixes.first.tolist() == [0, 0, 2, 5]
    assert workload.prefixes.hashes.tolist() == [4, 5, 1, 2, 3]


# --------------------------------------------------------------- BurstGPT, vLLM, other separators

BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def test_burstgpt_by_hand_with_both_headers(write) -> None:
    old = BURSTGPT + "5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,10,2,12,API log\n"
    new = (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
        "Log Type\n5,s1,1.2,ChatGPT,472,18,490,API log\n45,s2,3.4,GPT-4,10,2,12,API log\n"
    )
    for text in (old, new):
        workload = read_workload(write(text))
        assert workload.arrival_s.tolist() == [0, 40]
        assert workload.prompt.tolist() == [472, 10] and workload.output.tolist() == [18, 2]
        assert (workload.adapters, workload.skipped) == ((), 0)


def test_burstgpt_requests_without_a_response_are_left_out_and_counted(write) -> None:
    text = BURSTGPT + "0,m,1,0,1,x\n5,m,2,3,5,x\n6,m,4, 0 ,4,x\n9,m,5,6,11,x\n"
    workload = read_workload(write(text))
    assert workload.arrival_s.tolist() == [0, 4] and workload.prompt.tolist() == [2, 5]
    assert workload.skipped == workload.describe()["skipped"] == 2
    with pytest.raises(InputError, match=r"line 5, column Request tokens: .* not 'x'"):
        read_workload(write(text.replace("m,5,6", "m,x,6")))
    with pytest.raises(InputError, match="holds no requests: all 1 failed"):
        read_workload(write(BURSTGPT + "0,m,1,0,1,x\n"))


def vllm(**changes: object) -> str:
    result = {"input_lens": [10, 20, 30], "output_lens": [5, 7, 6], "errors": ["", "", ""]}
    return json.dumps(result | changes)


def test_start_times_of_a_vllm_result_are_its_arrivals(write) -> None:
    workload = read_workload(write(vllm(start_times=[353399.7, 353400.5, 353411.0])))
    assert workload.arrival_s.tolist() == pytest.approx([0, 0.8, 11.3])
    # Lists are in the order of the prompts, whatever was sent first.
    workload = read_workload(write(vllm(start_times=[9.5, 9, 10])))
    assert workload.arrival_s.tolist() == [0, 0.5, 1] and workload.prompt.tolist() == [20, 10, 30]


def test_failed_requests_of_a_vllm_result_are_left_out_and_counted(write) -> None:
    failed = vllm(output_lens=[5, 0, 6], errors=["", "HTTP 500", ""], start_times=[3, 1, 5])
    workload = read_workload(write(failed))
    assert workload.prompt.tolist() == [10, 30] and workload.output.tolist() == [5, 6]
    assert workload.arrival_s.tolist() == [0, 2] and workload.skipped == 1
    assert read_workload(write(vllm(errors=None))).skipped == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_times": [1, 2]}, "start_times: has 2 entries, but input_lens 3"),
        ({"start_times": "now"}, "start_times: must be a list, one entry per request"),
        ({"start_times": [1, "x", 2]}, "entry 2, column start_times: must be a number"),
        ({"start_times": [1, 2, -1]}, "entry 3, column start_times: must be a number"),
        ({"errors": ["", ""]}, "errors: has 2 entries, but input_lens 3"),
        ({"errors": ["a", "b", "c"]}, "holds no requests: all 3 failed"),
        (
            {"errors": ["a", "", ""], "output_lens": [0, 1, 0]},
            "entry 3, column output_lens: must be a whole number",
        ),
    ],
)
def test_bad_vllm_results_are_refused(write, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_workload(write(vllm(**changes)))


@pytest.mark.parametrize("delimiter", [";", "\t"], ids=["semicolons", "tabs"])
def test_other_separators_than_commas_are_read(write, delimiter: str) -> None:
    text = PLAIN.replace(",", delimiter) + delimiter.join(["0.5", "10", "20", '"a,b"']) + "\n"
    workload = read_workload(write(text))
    assert (workload.arrival_s[0], workload.prompt[0], workload.adapters) == (0.5, 10, ("a,b",))
    with pytest.raises(InputError, match="line 2, column output_tokens: must be a whole number"):
        read_workload(write(text.replace("20", "2,5")))
    with pytest.raises(InputError, match="line 2, column output_tokens: is not UTF-8 text"):
        read_workload(write(text.encode().replace(b"20", b"\xff")))


@pytest.mark.parametrize(
    ("file", "arrivals", "prompts", "skipped"),
    [
        ("bom.csv.gz", [0, 1], [10, 20], 0),
        ("burst.csv", [0, 5, 10, 15, 20, 25, 30, 35], list(range(100, 108)), 0),
        ("burst2.csv", [0, 40], [472, 1087], 0),
        ("semi.csv", [0, 1], [10, 10], 0),
        ("trace-seconds-read-as-ms/bailian_no_hash.jsonl", [0, 30], [521, 100], 0),
        ("vllm-result-failed-request/result.json", [0, 0], [10, 30], 1),
        ("vllm-result-start-times/result.json", [0, 0.8, 11.3], [100, 200, 300], 0),
    ],
)
def test_reported_traces_are_read(
    shared_data: Path, file: str, arrivals: list[float], prompts: list[int], skipped: int
) -> None:
    workload = read_workload(shared_data / "reports" / file)
    assert workload.arrival_s.tolist() == pytest.approx(arrivals)
    assert (workload.prompt.tolist(), workload.skipped) == (prompts, skipped)


# ------------------------------------------------------------------------------------ bad input

DAY = "2023-11-16 18:15:46.5"
NUMBER = "must be a whole number from 1 to 2147483647"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": is empty"),
        ("\n\n", ": is empty"),
        (AZURE, "holds no requests"),
        (PLAIN + "0,1_000,5,\n", "line 2, column prompt_tokens: .* not '1_000'"),
        (PLAIN + "0,1,１２,\n", "line 2, column output_tokens: .* not '１２'"),
        (PLAIN + "1_0,1,2,\n", "line 2, column arrival_s: .* not '1_0'"),
        (PLAIN + "1e11,1,2,\n", "line 2, column arrival_s: '1e11' could be of several units"),
        (AZURE + "0.5,1,2\n", "line 2, column TIMESTAMP: '0.5' must be a date .*say --time-unit"),
        ("input_toks,output_tokens\n", "'input_toks': .*did you mean prompt_tokens"),
        ("prompt_tokens,input_toks\n", "'input_toks': is not .*GeneratedTokens$"),
        ("prompt_tokens,generated\n", "'generated': .*did you mean output_tokens"),
        ("Timestamp,Response tokens\n", "line 1: column request tokens is missing"),
        (
            '{"input_toks":100,"output_toks":20,"arrival_time_ns":0}',
            r"'input_toks': .*the keys are arrival_s, .*did you mean prompt_tokens\?$",
        ),
        (PLAIN + "\n\n", "holds no requests"),
        ("a,b,c\n1,2,3\n", "line 1, column 'a': is not known; the header must be arrival_s"),
        ("arrival_s,prompt_tokens,output_tokens,adaptor\n", "'adaptor': .*did you mean adapter"),
        ("arrival_s,prompt_tokens\n0,1\n", "line 1: column output_tokens is missing"),
        ("TIMESTAMP,ContextTokens\n" + DAY + ",1\n", "line 1: column generatedtokens is missing"),
        ("prompt_tokens,prompt_tokens,output_tokens\n1,1,1\n", "prompt_tokens: stands there twice"),
        (AZURE + DAY + ",1\n", "line 2, column GeneratedTokens: the line has 2 cells where"),
        (AZURE + DAY + ",1,2,3\n", "line 2, column GeneratedTokens: the line has 4 cells"),
        (AZURE + "\n" + DAY + ",-5,2\n", f"line 3, column ContextTokens: {NUMBER}, not '-5'"),
        (AZURE + DAY + ",5,0\n", f"line 2, column GeneratedTokens: {NUMBER}, not '0'"),
        (AZURE + DAY + ",,2\n", "line 2, column ContextTokens: is empty; it must be a whole"),
        (AZURE + DAY + ",1e30,2\n", "column ContextTokens: .*, not '1e30'"),
        (AZURE + DAY + ",2147483648,2\n", "column ContextTokens: .*, not '2147483648'"),
        (AZURE + DAY + "," + "9" * 5000 + ",2\n", "column ContextTokens: .*, not '9{40}'…"),
        (AZURE + DAY + ",NaN,2\n", "column ContextTokens: .*, not 'NaN'"),
        (AZURE + DAY + ",2.5,2\n", "column ContextTokens: .*, not '2.5'"),
        (AZURE + DAY + ",many,2\n", "column ContextTokens: .*, not 'many'"),
        (AZURE + "now,1,2\n", "line 2, column TIMESTAMP: must be a date and time such as"),
        (AZURE + ",1,2\n", "line 2, column TIMESTAMP: is empty; it must be a date"),
        (AZURE + DAY + ",1,1\n2023-02-30 00:00:00,1,2\n", "line 3, column TIMESTAMP: .*02-30"),
        (AZURE + "9999-01-01 00:00:00+09:00,1,2\n", "line 2, column TIMESTAMP"),
        (AZURE + "1000-01-01 00:00:00,1,2\n" + DAY + ",1,2\n", "line 3.*TIMESTAMP.*more than 1e9"),
        (AZURE + DAY + ",1,1\n2023-11-16 18:15:46.4,1,2\n", "line 3, .* is earlier than the req"),
        (PLAIN + "0,1,1,\n-1,1,1,\n", "line 3, column arrival_s: .* from 0 to 10{9}, not '-1'"),
        (PLAIN + "nan,1,1,\n", "line 2, column arrival_s: must be a number from 0"),
        (PLAIN + "1e30,1,1,\n", "line 2, column arrival_s: .*not '1e30'"),
        (PLAIN + "inf,1,1,\n", "line 2, column arrival_s: .*not 'inf'"),
        (PLAIN + '0,1,1,"a\nb"\n2,1,1,c\n1,1,1,d\n', "line 5, column arrival_s: '1' is earlier"),
        (PLAIN + '"0\n1",1,1,a\n', r"line 2, column arrival_s: must be .*, not '0\\n1'"),
        (PLAIN + '0,1,1,"a\n', "line 2: is not CSV"),
        (PLAIN + "0,1,1," + "x" * 200_000, "line 2: is not CSV"),
        (PLAIN.encode() + b"0,1,1,a\n1,1,1,\xff\xfe\n", "line 3, column adapter: is not UTF-8"),
        ("arrival_s,prompt_tokens".encode("utf-16"), "line 1, byte 1: is not UTF-8"),
        (b"\x80\x04\x95", "line 1, byte 1: is not UTF-8 text"),
        ('{"prompt_tokens": 1, "output_tokens": 2}\n{oops\n', "line 2: is not JSON"),
        ("{oops\n", "line 1, character 2: is not JSON"),
        ('{"prompt_tokens": 1, "output_tokens": 2}\n\n[1]\n', "line 3: must be a JSON object"),
        ('{"prompt_tokens": 1, "output_tokens": true}', "line 1, column output_tokens: .*'True'"),
        ('{"prompt_tokens": 1, "output_tokens": "2"}', "line 1, column output_tokens: .*not '2'"),
        ('{"prompt_tokens": 1, "output_tokens": 2.5}', "line 1, column output_tokens: .*not '2.5'"),
        ('{"prompt_tokens": 1, "output_tokens": NaN}', "line 1, column output_tokens: .*not 'nan'"),
        ('{"prompt_tokens": 1, "output_tokens": 1' + "0" * 400 + "}", "output_tokens: .*'10{39}'…"),
        ('{"prompt_tokens": 1, "output_tokens": 1' + "0" * 5000 + "}", "is not JSON"),
        ('{"prompt_tokens": 1}', "line 1: column output_tokens is missing"),
        (
            '{"prompt_tokens": 1, "output_tokens": 2}\n{"prompt_tokens": 1}',
            "line 2, column output_tokens: is empty",
        ),
        (
            '{"prompt_tokens": 1, "output_tokens": 2}\n'
            '{"prompt_tokens": 1, "output_tokens": 2, "adapter": "a"}',
            "line 2, column 'adapter': is not known, or not in the first request",
        ),
        (
            '{"prompt_tokens": 1, "output_tokens": 2, "adapter": ["a"]}',
            "line 1, column adapter: must be a name",
        ),
        ('{"timestamp": 1, "input_length": 2}', "line 1: column output_length is missing"),
        (
            '{"timestamp": 1, "input_length": 512, "output_length": 1, "hash_ids": [1, 2]}',
            "line 1, column hash_ids: has 2 hashes, more than the 1 blocks",
        ),
        (
            '{"timestamp": 1, "input_length": 512, "output_length": 1, "hash_ids": [-1]}',
            "line 1, column hash_ids: holds a number outside",
        ),
        (
            '{"timestamp": 1, "input_length": 512, "output_length": 1, "hash_ids": "x"}',
            "line 1, column hash_ids: must be a list",
        ),
        (
            '{"timestamp": 1, "input_length": 5, "output_length": 1}\n'
            '{"timestamp": 1, "input_length": 5, "output_length": 1, "hash_ids": [1]}',
            "line 2, column 'hash_ids': is not known, or not in the first",
        ),
        ("[]", "holds no requests"),
        ("[1]", "entry 1: must be a JSON object"),
        ('[{"prompt_tokens": 0, "output_tokens": 1}]', "entry 1, column prompt_tokens"),
        ('[{"id": 1, "conversations": []}]', "entry 1: holds conversations as text"),
        ("[" * 100_000, "is JSON nested too deeply|is not JSON"),
        ('{\n"input_lens": [1]}', "output_lens: no such list"),
        ('{"input_lens": [1], "output_lens": []}', "output_lens: has 0 entries, but input_lens 1"),
        ('{"input_lens": [], "output_lens": []}', "holds no requests"),
        ('{"input_lens": [1], "output_lens": [0]}', "entry 1, column output_lens: must be a whole"),
    ],
)  # fmt: skip
def test_bad_files_end_in_one_sentence(write, content: str | bytes, message: str) -> None:
    path = write(content)
    with pytest.raises(InputError, match=message) as caught:
        read_workload(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 + len(str(path))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_workload(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_workload(tmp_path)


# ----------------------------------------------------------------------------------- real files


@pytest.mark.parametrize(
    ("file", "requests", "prompt", "output", "duration"),
    [
        ("AzureLLMInferenceTrace_conv_2023.csv", 19_366, 22_361_870, 4_088_665, 3501.721937),
        ("AzureLLMInferenceTrace_code_2023.csv", 8_819, 18_059_974, 245_896, 3435.948056),
        ("mooncake_conversation_trace.jsonl", 12_031, 144_793_823, 4_122_048, 3536.999),
    ],
)
def test_published_traces(
    shared_data: Path, file: str, requests: int, prompt: int, output: int, duration: float
) -> None:
    """Totals taken with pandas, apart from the readers."""
    workload = read_workload(shared_data / "traces" / file)
    assert len(workload) == requests
    assert (workload.prompt.sum(), workload.output.sum()) == (prompt, output)
    assert workload.duration_s == pytest.approx(duration, abs=1e-6)
    if workload.prefixes is not None:
        blocks = np.diff(workload.prefixes.first)
        assert (blocks == -(-workload.prompt // 512)).all()
