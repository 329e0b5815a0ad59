"""Tables that fit their room: no number is cut, whatever the width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell import printed

from hardwire.experiments.shared.tables import folded, plain_table, text_table


@given(
    st.lists(st.integers(0, 10**14), min_size=1, max_size=12),
    st.integers(60, 200),
)
def test_every_number_is_whole_at_every_width(numbers: list[int], width: int) -> None:
    heads = [f"a_long_name.of_column_{place}" for place in range(len(numbers))]
    table = plain_table("Numbers", "name", *heads)
    table.add_row("one", *(f"{value:,}" for value in numbers))
    out = printed(table, width)
    assert "…" not in out
    for value in numbers:
        assert f"{value:,}" in out
    assert max(map(len, out.splitlines())) <= width


def test_wide_tables_are_told_field_by_field() -> None:
    table = plain_table("", *(f"metric_number_{place}" for place in range(30)))
    table.add_row(*(str(place * 1111) for place in range(30)))
    out = printed(table, 80)
    assert [line.split() for line in out.splitlines()[:2]] == [
        ["metric_number_0", "0"],
        ["metric_number_1", "1111"],
    ]


def test_a_table_in_blocks_says_its_title_once_and_its_names_in_each() -> None:
    table = plain_table("Title", "", *(f"column{place}" for place in range(6)))
    table.add_row("row", *["1,234 … 5,678"] * 6)
    out = printed(table, 60)
    assert out.count("Title") == 1 and out.count("row") == 2 and out.count("1,234 … 5,678") == 6


def test_sources_go_on_lines_of_their_own_where_they_do_not_fit() -> None:
    table = text_table("", "parameter", "value", "source")
    table.beneath = True
    source = "standard-cell library of the foundry, as cited by the vendor in a talk of 2019"
    table.add_row("die.area", "815", source)
    assert f"    {source}" in printed(table, 90).splitlines()
    assert printed(table, 120).splitlines()[1].split(maxsplit=2)[2].strip() == source


@pytest.mark.parametrize("text", ["see [/ref] and [my notes] [1]", "[red]ad", ":smile:", "a\\[b]"])
def test_text_in_cells_is_printed_as_it_stands(text: str) -> None:
    table = text_table(text, "name", text)
    table.add_row("x", text)
    assert printed(table, 100).count(text) == 3


def test_units_in_heads_stand_in_brackets() -> None:
    assert folded("power", "W") == "power\n[W]"
