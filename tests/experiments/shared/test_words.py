"""Labels of figures are words, not the codes of tables and files."""

from __future__ import annotations

import re

from hardwire.experiments.shared.words import parameter_words, words_of
from hardwire.experiments.validation.committed import read_table
from hardwire.experiments.validation.finding import drawn
from hardwire.models.chip import DECLARED

CODE = re.compile(r"_|[a-z]\.[a-z]|mm2")


def test_every_row_that_is_drawn_has_words() -> None:
    rows = [row.id for row in read_table().rows if drawn(row)]
    assert len(rows) > 50
    for row in rows:
        assert words_of(row) != row
        assert not CODE.search(words_of(row)), row


def test_every_parameter_has_words() -> None:
    for name in DECLARED:
        assert not CODE.search(parameter_words(name)), name
        assert parameter_words(name), name
