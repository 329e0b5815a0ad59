"""``plan`` and ``run --system`` on the command line."""

from __future__ import annotations

import pytest
from shell import Shell


def test_plan_gives_dies_placement_and_fit(hardwire: Shell) -> None:
    found = hardwire.answer("plan", "qwen3-14b", "--objective", "dies", "--prompt", 64)
    assert found["dies"] == 2 and found["fits"] is True
    (stage,) = found["placement"]["stages"]  # as fast a pair as there is
    assert stage["layers"] == [0, 39] and stage["dies"] == ["d0", "d1"]
    assert found["options"][0]["dies"] == 2


def test_run_of_a_system_prints_the_verdict(hardwire: Shell) -> None:
    status, out, err = hardwire("run", "--system", "llama-70b-hc2", "--users", 4)
    assert (status, err) == (0, "")
    for words in ("tokens/s for one user", "Links: bytes and latency", "Masks", "4 dies"):
        assert words in out
    found = hardwire.answer("run", "--system", "llama-70b-hc2", "--users", 4)
    assert found["dies"] == 4 and found["latency_s"]["link_latency"] > 0


def test_an_overflowing_system_says_which_die_by_how_much(hardwire: Shell) -> None:
    status, out, _ = hardwire("run", "--system", "r1x30", "--strict")
    assert status == 1
    said = " ".join(out.replace("│", " ").split())
    assert "Does not fit: die d01 overflows by" in said and "as do 28 more dies" in said
    assert hardwire.answer("run", "--system", "r1x30")["fits"] is False


def test_a_model_that_needs_several_dies_says_how_to_ask(hardwire: Shell) -> None:
    status, out, _ = hardwire("run", "--model", "qwen3-14b", "--adapter", "none")
    assert status == 0
    assert "2 dies of hc1 hold qwen3-14b: hardwire plan qwen3-14b --chip hc1" in out
    refused = hardwire.refused("run", "--model", "mixtral-8x7b", "--adapter", "none")
    assert "dies of hc1 hold mixtral-8x7b: hardwire plan mixtral-8x7b --chip hc1" in refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "llama-3.1-7b"), "did you mean"),
        (("plan", "qwen3-14b", "--link", "bord"), "did you mean board?"),
        (("plan", "qwen3-14b", "--objective", "speed"), "one of rate, dies, usd"),
        (("plan", "llama-3.2-3b", "--chip", "roma"), "datapath.layers: must be distinct"),
        (("run", "--system", "hnlpuu"), "did you mean hnlpu?"),
        (("run", "--system", "hnlpu", "--chip", "hc2"), "--chip cannot be given with it"),
        (("run", "--system", "hnlpu", "--prompt", 200000), "exceed the 131,072 positions"),
    ],
)
def test_bad_input_is_one_sentence(
    hardwire: Shell, arguments: tuple[object, ...], words: str
) -> None:
    assert words in hardwire.refused(*arguments)
