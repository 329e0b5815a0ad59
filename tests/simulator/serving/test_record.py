"""Columns that a server notes, and what a log says of them."""

from __future__ import annotations

import numpy as np

from hardwire.simulator.serving.log import Status
from hardwire.simulator.serving.record import RequestRecord


def test_ticks_become_seconds_and_a_refused_request_ends_when_it_came() -> None:
    record = RequestRecord(4)
    served = np.array([0, 3])
    for name, values in {"unit": 1, "start": [10, 20], "first": [30, -1], "wait": [0, 5]}.items():
        record.fill(name, served, values)
    record.finish[0] = 40
    status = np.array(
        [Status.COMPLETED, Status.TOO_LONG, Status.ADAPTER_TOO_BIG, Status.UNFINISHED], np.int8
    )
    columns = record.columns(status, np.array([0.5, 1.5, 2.5, 3.5]), 10.0)
    expected = {
        "unit": [1, -1, -1, 1],
        "start_s": [1.0, np.nan, np.nan, 2.0],
        "first_token_s": [3.0, np.nan, np.nan, np.nan],
        "finish_s": [4.0, 1.5, 2.5, np.nan],
        "swap_wait_s": [0.0, 0.0, 0.0, 0.5],
        "adapter_hit": [-1, -1, -1, -1],
        "generated": [0, 0, 0, 0],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(columns[name], values, err_msg=name)


def test_a_record_of_nobody_has_columns() -> None:
    record = RequestRecord(0)
    record.fill("start", np.zeros(0, np.int64), [])
    columns = record.columns(np.zeros(0, np.int8), np.zeros(0), 1e9)
    assert {len(values) for values in columns.values()} == {0}
