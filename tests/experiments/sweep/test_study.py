"""Studies: points, metrics, keys and constraints, against the closed forms one design at a time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from designs import HC1, values_near
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.experiments.run.kernels import execute
from hardwire.experiments.sweep import Design, Study, evaluate
from hardwire.experiments.sweep.constraint import Constraint
from hardwire.experiments.sweep.design import NUMBERS, check_setting
from hardwire.experiments.sweep.keys import point_keys
from hardwire.experiments.sweep.metrics import CLOSED_FORM
from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.errors import InputError
from hardwire.models.sram import sram_budget
from hardwire.simulator import predict
from hardwire.simulator.datapath import adapter_bytes
from hardwire.simulator.obstacles import OBSTACLES

METRICS = tuple(CLOSED_FORM)
FREE = [
    "datapath.clock_ghz", "datapath.lanes", "sram.capacity_mib", "lora.read_bytes_per_cycle",
    "power.limit_w", "die.area_mm2", "process.wafer_usd",
]  # fmt: skip
WORDS = {
    "datapath.issue": ["serial", "pipelined"],
    "adapter.format": ["int8", "int4", "float16"],
    "adapter.targets": ["qv", "all-linear"],
    "model": ["llama-3.1-8b", "llama-3.2-1b"],
    "process": ["n6", "n5"],
    "model.layers": [8, 16, 33],
}
LOAD = {
    "adapter.rank": st.integers(1, 80),
    "workload.prompt": st.integers(1, 5000),
    "workload.output": st.integers(2, 5000),
    "workload.users": st.integers(1, 8),
    "workload.adapters": st.integers(0, 5),
}


@st.composite
def points(draw: st.DrawFn, size: int = 4) -> dict[str, np.ndarray]:
    """Settings of a few points: some vary freely, some are words."""
    names = draw(st.lists(st.sampled_from([*FREE, *WORDS, *LOAD]), min_size=1, unique=True))
    found = {}
    for name in names:
        if name in WORDS:
            value: Any = st.sampled_from(WORDS[name])
        else:
            value = LOAD[name] if name in LOAD else values_near(name)
        found[name] = np.array(draw(st.lists(value, min_size=size, max_size=size)))
    return found


def alone(setting: dict[str, Any]) -> dict[str, Any]:
    """Metrics of one design, by the public functions with an adapter module by module."""
    chip, model = HC1, LanguageModel.open(setting.get("model", "llama-3.1-8b"))
    if "process" in setting:
        chip = chip.with_process(setting["process"])
    if "model.layers" in setting:
        model = dataclasses.replace(model, layers=setting["model.layers"])
    chip = chip.with_values({k: v for k, v in setting.items() if k in HC1.parameters})
    shape = [setting.get("adapter.rank", 16), setting.get("adapter.targets", "all-linear")]
    fmt = setting.get("adapter.format", "int8")
    adapter = Adapter.from_shape(f"r{shape[0]}:{shape[1]}:{fmt}", model)
    prompt = setting.get("workload.prompt", 1024)
    output = setting.get("workload.output", 1024)
    users = setting.get("workload.users", 1)
    size = setting.get("workload.adapters", 1) * adapter_bytes(chip, adapter)
    budget = sram_budget(
        chip, model, users=users, context_tokens=prompt + output, adapter_bytes=size
    )
    found = predict(chip, model, adapter=adapter, prompt=prompt, output=output, users=users)
    return {
        "decode_tokens_per_s_user": found.decode_tokens_per_s_user,
        "ttft_s": found.ttft_s,
        "energy_j_per_decode_token": found.energy_j_per_decode_token,
        "energy_j_per_request": found.energy_j_per_request,
        "area_mm2.total": found.area_mm2["total"],
        "area_mm2.matrix_adders": found.area_mm2["matrix_adders"],
        "breakdown_s.lora": found.breakdown_s["lora"],
        "die_cost_usd": found.die_cost_usd,
        "usd_per_million_tokens": found.usd_per_million_tokens,
        "sram.free_bytes": budget.free_bytes,
        "sram.max_users": budget.max_users,
    }


@pytest.mark.slow
@examples(60)
@given(points())
def test_points_together_are_points_alone(setting: dict[str, np.ndarray]) -> None:
    base = Design.open("hc1", {"adapter": "r16:all-linear:int8"})
    together = evaluate(base, setting, METRICS)
    for index in range(4):
        one = {name: array[index].item() for name, array in setting.items()}
        for name, value in alone(one).items():
            assert together[name][index] == pytest.approx(value, rel=1e-12), (name, one)


@examples(60)
@given(points(size=6), st.permutations(range(6)))
def test_a_point_has_one_key_wherever_it_stands(
    setting: dict[str, np.ndarray], order: list[int]
) -> None:
    study = one_study(setting)
    keys = study.keys(setting)
    again = study.keys({name: array[order] for name, array in reversed(setting.items())})
    assert np.array_equal(again, keys[order])
    # As the base of another study, with other axes.
    one = {name: array[2].item() for name, array in setting.items()}
    other = dataclasses.replace(study, base=study.base.with_settings(one))
    lanes = np.array([other.base.chip.datapath.lanes])
    assert other.keys({"datapath.lanes": lanes})[0] == keys[2]


@examples(60)
@given(points(size=6))
def test_different_points_have_different_keys(setting: dict[str, np.ndarray]) -> None:
    keys = one_study(setting).keys(setting)
    rows = list(zip(*(array.tolist() for array in setting.values()), strict=True))
    assert len(set(rows)) == len(np.unique(keys))


def one_study(setting: dict[str, np.ndarray]) -> Study:
    data = {
        "base": {"adapter": "r16:all-linear:int8"},
        "axes": {name: list(dict.fromkeys(array.tolist())) for name, array in setting.items()},
    }
    return Study.from_dict("test", data)


@pytest.mark.slow
def test_a_million_keys_are_distinct() -> None:
    keys = point_keys({"a": np.arange(1_000_000), "b": 3.0, "c": "word"}, 1_000_000)
    assert len(np.unique(keys["high"])) == len(np.unique(keys["low"])) == 1_000_000
    # Every bit is set in half of them.
    ones = [int((keys["high"] >> np.uint64(bit) & np.uint64(1)).sum()) for bit in range(64)]
    assert max(abs(count - 500_000) for count in ones) < 3_000


def test_keys_of_numbers_do_not_depend_on_their_type() -> None:
    whole = point_keys({"a": np.array([3, 0])}, 2)
    assert np.array_equal(whole, point_keys({"a": np.array([3.0, -0.0])}, 2))
    assert not np.array_equal(whole, point_keys({"b": np.array([3, 0])}, 2))


def test_what_a_study_stores_besides_is_in_the_key() -> None:
    axes = {"datapath.lanes": [8, 16]}
    few = Study.from_dict("few", {"axes": axes})
    more = Study.from_dict("more", {"axes": axes, "metrics": ["area_mm2.rom"]})
    lanes = {"datapath.lanes": np.array([8, 16])}
    assert not np.any(few.keys(lanes) == more.keys(lanes))


SAMPLES: list[Any] = [
    "grid",
    {"random": 70_000, "seed": 5},
    {"latin-hypercube": 70_000, "seed": 5},
]


@pytest.mark.parametrize("sample", SAMPLES, ids=["grid", "random", "latin-hypercube"])
def test_points_do_not_depend_on_the_chunks(sample: Any) -> None:
    study = Study.from_dict(
        "chunks",
        {
            "sample": sample,
            "axes": {
                "datapath.lanes": {"from": 1, "to": 70, "step": 1},
                "datapath.clock_ghz": {"from": 0.5, "to": 2, "points": 50},
                "adapter.rank": {"from": 1, "to": 20, "step": 1},
                "datapath.issue": ["serial", "pipelined"],
            },
        },
    )
    assert study.points >= 70_000
    whole = study.chunk(0, study.points)
    for start, stop in ((0, 1), (65_530, 65_540), (study.points - 3, study.points + 10)):
        part = study.chunk(start, stop)
        for name, values in part.items():
            assert np.array_equal(values, whole[name][start:stop]), name


def test_a_grid_has_every_combination_once() -> None:
    axes = {"datapath.lanes": [8, 16, 24], "datapath.issue": ["serial", "pipelined"]}
    chunk = Study.from_dict("grid", {"axes": axes}).chunk(0, 6)
    rows = list(zip(*(v.tolist() for v in chunk.values()), strict=True))
    assert rows == [(n, i) for n in (8, 16, 24) for i in ("serial", "pipelined")]


def test_a_latin_hypercube_has_one_point_in_every_stratum() -> None:
    data = {
        "sample": {"latin-hypercube": 512},
        "axes": {"datapath.clock_ghz": {"from": 1, "to": 2}, "rom.density_mbit_per_mm2": "range"},
    }
    chunk = Study.from_dict("cube", data).chunk(0, 512)
    for name, low, high in (("datapath.clock_ghz", 1, 2), ("rom.density_mbit_per_mm2", 47.1, 80)):
        strata = np.floor((chunk[name] - low) / (high - low) * 512)
        assert sorted(strata) == list(range(512)), name


def test_intervals_are_drawn_evenly_on_their_scale() -> None:
    data = {
        "sample": {"random": 40_000},
        "axes": {
            "adapter.rank": {"from": 1, "to": 4},
            "process.rom_read_pj_per_byte": {"from": 0.01, "to": 1, "scale": "log"},
            "datapath.issue": ["serial", "pipelined"],
        },
    }
    chunk = Study.from_dict("draws", data).chunk(0, 40_000)
    ranks = np.bincount(chunk["adapter.rank"])[1:]
    assert len(ranks) == 4 and np.all(np.abs(ranks - 10_000) < 400)
    assert abs(np.mean(chunk["process.rom_read_pj_per_byte"] < 0.1) - 0.5) < 0.02
    assert abs(np.mean(chunk["datapath.issue"] == "serial") - 0.5) < 0.02


def test_variants_change_several_parameters_at_once() -> None:
    variants = {
        "N7": {"process": "n7", "sram.density_mbit_per_mm2": 24},
        "N5": {"process": "n5", "sram.density_mbit_per_mm2": 30},
    }
    study = Study.from_dict("nodes", {"axes": {"node": {"variants": variants}}})
    found = study.settings(study.chunk(0, 2))
    metrics = study.evaluate(found)
    for index, (process, density) in enumerate((("n7", 24), ("n5", 30))):
        chip = HC1.with_process(process).with_values({"sram.density_mbit_per_mm2": density})
        model = LanguageModel.by_name(chip.model)
        cost = predict(chip, model, prompt=1024, output=1024)
        assert metrics["power_w"][index] == pytest.approx(cost.power_w, rel=1e-12)
        assert metrics["die_cost_usd"][index] == pytest.approx(cost.die_cost_usd, rel=1e-12)


def test_every_obstacle_is_found() -> None:
    base = Design.open("hc1", {"adapter": "r16:all-linear"})
    cases: list[tuple[dict[str, Any], int]] = [
        ({}, 0),
        ({"workload.users": 4}, 1),
        ({"workload.adapters": 8}, 1),
        ({"adapter.rank": 65}, 2),
        ({"workload.prompt": 130_100, "sram.capacity_mib": 100_000}, 3),
        ({"power.limit_w": 20}, 4),
        ({"adapter.targets": "all-linear+lm_head"}, 7),
        ({"adapter.targets": "all-linear+lm_head", "lora.head": "present"}, 0),
    ]
    for setting, code in cases:
        found = evaluate(base, setting, ("token_s",))["obstacle"]
        assert OBSTACLES[found[0]] == OBSTACLES[code], setting


def test_the_first_reason_is_stated() -> None:
    study = Study.from_dict(
        "reasons",
        {
            "axes": {"datapath.lanes": [4, 16, 64], "sram.capacity_mib": [64, 448]},
            "constraints": ["area_mm2.total <= die_area_mm2", "decode_tokens_per_s_user >= 16000"],
        },
    )
    found = study.settings(study.chunk(0, 6))
    code, reasons = study.judge(found, study.evaluate(found))
    fit = "KV cache and adapters exceed the SRAM"
    assert [reasons[c] for c in code] == [
        fit, "decode_tokens_per_s_user >= 16000", fit, "", fit, "area_mm2.total <= die_area_mm2",
    ]  # fmt: skip


NAMES = ["a", "b.c", "token_s"]
VALUES = {"a": np.array([1.0, 2.0, 3.0]), "b.c": 2.0, "token_s": np.array([0.0, 4.0, 6.0])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <= b.c", [True, True, False]),
        ("a < b.c", [True, False, False]),
        ("2 * a - 1 >= b.c + 1 / 2", [False, True, True]),
        ("token_s == 2 * a", [False, True, True]),
        ("-a > -b.c", [True, False, False]),
    ],
)
def test_a_constraint_holds_where_its_arithmetic_does(text: str, expected: list[bool]) -> None:
    constraint = Constraint.parse(text, NAMES, "here")
    holds = np.broadcast_to(constraint.holds(VALUES.__getitem__), 3)
    assert holds.tolist() == expected
    excess = np.broadcast_to(constraint.excess(VALUES.__getitem__), 3)
    assert (excess <= 0).tolist() == expected


@pytest.mark.parametrize(
    "text",
    ["a", "a <= 1 <= 2", "a != 1", "f(a) <= 1", "a <= 'x'", "a <= [1]", "a <=", "a ** 2 <= 1",
     "(lambda: 1)() <= a", "a <= True", "a" * 600 + " <= 1"],
)  # fmt: skip
def test_what_is_no_constraint_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="must be a comparison"):
        Constraint.parse(text, NAMES, "here")


AXES = {"datapath.lanes": [8, 16]}
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "axes: a mapping of parameters to values is expected"),
    ({"axes": {}}, "axes: a mapping of parameters to values is expected"),
    ({"axes": AXES, "axis": 1}, "axis is unknown; did you mean axes"),
    ({"axes": {"datapath.lans": [1]}}, "axes.datapath.lans: no such parameter; did you mean"),
    ({"axes": {"datapath.lanes": []}}, "axes.datapath.lanes: has no values"),
    ({"axes": {"datapath.lanes": [8, 8]}}, "a value is given twice"),
    ({"axes": {"datapath.lanes": [0]}}, "axes.datapath.lanes: 0 is out of range"),
    ({"axes": {"datapath.lanes": ["8 GHz"]}}, "wrong unit"),
    ({"axes": {"datapath.issue": ["parallel"]}}, "'parallel' is not allowed"),
    ({"axes": {"datapath.issue": {"from": 1, "to": 2}}}, "takes a list of words"),
    ({"axes": {"datapath.lanes": {"from": 8}}}, "an interval needs from and to"),
    ({"axes": {"datapath.lanes": {"from": 8, "to": 8}}}, "from 8 to 8 is empty"),
    ({"axes": {"datapath.lanes": {"from": 8, "to": 9}}}, "a grid needs values, or points or step"),
    ({"axes": {"datapath.lanes": {"from": 8, "to": 9, "stop": 1}}}, "axes.datapath.lanes.stop"),
    ({"axes": {"workload.users": "range"}}, "hc1 states no range for it"),
    ({"axes": {"model": ["llama-9b"]}}, "'llama-9b' is no model in the catalogue"),
    ({"axes": {"formats.kv_bits": [5]}}, "formats.kv_bits: 5 is not one of 4, 8, 16"),
    ({"axes": {"n": {"variants": {}}}}, "axes.n: has no values"),
    (
        {"axes": {"n": {"variants": {"A": {"process": "n5"}, "B": {"datapath.lanes": 8}}}}},
        "axes.n.B: every variant must set the same",
    ),
    (
        {"axes": {**AXES, "n": {"variants": {"A": {"datapath.lanes": 8}}}}},
        "axes.n: datapath.lanes is set by two axes",
    ),
    ({"axes": AXES, "base": {"chip": "hc9"}}, "'hc9' is no chip in the catalogue"),
    ({"axes": AXES, "base": {"datapath.lanez": 1}}, "base.datapath.lanez: no such parameter"),
    ({"axes": AXES, "fidelity": "guess"}, "fidelity: 'guess' is none of"),
    ({"axes": AXES, "sample": {"random": 0}}, "sample.random: a whole number from 1"),
    ({"axes": AXES, "sample": {"halton": 5}}, "sample.halton: is unknown"),
    ({"axes": AXES, "metrics": ["token"]}, "'token' is no metric; did you mean token_s"),
    ({"axes": AXES, "objectives": ["area"]}, "objectives: 'area' is no metric"),
    ({"axes": AXES, "objectives": {"token_s": "least"}}, "token_s: must be max or min"),
    ({"axes": AXES, "constraints": ["tokens <= 3"]}, "'tokens' is no metric or number"),
    ({"axes": AXES, "constraints": ["process >= 3"]}, "'process' is no metric or number"),
    ({"axes": AXES, "constraints": ["adapter.rank >= 3"]}, "'adapter.rank' is no metric or"),
    ({"axes": AXES, "constraints": ["1 >= 2"]}, "never holds: nothing in it is an axis"),
    ({"axes": AXES, "constraints": ["datapath.clock_ghz >= 9"]}, "never holds"),
    ({"axes": AXES, "constraints": ["datapath.lanes >= 17"]}, "axes.datapath.lanes is 8 to 16"),
    (
        {"axes": AXES, "constraints": ["token_s >= 1", "0.5 >= token_s"]},
        "'0.5 >= token_s' cannot hold together with 'token_s >= 1'",
    ),
    ({"axes": AXES, "replay": {"rate": 3}}, "replay: is for fidelity replay only"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_study_is_refused_in_one_sentence(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Study.from_dict("bad", data, "bad.yaml")
    text = str(caught.value)
    assert message in text
    assert "\n" not in text


def test_an_unknown_ready_study_names_the_ready_ones() -> None:
    with pytest.raises(InputError, match="is no ready study; did you mean lanes-area-rate"):
        Study.open("lanes-area")


def test_settings_are_checked_as_the_chips_own() -> None:
    assert check_setting("x", "datapath.clock_ghz", "1.5 GHz") == 1.5
    assert check_setting("x", "adapter", None) == "none"
    for name in NUMBERS:
        with pytest.raises(InputError, match="out of range"):
            check_setting("x", name, -1)


def test_a_chip_on_another_process_states_that_process() -> None:
    moved = HC1.with_process("n5")
    fresh = Chip.open("hc1")
    assert moved.process_name == "n5" and fresh.process_name == "n6"
    assert moved.parameters["process.wafer_usd"].value == moved.process.wafer_usd
    assert not math.isclose(moved.process.wafer_usd, fresh.process.wafer_usd)


# --- adapters and their models --------------------------------------------------------------------


def test_an_adapter_takes_the_shape_of_each_model() -> None:
    qwen = "qwen2.5-1.5b"
    base = Design.open("hc1", {"adapter": "r16:all-linear"})
    names = np.array(["llama-3.1-8b", qwen])
    found = evaluate(base, {"model": names}, ("sram.adapter_bytes",))["sram.adapter_bytes"]
    expected = [
        adapter_bytes(HC1, Adapter.from_shape("r16:all-linear", LanguageModel.open(name)))
        for name in names
    ]
    assert found.tolist() == expected


@pytest.mark.parametrize("made", [Adapter.from_shape, AdapterShape.from_text])
def test_a_design_of_another_model_than_its_adapters_is_refused(made: Any) -> None:
    adapter = made("r16:all-linear", LanguageModel.open("qwen2.5-1.5b"))
    design = Design(HC1, LanguageModel.open("llama-3.1-8b"), adapter)
    with pytest.raises(InputError, match=r"was made for qwen2\.5-1\.5b \(hidden 1,536\)"):
        evaluate(design, {}, ("token_s",))
    with pytest.raises(InputError, match=r"was made for qwen2\.5-1\.5b \(hidden 1,536\)"):
        execute(HC1, design.model, adapter)
