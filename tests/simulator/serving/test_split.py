"""Prompts on a GPU server, decoding on hardwired cards."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.errors import InputError
from hardwire.models.server import Server
from hardwire.models.server_split import SplitServer
from hardwire.models.sram import kv_bytes_on
from hardwire.simulator.serving.fleet import replay_fleet
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog, Status
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import open_server, replay
from hardwire.simulator.serving.split import send

SERVER = SplitServer.open("gpu-hc1")
MODEL = LanguageModel.open("llama-3.1-8b")
CHIP = Chip.open("hc1")
SHAPE = Adapter.from_shape("r16:attention", MODEL)


@st.composite
def loads(draw) -> Workload:
    count = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    adapters = draw(st.integers(0, 3))
    span = draw(st.sampled_from([0.0, 0.05, 1.0]))
    return Workload(
        name="random",
        arrival_s=np.sort(rng.uniform(0, span, count)) if span else np.zeros(count),
        prompt=rng.integers(1, 400, count),
        output=rng.integers(1, draw(st.sampled_from([1, 60])), count, endpoint=True),
        adapter=rng.integers(-1, adapters, count).astype(np.int32),
        adapters=tuple(f"a{number}" for number in range(adapters)),
        duration_s=span,
    )


def serve(server: SplitServer, load: Workload, policy: Policy = Policy()) -> ServingLog:  # noqa: B008
    return replay(server, load, [SHAPE] * len(load.adapters), policy)


def with_links(count: int) -> SplitServer:
    return dataclasses.replace(
        SERVER, handover=dataclasses.replace(SERVER.handover, kv_links=count)
    )


def full_card() -> tuple[SplitServer, Workload]:
    """A card whose users run out of pages."""
    count = 12
    server = dataclasses.replace(
        SERVER,
        decode=dataclasses.replace(
            SERVER.decode,
            issue="pipelined",
            machine=dataclasses.replace(SERVER.decode.machine, cards=1, users_per_card=count),
        ),
    )
    load = Workload(
        "full", np.zeros(count), np.full(count, 380), np.full(count, 300),
        np.full(count, -1, np.int32), (), 0.0,
    )  # fmt: skip
    return server, load


def alone(prompt: int, output: int = 20) -> Workload:
    one = np.array([0.0])
    return Workload(
        "one", one, np.array([prompt]), np.array([output]), np.array([-1], np.int32), (), 0.0
    )


@examples(15)
@given(loads(), st.sampled_from(["affine_spill", "round_robin"]), st.sampled_from([1, 2]))
def test_law_nothing_is_lost_and_kv_comes_before_decoding(
    load: Workload, routing: str, links: int
) -> None:
    """Every token is made; bytes on links are tokens times bytes; causes add up to the gap."""
    server = dataclasses.replace(
        SERVER, handover=dataclasses.replace(SERVER.handover, kv_links=links)
    )
    log = serve(server, load, Policy(routing=routing))
    assert (log.status == Status.COMPLETED).all()
    np.testing.assert_array_equal(log.generated, load.output)
    handed = log.handover
    assert handed is not None
    goes_on = load.output > 1
    per_token = float(kv_bytes_on(CHIP, MODEL))
    np.testing.assert_array_equal(
        handed.kv_bytes, np.where(goes_on, np.ceil(load.prompt * per_token), 0)
    )
    gpu_s = log.first_token_s - load.arrival_s
    np.testing.assert_allclose(handed.queue_s + handed.prefill_s, gpu_s, rtol=1e-9, atol=1e-12)
    for values in (handed.link_queue_s, handed.transfer_s, handed.decode_queue_s, handed.swap_s):
        assert (values[goes_on] >= 0).all()
        assert np.isnan(values[~goes_on]).all()
    before = handed.link_queue_s + handed.transfer_s + handed.decode_queue_s + handed.swap_s
    assert (handed.second_s[goes_on] > before[goes_on]).all()
    kv = next(spans for spans in log.spans if spans.kind == "kv transfer")
    assert len(kv.begin_s) == goes_on.sum()
    assert kv.bytes.sum() == handed.kv_bytes.sum()
    assert (log.finish_s >= log.first_token_s).all()


@pytest.mark.slow  # the compiled loop takes long to compile
@examples(20)
@given(
    loads(),
    st.sampled_from(["prompt", "whole"]),
    st.sampled_from(["recompute", "offload"]),
    st.sampled_from([1, 4]),
)
def test_law_the_compiled_loop_gives_the_same_log(
    load: Workload, admission: str, preemption: str, users: int
) -> None:
    """Keys and values that come with requests, in small cards that preempt, in both engines."""
    machine = dataclasses.replace(SERVER.decode.machine, cards=2, users_per_card=users)
    decode = dataclasses.replace(SERVER.decode, issue="pipelined", machine=machine)
    server = dataclasses.replace(SERVER, decode=decode)
    policy = Policy(admission=admission, preemption=preemption)
    shapes = [SHAPE] * len(load.adapters)
    logs = [replay(server, load, shapes, policy, engine=e) for e in ("events", "compiled")]
    assert logs[1].engine == "compiled"
    for name, values in logs[0].to_arrays().items():
        np.testing.assert_array_equal(values, getattr(logs[1], name), err_msg=name)
    assert logs[0].energy_j == pytest.approx(logs[1].energy_j, rel=1e-9)


@pytest.mark.slow  # as above
def test_preemptions_are_the_same_in_the_compiled_loop() -> None:
    server, load = full_card()
    logs = [replay(server, load, (), engine=e) for e in ("events", "compiled")]
    assert logs[1].engine == "compiled"
    assert logs[0].preemptions.sum() > 0
    for name, values in logs[0].to_arrays().items():
        np.testing.assert_array_equal(values, getattr(logs[1], name), err_msg=name)


@examples(30)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5000)), min_size=1, max_size=20),
    st.integers(1, 3),
)
def test_law_a_link_sends_one_request_at_a_time(rows: list, links: int) -> None:
    """First come, first served; busy time is bytes over bandwidth."""
    ready_s, tokens = (np.array(column) for column in zip(*rows, strict=True))
    server = dataclasses.replace(
        SERVER, handover=dataclasses.replace(SERVER.handover, kv_links=links)
    )
    sent = send(server, ready_s.astype(float), tokens, 69632.0)
    assert sent.busy_s.sum() == pytest.approx(sent.bytes.sum() / server.bytes_per_s)
    done_s = sent.end_s - server.latency_s
    at = np.sort(np.concatenate([sent.begin_s, done_s]))
    middle = (at[1:] + at[:-1]) / 2
    flying = (sent.begin_s[:, None] < middle) & (done_s[:, None] > middle)
    assert flying.sum(axis=0).max(initial=0) <= links
    order = np.argsort(ready_s, kind="stable")
    assert (np.diff(sent.begin_s[order]) >= 0).all()


def test_a_lone_request_takes_what_its_parts_take() -> None:
    """The GPU's first token, bytes over bandwidth and two hops, then tokens at the chip's rate."""
    load = alone(300)
    gpu = replay(SERVER.prefill, dataclasses.replace(load, output=np.array([1])), ())
    chip = replay(Server.open("hc1x10"), load, ())
    log = serve(SERVER, load)
    handed = log.handover
    assert handed is not None
    assert log.first_token_s[0] == gpu.first_token_s[0]
    bytes_ = 300 * float(kv_bytes_on(CHIP, MODEL))
    assert handed.transfer_s[0] == pytest.approx(bytes_ / 53e9 + 2 * 341.5e-9)
    decoded = log.finish_s[0] - log.first_token_s[0] - handed.transfer_s[0]
    assert decoded == pytest.approx(chip.finish_s[0] - chip.first_token_s[0], abs=2e-9)


def test_energy_and_cost_are_of_both_servers_and_the_links() -> None:
    log = serve(SERVER, alone(300))
    link_w = 2 * float(SERVER.link.idle_w)
    assert log.energy_by_j["kv_links"] == pytest.approx(link_w * log.end_s)
    assert {"gpu_idle", "gpu_steps", "cards_at_rest", "decode"} <= set(log.energy_by_j)
    assert log.energy_by_j["prefill"] == pytest.approx(0, abs=1e-12)
    assert log.energy_j == pytest.approx(sum(log.energy_by_j.values()))
    capex = SERVER.prefill.batching.capex_usd_per_s + SERVER.decode.machine.capex_usd_per_s
    assert log.capex_usd_per_s == capex


def test_what_the_cards_cannot_hold_is_refused_before_its_prompt() -> None:
    load = alone(9000)
    log = serve(SERVER, load)
    assert log.status[0] == Status.TOO_LONG
    assert log.energy_by_j["gpu_steps"] == 0
    assert (log.handover.kv_bytes == 0).all()


def test_a_preempted_request_computes_its_prompt_anew() -> None:
    """Its keys and values came once; thrown away, they are the chip's to compute."""
    server, load = full_card()
    log = serve(server, load)
    assert (log.status == Status.COMPLETED).all()
    assert log.preemptions.sum() > 0
    assert log.energy_by_j["recomputation"] > 0


