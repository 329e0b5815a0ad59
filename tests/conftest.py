"""Fixtures that several test folders use."""

from pathlib import Path

import examples  # noqa: F401  (before any law is collected, with or without a number of its own)
import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public files that lie beside the checkout and are no part of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            f"shared data not present: {folder.parent.name}/{folder.name} beside the checkout"
        )
    return folder
