"""No answer for an adapter beside a model that it was not made for, wherever the two meet."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from serving_logs import made_workload

from hardwire.models import Adapter, Chip, InputError, LanguageModel
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.gpu_server import BatchServer
from hardwire.models.server import Server
from hardwire.simulator import build_program, predict, run, swap_latency
from hardwire.simulator.belief.predictions import predictions
from hardwire.simulator.datapath import shape_bytes
from hardwire.simulator.fit import adapter_obstacle, check_fit
from hardwire.simulator.serving.load.adapters import AdapterSet
from hardwire.simulator.serving.replay import replay
from hardwire.simulator.timing import Timing

HC1 = Chip.open("hc1")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
QWEN = LanguageModel.by_name("qwen2.5-1.5b")
ADAPTER = Adapter.from_shape("r16:all-linear", QWEN)
SHAPE = AdapterShape.from_text("r16:all-linear", QWEN)
LOAD: Any = {"prompt": 8, "output": 8}
REFUSAL = "adapter r16:all-linear was made for qwen2.5-1.5b (hidden 1,536); llama-3.1-8b has 4,096"


def served(server: Server | BatchServer) -> Any:
    offered = AdapterSet.equal(6, QWEN)
    return replay(server, made_workload(20), offered.adapters)


@pytest.mark.parametrize(
    "meet",
    [
        lambda: predict(HC1, LLAMA, adapter=ADAPTER, **LOAD),
        lambda: predict(HC1, LLAMA, adapter=SHAPE, **LOAD),
        lambda: Timing.of(HC1, LLAMA, [SHAPE]),
        lambda: run(HC1, LLAMA, ADAPTER, **LOAD),
        lambda: check_fit(HC1, LLAMA, ADAPTER, **LOAD, users=1),
        lambda: adapter_obstacle(HC1, LLAMA, ADAPTER),
        lambda: build_program(HC1, LLAMA, [ADAPTER]),
        lambda: swap_latency(HC1, LLAMA, ADAPTER),
        lambda: predictions(HC1, LLAMA, [("r16", SHAPE)]),
        lambda: shape_bytes(HC1, LLAMA, SHAPE),
        lambda: Timing.of(HC1, LLAMA, [ADAPTER]),
        lambda: served(Server.open("hc1x10")),
        lambda: served(BatchServer.open("vllm-h100")),
    ],
)
def test_a_mismatch_is_refused(meet: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(REFUSAL)}$"):
        meet()
