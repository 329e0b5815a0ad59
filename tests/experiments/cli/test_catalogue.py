"""``hardwire list`` and ``hardwire show``."""

from __future__ import annotations

from shell import Shell


def test_list_and_show(hardwire: Shell) -> None:
    status, out, _ = hardwire("list")
    assert status == 0
    for name in ("hc1", "hc1-demo", "roma", "llama-3.1-8b", "qwen3-32b", "n6"):
        assert name in out
    status, out, _ = hardwire("show", "hc1")
    assert status == 0 and "datapath.clock_ghz" in out and "calibrated" in out
