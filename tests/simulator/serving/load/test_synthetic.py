"""Synthetic workloads: the presets beside their traces, laws of arrivals, bad options."""

from __future__ import annotations

from pathlib import Path

import make_presets
import numpy as np
import pandas as pd
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.synthetic import (
    MOST_REQUESTS,
    Preset,
    make_tenants,
    make_workload,
    preset_names,
    renewal_times,
)
from hardwire.simulator.serving.load.traces.read import read_workload
from hardwire.simulator.serving.load.workload import BASE, Workload

CONV, CODE = "azure-conv", "azure-code"


def cv(workload: Workload) -> float:
    gaps = np.diff(workload.arrival_s)
    return float(gaps.std() / gaps.mean())


def rank_correlation(workload: Workload) -> float:
    ranks = [pd.Series(values).rank() for values in (workload.prompt, workload.output)]
    return float(np.corrcoef(*ranks)[0, 1])


def dispersion(workload: Workload, window_s: float) -> float:
    """Variance over mean of the requests in windows of a length; 1 for a Poisson process."""
    counts = np.bincount((workload.arrival_s // window_s).astype(int))
    return float(counts.var() / counts.mean())


# -------------------------------------------------------------------------------------- presets

# Published: requests, seconds, prompt tokens, output tokens, CV of gaps, quantiles.
PUBLISHED = {
    CONV: (19_366, 3501.7, 22.36e6, 4.089e6, 1.09, [1020, 2734, 4142], [129, 424, 601]),
    CODE: (8_819, 3435.9, 18.06e6, 0.2459e6, 13.15, [1469, 5187, 7436], [13, 55, 251]),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("seed", [0, 1])
def test_presets_have_the_published_statistics(name: str, seed: int) -> None:
    requests, seconds, prompt, output, published_cv, prompt_q, output_q = PUBLISHED[name]
    workload = make_workload(name, seed=seed)
    assert len(workload) == requests
    assert workload.duration_s == pytest.approx(seconds, abs=0.1)
    assert workload.prompt.sum() == pytest.approx(prompt, rel=0.01)
    assert workload.output.sum() == pytest.approx(output, rel=0.01)
    assert cv(workload) == pytest.approx(published_cv, rel=0.04)
    points = [0.5, 0.9, 0.99]
    assert np.quantile(workload.prompt, points) == pytest.approx(prompt_q, rel=0.005, abs=0.5)
    assert np.quantile(workload.output, points) == pytest.approx(output_q, rel=0.005, abs=0.5)
    assert workload.adapters == () and (workload.adapter == BASE).all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_beside_the_traces(shared_data: Path, name: str) -> None:
    """What is not in the tables as such: drift and bursts in windows, and the dependence."""
    file = make_presets.AZURE_FILE.format(name.removeprefix("azure-"))
    trace = read_workload(shared_data / "traces" / file)
    presets = [make_workload(name, seed=seed) for seed in range(5)]
    for preset in presets:
        assert rank_correlation(preset) == pytest.approx(rank_correlation(trace), abs=0.01)
    # Over minutes the trace is one draw, and the presets spread by a quarter about their mean.
    tolerance = {CONV: 0.2, CODE: 0.3}[name]
    for window_s in (0.1, 1, 10, 60):
        mean = np.mean([dispersion(preset, window_s) for preset in presets])
        assert mean == pytest.approx(dispersion(trace, window_s), rel=tolerance)


def test_the_code_preset_bunches_as_its_trace_does(shared_data: Path) -> None:
    """Its gaps were drawn independently of each other: 9.3 at 1 s where the trace has 13.2."""
    trace = read_workload(shared_data / "traces" / make_presets.AZURE_FILE.format("code"))
    presets = [make_workload(CODE, seed=seed) for seed in range(10)]
    for window_s, tolerance in ((0.1, 0.15), (1, 0.15), (10, 0.05)):
        mean = np.mean([dispersion(preset, window_s) for preset in presets])
        assert mean == pytest.approx(dispersion(trace, window_s), rel=tolerance)
    at_1_s = [dispersion(preset, 1) for preset in presets]
    assert min(at_1_s) < dispersion(trace, 1) < max(at_1_s)


def test_spells_keep_the_gaps_of_a_block() -> None:
    """They only change the order: the same gaps, with the correlation that was measured."""
    preset = Preset.open(CODE)
    arrival = preset.arrivals(preset.requests, np.random.default_rng(3))
    spread = np.sort(np.diff(arrival, prepend=0))
    table = preset._table(preset.gaps)  # type: ignore[arg-type]
    np.testing.assert_allclose(spread, table * preset.duration_s / table.sum(), rtol=1e-6)
    correlation, spell = make_presets.spells(np.diff(arrival))
    assert correlation == pytest.approx(preset.gap_correlation, abs=0.03)
    assert spell == pytest.approx(preset.gap_spell, rel=0.5)


def test_preset_files_are_what_the_script_makes(shared_data: Path) -> None:
    for kind in ("conv", "code"):
        text = (make_presets.PRESETS / f"azure-{kind}.yaml").read_text(encoding="utf-8")
        assert text == make_presets.azure_text(kind, shared_data / "traces")


def test_sharegpt_means() -> None:
    """The means of the measured runs, which is all that is known of their lengths."""
    text = (make_presets.PRESETS / "sharegpt.yaml").read_text(encoding="utf-8")
    assert text == make_presets.sharegpt_text()
    workload = make_workload("sharegpt", rate=10, requests=10_000)
    assert workload.prompt.mean() == pytest.approx(223.6, rel=0.01)
    assert workload.output.mean() == pytest.approx(194.2, rel=0.01)
    assert max(workload.prompt.max(), workload.output.max()) <= 1024
    assert len(workload) / workload.duration_s == pytest.approx(10, rel=0.05)


def test_a_preset_goes_on_with_the_same_statistics() -> None:
    short, long = make_workload(CONV), make_workload(CONV, requests=200_000)
    assert len(long) == 200_000
    # A longer run begins with the shorter one.
    assert (long.arrival_s[: len(short)] == short.arrival_s).all()
    assert (long.prompt[: len(short)] == short.prompt).all()
    assert long.output.mean() == pytest.approx(short.output.mean(), rel=0.01)
    assert cv(long) == pytest.approx(cv(short), rel=0.02)
    second = slice(len(short), 2 * len(short))
    assert long.output[second].sum() == short.output.sum()
    assert long.arrival_s[2 * len(short) - 1] == pytest.approx(2 * short.duration_s)


@examples(25)
@given(
    name=st.sampled_from([CONV, CODE]),
    rate=st.none() | st.floats(0.01, 1000),
    duration=st.none() | st.floats(30, 5000),
    requests=st.none() | st.integers(1, 30_000),
    arrivals=st.sampled_from(["source", "poisson", "gamma:0.5", "gamma:6"]),
    seed=st.integers(0, 2**40),
)
def test_options_are_kept(name, rate, duration, requests, arrivals, seed) -> None:
    if duration is not None and rate is not None:
        duration = min(duration, 50_000 / rate)
    options = {"rate": rate, "duration": duration, "requests": requests, "arrivals": arrivals}
    try:
        workload = make_workload(name, **options, seed=seed)
    except InputError as error:
        assert "no request" in str(error)
        return
    again = make_workload(name, **options, seed=seed)
    assert (again.arrival_s == workload.arrival_s).all() and (again.output == workload.output).all()
    if requests is not None:
        assert len(workload) <= requests
        assert duration is not None or len(workload) == requests
    if duration is not None:
        assert workload.duration_s <= duration * (1 + 1e-12)
    if duration is None and requests is None and arrivals == "source":
        published = PUBLISHED[name]
        assert len(workload) / workload.duration_s == pytest.approx(
            rate or published[0] / published[1], rel=1e-3
        )


def test_rate_scales_bursts_and_drift() -> None:
    base, fast = make_workload(CODE), make_workload(CODE, rate=100)
    assert len(fast) / fast.duration_s == pytest.approx(100)
    assert fast.arrival_s / fast.duration_s == pytest.approx(base.arrival_s / base.duration_s)
    assert cv(fast) == pytest.approx(cv(base))


def test_seeds_change_the_order_only() -> None:
    first, second = make_workload(CONV, seed=1), make_workload(CONV, seed=2)
    assert (first.prompt != second.prompt).any() and (first.arrival_s != second.arrival_s).any()
    assert (np.sort(first.prompt) == np.sort(second.prompt)).all()


# ------------------------------------------------------------------------------------- arrivals


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 3.0])
def test_renewal_processes_are_stationary(burstiness: float) -> None:
    """Requests in the first and in the last tenth, over many runs, and the CV of long ones."""
    rng = np.random.default_rng(1)
    runs = [renewal_times(2.0, burstiness, 10.0, rng) for _ in range(4000)]
    expected, error = 2.0, 5 * burstiness * np.sqrt(2 / 4000) + 0.02
    assert np.mean([(run < 1).sum() for run in runs]) == pytest.approx(expected, abs=error)
    assert np.mean([(run > 9).sum() for run in runs]) == pytest.approx(expected, abs=error)
    gaps = np.diff(renewal_times(2.0, burstiness, 50_000.0, rng))
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness, rel=0.05)
    assert gaps.mean() == pytest.approx(0.5, rel=0.05)


