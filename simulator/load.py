"""The load of one question: how many tokens for how many users, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from hardwire.models.errors import InputError
from hardwire.models.parameters import Quantity, check_value

LOAD: dict[str, Quantity] = {
    "prompt": Quantity("tokens", 1, 1 << 20, "prompt tokens per user", integer=True),
    "output": Quantity("tokens", 2, 1 << 20, "output tokens per user", integer=True),
    "users": Quantity("", 1, 4096, "users at a time", integer=True),
}
"""``output`` is at least 2, so that there is a decode step."""


def check_load(*, prompt: Any, output: Any, users: Any) -> tuple[Any, Any, Any]:
    """The three numbers, whole and in bounds; arrays, with one element per design, stay arrays.

    Raises
    ------
    InputError
        On anything else; the message names the argument.
    """
    return _checked("prompt", prompt), _checked("output", output), _checked("users", users)


def _checked(name: str, value: Any) -> Any:
    array = np.asarray(value)
    if array.ndim == 0:
        return check_value(name, array.item(), LOAD[name])
    if array.size == 0 or array.dtype.kind not in "iuf":
        raise InputError(f"{name}: an array of numbers is expected ({LOAD[name].allowed()})")
    for extreme in (np.min(array), np.max(array)):
        check_value(name, extreme.item(), LOAD[name])
    if np.any(array != np.rint(array)):
        raise InputError(f"{name}: must be whole numbers ({LOAD[name].allowed()})")
    return array
