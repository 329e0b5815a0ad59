"""Ctrl-C in the middle of a replay."""

from __future__ import annotations

from typing import Any

import pytest

from hardwire.experiments.replay import several


def interrupt_at(monkeypatch: pytest.MonkeyPatch, simulated_s: float) -> None:
    """Press Ctrl-C at a time of the simulation."""
    real = several.replay

    def pressed(*arguments: Any, progress: Any, **options: Any) -> Any:
        def press(now: float) -> None:
            if now >= simulated_s:
                raise KeyboardInterrupt

        return real(*arguments, progress=press, **options)

    monkeypatch.setattr(several, "replay", pressed)
