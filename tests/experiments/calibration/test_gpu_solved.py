"""The covariance that the files of TensorRT-LLM state is that of the rows they were solved from."""

from __future__ import annotations

import numpy as np

from hardwire.experiments.calibration.gpu_solved import covariance
from hardwire.models.gpu_server import BatchServer


def test_what_three_rows_solve_is_known_as_well_as_they_are() -> None:
    server = BatchServer.open("trtllm-h200")
    assert server.fit is not None
    found = covariance(server, server.fit.names)
    spread = np.sqrt(np.outer(np.diag(found), np.diag(found)))
    assert np.abs((found - server.fit.matrix) / spread).max() < 0.02
