"""A chip of one's own on the command line: the page, ``chip new``, and where it is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from shell import Shell

from hardwire.models import Chip, InputError
from hardwire.models.chip_template import chip_template
from hardwire.models.server import Server

ROOT = Path(__file__).resolve().parents[3]
CLOCK = "datapath.clock_ghz"
PAGE = (ROOT / "docs" / "own-chip.md").read_text(encoding="utf-8")


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The YAML of the page, saved as it says."""
    chip, ternary, server = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert len(chip.splitlines()) == 6
    (tmp_path / "mychip.yaml").write_text(chip)
    (tmp_path / "ternary.yaml").write_text(ternary)
    (tmp_path / "myserver.yaml").write_text(server)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_page_said_how_to_write_a_chip(hardwire: Shell, page: Path) -> None:
    chip = Chip.open("mychip.yaml")
    assert chip.overrides == {CLOCK: 1.5, "sram.capacity_mib": 456}
    assert Server.open("myserver.yaml").chip == str(page / "mychip.yaml")
    status, out, _ = hardwire("show", "mychip.yaml")
    assert status == 0 and "what if" in out and "set in mychip.yaml" in out
    status, out, _ = hardwire("run", "--chip", "mychip.yaml", "--adapter", "none")
    assert status == 0
    assert f"over hc1: {CLOCK} 1.5 GHz (1.4 … 1.6, assumed), sram.capacity_mib 456 MiB (set)" in out


def test_a_chip_of_another_kind_runs_and_fits(hardwire: Shell, page: Path) -> None:
    """BitNet in ternary ROM, FP8 KV cache and an adapter of 2 bits, as the page writes it."""
    data = hardwire.json("--chip", "ternary.yaml", "--adapter", "r16:all-linear")
    assert data["model"] == "bitnet-b1.58-2b-4t" and data["fits_die"]
    status, out, _ = hardwire("run", "--chip", "ternary.yaml")
    assert status == 0 and "in SRAM as int2" in out
    (page / "ternary.yaml").write_text(
        (page / "ternary.yaml").read_text().replace("bits_per_weight: 2 ", "bits_per_weight: 1.6 ")
    )
    status, _, said = hardwire("run", "--chip", "ternary.yaml")
    assert status == 2 and "ternary.yaml: rom.bits_per_weight: must be 2 or more" in said


@pytest.mark.slow
def test_the_report_said_that_my_clock_was_fitted(hardwire: Shell, page: Path) -> None:
    pytest.importorskip("jinja2")
    assert hardwire("run", "--chip", "mychip.yaml", "--adapter", "none", "--save", "out")[0] == 0
    assert hardwire("report", "out")[0] == 0
    html = next((page / "out").glob("*.html")).read_text(encoding="utf-8")
    assert "was fitted to" not in html
    assert f"mychip: {CLOCK} was set, not fitted." in html
    assert "1.4 … 1.6" in html and "what if" in html


def test_my_rate_has_the_interval_of_my_clock(hardwire: Shell, page: Path) -> None:
    free = ["--adapter", "none", "--set", "power.limit_w=1000"]  # nothing but the clock decides
    mine = hardwire.json("--chip", "mychip.yaml", *free)
    fixed = hardwire.json(*free, "--set", f"{CLOCK}=1500MHz")
    rate = "decode_tokens_per_s_user"
    assert mine[rate] == fixed[rate]
    # A clock of +- 7 % hardly widens what the other parameters leave open, but it moves both ends.
    assert all(a != b for a, b in zip(*(d["interval"][rate] for d in (mine, fixed)), strict=True))
    assert mine["own"][CLOCK]["range"] == [1.4, 1.6] and fixed["own"] == {}


@pytest.mark.parametrize("name", ["hc1", "hc1-demo", "roma"])
def test_a_new_chip_is_valid_and_so_is_every_line_in_it(
    hardwire: Shell, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "my.yaml"
    status, out, _ = hardwire("chip", "new", "my", "--extends", name, "--out", path)
    assert status == 0 and str(path) in out
    made = Chip.open(path)
    assert made.title == f"my, over {name}" and not made.overrides
    text = path.read_text()
    head, _, body = text.partition("title:")
    stated = head + "title:" + re.sub(r"^# ", "", body, flags=re.M)
    path.write_text(stated)
    every: dict[str, Any] = yaml.safe_load(stated)
    assert {"datapath", "sram", "lora", "cost"} <= every.keys()
    again = Chip.open(path)
    assert {k: again.value(k) for k in again.parameters} == {
        k: pytest.approx(v) if isinstance(v, float) else v
        for k, v in ((k, made.value(k)) for k in made.parameters)
    }


def test_a_new_chip_may_extend_a_file_elsewhere(hardwire: Shell, page: Path) -> None:
    (page / "sub").mkdir()
    assert hardwire("chip", "new", "x", "--extends", "mychip.yaml", "--out", "sub/x.yml")[0] == 0
    assert Chip.open(page / "sub" / "x.yml").datapath.clock_ghz == 1.5


def test_a_chip_file_is_never_overwritten(hardwire: Shell, page: Path) -> None:
    before = (page / "mychip.yaml").read_text()
    assert "mychip.yaml: already exists" in hardwire.refused("chip", "new", "mychip")
    assert (page / "mychip.yaml").read_text() == before
    assert "ends in .yaml" in hardwire.refused("chip", "new", "x", "--out", "x.json")
    assert "'a/b' is no name" in hardwire.refused("chip", "new", "a/b")
    assert "did you mean hc1" in hardwire.refused("chip", "new", "x", "--extends", "hc11")
    assert not (page / "x.yaml").exists()
    with pytest.raises(InputError, match="is no name of a chip"):
        chip_template("", "hc1", Path("x.yaml"))
