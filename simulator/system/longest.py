"""What bounds the rate of a system: the unit that each token holds longest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Longest:
    """The unit that a token holds longest: for how long, its name, in how many visits, and whether
    it is a link or a port.

    Of arrays the name is that at the first point, and of several units the visits are the most.
    """

    seconds: Any
    name: str
    visits: float = 1
    on_link: Any = False

    def longer(self, other: Longest) -> Longest:
        """This one or the other, point by point."""
        more = np.asarray(other.seconds > self.seconds)
        return Longest(
            np.maximum(self.seconds, other.seconds),
            other.name if more.flat[0] else self.name,
            max(self.visits, other.visits),
            np.where(more, other.on_link, self.on_link)[()],
        )
