"""Tenants with measured rates: totals by hand, windows kept apart, one sentence on bad files."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.client_rates import ClientRates

WINDOWS = """client,t_s,rate,cv,pattern
a,600,2.0,1.0,Gamma
b,600,10.0,0.5,Weibull
b,1800,20.0,3.0,Gamma
"""
SUMMARY = """client,mean_rate_req_s,share,rate_weighted_cv
5,3.0,0.3,2.0
38,9.0,0.7,0.5
"""


@pytest.fixture
def opened(tmp_path: Path):
    def opened(text: str | bytes) -> ClientRates:
        path = tmp_path / "clients.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return ClientRates.open(path)

    return opened


def test_windows_by_hand(opened) -> None:
    for text in (WINDOWS, gzip.compress(WINDOWS.encode()), WINDOWS.replace(",", ";")):
        rates = opened(text)
        assert rates.clients == ("b", "a")
        assert (rates.window_s, rates.span_s) == (1200, 2400)
        assert rates.rate.tolist() == [[10, 20], [2, 0]]
        assert rates.cv[0].tolist() == [0.5, 3]


def test_a_summary_holds_for_all_time(opened) -> None:
    rates = opened(SUMMARY)
    assert rates.clients == ("38", "5")
    assert rates.rate.tolist() == [[9], [3]] and rates.cv.tolist() == [[0.5], [2]]
    assert rates.span_s == math.inf
    workload = rates.workload(("x", "y"), 5000, seed=1)
    assert np.bincount(workload.adapter) / 5000 == pytest.approx([9, 3], rel=0.05)


def test_clients_come_at_their_rates_in_their_windows(opened) -> None:
    rates = opened(WINDOWS)
    workload = rates.workload(("x", "y"), 2400, seed=3)
    assert workload.adapters == ("x", "y") and workload.duration_s == 2400
    early = workload.arrival_s < 1200
    counts = [np.bincount(workload.adapter[part], minlength=2) for part in (early, ~early)]
    assert counts[0] / 1200 == pytest.approx([10, 2], rel=0.05)
    assert counts[1][0] / 1200 == pytest.approx(20, rel=0.1) and counts[1][1] == 0
    gaps = np.diff(workload.arrival_s[early & (workload.adapter == 0)])
    assert gaps.std() / gaps.mean() == pytest.approx(0.5, rel=0.05)
    again = rates.workload(("x", "y"), 2400, seed=3)
    assert (again.arrival_s == workload.arrival_s).all()
    assert (again.prompt == workload.prompt).all()


def test_the_rate_scales_all_clients_alike(opened) -> None:
    workload = opened(WINDOWS).workload(("x", "y"), 1800, rate=6, seed=0)
    assert len(workload) / 1800 == pytest.approx(6, rel=0.05)
    # 10 and 2 a second for 1,200 s, 20 for 600 s.
    assert np.bincount(workload.adapter)[1] / len(workload) == pytest.approx(1 / 11, rel=0.1)


def test_clients_are_taken_in_turn(opened) -> None:
    rates = opened(SUMMARY)
    three = np.bincount(rates.workload(("x", "y", "z"), 2000).adapter) / 2000
    assert three == pytest.approx([9, 3, 9], rel=0.1)
    assert set(rates.workload(("x",), 10).adapter) == {0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no clients"),
        ("client,t_s,rate,cv\n", "holds no clients"),
        ("a,b\n1,2\n", "line 1: the header must have the columns client,t_s,rate,cv or"),
        (WINDOWS + "c,600,1\n", "row 5: has 3 cells where the header has 5"),
        (WINDOWS + "c,600,-1,1,x\n", "row 5, column rate: must be a number from 0 .* not '-1'"),
        (WINDOWS + "c,600,1,0,x\n", r"row 5, column cv: must be a number from 0\.01 to 1000, not"),
        (WINDOWS + "c,soon,1,1,x\n", "row 5, column t_s: must be a number"),
        (WINDOWS + "c,1_0,1,1,x\n", "row 5, column t_s: must be a number"),
        (WINDOWS + "a,600,1,1,x\n", "row 5: client a is there twice"),
        (WINDOWS + "a,2500,1,1,x\n", "column t_s: windows must be of one length"),
        (SUMMARY + "5,1,1,1\n", "row 4: client 5 is there twice"),
        ("client,t_s,rate,cv\na,0,0,1\n", "no client has any request"),
        (b"client,t_s,rate,cv\n\xff,0,0,1\n", "is not UTF-8 text"),
        ('client,t_s,rate,cv\n"a,0,0,1\n', "is not CSV"),
        (WINDOWS + "c,601,1,1,x\nc,1e8,1,1,x\n", "clients times windows"),
    ],
)  # fmt: skip
def test_bad_files_end_in_one_sentence(opened, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"clients.csv: .*{message}") as caught:
        opened(text)
    assert "\n" not in str(caught.value)


def test_what_the_windows_cannot_give_is_refused(opened, tmp_path: Path) -> None:
    rates = opened(WINDOWS)
    with pytest.raises(InputError, match=r"duration: clients\.csv has the rates of 2400 s"):
        rates.workload(("x",), 2401)
    with pytest.raises(InputError, match="make 60,000,000 requests, more than 50,000,000; give a"):
        rates.workload(("x",), 2000, rate=30_000)
    later = opened("client,t_s,rate,cv\na,600,1,1\nb,0,1,1\nb,600,1,1\n")
    assert later.clients == ("b", "a")
    silent = opened("client,t_s,rate,cv\na,600,5,1\nb,0,1,1\n")
    with pytest.raises(InputError, match="duration: none of the clients has a request in 300 s"):
        silent.workload(("x",), 300)
    with pytest.raises(InputError, match="does not exist"):
        ClientRates.open(tmp_path / "none.csv")


def test_servegen_clients_by_window_and_in_summary(shared_data: Path) -> None:
    """Means taken with pandas, apart from the reader."""
    folder = shared_data / "traces"
    rates = ClientRates.open(folder / "servegen_m-small_client_rates_10min.csv.gz")
    assert (len(rates.clients), rates.window_s, rates.span_s) == (35, 600, 604_800)
    assert rates.clients[:3] == ("5", "38", "17")
    assert rates.rate[:3].mean(axis=1) == pytest.approx([350.274325, 188.443219, 96.633990])
    assert rates.rate[:, 0].sum() == pytest.approx(809.761666)
    workload = rates.workload(rates.clients, 1200, rate=8)
    assert len(workload) / 1200 == pytest.approx(8, rel=0.1)
    summary = ClientRates.open(folder / "servegen_m-small_client_summary.csv")
    assert len(summary.clients) == 43 and summary.clients[0] == "5"
    assert summary.rate[0, 0] == 350.872993
