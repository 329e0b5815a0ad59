"""Tables as CSV, Markdown and LaTeX; figures as PNG, SVG and PDF."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Group
from rich.text import Text
from shell import Shell

from hardwire.experiments.cli.forms import written
from hardwire.experiments.cli.options import chosen
from hardwire.experiments.shared.tables import bar, plain_table, styled
from hardwire.models.errors import InputError

pytestmark = pytest.mark.slow

SHORT = ("--prompt", "64", "--output", "8")


def small() -> Group:
    first = plain_table("Rates & more", "", "tok/s", "share")
    first.add_column("")
    first.add_row("Decode, a|b", "16,961 … 17,000", "99.8%", bar(0.5))
    first.add_row(styled("Total_µ", "bold"), "≤ 3", "−1 %", bar(1.0))
    second = plain_table("Area", "", "mm²")
    second.add_row("ROM", "486.2")
    return Group(Text("a note"), first, "", second)


def test_several_tables_are_one_csv_told_apart_by_title() -> None:
    frame = pd.read_csv(io.StringIO(written("csv", small())), keep_default_na=False)
    assert list(frame.columns) == ["table", "name", "tok/s", "share", "mm²"]
    assert frame.iloc[0].tolist() == ["Rates & more", "Decode, a|b", "16,961 … 17,000", "99.8%", ""]
    assert frame.iloc[2].tolist() == ["Area", "ROM", "", "", "486.2"]


def test_names_broken_in_narrow_heads_are_whole_again() -> None:
    table = plain_table("", "decode_\ntokens_per_s_\nuser", "of\ntarget")
    table.add_row("1", "2")
    assert written("csv", table).splitlines()[0] == "decode_tokens_per_s_user,of target"


def test_markdown_escapes_bars_and_sets_numbers_to_the_right() -> None:
    lines = written("markdown", small()).splitlines()
    assert lines[:5] == [
        "**Rates & more**",
        "",
        "| name | tok/s | share |",
        "|---|---:|---:|",
        "| Decode, a\\|b | 16,961 … 17,000 | 99.8% |",
    ]


def test_latex_takes_every_sign() -> None:
    text = written("latex", small())
    assert text.startswith("% Rates & more\n\\begin{tabular}{lrr}\n\\toprule\n")
    assert r"Decode, a|b & 16,961 \ldots{} 17,000 & 99.8\% \\" in text
    assert r"Total\_\textmu{} & $\le$ 3 & $-$1 \% \\" in text
    assert r"name & mm$^2$ \\" in text
    assert all(ord(sign) < 128 for sign in text)


def test_one_form_at_a_time() -> None:
    assert chosen({"json": None, "csv": True, "rate": 2}) == "csv" and chosen({"csv": False}) == ""
    with pytest.raises(InputError, match="--json and --csv: one form at a time"):
        chosen({"json": True, "csv": True})


@pytest.mark.parametrize(
    ("command", "title", "cell"),
    [
        (("run", *SHORT), "Rates", "Time per token"),
        (("show", "n6"), "", "wafer_usd"),
        (("list", "presets"), "", "azure-code"),
        (("replay", "sharegpt", "--requests", "5", "--rate", "5"), "Load", "Output tokens/s"),
        (
            ("compare", "sharegpt", "--requests", "5", "--rate", "5", "--slo", "ttft=1"),
            "",
            "Goodput, requests/s",
        ),
        (("sensitivity", "hc1", "--samples", "64", *SHORT), "", "datapath.clock_ghz"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_have_all_forms(
    hardwire: Shell, command: tuple[str, ...], title: str, cell: str
) -> None:
    for form in ("csv", "markdown", "latex"):
        status, out, err = hardwire(*command, f"--{form}")
        assert (status, err) == (0, "")
        assert cell.replace("_", "\\_" if form == "latex" else "_") in out and title in out
        assert not re.search("[█│╭]", out)
    assert "one form at a time" in hardwire.refused(*command, "--csv", "--latex")


def test_figures_are_of_the_format_asked_for_the_same_twice_and_replace_those_before(
    hardwire: Shell, tmp_path: Path
) -> None:
    kinds = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    one, two = tmp_path / "one", tmp_path / "two"
    for kind, begin in kinds.items():
        for folder in (one, two):
            status, _, err = hardwire(
                "run", *SHORT, "--adapter", "none", "--save", folder, "--figures", kind
            )
            assert (status, err) == (0, "")
            assert {path.suffix[1:] for path in folder.iterdir()} & kinds.keys() == {kind}
        for name in ("breakdown", "rank", "floorplan", "timeline", "pipeline"):
            drawn = (one / f"{name}.{kind}").read_bytes()
            assert drawn.startswith(begin)
            assert drawn == (two / f"{name}.{kind}").read_bytes()


def test_python_refuses_a_format_of_figures_that_there_is_not(tmp_path: Path) -> None:
    import hardwire as hw

    with pytest.raises(InputError, match="figures: 'gif' is not one of png, svg, pdf"):
        hw.run("hc1", adapter="none", prompt=64, output=8).save(tmp_path / "out", "gif")
    assert not (tmp_path / "out").exists()
