"""Simulate LLM chips whose base model is cast in silicon: the names for notebooks and programs.

::

    import hardwire as hw

    result = hw.run("hc1", adapter="r16:all-linear")
    result.base.decode_tokens_per_s_user
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardwire.models import Adapter, Chip, InputError, LanguageModel
    from hardwire.simulator import predict, run

_HOME = {
    "Adapter": "hardwire.models",
    "Chip": "hardwire.models",
    "InputError": "hardwire.models",
    "LanguageModel": "hardwire.models",
    "predict": "hardwire.simulator",
    "run": "hardwire.simulator",
}
"""Where each name comes from. It is imported when first asked for: a program needs few of them."""

__all__ = ["Adapter", "Chip", "InputError", "LanguageModel", "predict", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hardwire' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