def test_stationary_arrivals_in_place_of_the_sources(tmp_path: Path) -> None:
    assert cv(make_workload(CODE, arrivals="poisson")) == pytest.approx(1, abs=0.05)
    assert cv(make_workload(CONV, arrivals="gamma:4")) == pytest.approx(4, rel=0.1)
    path = tmp_path / "t.csv"
    rows = "".join(f"{k * 0.01},{k + 1},7,a{k % 3}\n" for k in range(5000))
    path.write_text("arrival_s,prompt_tokens,output_tokens,adapter\n" + rows)
    workload = make_workload(path, arrivals="poisson")
    assert cv(workload) == pytest.approx(1, abs=0.1)
    assert workload.duration_s == pytest.approx(50, rel=0.1)
    assert (workload.prompt == np.arange(5000) + 1).all()
    assert workload.adapters == ("a0", "a1", "a2")


# ---------------------------------------------------------------------------------------- files


def test_files_are_scaled_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    row = '{{"timestamp": {}, "input_length": 600, "output_length": 1, "hash_ids": [{}, {}]}}\n'
    path.write_text("".join(row.format(k * 1000, k, k + 100) for k in range(11)))
    whole = make_workload(path)
    assert whole.arrival_s.tolist() == list(range(11)) and whole.duration_s == 10
    fast = make_workload(path, rate=2.2)
    assert fast.arrival_s == pytest.approx(np.arange(11) / 2)
    cut = make_workload(path, duration=4.5)
    assert len(cut) == 5 and cut.duration_s == 4.5
    assert cut.prefixes is not None
    assert cut.prefixes.first.tolist() == [0, 2, 4, 6, 8, 10]
    assert cut.prefixes.hashes.tolist() == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104]
    few = make_workload(path, requests=3)
    assert len(few) == 3 and few.duration_s == 2
    assert len(make_workload(path, duration=100)) == 11
    with pytest.raises(InputError, match=r"requests: m\.jsonl has 11, not 12"):
        make_workload(path, requests=12)


