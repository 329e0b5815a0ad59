"""Pages whose text is written by hand and whose tables, between marks, are not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_PLACE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def with_tables(text: str, writers: Mapping[str, Callable[[], str]]) -> str:
    """The page with its tables written anew.

    Parameters
    ----------
    writers : what writes each table, in Markdown, by the name in its mark.

    Raises
    ------
    KeyError
        If the page has a place for a table that there is not.
    """

    def table(place: re.Match[str]) -> str:
        return f"{place[1]}\n{writers[place[2]]()}\n{place[3]}"

    return _PLACE.sub(table, text)
