"""Sweeps of the design space: studies, their points, and how these are computed and kept.

The names here are the Python interface::

    from experiments.sweep import Design, Study, evaluate

    study = Study.open("sram-split")
    design = Design.open("hc1", {"adapter": "r16:all-linear"})
    evaluate(design, {"datapath.lanes": lanes, "adapter.rank": ranks}, ("token_s", "power_w"))
    sweep(study, Path("store"))
    results("store", "SELECT * FROM sram_split WHERE feasible")
"""

from experiments.sweep.design import Design, evaluate
from experiments.sweep.metrics import CLOSED_FORM, Metric
from experiments.sweep.results import results
from experiments.sweep.runner import sweep
from experiments.sweep.study import Study

__all__ = ["CLOSED_FORM", "Design", "Metric", "Study", "evaluate", "results", "sweep"]