def test_lists_of_lengths_come_at_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("prompt_tokens,output_tokens\n" + "5,6\n" * 4000)
    assert make_workload(path).duration_s == 0
    workload = make_workload(path, rate=8)
    assert workload.duration_s == pytest.approx(500, rel=0.1)
    assert cv(workload) == pytest.approx(1, abs=0.1)
    with pytest.raises(InputError, match="all requests come at once; give a rate"):
        make_workload(path, arrivals="gamma:2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "azure-con"}, "no file and no preset.*did you mean azure-conv"),
        ({"source": "none.csv"}, "none.csv: does not exist"),
        ({"rate": 0}, "rate: must be more than 0"),
        ({"rate": float("nan")}, "rate: must be more than 0 .*, not nan"),
        ({"rate": float("inf")}, "rate: "),
        ({"rate": 1e-9}, "rate: at 1e-09 requests/s, azure-conv takes more than 1e9 s"),
        ({"duration": -1}, "duration: must be more than 0"),
        ({"duration": 1e-9}, "duration: azure-conv has no request in its first 1e-09 s"),
        ({"duration": 1e9}, f"rate and duration make more than {MOST_REQUESTS}"),
        ({"duration": 1e9, "arrivals": "poisson"}, "rate and duration make more than"),
        ({"duration": 1e-9, "arrivals": "poisson"}, "duration: no request comes in 1e-09 s"),
        ({"requests": 0}, "requests: must be 1 to"),
        ({"requests": MOST_REQUESTS + 1}, "requests: must be 1 to"),
        ({"seed": -1}, "seed: must be 0 or more"),
        ({"arrivals": "poison"}, "arrivals: 'poison' is not .*did you mean poisson"),
        ({"arrivals": "gamma"}, "arrivals: 'gamma' needs a number"),
        ({"arrivals": "gamma:0"}, "arrivals: a coefficient of variation is 0.01 to 100"),
        ({"arrivals": "gamma:nan"}, "arrivals: a coefficient of variation"),
        ({"source": "sharegpt"}, "sharegpt: has lengths only; give a rate"),
        ({"source": "sharegpt", "rate": 1}, "sharegpt: has no length of its own"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_workload(**{"source": CONV, **options})


# -------------------------------------------------------------------------------------- tenants


def test_tenants_take_their_rates_in_turn() -> None:
    """The measured runs: 8 adapters at 1.6, 0.8 and 0.4 requests/s offer 8 requests/s."""
    names = [f"a{k}" for k in range(8)]
    workload = make_tenants(names, (1.6, 0.8, 0.4), 3600, seed=3)
    assert workload.adapters == tuple(names) and workload.duration_s == 3600
    counts = np.bincount(workload.adapter, minlength=8)
    expected = 3600 * np.array([1.6, 0.8, 0.4, 1.6, 0.8, 0.4, 1.6, 0.8])
    assert counts == pytest.approx(expected, abs=5 * np.sqrt(expected.max()))
    assert len(workload) == pytest.approx(8 * 3600, rel=0.03)
    assert workload.prompt.mean() == pytest.approx(223.6, rel=0.02)


def test_tenants_have_their_own_burstiness() -> None:
    workload = make_tenants(["calm", "bursty"], (5.0,), 4000, cv=(0.5, 4.0), lengths=(100, 7))
    assert set(workload.prompt) == {100} and set(workload.output) == {7}
    for tenant, expected in enumerate((0.5, 4.0)):
        gaps = np.diff(workload.arrival_s[workload.adapter == tenant])
        assert gaps.std() / gaps.mean() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": []}, "need at least one adapter"),
        ({"rates": []}, "need at least one adapter"),
        ({"rates": (1.0, 0.0)}, "adapter rates: must be more than 0"),
        ({"rates": (1e9,), "duration": 1e9}, "adapter rates: make more than"),
        ({"cv": (0.0,)}, "adapter rates: a coefficient of variation"),
        ({"duration": 0}, "duration: must be more than 0"),
        ({"duration": 1e-9}, "duration: no request comes"),
        ({"lengths": (0, 1)}, "lengths: must be 1 to"),
        ({"lengths": "sharegtp"}, "'sharegtp' is no preset; .*did you mean sharegpt"),
    ],
)
def test_bad_tenants(change: dict, message: str) -> None:
    options = {"names": ["a"], "rates": (1.0,), "duration": 10.0, **change}
    with pytest.raises(InputError, match=message):
        make_tenants(**options)


def test_every_preset_opens() -> None:
    assert {CONV, CODE, "sharegpt"} <= set(preset_names())
    for name in preset_names():
        preset = Preset.open(name)
        assert preset.source and preset.title
        for table in (preset.probabilities, preset.prompt, preset.output):
            assert (np.diff(table) >= 0).all() and len(table) == len(preset.probabilities)
        if preset.gaps is None:
            with pytest.raises(ValueError, match="lengths only"):
                preset.arrivals(1, np.random.default_rng(0))
