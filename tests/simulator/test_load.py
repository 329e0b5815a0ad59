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
        ({"output": 1}, "output: must be at least 2, so that there is a decode step, not 1"),
        ({"users": 0}, "users: must be at least 1, not 0"),
        ({"prompt": -5}, "prompt: must be at least 1, not -5"),
        ({"prompt": float("nan")}, "prompt: must be at least 1, not nan"),
        ({"prompt": "1k"}, "prompt: a number is expected, not '1k'"),
    ],
    ids=["no decode step", "nobody", "negative prompt", "nan", "text"],
)
def test_such_a_load_is_refused(ask: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        ask(HC1, LLAMA, **{**LOAD, **change})
    assert str(caught.value) == message


def test_one_of_many_loads_is_named() -> None:
    with pytest.raises(InputError, match="users: must be at least 1, not -3"):
        predict(HC1, LLAMA, prompt=8, output=8, users=np.array([1, 2, -3]))
