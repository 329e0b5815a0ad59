"""Work on all cores: the order of the results, and errors."""

from __future__ import annotations

import pytest

from hardwire.experiments.shared import parallel
from hardwire.models.errors import InputError


def square_or_refuse(value: int) -> int:
    if value == 13:
        raise InputError("thirteen")
    return value * value


@pytest.mark.parametrize("run", [parallel.in_threads, parallel.in_processes])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_order_and_errors_come_through(
    run, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: workers)
    told = []
    items = list(range(7))
    assert run(square_or_refuse, items, lambda done, total: told.append((done, total))) == [
        value * value for value in items
    ]
    assert told == [(done, 7) for done in range(1, 8)]
    with pytest.raises(InputError, match="thirteen"):
        run(square_or_refuse, [12, 13, 14])
