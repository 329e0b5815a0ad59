"""Sweeps of the design space: studies, their points, and how these are computed and kept.

The names here are the Python interface::

    from hardwire.experiments.sweep import Design, Study, evaluate

    study = Study.open("sram-split")
    design = Design.open("hc1", {"adapter": "r16:all-linear"})
    evaluate(design, {"datapath.lanes": lanes, "adapter.rank": ranks}, ("token_s", "power_w"))
    sweep(study, Path("store"))
    results("store", "SELECT * FROM sram_split WHERE feasible")
"""

from hardwire.experiments.sweep.design import Design, evaluate
from hardwire.experiments.sweep.metrics import CLOSED_FORM, Metric
from hardwire.experiments.sweep.results import results
from hardwire.experiments.sweep.runner import sweep
from hardwire.experiments.sweep.study import Study

__all__ = ["CLOSED_FORM", "Design", "Metric", "Study", "evaluate", "results", "sweep"]
