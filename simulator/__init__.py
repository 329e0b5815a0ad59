"""What happens over time: tokens as operations on units, two engines, runs and their uncertainty.

The names here are the Python interface::

    from hardwire.models import Chip, LanguageModel, Adapter
    from hardwire.simulator import run

    chip = Chip.open("hc1")
    model = LanguageModel.open("llama-3.1-8b")
    result = run(chip, model, Adapter.from_shape("r16:all-linear", model))
    result.base.decode_tokens_per_s_user
"""

from hardwire.simulator.belief.draws import draw_chips
from hardwire.simulator.closed_form import Prediction, free_rank, predict
from hardwire.simulator.program import TokenProgram, build_program
from hardwire.simulator.requests import AdapterLoad, Requests, Timeline
from hardwire.simulator.single import Result, run
from hardwire.simulator.swap import SwapLatency, swap_latency

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
