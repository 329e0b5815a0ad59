"""Answers of systems: power and cost add up, and one die gives what its chip does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import hardwire as hw
from hardwire.experiments.system.answer import SystemAnswer, ask
from hardwire.experiments.system.plan import Load, Plan, arranged, fewest, plan
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.system.link import LinkKind
from hardwire.models.system.system import System
from hardwire.simulator.closed_form import predict

HC1 = Chip.open("hc1")
BOARD = LinkKind.open("board")
SMALL = dataclasses.replace(LanguageModel.open("llama-3.1-8b"), layers=4)


@pytest.fixture(scope="module")
def pipeline() -> SystemAnswer:
    return ask(System.open("llama-70b-hc1"), users=8)


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan(LanguageModel.open("qwen3-14b"), HC1, BOARD, Load(prompt=64, output=64), "dies")


def test_one_die_gives_what_its_chip_does() -> None:
    model = LanguageModel.open("llama-3.1-8b")
    one = ask(System.of_one(HC1, model))
    alone = predict(HC1, model, prompt=1024, output=1024)
    assert one.decode_tokens_per_s_user == alone.decode_tokens_per_s_user
    assert one.unlimited.ttft_s == alone.ttft_s
    assert one.power_w == pytest.approx(float(alone.power_w))
    assert one.usd_per_million_tokens == pytest.approx(float(alone.usd_per_million_tokens))
    assert one.fits and one.dies == one.variants == 1


def test_energy_is_the_sum_over_dies_and_links(pipeline: SystemAnswer) -> None:
    power, rate = pipeline.power, pipeline.decode_tokens_per_s_system
    by_die = sum(idle + power.card_j[die] * rate for die, idle in power.card_idle_w.items())
    by_link = sum(idle + power.link_j[n] * rate for n, idle in power.link_idle_w.items())
    assert pipeline.power_w == pytest.approx(by_die + by_link)
    data = pipeline.to_dict()
    dies = sum(one["power_w"] for one in data["by_die"].values())
    assert data["power_w"] == pytest.approx(dies + data["links_w"])
    assert pipeline.energy_j_per_token * rate == pytest.approx(pipeline.power_w)


def test_as_many_users_fit_as_are_said_to(pipeline: SystemAnswer) -> None:
    most = pipeline.max_users
    assert ask(pipeline.system, users=most).fits
    assert not ask(pipeline.system, users=most + 1).fits


def test_the_cost_of_a_token_is_the_sum_over_dies_and_links(pipeline: SystemAnswer) -> None:
    data = pipeline.to_dict()
    dies = sum(one["usd_per_million_tokens"] for one in data["by_die"].values())
    assert 0 < data["usd_per_million_tokens"] - dies < 0.2 * dies


def test_dynamic_energy_is_that_of_the_model_on_one_die(pipeline: SystemAnswer) -> None:
    alone = predict(HC1, pipeline.system.model, prompt=1024, output=1024).power
    efficiency = HC1.power.regulator_efficiency
    assert sum(pipeline.power.card_j.values()) == pytest.approx(
        float(alone.dynamic_j_per_token) / efficiency
    )


def test_at_one_user_idle_power_dominates() -> None:
    one = ask(System.open("llama-405b-hc1"))
    assert one.power.idle_share(one.decode_tokens_per_s_system) > 0.5


def test_the_answer_has_what_programs_look_for(pipeline: SystemAnswer) -> None:
    data = json.loads(json.dumps(pipeline.to_dict()))
    assert data["dies"] == len(data["by_die"]) == 8 and data["fits"]
    assert data["decode_tokens_per_s_system"] > data["decode_tokens_per_s_user"] > 0
    assert set(data["latency_s"]) == {
        "compute", "attention", "link_latency", "link_queue", "head", "stall",
    }  # fmt: skip
    step = 1 / pipeline.unlimited.decode_tokens_per_s_user
    assert sum(data["latency_s"].values()) == pytest.approx(step)
    passed = [link["bytes_per_token"] for link in data["by_link"]]
    hidden = pipeline.system.model.hidden * 2
    assert [max(one.values()) for one in passed[:7]] == [hidden] * 7


def test_an_engine_gives_what_the_closed_form_does() -> None:
    """Of a pipeline and one user; the closed form rounds a mean context."""
    system = arranged(SMALL, HC1, BOARD, 2, 1)
    assert system is not None
    closed = ask(system, prompt=16, output=32)
    engine = ask(system, prompt=16, output=32, engine="compiled")
    assert engine.engine == "compiled"
    assert engine.decode_tokens_per_s_user == pytest.approx(
        closed.decode_tokens_per_s_user, rel=2e-3
    )
    with pytest.raises(InputError, match="one of closed form, compiled, reference"):
        ask(system, prompt=16, output=32, engine="quick")


def test_skewed_experts_are_slower() -> None:
    """The busiest die has more of a token's experts, and its vector unit takes them in turn."""
    system = System.open("hnlpu")
    even, skewed = (
        ask(system, experts=how).decode_tokens_per_s_user for how in ("uniform", "zipf:1.5")
    )
    assert skewed < even


