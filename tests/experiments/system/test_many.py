"""Many systems at once say what each of them says alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.experiments.system.answer import ask
from hardwire.experiments.system.many import ask_many
from hardwire.experiments.system.plan import arranged
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.system.link import LinkKind
from hardwire.models.system.system import System

HC2 = Chip.open("hc2")
MODEL = LanguageModel.open("llama-3.1-70b")
BOARD = LinkKind.open("board")


def linked(latency_ns: object, lane_gb_per_s: object, stages: int, group: int) -> System:
    """The 70B model on links with these numbers."""
    sheet = dataclasses.replace(BOARD.sheet, latency_ns=latency_ns, lane_gb_per_s=lane_gb_per_s)
    kind = dataclasses.replace(BOARD, sheet=sheet)
    system = arranged(MODEL, HC2, kind, stages, group)
    assert system is not None
    return system


@given(
    latency_ns=st.lists(st.floats(0, 5000), min_size=1, max_size=3),
    lane_gb_per_s=st.floats(0.1, 100),
    users=st.integers(1, 16),
    shape=st.sampled_from([(4, 1), (2, 2), (1, 4)]),
)
@examples(8)
def test_each_point_is_what_is_said_of_it_alone(
    latency_ns: list[float], lane_gb_per_s: float, users: int, shape: tuple[int, int]
) -> None:
    many = ask_many(
        linked(np.array(latency_ns), lane_gb_per_s, *shape), users=np.array([[1], [users]])
    )
    for row, number in enumerate((1, users)):
        for column, latency in enumerate(latency_ns):
            one = ask(linked(latency, lane_gb_per_s, *shape), users=number)

            def at(value: object, row: int = row, column: int = column) -> float:
                return np.broadcast_to(np.asarray(value), (2, len(latency_ns)))[row, column]

            for name in (
                "decode_tokens_per_s_user",
                "decode_tokens_per_s_system",
                "power_w",
                "usd_per_million_tokens",
            ):
                assert at(getattr(many, name)) == pytest.approx(getattr(one, name), rel=1e-12)
            assert at(many.fits) == one.fits


def test_more_users_than_sram_holds_do_not_fit() -> None:
    many = ask_many(linked(100.0, 10.0, 4, 1), users=np.arange(1, 40))
    assert many.fits[0]
    assert not many.fits[-1]
    assert list(many.fits) == sorted(many.fits, reverse=True)
    assert many.fits.sum() == many.one.max_users


def test_a_clock_out_of_reach_is_refused() -> None:
    chip = HC2.with_values({"datapath.clock_ghz": 9.9})
    system = arranged(MODEL, chip, BOARD, 4, 1)
    assert system is not None
    with pytest.raises(InputError, match="clock"):
        ask_many(system)
