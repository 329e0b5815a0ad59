"""What ``--set`` says, over a chip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardwire.models.chip import Chip
from hardwire.models.errors import InputError


def set_over(chip: Chip, settings: Mapping[str, Any] | None) -> Chip:
    """A chip with what ``--set`` says.

    Raises
    ------
    InputError
        As ``Chip.with_values``; the sentence begins with the option.
    """
    if not settings:
        return chip
    try:
        return chip.with_values(settings)
    except InputError as error:
        raise InputError(f"--set {error}") from None
