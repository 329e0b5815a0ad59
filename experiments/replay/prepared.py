"""What a replay needs, opened and checked."""

from __future__ import annotations

from dataclasses import dataclass

from hardwire.experiments.replay.setup import Setup
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import AnyServer


@dataclass(frozen=True)
class Prepared:
    """All that a replay needs. ``setup`` has every choice of the policy filled in."""

    setup: Setup
    server: AnyServer
    workload: Workload
    adapters: tuple[Adapter, ...]
    policy: Policy
    chip: Chip | None  # on the server's cards; of a GPU server none

    @property
    def name(self) -> str:
        """The server's, with how many there are of it."""
        many = self.setup.servers or 1
        return f"{many} × {self.server.name}" if many > 1 else self.server.name
