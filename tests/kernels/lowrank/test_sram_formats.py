"""Sizes of stored rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardwire.kernels import BLOCK, FORMATS, row_bytes


@pytest.mark.parametrize(
    ("fmt", "bits"),
    [("float32", 32.0), ("float16", 16.0), ("int8", 8.5), ("int4", 4.5), ("int2", 2.5)],
)
def test_bits_per_weight_of_whole_groups(fmt: str, bits: float) -> None:
    assert row_bytes(4096, fmt) * 8 / 4096 == bits


@pytest.mark.parametrize(
    ("n", "fmt", "size"),
    [
        (1, "int4", 1 + 2),
        (33, "int4", 17 + 4),
        (33, "int8", 33 + 4),
        (31, "int8", 31 + 2),
        (33, "int2", 9 + 4),
    ],
)
def test_short_last_group_has_a_whole_scale(n: int, fmt: str, size: int) -> None:
    assert row_bytes(n, fmt) == size


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=20), st.sampled_from(FORMATS))
def test_arrays_give_what_integers_give(sizes: list[int], fmt: str) -> None:
    several = row_bytes(np.array(sizes), fmt)
    assert isinstance(several, np.ndarray)
    assert np.issubdtype(several.dtype, np.integer)
    assert several.tolist() == [row_bytes(n, fmt) for n in sizes]


@given(st.integers(1, 10**7))
def test_a_narrower_format_never_takes_more(n: int) -> None:
    whole = n * BLOCK
    sizes = [row_bytes(whole, fmt) for fmt in FORMATS]
    assert sizes == sorted(sizes, reverse=True)


def test_unknown_format_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'int5': choose from float32, float16, int8, int4, int2"):
        row_bytes(32, "int5")


@pytest.mark.parametrize("n", [0, -1, np.array([4096, 0])])
def test_empty_rows_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match="at least 1 weight"):
        row_bytes(n, "int8")
