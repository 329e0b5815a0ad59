"""Make the statistics of the presets again: ``python tests/simulator/serving/load/make_presets.py``

From the Azure traces (CC-BY-4.0, Azure/AzurePublicDataset), which are not part of the project, and
from the assumptions about ShareGPT below.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

PRESETS = Path(__file__).resolve().parents[4] / "simulator" / "serving" / "load" / "presets"
AZURE_FILE = "AzureLLMInferenceTrace_{}_2023.csv"
AZURE_SOURCE = (
    "computed from Azure/AzurePublicDataset, {} (Microsoft, CC-BY-4.0), by "
    "tests/simulator/serving/load/make_presets.py"
)

# Dense where the traces bend: 0, 0.5 %, every 5 %, and towards 1.
PROBABILITIES = (
    0, 0.005, 0.01, 0.025, *(round(0.05 * k, 2) for k in range(1, 19)),
    0.925, 0.95, 0.97, 0.98, 0.985, 0.99, 0.9925, 0.995, 0.9965, 0.9975, 0.9985, 0.999, 0.9995,
    0.9998, 1,
)  # fmt: skip
PROFILE_BINS = 60
# Correlations of gaps further apart are fitted over so many requests: three times what they last.
LAGS = 200

# Means of requests of the 74 measured runs that did not run out of memory: input and output tokens
# over requests (FerranAgulloLopez/GPULLMAdapterOptimization, Apache-2.0).
SHAREGPT_MEANS = {"prompt": 223.6, "output": 194.2}
# Sigma of the logarithm, assumed. The client that drew these requests, vLLM's, keeps prompts up to
# 1,024 tokens and sums up to 2,048, which cuts the tail; chat prompts reach from one word to pages.
SHAREGPT_SIGMA = {"prompt": (1.3, 1.0, 1.6), "output": (1.0, 0.7, 1.3)}
SHAREGPT_LONGEST = 1024


def quantiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, PROBABILITIES)


def spells(gaps: np.ndarray) -> tuple[float, int]:
    """How gaps keep together: correlation within a spell, and requests in one on average.

    Least squares of ``c e^{-k/n}`` through the correlations of gaps that are ``k`` apart, each gap
    as its normal score: the quantile of the normal distribution at its rank.
    """
    shares = (pd.Series(gaps).rank() - 0.5) / len(gaps)
    scores = shares.map(NormalDist().inv_cdf)
    lags = np.arange(1, LAGS + 1)
    found = np.array([scores.autocorr(int(lag)) for lag in lags])

    def best(requests: int) -> tuple[float, float]:
        fall = np.exp(-lags / requests)
        c = float(found @ fall / (fall @ fall))
        return float(np.square(found - c * fall).sum()), c

    requests = min(range(1, LAGS + 1), key=lambda number: best(number)[0])
    return round(best(requests)[1], 3), requests


def azure(trace: pd.DataFrame, with_profile: bool) -> dict[str, object]:
    """Quantiles of lengths and gaps, their correlations, and the rate over time.

    Gaps keep together because the rate drifts: either the rate over time says so, or the spells.
    """
    times = pd.to_datetime(trace["TIMESTAMP"])
    arrival = (times - times.iloc[0]).dt.total_seconds().to_numpy()
    prompt, output = (trace[name].to_numpy() for name in ("ContextTokens", "GeneratedTokens"))
    count, duration = len(arrival), arrival[-1]
    result: dict[str, object] = {"requests": count, "duration_s": round(float(duration), 3)}
    clock = arrival * (count / duration)  # requests that would have come at the mean rate
    if with_profile:
        edges = np.linspace(0, duration, PROFILE_BINS + 1)
        per_bin = np.histogram(arrival, edges)[0]
        result["requests_per_bin"] = [int(number) for number in per_bin]
        clock = np.interp(arrival, edges, np.concatenate([[0], np.cumsum(per_bin)]))
    ranks = [pd.Series(values).rank() for values in (prompt, output)]
    result["rank_correlation"] = round(float(np.corrcoef(*ranks)[0, 1]), 4)
    result["prompt_tokens"] = [round(float(v), 1) for v in quantiles(prompt)]
    result["output_tokens"] = [round(float(v), 1) for v in quantiles(output)]
    if not with_profile:
        result["gap_correlation"], result["gap_spell"] = spells(np.diff(clock))
    result["gaps"] = [float(f"{v:.4g}") for v in quantiles(np.diff(clock))]
    return result


def lognormal_quantiles(mean: float, sigma: float, longest: float) -> list[float]:
    """Quantiles of a lognormal cut at ``longest``, scaled so that the mean stays ``mean``."""
    normal = NormalDist()
    low, high = 0.0, math.log(mean) + 2
    grid = (np.arange(20_000) + 0.5) / 20_000
    for _ in range(60):
        mu = (low + high) / 2
        cut = normal.cdf((math.log(longest) - mu) / sigma)
        values = [math.exp(mu + sigma * normal.inv_cdf(u * cut)) for u in grid]
        low, high = (mu, high) if np.mean(values) < mean else (low, mu)
    inner = [math.exp(mu + sigma * normal.inv_cdf(p * cut)) for p in PROBABILITIES[1:-1]]
    return [1.0, *(max(1.0, round(v, 1)) for v in inner), float(longest)]


def write(name: str, title: str, source: str, body: dict[str, object]) -> str:
    lines = [f"title: {title}", f"source: {source}"]
    if "gaps" in body or "prompt_tokens" in body:
        body = {**body, "probabilities": list(PROBABILITIES)}
    for key, value in body.items():
        if isinstance(value, list):
            text = [f"{item:g}" if isinstance(item, float) else str(item) for item in value]
            rows = [", ".join(text[k : k + 12]) for k in range(0, len(text), 12)]
            lines += [f"{key}: [", *(f"  {row}," for row in rows), "]"]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines) + "\n"


def azure_text(kind: str, traces: Path) -> str:
    file = AZURE_FILE.format(kind)
    words = {"conv": "conversation", "code": "code completion"}[kind]
    title = f"Azure LLM inference trace 2023, {words}"
    body = azure(pd.read_csv(traces / file), with_profile=kind == "conv")
    return write(f"azure-{kind}", title, AZURE_SOURCE.format(file), body)


def sharegpt_text() -> str:
    body: dict[str, object] = {"rank_correlation": 0}
    for which, mean in SHAREGPT_MEANS.items():
        sigma = SHAREGPT_SIGMA[which][0]
        body[f"{which}_tokens"] = lognormal_quantiles(mean, sigma, SHAREGPT_LONGEST)
    assumed = ", ".join(
        f"{which} {sigma} (range {low} to {high})"
        for which, (sigma, low, high) in SHAREGPT_SIGMA.items()
    )
    source = (
        '"means measured: FerranAgulloLopez/GPULLMAdapterOptimization (Apache-2.0), vLLM runs of '
        f"Llama 3.1 8B; shape assumed: lognormal, sigma {assumed}, at most "
        f'{SHAREGPT_LONGEST} tokens, lengths independent"'
    )
    return write("sharegpt", "ShareGPT-like chat, lengths only", source, body)


def main(traces: Path) -> None:
    for kind in ("conv", "code"):
        (PRESETS / f"azure-{kind}.yaml").write_text(azure_text(kind, traces), encoding="utf-8")
    (PRESETS / "sharegpt.yaml").write_text(sharegpt_text(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