def test_options_that_it_does_not_have() -> None:
    load = alone(30)
    with pytest.raises(InputError, match="--concurrency: gpu-hc1 is two servers"):
        serve(SERVER, load.closed(1))
    with pytest.raises(InputError, match="--prefix-reuse: prompts of gpu-hc1"):
        serve(SERVER, load, Policy(prefix_reuse=True))
    with pytest.raises(InputError, match="servers: gpu-hc1 is two servers already"):
        replay_fleet(SERVER, load, (), servers=2)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("prefill: hc1x10", "bad.yaml: prefill: must be a GPU server"),
        ("decode: vllm-h100", "bad.yaml: decode: must be a hardwired server"),
        ("decode: llama-70b-hc1", "vllm-h100 serves llama-3.1-8b, but decode: llama-70b-hc1"),
        ("link: string", "bad.yaml: link: 'string' is no link"),
        ("kv_links: {value: 0, kind: derived, source: none}", "bad.yaml: kv_links"),
    ],
)
def test_a_file_of_a_disaggregated_server_that_is_wrong(
    tmp_path: Path, line: str, sentence: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(f"extends: gpu-hc1\ntitle: bad\n{line}\n")
    with pytest.raises(InputError, match=sentence):
        open_server(file)


def test_a_run_that_is_cut_off_keeps_what_is_done() -> None:
    count = 30
    load = Workload(
        "cut", np.linspace(0, 0.3, count), np.full(count, 200), np.full(count, 2000),
        np.full(count, -1, np.int32), (), 0.3,
    )  # fmt: skip
    whole = serve(SERVER, load)
    log = replay(SERVER, load, (), until_s=0.2)
    done = log.status == Status.COMPLETED
    assert done.any()
    assert not done.all()
    np.testing.assert_array_equal(log.finish_s[done], whole.finish_s[done])
    assert (log.finish_s[done] <= 0.2).all()
    assert (log.generated <= load.output).all()
    assert log.energy_j < whole.energy_j
