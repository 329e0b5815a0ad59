"""How many examples Hypothesis tries of a law, and which: the same everywhere, or at random.

``fixed`` is the profile of a desk and of CI: each law has the same examples on every machine, so
that what fails there fails here. ``HYPOTHESIS_PROFILE=quick`` stops after the first tenth of them,
and ``nightly`` explores, ten times as many.
"""

from __future__ import annotations

import math
import os

from hypothesis import HealthCheck, settings

FACTORS = {"quick": 0.1, "fixed": 1.0, "nightly": 10.0}
DEFAULT_EXAMPLES = 100
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fixed")

# No example has a deadline, and none is called too slow: a loaded machine is no broken law.
_common = settings(
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
for _name, _factor in FACTORS.items():
    at_random = {} if _name == "nightly" else {"derandomize": True, "database": None}
    settings.register_profile(
        _name, _common, max_examples=round(DEFAULT_EXAMPLES * _factor), **at_random
    )
settings.load_profile(PROFILE)


def examples(count: int, *unchecked: HealthCheck) -> settings:
    """``count`` examples of a law, by the profile's factor, without ``unchecked`` health checks."""
    return settings(
        max_examples=math.ceil(count * FACTORS[PROFILE]),
        suppress_health_check=[*settings.default.suppress_health_check, *unchecked],
    )
