"""Fixtures that several test folders use."""

import gc
import os
import sys
from pathlib import Path
from typing import Any

import examples  # noqa: F401  (before any law is collected, with or without a number of its own)
import pytest

# jsonschema builds a grammar of IRIs as it is imported: 3 s in each process, and no schema has any.
modules: dict[str, Any] = sys.modules
modules.setdefault("rfc3987_syntax", None)
# Threads of compiled loops that wait for one another sleep, for as many processes run tests as
# there are cores: spinning, which is OpenMP's way, takes a hundred times the processor time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Tables are as wide as where they are printed: a shell may say how wide that is, and xdist does.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public files that lie beside the checkout and are no part of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            f"shared data not present: {folder.parent.name}/{folder.name} beside the checkout"
        )
    return folder


FIRST = (
    "experiments/formats/test_formats.py",
    "simulator/serving/test_compiled.py",
    "experiments/test_first_evening.py",
    "notebooks/test_notebooks.py",
)
"""Files that begin, in this order: those that take longest, and those that compile what others call
too. One process compiles the arithmetic while another compiles the serving loop; whoever needs
either later finds it in numba's cache, and nothing is compiled by two processes at once."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    places = {root / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


def pytest_collection_finish() -> None:
    """What all test files imported is there to stay: no garbage collection looks through it."""
    gc.freeze()
