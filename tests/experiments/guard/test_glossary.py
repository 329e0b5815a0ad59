"""The glossary has every metric, and every key that the commands print as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from shell import Shell

from hardwire.experiments.guard import glossary
from hardwire.experiments.sweep.metrics import METRICS

NAMES = set(re.findall(r"^\| `([^`]+)` \|", glossary.render(), re.M))


def keys(data: dict[str, Any], above: str = "") -> Iterator[str]:
    """Dotted names, down to where the glossary names a whole mapping."""
    for key, value in data.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value and name not in NAMES:
            yield from keys(value, f"{name}.")
        else:
            yield name


def test_every_metric_of_studies_is_in_the_glossary_with_its_unit() -> None:
    page = glossary.render()
    for metrics in METRICS.values():
        for name, metric in metrics.items():
            unit = metric.unit.replace("mm2", "mm²")
            assert f"| `{name}` | {unit} | {metric.meaning} |" in page


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--prompt", 32, "--output", 8),
        ("run", "--adapter", "none", "--prompt", 32, "--output", 8, "--users", 2),
        ("replay", "azure-conv", "--adapters", 4, "--requests", 60, "--slo", "ttft=0.2"),
        ("replay", "azure-conv", "--server", "vllm-h100", "--requests", 60),
    ],
    ids=["run", "run without adapter", "replay", "replay on a GPU"],
)
def test_every_key_of_json_is_in_the_glossary(command: tuple[Any, ...], hardwire: Shell) -> None:
    found = json.loads(hardwire(*command, "--json")[1])
    unknown = [name for name in keys(found) if name not in NAMES]
    assert not unknown


def test_names_have_no_blanks(hardwire: Shell) -> None:
    """A name is one word in SQL, in Python and in a shell."""
    assert not [name for name in NAMES if " " in name]
    command = ("replay", "azure-conv", "--requests", 60, "--json")
    found = json.loads(hardwire(*command)[1])
    found.pop("definitions")
    assert not [name for name in keys(found) if " " in name]
    assert not [key for key in found["server_energy_by_part_j"] if " " in key]
