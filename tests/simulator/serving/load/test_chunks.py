"""Requests that come part by part are those of the whole workload."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.chunks import Chunks
from hardwire.simulator.serving.load.popularity import assign_adapters, parse_popularity
from hardwire.simulator.serving.load.synthetic import Preset, make_workload
from hardwire.simulator.serving.load.workload import Workload

SHORT = dataclasses.replace(Preset.open("azure-code"), requests=50, rate=np.array([20.0, 30.0]))


def joined(chunks: Chunks) -> Workload:
    first, *others = chunks
    for other in others:
        first = first.then(other)
    return first


@examples(20)
@given(
    requests=st.integers(1, 400),
    chunk=st.integers(1, 300),
    rate=st.none() | st.sampled_from([0.5, 40.0]),
    popularity=st.sampled_from(["uniform", "zipf:1.2", "geometric"]),
    seed=st.integers(0, 5),
)
def test_the_same_requests_whatever_the_parts(requests, chunk, rate, popularity, seed):
    wanted = parse_popularity(popularity)
    part_by_part = Chunks(SHORT, requests, rate, ("a", "b", "c"), wanted, seed, chunk)
    at_once = dataclasses.replace(part_by_part, chunk=10**6)
    one, other = joined(part_by_part), joined(at_once)
    for name in ("arrival_s", "prompt", "output", "adapter"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert one.duration_s == other.duration_s == one.arrival_s[-1]
    assert len(one) == requests


@pytest.mark.parametrize("rate", [None, 110.0])
def test_they_are_those_of_make_workload(rate):
    names, wanted = ("a", "b"), parse_popularity("zipf:1")
    chunks = Chunks.of("azure-conv", 25_000, rate, names, wanted, 3)
    one = joined(dataclasses.replace(chunks, chunk=1))
    made = make_workload("azure-conv", requests=25_000, rate=rate, seed=3)
    made = assign_adapters(made, names, wanted, 3)
    for name in ("arrival_s", "prompt", "output", "adapter"):
        assert getattr(one, name).tobytes() == getattr(made, name).tobytes(), name
    assert one.duration_s == made.duration_s


def test_what_cannot_come_part_by_part_is_refused():
    uniform = parse_popularity("uniform")
    with pytest.raises(InputError, match="no preset"):
        Chunks.of("trace.csv", 10, None, (), uniform, 0)
    with pytest.raises(InputError, match="no arrivals"):
        Chunks.of("sharegpt", 10, None, (), uniform, 0)
    with pytest.raises(InputError, match="for each request"):
        Chunks.of("azure-conv", 10, None, ("a",), parse_popularity("local"), 0)
