"""How numba compiles what only compiled code calls."""

from __future__ import annotations

from typing import Any

from numba import njit

_options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inner = njit(**_options)
"""Without the two ways in from outside, each of which is a function that LLVM compiles, too: with
them, compiling takes half as long again. Nothing but compiled code can call the function."""
inner_numpy = njit(error_model="numpy", **_options)
"""The same, where a division by zero gives what IEEE 754 says instead of an exception."""
