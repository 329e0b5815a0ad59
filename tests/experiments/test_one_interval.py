"""One quantity has one interval: what `run`, `validate`, `solve` and `diff` say is of one set of
draws, and where another question is asked the output says so."""

from __future__ import annotations

import numpy as np
import pytest
from shell import printed

import hardwire as hw
from hardwire.experiments.calibration import view as calibration_view
from hardwire.experiments.calibration.calibrate import calibrate
from hardwire.experiments.report.diff import diff
from hardwire.experiments.validation.bench import Bench
from hardwire.experiments.validation.view import OF_WHAT
from hardwire.simulator.belief.draws import interval

RATE, POWER = "decode_tokens_per_s_user", "power_w"


@pytest.mark.parametrize("name", ["hc1", "hc1-demo"])
def test_run_validate_solve_and_diff_draw_once(name: str) -> None:
    told = hw.run(name).interval
    _, many = Bench().predictions({"chip": name, "prompt": 1024, "output": 1024})
    assert interval(many.decode_tokens_per_s_user) == told[RATE]
    assert interval(many.power_w) == told[POWER]
    for metric, wanted in ((RATE, told[RATE]), (POWER, told[POWER])):
        found = hw.solve("sram.capacity_mib", metric=metric, at_least=0, chip=name)
        assert np.allclose(found.filed.interval or (), wanted)
    lines = {line.name: line for line in diff(name, "roma", {"adapter": "none"}).results[0].lines}
    assert lines[RATE].a is not None and list(lines[RATE].a.range or ()) == told[RATE]
    assert lines[POWER].a is not None and list(lines[POWER].a.range or ()) == told[POWER]


@pytest.mark.slow
def test_validate_and_calibrate_say_why_theirs_are_others() -> None:
    """The published figure's own error is in the one; the other weighs its draws by the rate."""
    assert "wider than those of `hardwire run`" in OF_WHAT
    found = calibrate("hc1", ["r16:all-linear"], candidates=1 << 14)
    text = " ".join(printed(calibration_view.render(found), 120).split())
    assert "`hardwire run` too is of the rate alone, but by draws that are solved for it" in text
    alone = {one.key: one.rate_alone for one in found.predictions}["decode"]
    told = hw.run("hc1").interval[RATE]
    assert [alone[0], alone[2]] == pytest.approx(told, rel=0.02)
