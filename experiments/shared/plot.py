"""Settings of Matplotlib that hold whatever the user has set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl


@contextmanager
def settings(own: Mapping[str, Any]) -> Iterator[None]:
    """Matplotlib's own settings but for ``own``; the user's return afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(dict[Any, Any](own))
        yield
