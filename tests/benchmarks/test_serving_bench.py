"""Speed of replays: generated tokens per second of wall time, and memory, on one core.

Each replay runs in a process of its own, so that its peak memory is its own; imports and the first
compilation are not in its time. The Azure conversation trace is used where it is there, else the
preset made from its statistics.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TRACE = Path(__file__).resolve().parents[3] / "shared/data/traces"
TRACE /= "AzureLLMInferenceTrace_conv_2023.csv"

REPLAY = """
import json, resource, sys, time
from hardwire.models import Adapter, LanguageModel
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.load.popularity import assign_adapters, parse_popularity
from hardwire.simulator.serving.replay import open_server, replay
from hardwire.simulator.serving.load.synthetic import make_workload

source, server_name, requests, repeats, adapters, engine = sys.argv[1:]
server = open_server(server_name)
shape = Adapter.from_shape("r16:all-linear", LanguageModel.open("llama-3.1-8b"))
shapes = [shape] * int(adapters)
names = tuple(f"a{number}" for number in range(len(shapes)))
policy = Policy(slots=32 if server_name.startswith("vllm") else None)
few = make_workload(source, requests=100)
few = assign_adapters(few, names, parse_popularity("uniform"), 0)
replay(server, few, shapes, policy, engine=engine)
best = best_cpu = float("inf")
for _ in range(int(repeats)):
    workload = make_workload(source, requests=int(requests) or None)
    workload = assign_adapters(workload, names, parse_popularity("uniform"), 0)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    log = replay(server, workload, shapes, policy, engine=engine)
    best = min(best, time.perf_counter() - begin)
    best_cpu = min(best_cpu, time.process_time() - begin_cpu)
print(json.dumps({
    "requests": len(workload),
    "generated": int(log.generated.sum()),
    "wall_s": best,
    "cpu_s": best_cpu,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
}))
"""


@pytest.mark.parametrize(
    ("server", "requests"),
    [
        ("hc1x10", 20_000),
        ("hc1x10-pipelined", 20_000),
        ("vllm-h100", 20_000),
        pytest.param("hc1x10", 0, marks=pytest.mark.slow),
        pytest.param("hc1x10", 100_000, marks=pytest.mark.slow),
        pytest.param("hc1x10", 1_000_000, marks=pytest.mark.slow),
        pytest.param("hc1x10-pipelined", 0, marks=pytest.mark.slow),
        pytest.param("vllm-h100", 0, marks=pytest.mark.slow),
        pytest.param("vllm-h100", 100_000, marks=pytest.mark.slow),
        pytest.param("vllm-h100", 1_000_000, marks=pytest.mark.slow),
    ],
)
def test_replay(benchmark, server, requests):
    measure(benchmark, server, requests, 64, "events")


@pytest.mark.slow
@pytest.mark.parametrize("server", ["hc1x10", "hc1x10-pipelined"])
@pytest.mark.parametrize("adapters", [8, 64])
@pytest.mark.parametrize("engine", ["events", "compiled"])
def test_engines(benchmark, server, adapters, engine):
    measure(benchmark, server, 19_366, adapters, engine)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "requests"),
    [("hc1x10", 0), ("hc1x10", 1_000_000), ("hc1x10-pipelined", 0)],
)
def test_compiled(benchmark, server, requests):
    """What the compiled loop has to reach: 100 and 40 million tokens a second, 2 s and 700 MB."""
    measure(benchmark, server, requests, 64, "compiled")


STREAM = """
import json, resource, sys, tempfile, time
from pathlib import Path
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.replay.streaming import stream

options = {
    "source": "azure-conv", "server": "hc1x10", "adapters": "64", "rate": 110.0, "servers": 20,
}
with tempfile.TemporaryDirectory() as folder:
    few = Setup.from_options({**options, "requests": 1000})
    stream(few, Path(folder) / "few")
    begin = time.perf_counter()
    all_of_them = Setup.from_options({**options, "requests": int(sys.argv[1])})
    done, _ = stream(all_of_them, Path(folder) / "all")
    wall_s = time.perf_counter() - begin
own, others = (
    resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
)
print(json.dumps({
    "requests": done.summary["requests"],
    "generated": done.summary["generated_tokens"],
    "wall_s": wall_s,
    "cpu_s": sum(one.ru_utime + one.ru_stime for one in (own, others)),
    # Of this process, and twice the largest of the two that serve.
    "peak_mb": (own.ru_maxrss + 2 * others.ru_maxrss) / 1000,
}))
"""


@pytest.mark.slow
def test_ten_million_requests_on_twenty_servers(benchmark):
    """What streamed replays have to reach: 30 s on two cores, 2 GB; files and percentiles in it."""
    if benchmark.disabled:
        pytest.skip("a benchmark of whole processes")
    kept(benchmark, [sys.executable, "-c", STREAM, "10000000"])


def measure(benchmark, server, requests, adapters, engine):
    """Replay in a process of its own."""
    if benchmark.disabled:
        pytest.skip("a benchmark of whole processes")
    source = str(TRACE) if TRACE.exists() and not requests else "azure-conv"
    repeats = "1" if requests > 100_000 else "5"
    arguments = [source, server, str(requests), repeats, str(adapters), engine]
    command = [sys.executable, "-c", REPLAY, *arguments]

    kept(benchmark, command)


def kept(benchmark, command):
    """Run a process that prints what it found, and keep it."""

    def once():
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    found = json.loads(benchmark.pedantic(once, rounds=1, iterations=1))
    benchmark.group = "replay"
    benchmark.extra_info |= found | {
        "measured_s": found["wall_s"],  # not the process around it
        "generated_tokens_per_wall_s": round(found["generated"] / found["wall_s"]),
        "us_per_request": round(found["wall_s"] / found["requests"] * 1e6, 1),
    }
