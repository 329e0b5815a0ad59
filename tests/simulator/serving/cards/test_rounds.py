"""Rounds of tokens: those that are taken at once are those that are walked one by one."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.simulator.serving.cards import rounds
from hardwire.simulator.serving.cards.costs import TokenCosts, token_costs
from hardwire.simulator.serving.cards.rounds_jit import COLUMNS, FINISHED, OUT_OF_PAGES, STOPPED

PAGE_TOKENS = 16


@functools.cache
def costs(issue: str, limit_w: float | None) -> TokenCosts:
    chip = Chip.open("hc1")
    model = LanguageModel.open(chip.model)
    adapter = Adapter.from_shape("r16:all-linear", model)
    return token_costs(chip, model, [adapter], longest=700, issue=issue, limit_w=limit_w)


@st.composite
def tables(draw):
    """Users as they may stand in a datapath."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 4))
    users = np.zeros((count, COLUMNS), np.int64)
    users[:, 0] = np.arange(count)
    users[:, 1] = rng.integers(0, 2, count) if draw(st.booleans()) else rng.integers(2)
    users[:, 2] = rng.integers(0, draw(st.sampled_from([1, 40, 400])), count, endpoint=True)
    users[:, 3] = rng.integers(0, draw(st.sampled_from([1, 2, 60])), count)
    users[:, 3] = np.where(users[:, 2] == 0, np.maximum(users[:, 3], 1), users[:, 3])
    users[:, 4] = rng.integers(1, draw(st.sampled_from([2, 60])), count, endpoint=True)
    users[:, 5] = -(-(users[:, 2] + users[:, 3]) // PAGE_TOKENS)
    users[:, 6] = np.where(users[:, 3] > 0, -1, 5)
    return users


@pytest.mark.parametrize("limit_w", [None, 190.0, 120.0])
@pytest.mark.parametrize("issue", ["serial", "pipelined"])
@examples(8)
@given(
    users=tables(),
    in_turn=st.booleans(),
    free=st.sampled_from([0, 3, 50]),
    late=st.sampled_from([0, 0, 30_000, 2_000_000]),
    share=st.floats(0, 1.2),
)
def test_as_token_by_token(users, in_turn, free, late, share, limit_w, issue):
    """To the end, or cut at a share of it; the busiest unit may be held beyond the begin."""
    table, begin = costs(issue, limit_w), 1000
    late = 0 if table.serial else late
    fast = rounds.compiled(table, PAGE_TOKENS, in_turn=in_turn)
    slow = rounds.reference(table, PAGE_TOKENS, in_turn=in_turn)
    ended = fast(users.copy(), len(users), free, begin + late, begin, rounds.NEVER)
    for until in (rounds.NEVER, begin + max(1, int(share * (ended[1] - begin)))):
        one, other = users.copy(), users.copy()
        found = fast(one, len(users), free, begin + late, begin, until)
        expected = slow(other, len(users), free, begin + late, begin, until)
        why, now, left, held = found
        assert (why, now, left) == expected[:3]
        assert max(held, now) == max(expected[3], now)  # what is over holds nothing
        assert (one == other).all()


@examples(20)
@given(users=tables(), cut=st.floats(0, 1), pipelined=st.booleans())
def test_a_cut_changes_nothing(users, cut, pipelined):
    table = costs("pipelined" if pipelined else "serial", None)
    advance = rounds.compiled(table, PAGE_TOKENS, in_turn=False)
    whole, parts = users.copy(), users.copy()
    expected = advance(whole, len(users), 50, 0, 0, rounds.NEVER)
    until = max(1, int(cut * expected[1]))
    found = advance(parts, len(users), 50, 0, 0, until)
    if found[0] == STOPPED:
        found = advance(parts, len(users), found[2], found[3], found[1], rounds.NEVER)
    assert found == expected and (whole == parts).all()
    assert found[0] in (FINISHED, OUT_OF_PAGES)
