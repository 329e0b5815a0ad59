"""Each benchmark is timed between two timings of its reference loop, in the same process."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import pytest
import references


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "reference(name): the reference loop that a benchmark is compared with"
    )


@pytest.fixture(scope="session")
def reference_loops() -> dict[str, Callable[[], object]]:
    """The loops of ``references``, compiled."""
    return references.make()


@pytest.fixture(autouse=True)
def beside_reference(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put the reference loop's name and its times before and after into ``extra_info``.

    Before and after, because what else runs on a machine changes: where a median is far above the
    shortest time, something did.
    """
    benchmark = (
        request.getfixturevalue("benchmark") if "benchmark" in request.fixturenames else None
    )
    if benchmark is None or benchmark.disabled:
        yield
        return
    marker = request.node.get_closest_marker("reference")
    name = marker.args[0] if marker else references.DEFAULT
    loop = request.getfixturevalue("reference_loops")[name]
    times = references.seconds(loop)
    yield
    times += references.seconds(loop)
    benchmark.extra_info |= {
        "reference": name,
        "reference_s": min(times),
        "reference_median_s": statistics.median(times),
    }
