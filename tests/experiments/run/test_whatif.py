"""The what-if: its sliders and sentences, and the whole served by Voilà and moved in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import chromium, new_page
from hangs import HUNG_S

from hardwire.experiments.run.whatif import Answer
from hardwire.experiments.run.whatif_widget import CHIP_SLIDERS, WhatIf, slider_range
from hardwire.models import Adapter, Chip, InputError, LanguageModel
from hardwire.models.catalogue import names
from hardwire.models.pipeline import largest_clock_ghz
from hardwire.simulator import free_rank, predict, run

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOK = ROOT / "notebooks" / "08_what_if.py"


@pytest.fixture
def panel() -> WhatIf:
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    pytest.importorskip("vl_convert", reason="vl-convert is not installed")
    return WhatIf("hc1")


def text(panel: WhatIf) -> str:
    """What the panel says, without its markup."""
    html = "".join(panel.view.children[at].value for at in (0, 2))
    return " ".join(re.sub(r"<style.*?</style>|<[^>]+>", " ", html, flags=re.S).split())


@pytest.mark.parametrize("chip", names("chip"))
def test_every_chip_of_the_catalogue_begins_where_it_was_filed(chip: str) -> None:
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    pytest.importorskip("vl_convert", reason="vl-convert is not installed")
    panel = WhatIf(chip)
    filed = Chip.open(chip)
    model = LanguageModel.by_name(filed.model)
    rank = panel.controls["adapter.rank"].value
    adapter = Adapter.from_shape(f"r{rank}:all-linear", model)
    expected = predict(filed, model, adapter=adapter, prompt=1024, output=1024)
    assert panel.answer.prediction.token_s == expected.token_s
    assert panel.answer.free_rank == free_rank(
        filed, model, adapter.targets, str(filed.formats.adapter_format)
    )
    for name in CHIP_SLIDERS:
        low, high, _, _ = slider_range(filed, name)
        assert low <= filed.value(name) <= high
        assert panel.controls[name].value == filed.value(name)


def test_it_says_what_the_simulator_says(panel: WhatIf) -> None:
    panel.controls["workload.users"].value = 2
    panel.controls["adapter.rank"].value = 32
    model = LanguageModel.open("llama-3.1-8b")
    adapter = Adapter.from_shape("r32:all-linear", model)
    result = run(Chip.open("hc1"), model, adapter, users=2)
    assert result.adapter is not None
    rates = result.adapter.rates
    answer = panel.answer
    assert answer.prediction.token_s == pytest.approx(rates.token_s, rel=2e-3)
    assert answer.sram.free_bytes == result.sram.free_bytes
    for name, part in rates.breakdown_s.items():
        assert answer.breakdown_s.get(name, 0.0) == pytest.approx(part, rel=5e-3, abs=1e-9)
    parts_are_the_whole(answer)
    assert f"{answer.prediction.decode_tokens_per_s_user:,.0f} tokens/s, one user" in text(panel)


def parts_are_the_whole(answer: Answer) -> None:
    assert sum(answer.breakdown_s.values()) == pytest.approx(answer.prediction.token_s)
    assert sum(answer.power_by_part_w.values()) == pytest.approx(answer.prediction.power_w)


def test_the_power_limit_is_said_and_counted(panel: WhatIf) -> None:
    panel.controls["datapath.issue"].value = "pipelined"
    panel.controls["workload.prompt"].value = panel.controls["workload.output"].value = 128
    panel.controls["workload.users"].value = 16
    panel.controls["datapath.clock_ghz"].value = panel.controls["datapath.clock_ghz"].max
    assert "GHz that the pipeline reaches at 0.75 V" in text(panel)
    panel.controls["datapath.clock_ghz"].value = float(largest_clock_ghz(Chip.open("hc1")))
    assert "The power limit of 300 W holds decode at" in text(panel)
    parts_are_the_whole(panel.answer)
    assert panel.answer.breakdown_s["power_cap"] > 0
    assert panel.answer.prediction.power_w == pytest.approx(300)


def test_a_design_that_does_not_fit_is_a_sentence(panel: WhatIf) -> None:
    panel.controls["workload.users"].value = 16
    assert "KV cache and adapters lack" in panel.answer.obstacle
    assert "What fits is 2 of 16 users with 2,048 tokens" in text(panel)
    assert "does not run" in text(panel)
    panel.controls["workload.adapters"].value = 32
    assert "What fits is 0 of 16 users" in text(panel)
    panel.reset()
    assert panel.answer.obstacle == ""
    assert panel.settings == WhatIf("hc1").settings


def test_rank_0_is_no_adapter(panel: WhatIf) -> None:
    panel.controls["adapter.rank"].value = 0
    assert panel.answer.design.adapter is None
    assert panel.answer.sram.adapter_bytes == 0


def test_an_unknown_chip_is_one_sentence() -> None:
    with pytest.raises(InputError, match="hc9"):
        WhatIf("hc9")


@contextmanager
def voila(notebook: Path, folder: Path) -> Iterator[str]:
    """Serve a notebook on a port that Voilà finds; its settings and logs stay in ``folder``."""
    home = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    with (folder / "voila.log").open("w") as log:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "voila", str(notebook), "--no-browser",
                "--Voila.ip=127.0.0.1",
            ],
            env={**os.environ, **home}, cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield _address(server, folder / "voila.log")
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    """Where Voilà says that it listens, once it does."""
    end = time.monotonic() + HUNG_S
    while server.poll() is None and time.monotonic() < end:
        told = re.search(r"running at:\s+(http://\S+/)\s", log.read_text())
        if told:
            return told[1]
        time.sleep(0.2)
    pytest.fail(f"voila does not answer: {log.read_text()[-2000:]}")


def shown(page: Page, name: str) -> float:
    """The number that stands in the headline under a name."""
    text = page.locator(f".hardwire-what-if .{name}").inner_text()
    return float(re.sub(r"[^0-9.]", "", text))


def press(page: Page, label: str, key: str, times: int) -> None:
    """Move a slider with the keyboard, as one who tabs to it does."""
    row = page.locator(".hardwire-controls .widget-hbox", has=page.get_by_label(label, exact=True))
    handle = row.locator(".noUi-handle")
    handle.focus()
    for _ in range(times):
        handle.press(key)


def test_a_slider_moved_in_a_browser_changes_the_numbers_to_those_of_predict(
    tmp_path: Path,
) -> None:
    with chromium() as browser:
        jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed")
        pytest.importorskip("voila", reason="voila is not installed")
        notebook = tmp_path / "08_what_if.ipynb"
        jupytext.write(jupytext.read(NOTEBOOK), notebook)
        with voila(notebook, tmp_path) as address:
            page = new_page(browser, viewport={"width": 1280, "height": 1200})
            asked: list[str] = []
            problems: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(address)
            page.locator(".hardwire-what-if").wait_for()

            chip, model = Chip.open("hc1"), LanguageModel.open("llama-3.1-8b")
            adapter = Adapter.from_shape("r16:all-linear", model)
            filed = predict(chip, model, adapter=adapter, prompt=1024, output=1024)
            assert shown(page, "decode_tokens_per_s_user") == round(filed.decode_tokens_per_s_user)

            press(page, "Broadcast lanes", "ArrowRight", 4)
            moved = predict(
                chip.with_values({"datapath.lanes": 20}),
                model, adapter=adapter, prompt=1024, output=1024,
            )  # fmt: skip
            rate = round(moved.decode_tokens_per_s_user)
            headline = page.locator(".decode_tokens_per_s_user", has_text=f"{rate:,}")
            headline.wait_for()
            assert shown(page, "power_w") == round(float(moved.power_w))
            assert shown(page, "area_mm2") == round(moved.area_mm2["total"])
            assert page.locator(".warning").inner_text().startswith("The blocks take")

            panels = page.locator(".decode_tokens_per_s_chip", has_text=f"{rate:,}")
            panels.wait_for()
            page.locator(".hardwire-frame").screenshot(path=tmp_path / "moved.png")

            # Between two steps of the slider, which stays where it was typed.
            page.get_by_label("Clock, GHz").fill("1.42")
            page.get_by_label("Clock, GHz").press("Enter")
            faster = predict(
                chip.with_values({"datapath.lanes": 20, "datapath.clock_ghz": 1.42}),
                model, adapter=adapter, prompt=1024, output=1024,
            )  # fmt: skip
            rate = round(faster.decode_tokens_per_s_user)
            page.locator(".decode_tokens_per_s_user", has_text=f"{rate:,}").wait_for()
            assert page.get_by_label("Clock, GHz").input_value() == "1.42"

            # On a phone the numbers stay in sight beside the last slider, and nothing is cut off.
            page.set_viewport_size({"width": 390, "height": 844})
            page.get_by_label("Adapter format").scroll_into_view_if_needed()
            page.mouse.move(190, 600)
            page.mouse.wheel(0, 300)
            page.wait_for_timeout(300)
            assert page.get_by_label("Users", exact=True).bounding_box()["y"] < 400
            box = page.locator(".decode_tokens_per_s_user").bounding_box()
            assert box is not None and 0 <= box["y"] < 100
            assert page.evaluate("document.querySelector('.hardwire-frame').scrollWidth") < 390

            # Four users of 2,048 tokens do not fit beside the adapter: a sentence, no traceback.
            press(page, "Users", "ArrowRight", 3)
            obstacle = page.locator(".obstacle")
            obstacle.wait_for()
            assert "lack 138.5 MiB" in obstacle.inner_text()
            page.screenshot(path=tmp_path / "obstacle.png")

            assert not problems
            # Voilà's own template asks for the icons of its menu; it does without.
            ours = [url for url in asked if "@fortawesome" not in url]
            assert [url for url in ours if not url.startswith((address, "data:", "blob:"))] == []


def test_area_by_block_and_cost_are_shown(panel: WhatIf) -> None:
    found = panel.answer.prediction
    said = text(panel)
    assert f"{found.die_cost_usd:,.0f} USD die cost" in said
    assert f"Area: {found.area_mm2['total']:,.1f} of 815 mm²; dashed: the die" in said
    assert "of 448.0 MiB; dashed: capacity" in said
    assert f"ROM {found.area_mm2['rom']:,.1f} mm²" in said
    panel.controls["datapath.lanes"].value = 24  # larger than the die: nothing to buy
    assert "– die cost" in text(panel)
