"""Readers of traces: exact on small files, round trips on random ones, one sentence on bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.traces import MOST_TOKENS, read_workload
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
    monkeypatch.setattr("hardwire.simulator.serving.load.traces._CHUNK_ROWS", 7)
    parts = read_workload(write(text))
    assert whole.adapters == parts.adapters
    for name in ("arrival_s", "prompt", "output", "adapter"):
        assert (getattr(whole, name) == getattr(parts, name)).all()
    with pytest.raises(InputError, match=r"line 17, column prompt_tokens: "):
        read_workload(write(text.replace("15,16,17", "15,x,17")))
    with pytest.raises(InputError, match=r"line 16, column arrival_s: '1' is earlier"):
        read_workload(write(text.replace("\n14,", "\n1,")))


# ------------------------------------------------------------------------------------ bad input

DAY = "2023-11-16 18:15:46.5"
NUMBER = "must be a whole number from 1 to 2147483647"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": is empty"),
        ("\n\n", ": is empty|holds no requests|is missing"),
        (AZURE, "holds no requests"),
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
