"""``hardwire report``: what the page says, how a browser shows it, and bad input."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from browser import chromium, new_page
from shell import blank
from typer.testing import CliRunner

from hardwire.experiments.cli import report as cli_report
from hardwire.experiments.replay.save import replay_configuration
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.report.build import REPORT, read_page, render, write_report
from hardwire.experiments.report.charts import Bar, Chart, Line, bars, plot, spans, stack
from hardwire.experiments.report.draw import fingerprint, soft, specification, svg
from hardwire.experiments.run.save import run_configuration
from hardwire.experiments.shared.configuration import CONFIGURATION
from hardwire.experiments.shared.folder import to_json
from hardwire.experiments.shared.words import parameter_words
from hardwire.models import Chip, LanguageModel
from hardwire.models.errors import InputError
from hardwire.simulator import run

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

KINDS = ("run", "replay", "compare")
PAGES = (*KINDS, "sweep", "search", "sensitivity", "calibrate")
PHONE_PX = 360
PAPER_PX = 680
"""A4 between its margins of 15 mm, at 96 pixels an inch."""
DOCS = Path(__file__).resolve().parents[3] / "docs"
PROSE = {
    "sweeps": "sweep", "search": "search", "sensitivity": "sensitivity", "calibration": "calibrate",
}  # fmt: skip
"""Pages that say what is saved in a sentence, with the command."""
LOAD = ("--requests", "60", "--adapters", "5", "--slo", "ttft=0.2,tpot=0.02")
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", "--set", "datapath.lanes=20", "--prompt", "64", "--output", "32"),
    "replay": ("replay", "azure-conv", *LOAD),
    "compare": ("compare", "azure-conv", "--servers", "hc1x10,vllm-h100", *LOAD),
    "sweep": ("sweep", "rank-precision-bandwidth"),
    "search": ("search", "lanes-area-rate", "--trials", "200"),
    "sensitivity": ("sensitivity", "hc1", "--metric", "power_w", "--samples", "128"),
    "calibrate": ("calibrate", "hc1"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder that a command wrote with ``--save``, made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            with pytest.MonkeyPatch.context() as patch:
                blank(patch)  # pages draw their own charts
                patch.chdir(tmp_path_factory.mktemp("work"))  # a sweep keeps its store there
                status = _quiet(patch, *COMMANDS[kind], "--save", str(made[kind]), "--json")
            assert status == 0
            if not (made[kind] / CONFIGURATION).exists():
                setup = Setup(source="azure-conv", server="hc1x10", requests=60, adapters="5")
                options = setup.model_dump(mode="json")
                text = to_json(replay_configuration(kind, options, ["hc1x10", "vllm-h100"]))
                (made[kind] / CONFIGURATION).write_text(text)
        return made[kind]

    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def _quiet(patch: pytest.MonkeyPatch, *arguments: str) -> int:
    import sys

    from hardwire.experiments.cli import app as cli

    patch.setattr(sys, "argv", ["hardwire", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


def words(html: str) -> str:
    """What a reader sees of a page, without its markup."""
    body = re.sub(r"<(style|script).*?</\1>|<wbr>", "", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def page(folder: Path) -> str:
    return words(render([read_page(folder)]))


def test_the_page_of_a_run_has_the_numbers_of_its_verdict(saved: Callable[[str], Path]) -> None:
    folder = saved("run")
    data = json.loads((folder / "verdict.json").read_text())
    text = page(folder)
    for key, form in (
        ("decode_tokens_per_s_user", "{:,.0f}"),
        ("power_w", "{:.0f} W"),
    ):
        assert form.format(data[key]) in text
    for title in (
        "Rates", "Where a token's time goes", "Adapter r16:all-linear", "Rate against rank",
        "A token at the units", "Tokens in flight", "SRAM", "Floorplan",
        "Area", "Power and cost", "Uncertainty", "Configuration", "Provenance of every parameter",
    ):  # fmt: skip
        assert title in text
    # 20 lanes do not fit on the die: the verdict says so first, and costs are of a larger die.
    assert re.search(r"Does not fit: the blocks take [\d.]+ mm² more than the die of 815", text)
    assert text.index("On paper") < text.index("It would fit with") < text.index("Rates")
    assert data["die_cost_usd"] > 320
    assert text.count("on paper: of a die as large as the blocks") == 2
    assert "That rate is therefore no validation" in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_its_kind_range_and_source(
    kind: str, saved: Callable[[str], Path]
) -> None:
    folder = saved(kind)
    configuration = json.loads((folder / CONFIGURATION).read_text())
    text = page(folder)
    owners = [*configuration["chips"], *configuration.get("servers", [])]
    assert {one["name"] for one in owners} >= {"hc1"}
    for owner in owners:
        assert len(owner["parameters"]) > 5
        for entry in owner["parameters"]:
            assert f" {entry['name']} " in text
            assert " ".join(entry["source"].split()) in text
            assert entry["kind"] in text
    filed = Chip.open("hc1")
    assert {e["name"] for e in configuration["chips"][0]["parameters"]} == set(filed.parameters)


def test_what_a_user_set_is_marked_with_the_value_as_filed(saved: Callable[[str], Path]) -> None:
    folder = saved("run")
    assert "20 (set by the user; filed: 16)" in page(folder)
    assert "1 of them set by the user" in page(folder)
    assert render([read_page(folder)]).count('<tr class="marked">') == 1
    chip = Chip.open("hc1").with_values({"datapath.outputs_per_pass": 4096})
    result = run(chip, LanguageModel.open("llama-3.1-8b"), prompt=8, output=4)
    (entry,) = (
        e for e in run_configuration(result)["chips"][0]["parameters"] if "outputs" in e["name"]
    )
    assert (entry["value"], entry["filed"]) == (4096, None)


def test_the_page_of_a_replay_says_what_was_lost(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(saved("replay"), tmp_path / "replay")
    data = json.loads((folder / "summary.json").read_text())
    text = page(folder)
    assert f"{data['completed']} of 60 requests served" in text
    assert "TTFT ≤ 200 ms, TPOT ≤ 20.0 ms" in text
    assert "Share of the requests within so long" in text
    data["refusals"]["too_long"] = 3
    (folder / "summary.json").write_text(json.dumps(data))
    assert "3 requests refused" in page(folder)


def test_the_page_of_a_comparison_has_all_servers(saved: Callable[[str], Path]) -> None:
    text = page(saved("compare"))
    assert text.count("vllm-h100") > 6
    assert "Least cost per token" in text
    needed = json.loads((saved("compare") / "compare.json").read_text())["needed"]
    units = ["–" if one is None else str(one["units"]) for one in needed.values()]
    assert len(units) == 2 and f"Needed, units {' '.join(units)} Needed, price" in text
    assert "as many of a server as together meet" in text


@pytest.mark.parametrize("kind", PAGES)
def test_same_folder_same_bytes_and_no_script_but_its_own(
    kind: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    first = write_report([saved(kind)], tmp_path / "first.html").read_bytes()
    assert write_report([saved(kind)], tmp_path / "again.html").read_bytes() == first
    html = first.decode()
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", html, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', markup)
    allowed = " ".join(f"'{one}'" for one in (*scripts(html), fingerprint(unpacked(html))))
    assert (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
        in html
    )


def scripts(html: str) -> list[str]:
    """Fingerprints of what a browser would run of a page, if its policy let it."""
    found = re.findall(r"<script([^>]*)>(.*?)</script>", html, flags=re.S)
    return [fingerprint(text) for kind, text in found if " type=" not in kind]


def unpacked(html: str) -> str:
    """The library of charts that a page carries compressed."""
    (text,) = re.findall(r'<script type="application/octet-stream"[^>]*>(.*?)</script>', html)
    return gzip.decompress(base64.b64decode(text)).decode()


@pytest.mark.parametrize("kind", PAGES)
def test_a_browser_shows_it_on_a_phone_and_prints_it_without_network(
    kind: str, saved: Callable[[str], Path], browser: Browser, tmp_path: Path
) -> None:
    report = write_report([saved(kind)], tmp_path / REPORT)
    asked: list[str] = []
    said: list[str] = []
    phone = new_page(browser, viewport={"width": PHONE_PX, "height": 740})
    phone.on("request", lambda request: asked.append(request.url))
    phone.on("console", lambda message: said.append(message.text))
    phone.on("pageerror", lambda error: said.append(str(error)))
    show(phone, report)
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE_PX
    assert _smallest_text_px(phone) >= 9
    for anchor in phone.locator("nav a").all():
        assert phone.locator(str(anchor.get_attribute("href"))).count() == 1
    phone.screenshot(path=tmp_path / "phone.png", full_page=True)
    desk = new_page(browser, viewport={"width": 1100, "height": 800})
    show(desk, report)
    assert desk.evaluate("document.documentElement.scrollWidth") <= 1100
    desk.screenshot(path=tmp_path / "desk.png", full_page=True)
    # Before it prints charts become as wide as paper, or their letters would shrink there.
    widest = "Math.max(...[...document.querySelectorAll('.live svg')].map(e => e.clientWidth))"
    assert desk.evaluate(widest) > PAPER_PX
    desk.evaluate("dispatchEvent(new Event('beforeprint'))")
    desk.wait_for_function(f"{widest} <= {PAPER_PX}")
    desk.evaluate("dispatchEvent(new Event('afterprint'))")
    desk.wait_for_function(f"{widest} > {PAPER_PX}")
    assert desk.pdf(path=tmp_path / "print.pdf", format="A4").startswith(b"%PDF")
    desk.emulate_media(media="print")
    desk.set_viewport_size({"width": PAPER_PX, "height": 900})
    assert desk.evaluate("document.documentElement.scrollWidth") <= PAPER_PX
    assert_charts_are_whole(desk)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []
    phone.close()
    desk.close()


def show(page: Page, report: Path) -> None:
    """Open a report and wait for its charts."""
    page.goto(report.as_uri())
    page.wait_for_function("!document.querySelector('figure.chart:not(.drawn)')")


def assert_charts_are_whole(page: Page) -> None:
    """One picture of each chart is to be seen, inside the page, and says what it shows."""
    figures = page.locator("figure.chart").all()
    assert figures
    for figure in figures:
        (chart,) = (one for one in figure.locator("svg").all() if one.is_visible())
        assert chart.evaluate("e => e.closest('[aria-label]').getAttribute('aria-label')")
        box, room = chart.bounding_box(), page.viewport_size
        assert box is not None and room is not None
        assert box["x"] >= 0 and box["x"] + box["width"] <= room["width"]
        assert box["height"] > 20


@pytest.mark.parametrize("kind", PAGES)
def test_without_script_the_page_still_has_its_tables_and_charts(
    kind: str, saved: Callable[[str], Path], browser: Browser, tmp_path: Path
) -> None:
    report = write_report([saved(kind)], tmp_path / REPORT)
    page = browser.new_context(
        java_script_enabled=False, viewport={"width": PHONE_PX, "height": 740}
    ).new_page()
    page.goto(report.as_uri())
    assert page.locator("table").first.is_visible()
    assert_charts_are_whole(page)
    assert _smallest_text_px(page) >= 9
    page.close()


def test_a_pointer_tells_values_and_zooms(
    saved: Callable[[str], Path], browser: Browser, tmp_path: Path
) -> None:
    report = write_report([saved("sweep")], tmp_path / REPORT)
    page = new_page(browser, viewport={"width": 1100, "height": 1200})
    show(page, report)
    along, against = page.locator("figure.chart").all()
    told = page.locator("#vg-tooltip-element")
    point_at(page, along)
    told.filter(has_text="rank of the adapter").wait_for()
    dot = against.locator(".live path[transform]").first
    dot.hover(force=True)
    told.filter(has_text="adapter.format").wait_for()
    before = against.inner_text()
    page.keyboard.down("Control")
    point_at(page, against)
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    page.wait_for_function("was => !document.body.innerText.includes(was)", arg=before)
    page.close()


def point_at(page: Page, figure: Locator) -> None:
    """Move the pointer to the middle of a chart, as a hand does: by steps."""
    box = figure.locator(".live svg").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle[0] - 5, middle[1])
    page.mouse.move(*middle)


def _smallest_text_px(page: Page) -> float:
    """Height in which the smallest text of the page is shown; SVG scales with its width."""
    found: float = page.evaluate(
        """() => Math.min(...[...document.querySelectorAll('td, th, p, span, svg text')]
          .filter(e => e.textContent.trim() && e.getClientRects().length)
          .map(e => {
            const size = parseFloat(getComputedStyle(e).fontSize);
            const svg = e.closest('svg');
            const scale = svg
              ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
            return size * scale;
          }))"""
    )
    return found


def test_the_command_writes_into_the_folder_or_where_it_is_told(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    app = typer.Typer()
    cli_report.register(app)
    folder = shutil.copytree(saved("run"), tmp_path / "run")
    answer = CliRunner().invoke(app, [str(folder)])
    assert (answer.exit_code, answer.output) == (0, f"Report in {folder / REPORT}\n")
    before = (folder / REPORT).read_bytes()
    assert (
        CliRunner().invoke(app, [str(folder), "--output", str(tmp_path / "x.html")]).exit_code == 0
    )
    assert (tmp_path / "x.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "x.html"]


def test_what_only_looks_like_markup_is_shown_as_text(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(saved("run"), tmp_path / "run")
    path = folder / CONFIGURATION
    configuration = json.loads(path.read_text())
    configuration["chips"][0]["title"] = "<script>alert(1)</script>"
    path.write_text(json.dumps(configuration))
    html = render([read_page(folder)])
    assert "<script>alert" not in html and len(scripts(html)) == 1
    chart = specification(bars([Bar("</script><script>alert(1)", 1.0, "1")]))
    assert "<" not in chart and "alert(1)" in json.loads(chart)["data"]["values"][0]["name"]


def test_a_folder_of_before_has_a_report_without_what_it_lacks(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(saved("run"), tmp_path / "run")
    (folder / CONFIGURATION).unlink()
    (folder / "rank.json").unlink()
    text = page(folder)
    assert "holds no configuration.json" in text
    assert "Rate against rank" not in text


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        write_report([folder])
    (sentence,) = str(caught.value).splitlines()
    return sentence


def test_bad_input_is_one_sentence(saved: Callable[[str], Path], tmp_path: Path) -> None:
    assert refused(tmp_path / "none").endswith("none: no such folder")
    assert "holds nothing to report on" in refused(tmp_path)
    (tmp_path / "verdict.json").write_text("{\n'")
    assert refused(tmp_path).endswith("verdict.json: not valid JSON (line 2)")
    (tmp_path / "verdict.json").write_bytes(b"\xff\xfe")
    assert refused(tmp_path).endswith("verdict.json: not valid JSON")
    (tmp_path / "verdict.json").write_text("[1]")
    assert "a JSON object is expected" in refused(tmp_path)
    (tmp_path / "verdict.json").write_text("{}")
    assert "lacks 'adapter_detail'" in refused(tmp_path)
    (tmp_path / "verdict.json").write_text('{"decode_tokens_per_s_user": "fast"}')
    assert "save again" in refused(tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    assert "save each into its own folder" in refused(tmp_path)
    folder = shutil.copytree(saved("replay"), tmp_path / "replay")
    (folder / "requests.parquet").write_bytes(b"PAR1")
    assert "save again" in refused(folder)
    assert not list(tmp_path.rglob(REPORT))
    with pytest.raises(InputError, match="cannot be written"):
        write_report([saved("run")], tmp_path / "no" / "folder.html")


def test_charts_of_nothing_and_of_what_is_not_finite() -> None:
    infinite = (0.5, float("inf"))
    for chart in (
        bars([]),
        spans([]),
        stack([], 0.0),
        bars([Bar("a", 0.0, "0"), Bar("b", float("inf"), "∞")], limit=1.0),
        stack([Bar("a", 3.0, "3")], 2.0),
        plot([1, 2], [Line("", [float("nan")] * 2)], x_label="x", y_label="y"),
        plot([0, 2], [Line("", [1.0, float("nan")])], x_label="x", y_label="y", log_x=True),
        spans([Bar("a", 1.0, "∞", interval=infinite)]),
    ):
        picture = svg(chart)
        assert picture.startswith("<svg") and "NaN" not in picture and "Infinity" not in picture
        assert json.loads(specification(chart))["width"] == "container"
    (row,) = spans([Bar("a", 1.0, "∞", interval=infinite)]).data
    assert (row["low"], row["high"]) == (0.5, 10.0)


def test_what_a_chart_shows_is_also_in_words() -> None:
    chart: Chart = bars([Bar("ROM", 1.0, "1 µs"), Bar("LoRA", 2.0, "2 µs")], alt="A token")
    assert chart.alt == "A token; ROM 1 µs; LoRA 2 µs"
    assert 'aria-label="A token; ROM 1 µs; LoRA 2 µs"' in svg(chart)


def test_positions_in_words_keep_their_order() -> None:
    chart = plot(["z", "a", "m"], [Line("", [1.0, 3.0, 2.0])], x_label="model", y_label="rate")
    picture = svg(chart)
    assert picture.index(">z</text>") < picture.index(">a</text>") < picture.index(">m</text>")
    (path,) = re.findall(r'aria-roledescription="line mark" d="M([^"]+)"', picture)
    places = [tuple(map(float, place.split(","))) for place in path.split("L")]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    heights = [y for _, y in places]
    assert heights[1] < heights[2] < heights[0]  # y of a picture points down


def test_the_widths_of_bars_are_in_the_ratio_of_their_values() -> None:
    picture = svg(bars([Bar("a", 1.0, "1"), Bar("b", 3.0, "3")]))
    widths = re.findall(r'aria-roledescription="bar" d="M0,[\d.]+h([\d.]+)', picture)
    one, three = map(float, widths)
    assert three == pytest.approx(3 * one, rel=1e-3)


def test_draws_that_cannot_run_are_no_infinite_end_of_an_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit that some drawn chips cannot keep at all: they are left out, and counted."""
    options = ("--users", "2", "--issue", "pipelined", "--set", "power.limit_w=110")
    assert _quiet(monkeypatch, "run", *options, "--save", str(tmp_path)) == 0
    text = page(tmp_path)
    assert "∞" not in text and " inf" not in text
    assert "of the draws idle power alone is above the limit" in text
    assert "The power limit of 110 W holds decode at" in text