def test_the_order_of_dies_changes_no_answer(pipeline: SystemAnswer) -> None:
    turned = dataclasses.replace(pipeline.system, dies=pipeline.system.dies[::-1])
    other = ask(turned, users=8)
    for name in ("decode_tokens_per_s_user", "power_w", "cards_usd", "usd_per_million_tokens"):
        assert getattr(other, name) == pytest.approx(getattr(pipeline, name), rel=1e-12)
    assert other.unlimited.latency_s == pipeline.unlimited.latency_s


def test_power_limits_hold_rates() -> None:
    tight = HC1.with_values({"power.limit_w": 70})
    stages = arranged(SMALL, tight, BOARD, 2, 1)
    assert stages is not None
    held = ask(stages, prompt=16, output=16)
    assert 0 <= held.throttle < 1
    for name, idle in held.power.card_idle_w.items():
        used = idle + held.power.card_j[name] * held.decode_tokens_per_s_system
        assert used <= max(70.0, idle) + 1e-9


def test_the_fewest_dies_are_the_fewest(planned: Plan) -> None:
    """One die fewer does not hold it, in any of the placements that are tried."""
    model, load = LanguageModel.open("qwen3-14b"), Load(prompt=64, output=64)
    dies = planned.best.dies
    assert planned.best.fits and dies == fewest(model, HC1, BOARD, load) == 2
    alone = arranged(model, HC1, BOARD, 1, 1)
    assert alone is not None and not load.fits(alone)


@pytest.mark.parametrize("objective", ["rate", "usd"])
def test_the_best_is_the_best_of_what_was_tried(objective: str) -> None:
    found = plan(SMALL, HC1, BOARD, Load(prompt=64, output=64), objective)
    value = {
        "rate": lambda one: -one.decode_tokens_per_s_user,
        "usd": lambda one: one.usd_per_million_tokens,
    }[objective]
    assert value(found.best) == min(map(value, found.options))
    assert all(one.fits for one in found.options)


def test_users_and_adapters_take_more_dies() -> None:
    model = LanguageModel.open("qwen3-14b")
    few = fewest(model, HC1, BOARD, Load(prompt=64, output=64))
    adapter = Adapter.from_shape("r64:all-linear", model)
    many = fewest(model, HC1, BOARD, Load(2048, 2048, 4, adapter, 3))
    assert few is not None and many is not None and many > few


def test_what_no_number_of_dies_holds_is_refused_with_the_reason() -> None:
    narrow = HC1.with_values({"die.area_mm2": 100})
    with pytest.raises(InputError, match=r"no placement on dies of hc1 holds it.*overflows by"):
        plan(SMALL, narrow, BOARD, Load())


def test_links_to_a_switch_make_a_star() -> None:
    star = arranged(SMALL, HC1, LinkKind.open("ethernet"), 4, 1)
    assert star is not None and {link.ends[1] for link in star.links} == {"switch"}
    assert len(star.route("d0", "d3")) == 2


def test_python_has_tables_frames_and_figures(planned: Plan) -> None:
    found = hw.plan("qwen3-14b", prompt=64, output=64, objective="dies")
    assert found.best.dies == planned.best.dies
    assert "Placements that fit" in str(found)
    assert found.to_frame()["dies"].iloc[0] == found.best.dies
    answer = hw.run_system(found.system, prompt=64, output=64)
    assert len(answer.to_frame()) == answer.dies
    assert "Where a token's time goes" in str(answer)


@pytest.mark.slow
def test_a_saved_plan_is_run_again(tmp_path: Path) -> None:
    """With a chip that has settings, which gets a file of its own."""
    found = hw.plan(
        "qwen3-14b", prompt=64, output=64, objective="dies", settings={"sram.capacity_mib": 300}
    )
    written = {path.name for path in found.save(tmp_path / "out")}
    assert written == {"system.json", "configuration.json", "dies.png", "system.yaml", "chip.yaml"}
    again = hw.run_system(tmp_path / "out" / "system.yaml", prompt=64, output=64)
    assert again.decode_tokens_per_s_user == found.best.decode_tokens_per_s_user
    assert again.system.dies[0].chip.sram.capacity_mib == 300
    assert again.system.placement == found.system.placement
    assert len(again.save(tmp_path / "again")) == 3
    page = hw.report(tmp_path / "out").read_text(encoding="utf-8")
    for words in ("Placements", "Where a token's time goes", "Masks", found.system.name):
        assert words.replace("'", "&#39;") in page or words in page
    changed = hw.diff(tmp_path / "out", tmp_path / "again")
    assert "decode_tokens_per_s_user" in str(changed)
