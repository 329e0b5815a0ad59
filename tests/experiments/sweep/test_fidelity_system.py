"""Studies of systems of several dies: their points, what stands in the way, and their store."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardwire.experiments.sweep import Study, sweep
from hardwire.experiments.sweep.fidelity import evaluate
from hardwire.experiments.system.answer import ask
from hardwire.experiments.system.plan import arranged
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.system.link import LinkKind
from hardwire.simulator.obstacles import OBSTACLES

BASE = {"chip": "hc2", "model": "llama-3.1-70b", "system.dies": 8}


def study(axes: dict[str, Any], base: dict[str, Any] | None = None, **more: Any) -> Study:
    """A study of systems."""
    data = {"fidelity": "system", "base": {**BASE, **(base or {})}, "axes": axes, **more}
    return Study.from_dict("dies", data)


def found(asked: Study) -> dict[str, np.ndarray]:
    """Metrics of all points."""
    return evaluate(asked, asked.settings(asked.chunk(0, asked.points)))


def test_each_point_is_what_a_run_says_of_that_system() -> None:
    asked = study(
        {
            "system.split": [2, 8],
            "system.link": ["board", "ethernet"],
            "workload.users": [1, 3],
            "system.link_latency_ns": [20, 900],
        },
        {"adapter": "r8:attention", "workload.prompt": 100, "workload.output": 50},
    )
    metrics = found(asked)
    chip, model = Chip.open("hc2"), LanguageModel.open("llama-3.1-70b")
    adapter = Adapter.from_shape("r8:attention", model)
    columns = asked.chunk(0, asked.points)
    for point in range(0, asked.points, 3):
        split, users = int(columns["system.split"][point]), int(columns["workload.users"][point])
        kind = LinkKind.open(str(columns["system.link"][point]))
        sheet = dataclasses.replace(
            kind.sheet, latency_ns=float(columns["system.link_latency_ns"][point])
        )
        kind = dataclasses.replace(kind, sheet=sheet)
        system = arranged(model, chip, kind, 8 // split, split)
        assert system is not None
        one = ask(system, prompt=100, output=50, users=users, adapter=adapter)
        for name in (
            "decode_tokens_per_s_user", "decode_tokens_per_s_system", "power_w", "cards_usd",
            "usd_per_million_tokens", "dies", "variants", "max_users",
        ):  # fmt: skip
            assert metrics[name][point] == pytest.approx(getattr(one, name), rel=1e-12), name
        assert metrics["ttft_s"][point] == pytest.approx(float(one.unlimited.ttft_s), rel=1e-12)
        assert (metrics["obstacle"][point] == 0) == one.fits


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"system.dies": 6, "system.split": 4}, "no such number of dies"),
        ({"system.dies": 81}, "no such number of dies"),
        ({"system.split": 16, "system.dies": 16}, "no such number of dies"),
        ({"system.dies": 2}, "the blocks of a die exceed it"),
        ({"workload.users": 1000}, "KV cache and adapters exceed the SRAM"),
        ({"workload.prompt": 131_072}, "prompt and output exceed the model's positions"),
    ],
)
def test_what_no_system_can_do_is_an_obstacle(settings: dict[str, Any], why: str) -> None:
    asked = study({"system.link_latency_ns": [10, 20]}, settings)
    assert [OBSTACLES[code][: len(why)] for code in found(asked)["obstacle"]] == [why, why]


def test_without_a_number_there_are_as_many_dies_as_users_need() -> None:
    metrics = found(study({"workload.users": [1, 4, 40]}, {"system.dies": 0}))
    assert not metrics["obstacle"].any()
    dies = metrics["dies"].tolist()
    assert dies == sorted(dies)
    assert dies[0] < dies[-1]
    assert (metrics["max_users"] >= [1, 4, 40]).all()


def test_more_dies_and_users_never_lower_the_rate_of_all() -> None:
    metrics = found(study({"workload.users": [1, 2, 4, 8]}))
    rates = metrics["decode_tokens_per_s_system"].tolist()
    assert rates == sorted(rates)


def test_a_store_of_systems_is_resumed_and_keys_tell_links_apart(tmp_path: Path) -> None:
    asked = study(
        {"system.link": ["board", "cxl"], "system.link_gb_per_s": [10, 100]},
        constraints=["dies <= 8", "system.link_gb_per_s >= 50"],
    )
    first = sweep(asked, tmp_path / "store")
    assert (first.counts.computed, first.counts.feasible) == (4, 2)
    again = sweep(asked, tmp_path / "store")
    assert (again.counts.computed, again.counts.reused) == (0, 4)


def test_settings_of_systems_are_for_systems_only() -> None:
    for data in (
        {"axes": {"system.split": [1, 2]}},
        {"base": {"system.dies": 4}, "axes": {"workload.users": [1, 2]}},
        {"fidelity": "engine", "axes": {"system.link": ["board"]}},
    ):
        with pytest.raises(InputError, match=r"system\.\w+: is for fidelity system only"):
            Study.from_dict("dies", data)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"system.link": ["bord"]}, "board"),
        ({"system.link": [3]}, "a word is expected"),
        ({"system.split": [0]}, r"system\.split"),
        ({"system.dies": [2.5]}, r"system\.dies"),
        ({"system.lanes": [3]}, "no such parameter"),
    ],
)
def test_axes_that_cannot_be_are_refused(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        study(axes)