def test_only_what_cannot_be_is_in_red(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """A plain miss inside the interval, and two refused of many, are neither good nor alarming."""
    assert read_page(saved("run")).good is False  # larger than its die
    folder = shutil.copytree(saved("run"), tmp_path / "run")
    data = json.loads((folder / "verdict.json").read_text())
    data |= {"obstacles": [], "target_met": False, "fits_die": True}
    data |= {"die_cost_usd": 300.0, "usd_per_million_tokens": 0.001}
    data["interval"] |= {"die_cost_usd": [1, 2], "usd_per_million_tokens": [1, 2]}
    (folder / "verdict.json").write_text(json.dumps(data))
    assert read_page(folder).good is None
    lost = shutil.copytree(saved("replay"), tmp_path / "replay")
    data = json.loads((lost / "summary.json").read_text())
    data["refusals"]["too_long"] = 2
    (lost / "summary.json").write_text(json.dumps(data))
    page = read_page(lost)
    assert page.good is not False and not page.obstacles
    assert any("2 requests refused" in line for line in page.warnings)


@pytest.mark.parametrize("kind", PAGES)
def test_provenance_is_folded_and_every_chart_has_a_caption(
    kind: str, saved: Callable[[str], Path]
) -> None:
    page = read_page(saved(kind))
    assert [s.title for s in page.sections if s.folded] == ["Provenance of every parameter"]
    charts = [block for section in page.sections for block in section.blocks if block.chart]
    assert charts and all(block.caption for block in charts)
    assert sum(bool(block.text) for block in charts) >= len(charts) / 2
    assert render([page]).count("<details>") == 1


def test_titles_tell_runs_apart(saved: Callable[[str], Path]) -> None:
    titles = [read_page(saved(kind)).title for kind in PAGES]
    assert len(set(titles)) == len(titles)
    assert "datapath.lanes=20" in titles[0] and "64 + 32 tokens" in titles[0]


def test_paths_are_shown_as_names_of_files(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(saved("replay"), tmp_path / "replay")
    for name, change in (
        (CONFIGURATION, lambda data: data["options"].update(source="/home/me/secret/a.csv")),
        ("summary.json", lambda data: data.update(workload="/home/me/secret/a.csv")),
    ):
        data = json.loads((folder / name).read_text())
        change(data)
        (folder / name).write_text(json.dumps(data))
    html = render([read_page(folder)])
    assert "secret" not in html and "a.csv" in html


def test_several_folders_are_one_page_whose_links_stay_apart(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    folders = [saved("run"), saved("sweep")]
    html = write_report(folders, tmp_path / "both.html").read_text()
    anchors = re.findall(r'<section id="([^"]+)"', html)
    assert len(set(anchors)) == len(anchors)
    assert all(f'href="#{anchor}"' in html for anchor in anchors)
    for folder in folders:
        assert read_page(folder).verdict in words(html)
    with pytest.raises(InputError, match="a report of 2 folders lies in none of them"):
        write_report(folders)
    with pytest.raises(InputError, match="none is named"):
        write_report([])


def test_names_break_at_their_joints_only() -> None:
    assert soft("workload.prompt") == "workload.<wbr>prompt"
    assert soft("models/chips") == "models/<wbr>chips"
    assert soft("0.0067 W/mm², tokens/s") == "0.0067 W/mm², tokens/s"
    assert soft("q_proj+k_proj <b> 1.5") == "q_<wbr>proj+<wbr>k_<wbr>proj &lt;b&gt; 1.5"


def test_a_page_weighs_less_than_its_library(saved: Callable[[str], Path]) -> None:
    for kind in PAGES:
        html = render([read_page(saved(kind))])
        assert len(html) < len(unpacked(html)) + 200_000


def test_the_pages_of_searches_sensitivities_and_calibrations_have_their_answers(
    saved: Callable[[str], Path],
) -> None:
    found = json.loads((saved("search") / "search.json").read_text())
    text = page(saved("search"))
    assert f"{len(found['front'])} designs on the Pareto front of {found['feasible']}" in text
    assert "Decode rate of one user against area of all blocks" in text
    found = json.loads((saved("sensitivity") / "sensitivity.json").read_text())
    name, first = next(iter(found["metrics"]["power_w"]["inputs"].items()))
    text = page(saved("sensitivity"))
    assert f"{parameter_words(name)} takes part in {first['total']:.0%} of the variance" in text
    found = json.loads((saved("calibrate") / "calibration.json").read_text())
    pinned = sum(row["verdict"] == "pinned" for row in found["parameters"])
    text = page(saved("calibrate"))
    assert f"{len(found['measurements'])} measurements pin {pinned} of" in text
    assert text.count("outside") >= sum(not row["inside"] for row in found["left_out"])


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("cli", ["run"]), ("serving", ["replay", "compare"]), *((f, [k]) for f, k in PROSE.items())],
)
def test_the_manual_lists_what_is_saved(
    name: str, kinds: list[str], saved: Callable[[str], Path]
) -> None:
    """Of a command what follows where its page says so, in a section or in a sentence."""
    manual = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    section, sentence = r"## `--save DIR`$.*?(?=^## |\Z)", r"`--save DIR` writes .*?(?:\n\n|\Z)"
    (listed,) = re.findall(f"^{sentence if name in PROSE else section}", manual, re.M | re.S)
    told = set(re.findall(r"`([\w-]+\.(?:json|csv|png|yaml|parquet|json\.gz))`", listed))
    written = {path.name for kind in kinds for path in saved(kind).iterdir()} - {REPORT}
    written = {re.sub("^sensitivity-.*(?=[.])", "sensitivity-METRIC", one) for one in written}
    assert told == written
