"""The arithmetic itself: bit-defined, compiled with numba, without knowledge of chips or time."""

from hardwire.kernels.lowrank.formats import BLOCK, FORMATS, row_bytes
from hardwire.kernels.lowrank.lowrank import LowRankImage, Work, phase_work, reference

__all__ = ["BLOCK", "FORMATS", "LowRankImage", "Work", "phase_work", "reference", "row_bytes"]
