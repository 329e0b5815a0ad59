"""A load without a decode step, or of nobody, ends in one sentence and never in NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hardwire.models import Chip, InputError, LanguageModel
from hardwire.simulator import predict, run

HC1 = Chip.open("hc1")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
LOAD = {"prompt": 8, "output": 8, "users": 1}


@pytest.mark.parametrize("ask", [run, predict])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": 1}, "output: 1 is out of range"),
        ({"users": 0}, "users: 0 is out of range"),
        ({"prompt": -5}, "prompt: -5 is out of range"),
        ({"prompt": float("nan")}, "prompt: "),
        ({"prompt": "1k"}, "prompt: .*1k"),
    ],
    ids=["no decode step", "nobody", "negative prompt", "nan", "text"],
)
def test_c4_such_a_load_is_refused(ask: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(HC1, LLAMA, **{**LOAD, **change})


def test_one_of_many_loads_is_named() -> None:
    with pytest.raises(InputError, match="users: -3 is out of range"):
        predict(HC1, LLAMA, prompt=8, output=8, users=np.array([1, 2, -3]))
