"""The GPU server against measured vLLM runs, none of which its coefficients were fitted to."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardwire.experiments.validation.vllm_runs import predict, read_rows, summarize
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer

MEASURED = Path(__file__).resolve().parents[4] / "shared/data/measured"
MEASURED /= "vllm_multilora_llama31_8b_r16.csv"

pytestmark = pytest.mark.skipif(not MEASURED.exists(), reason=f"{MEASURED.name} is not here")


@pytest.fixture(scope="module")
def server() -> BatchServer:
    return BatchServer.open("vllm-h100")


@pytest.mark.slow
def test_rows_that_keep_up(server: BatchServer) -> None:
    """The goals: tokens/s within 5 % on average, time per output token within 10 %."""
    rows = [row for row in read_rows(MEASURED) if not row.out_of_memory and row.keeps_up]
    found = summarize([(row, predict(server, row)) for row in rows])
    assert found.rows == 27
    assert found.throughput[0] < 0.05
    assert found.tpot[0] < 0.10


def test_what_does_not_start(server: BatchServer) -> None:
    """Out of memory exactly where it was measured so, among all rows."""
    rows = read_rows(MEASURED)
    assert len(rows) == 86
    for row in rows:
        if row.out_of_memory:
            with pytest.raises(InputError):
                server.kv_tokens(row.slots, row.rank)
        else:
            assert server.kv_tokens(row.slots, row.rank) > 0


@pytest.mark.slow
def test_more_slots_than_32_cost_throughput(server: BatchServer) -> None:
    """As many adapters as slots, at high rates: the collapse, each step of it within 5 %."""
    rows = [
        row
        for row in read_rows(MEASURED)
        if row.slots == row.adapters >= 32 and row.offered > 25 and not row.out_of_memory
    ]
    assert [row.slots for row in rows] == [32, 64, 128, 192]
    rates = [predict(server, row).output_tokens_per_s for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert rates == pytest.approx([row.output_tokens_per_s for row in rows], rel=0.05)
