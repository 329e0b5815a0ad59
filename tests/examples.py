"""How many examples Hypothesis tries of a law, and which: the same everywhere, or at random.

``fixed`` is the profile of a desk and of CI: each law has the same examples on every machine, so
that what fails there fails here. ``HYPOTHESIS_PROFILE=nightly`` explores, ten times as many.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

NIGHTLY_FACTOR = 10
DEFAULT_EXAMPLES = 100

# No example has a deadline, and none is called too slow: a loaded machine is no broken law.
_common = settings(
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "fixed", _common, derandomize=True, database=None, max_examples=DEFAULT_EXAMPLES
)
settings.register_profile(
    "nightly", _common, derandomize=False, max_examples=DEFAULT_EXAMPLES * NIGHTLY_FACTOR
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fixed")
settings.load_profile(PROFILE)


def examples(count: int, *unchecked: HealthCheck) -> settings:
    """``count`` examples of a law, more at night; ``unchecked`` health checks are left out, too."""
    return settings(
        max_examples=count * (NIGHTLY_FACTOR if PROFILE == "nightly" else 1),
        suppress_health_check=[*settings.default.suppress_health_check, *unchecked],
    )
