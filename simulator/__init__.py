"""What happens over time: tokens as operations on units, two engines, runs and their uncertainty.

The names here are the Python interface::

    from hardwire.models import Chip, LanguageModel, Adapter
    from hardwire.simulator import run

    chip = Chip.open("hc1")
    model = LanguageModel.open("llama-3.1-8b")
    result = run(chip, model, Adapter.from_shape("r16:all-linear", model))
    result.base.decode_tokens_per_s_user
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardwire.simulator.belief.draws import draw_chips
    from hardwire.simulator.closed_form import Prediction, free_rank, predict
    from hardwire.simulator.program import TokenProgram, build_program
    from hardwire.simulator.requests import AdapterLoad, Requests, Timeline
    from hardwire.simulator.single import Result, run
    from hardwire.simulator.swap import SwapLatency, swap_latency

_HOME = {
    "AdapterLoad": "requests",
    "Prediction": "closed_form",
    "Requests": "requests",
    "Result": "single",
    "SwapLatency": "swap",
    "Timeline": "requests",
    "TokenProgram": "program",
    "build_program": "program",
    "draw_chips": "belief.draws",
    "free_rank": "closed_form",
    "predict": "closed_form",
    "run": "single",
    "swap_latency": "swap",
}
"""Where each name comes from. It is imported when first asked for: a replay needs few of them."""

__all__ = [
    "AdapterLoad",
    "Prediction",
    "Requests",
    "Result",
    "SwapLatency",
    "Timeline",
    "TokenProgram",
    "build_program",
    "draw_chips",
    "free_rank",
    "predict",
    "run",
    "swap_latency",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hardwire.simulator' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
