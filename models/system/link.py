"""A kind of link between dies: how fast, how late, how wide its port, what it takes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardwire.models import catalogue
from hardwire.models.brief import brief, one_line
from hardwire.models.description import FileKind, read_description
from hardwire.models.parameters import Parameter, choice, count, quantity, to_frame

if TYPE_CHECKING:
    import pandas as pd


WAYS = ("direct", "switch")


@dataclass(frozen=True)
class LinkSheet:
    """What the file of a kind of link states with value, kind and source.

    A lane is what the source counts: a pair of wires each way, or for links in a package a
    millimetre of the die's edge.
    """

    lane_gb_per_s: Any = quantity("GB/s", 0.001, 1e5, "net rate of a lane, each way")
    lanes: Any = count("", 1, 4096, "lanes of a link")
    latency_ns: Any = quantity("ns", 0, 1e7, "from the sender's last byte to the receiver, one way")
    pj_per_bit: Any = quantity(
        "pJ/bit", 0, 10000, "energy of a bit that is sent, beyond what lanes take at all times"
    )
    lane_w: Any = quantity("W", 0, 100, "power of a lane at all times, both ends")
    way: Any = choice(
        WAYS,
        "from die to die, or from a die to a switch, whose other links are the rest of the way; "
        "direct if not given",
        default="direct",
    )
    port_gb_per_s: Any = quantity(
        "GB/s",
        0.001,
        1e5,
        "what a die can bring to its links of this kind, all together; no limit if not given",
        default=math.inf,
    )


@dataclass(frozen=True)
class LinkKind:
    """A file of a kind of link, resolved. ``parameters`` has the origin of each number.

    Fields of ``sheet`` may hold NumPy arrays in a sweep.
    """

    name: str
    title: str
    sheet: LinkSheet
    parameters: Mapping[str, Parameter]

    def __repr__(self) -> str:
        rate = f"{brief(self.bandwidth / 1e9)} GB/s each way"
        return one_line(self, self.name, rate, f"{brief(self.sheet.latency_ns)} ns")

    @classmethod
    def open(cls, name: str | os.PathLike[str], folder: Path = Path()) -> LinkKind:
        """Read a kind of link from the catalogue, or from a path that ends in ``.yaml``.

        Parameters
        ----------
        folder : where a relative path begins.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, an unknown or missing key, a wrong unit or a
            value out of range.
        """
        found = read_description(catalogue.locate("link", name, folder), LINK)
        return cls(found.name, found.title, found.sections[""], found.parameters)

    @property
    def bandwidth(self) -> Any:
        """Bytes per second of a link, each way."""
        return self.sheet.lane_gb_per_s * self.sheet.lanes * 1e9

    @property
    def latency_s(self) -> Any:
        """Seconds from the sender's last byte to the receiver, one way."""
        return self.sheet.latency_ns * 1e-9

    @property
    def port(self) -> Any:
        """Bytes per second that a die can bring to its links of this kind; infinite for no
        limit."""
        return self.sheet.port_gb_per_s * 1e9

    @property
    def idle_w(self) -> Any:
        """Power of a link whether it sends or not, both ends, in watts."""
        return self.sheet.lanes * self.sheet.lane_w

    def energy_j(self, sent_bytes: Any) -> Any:
        """Energy of bytes beyond ``idle_w``, in joules."""
        return 8e-12 * self.sheet.pj_per_bit * sent_bytes

    def to_frame(self) -> pd.DataFrame:
        """Every parameter, a row each: see ``hardwire.models.parameters.to_frame``."""
        return to_frame(self.parameters)


LINK = FileKind("link", {"": LinkSheet})
"""What may stand in the file of a kind of link."""
