"""Settings of systems of several dies: what an axis can be for that fidelity."""

from __future__ import annotations

from hardwire.models.parameters import Quantity

PREFIX = "system."

LINK = "system.link"
"""The kind of links between the dies, by name or file."""

LINK_NUMBERS: dict[str, Quantity] = {
    "system.link_gb_per_s": Quantity("GB/s", 0.001, 1e7, "net rate of a link, each way"),
    "system.link_latency_ns": Quantity(
        "ns", 0, 1e7, "of a link, from the sender's last byte to the receiver"
    ),
}
"""Of the links, where they are not those of the kind; they vary within one placement."""

SHAPE: dict[str, Quantity] = {
    "system.dies": Quantity(
        "", 0, 4096, "dies; 0 for the fewest that hold model, users and adapters", integer=True
    ),
    "system.split": Quantity("", 1, 64, "dies that share a layer", integer=True),
}
"""Of the placement: layers in equal shares on stages of so many dies."""

SYSTEM_NUMBERS: dict[str, Quantity] = {**SHAPE, **LINK_NUMBERS}
SYSTEM_WORDS = {LINK: "a kind of link of the catalogue, or a YAML file"}
DEFAULTS = {"system.dies": 0, "system.split": 1, LINK: "board"}
