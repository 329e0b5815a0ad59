"""Answers in a notebook: one line, tables, frames, figures and files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import chromium, new_page
from matplotlib.figure import Figure
from shell import Shell

import hardwire as hw
from hardwire.experiments.sweep import Study
from hardwire.experiments.validation import gpu
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.adapter.write import write_adapter
from hardwire.simulator.serving.replay import open_server

pytestmark = pytest.mark.slow

STUDY = {
    "title": "Lanes",
    "axes": {
        "datapath.lanes": [12, 16, 20, 24],
        "sram.capacity_mib": {"from": 256, "to": 512, "points": 8},
    },
    "metrics": ["decode_tokens_per_s_user", "area_mm2.total"],
    "constraints": ["die_margin_mm2 >= 0"],
    "objectives": {"decode_tokens_per_s_user": "max", "area_mm2.total": "min"},
}  # fmt: skip
FRAMES = {
    "run": ("metrics", "breakdown", "tokens"),
    "replay": ("requests", "adapters", "memory", "summary"),
    "search": ("front", "trials"),
    "calibrate": ("parameters", "predictions", "left_out", "draws"),
}
FIGURES = {
    "run": ("breakdown", "rank", "floorplan", "timeline", "pipeline"),
    "replay": (),
    "compare": (),
    "sweep": (),
    "search": (),
    "sensitivity": ("token_s",),
    "calibrate": ("parameters", "corner", "predictions", "left_out"),
    "validate": (),
}
FILES = {
    "run": "verdict.json",
    "replay": "requests.parquet",
    "compare": "compare.csv",
    "sweep": "points.parquet",
    "search": "front.csv",
    "sensitivity": "sensitivity.csv",
    "calibrate": "calibration.json",
}
NAMES = ("run", "predict", "many", "replay", "compare", "sweep", "search", "sensitivity",
         "calibrate", "validate")  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("answers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "SERVER_DRAWS", 2)  # what an answer looks like does not tell the draws
        validated = hw.validate(fidelities=False)
    return {
        "run": hw.run("hc1", adapter="r64:all-linear", prompt=64, output=32),
        "predict": hw.predict("hc1", adapter="r16:qv"),
        "many": hw.predict("hc1", settings={"datapath.lanes": np.arange(12, 25)}),
        "replay": hw.replay("azure-conv", adapters=16, requests=100, slo={"ttft": 0.2}),
        "compare": hw.compare("azure-conv", requests=50, adapters=4),
        "sweep": hw.sweep(STUDY, folder / "store"),
        "search": hw.search(STUDY, trials=100, storage=folder / "trials.journal"),
        "sensitivity": hw.sensitivity("hc1", ["token_s", "power_w"], samples=64),
        "calibrate": hw.calibrate("hc1"),
        "validate": validated,
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_one_line_and_a_table(answers: dict[str, Any], name: str) -> None:
    answer = answers[name]
    kind = type(answer).__name__
    assert_one_line(answer, kind)
    html = answer._repr_html_()
    assert html.startswith("<pre") and html.endswith("</pre>") and "<html" not in html
    printed = str(answer)
    assert printed.count("\n") >= 4 and max(map(len, printed.splitlines())) <= 110
    plain = re.sub(r"<[^>]+>", "", html).replace("&#x27;", "'").replace("&quot;", '"')
    plain = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert [line.rstrip() for line in plain.strip().splitlines()] == printed.strip().splitlines()


def assert_one_line(thing: object, kind: str) -> None:
    text = repr(thing)
    assert text.startswith(f"<{kind}") and text.endswith(">")
    assert len(text) < 200 and "\n" not in text


def test_an_object_is_one_line(tmp_path: Path) -> None:
    chip, model = hw.Chip.open("hc1"), hw.LanguageModel.open("llama-3.1-8b")
    many = {name: parameter.value for name, parameter in chip.parameters.items()}
    adapter = hw.Adapter.from_shape("r16:q_proj+down_proj:int4", model)
    write_adapter(tmp_path / "mine", hw.LanguageModel.open("llama-3.2-1b"), 2, "qv")
    for thing in (
        chip,
        chip.with_values(many),
        chip.with_values({"datapath.lanes": np.arange(1, 100)}),
        model,
        adapter,
        hw.Adapter.open(tmp_path / "mine", hw.LanguageModel.open("llama-3.2-1b")),
        dataclasses.replace(AdapterShape.from_text("r4:qv", model), rank=np.arange(1, 1000)),
        hw.Server.open("hc1x10"),
        open_server("vllm-h100"),
        Study.from_dict("study", STUDY),
    ):
        assert_one_line(thing, type(thing).__name__)
    assert "datapath.lanes=24" in repr(chip.with_values({"datapath.lanes": 24}))
    assert "int4" in repr(adapter) and "rank 16" in repr(adapter)


def test_parameters_are_a_frame() -> None:
    chip = hw.Chip.open("hc1")
    frame = chip.with_values({"datapath.lanes": 24}).to_frame()
    assert list(frame.columns) == ["value", "unit", "kind", "low", "high", "source"]
    assert frame.loc["datapath.lanes", ["value", "kind", "low"]].tolist() == [24, "set", 12]
    for name, parameter in chip.parameters.items():
        if name != "datapath.lanes":
            assert frame.loc[name, "value"] == parameter.value
    assert hw.Server.open("hc1x10").to_frame().loc["cards", "value"] == 10
    assert open_server("vllm-h100").to_frame().loc["gpu_memory_gb", "unit"] == "GB"


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_frames(answers: dict[str, Any], name: str) -> None:
    answer = answers[name]
    first = answer.to_frame()
    for what in FRAMES.get(name, ()):
        frame = answer.to_frame(what)
        assert isinstance(frame, pd.DataFrame) and len(frame)
    if name in FRAMES:
        assert first.equals(answer.to_frame(FRAMES[name][0]))
        with pytest.raises(hw.InputError, match="what: 'else' is not one of"):
            answer.to_frame("else")


def test_frames_hold_what_the_fields_hold(answers: dict[str, Any]) -> None:
    run = answers["run"]
    frame = run.to_frame()
    assert frame.loc["token_s", "base"] == run.base.token_s
    assert frame.loc["token_s", "with_adapter"] == run.adapter.rates.token_s
    assert frame.loc["power_w", "with_adapter"] == run.adapter.prediction.power_w
    assert frame.loc["area_mm2.total", "high"] == run.interval["area_mm2.total"][1]
    assert run.to_frame("breakdown")["base"].sum() == pytest.approx(run.base.token_s)
    assert len(run.to_frame("tokens")) == 64 + 32 - 1
    many = answers["many"]
    assert many.to_frame()["token_s"].tolist() == many.token_s.tolist()
    assert len(answers["predict"].to_frame()) == 1
    assert len(answers["replay"].to_frame()) == 100
    assert answers["replay"].to_frame("summary")["ttft_s.p99"].item() > 0
    assert len(answers["sweep"].to_frame()) == 32
    assert len(answers["search"].to_frame()) == len(answers["search"].front)
    sensitivity = answers["sensitivity"].to_frame()
    assert set(sensitivity["metric"]) == {"token_s", "power_w"}
    assert (sensitivity["low"] <= sensitivity["high"]).all()
    draws = answers["calibrate"].to_frame("draws")
    row = answers["calibrate"].to_frame().set_index("name").loc["datapath.lanes"]
    assert row["posterior.low"] <= draws["datapath.lanes"].median() <= row["posterior.high"]
    assert len(answers["validate"].to_frame()) == len(answers["validate"].rows)


@pytest.mark.parametrize("name", FIGURES)
def test_an_answer_is_figures(answers: dict[str, Any], name: str) -> None:
    answer = answers[name]
    figure = answer.plot()
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook shows of it
    for what in FIGURES[name]:
        assert isinstance(answer.plot(what), Figure)
    if FIGURES[name]:
        with pytest.raises(hw.InputError, match="'else' is not one of"):
            answer.plot("else")


def test_a_replay_without_goals_or_of_nothing_served_has_its_figure() -> None:
    for asked in ({"requests": 1}, {"requests": 3, "until": 1e-9}):
        assert isinstance(hw.replay("azure-conv", **asked).plot(), Figure)


@pytest.mark.parametrize("name", FILES)
def test_an_answer_is_files(
    answers: dict[str, Any], name: str, tmp_path: Path, blank_pictures: None
) -> None:
    written = answers[name].save(tmp_path / "out")
    assert FILES[name] in {path.name for path in written}
    assert all(path.is_file() for path in written)
    (tmp_path / "file").touch()
    with pytest.raises(hw.InputError) as caught:
        answers[name].save(tmp_path / "file")
    assert "--" not in str(caught.value)


def test_a_saved_answer_becomes_a_page(
    answers: dict[str, Any], tmp_path: Path, blank_pictures: None
) -> None:
    for name in ("run", "replay", "compare", "sweep"):
        answers[name].save(tmp_path / name)
        page = hw.report(tmp_path / name, tmp_path / f"{name}.html")
        assert page == tmp_path / f"{name}.html" and page.stat().st_size > 10_000


def test_print_shows_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(monkeypatch, capsys)
    _, out, _ = shell("run", "--adapter", "none", "--prompt", "64", "--output", "32")
    printed = [line.rstrip() for line in out.splitlines()]
    assert str(hw.run("hc1", prompt=64, output=32)).splitlines() == printed


def test_an_interrupted_or_empty_sweep_has_its_tables(tmp_path: Path) -> None:
    study = {**STUDY, "constraints": ["die_margin_mm2 >= 1e4"]}
    swept = hw.sweep(study, tmp_path / "store")
    assert "0 feasible" in repr(swept) and "no feasible point" in str(swept)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_of_a_table_reads_on_either_ground(
    answers: dict[str, Any], browser: Any, theme: str
) -> None:
    """Contrast of at least 3 to 1 (WCAG's least for large text and signs) on both grounds."""
    ground, ink = {"light": ("#ffffff", "#111111"), "dark": ("#111111", "#d4d4d4")}[theme]
    page = new_page(browser, viewport={"width": 1100, "height": 800})
    for name in NAMES:
        body = answers[name]._repr_html_()
        page.set_content(f"<body style='background:{ground};color:{ink}'>{body}</body>")
        colours = page.evaluate(
            "[...new Set([...document.querySelectorAll('pre, pre *')]"
            ".map(one => getComputedStyle(one).color))]"
        )
        lightness = luminance([int(ground[place : place + 2], 16) for place in (1, 3, 5)])
        for colour in colours:
            other = luminance([float(part) for part in re.findall(r"[\d.]+", colour)[:3]])
            high, low = max(lightness, other), min(lightness, other)
            assert (high + 0.05) / (low + 0.05) >= 3, (name, colour)
        tall = page.evaluate("document.querySelector('pre').getClientRects()[0].height")
        assert tall > 50
    page.close()


def luminance(rgb: list[float]) -> float:
    """Relative luminance of an sRGB colour, as WCAG defines it."""
    shares = [one / 255 for one in rgb]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
