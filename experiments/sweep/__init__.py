"""Sweeps of the design space: studies, their points, and how these are computed and kept.

The names here are the Python interface::

    from experiments.sweep import Design, Study, evaluate

    study = Study.open("sram-split")
    design = Design.open("hc1", {"adapter": "r16:all-linear"})
    evaluate(design, {"datapath.lanes": lanes, "adapter.rank": ranks}, ("token_s", "power_w"))
"""

from experiments.sweep.design import Design, evaluate
from experiments.sweep.metrics import CLOSED_FORM, Metric
from experiments.sweep.study import Study

__all__ = ["CLOSED_FORM", "Design", "Metric", "Study", "evaluate"]
