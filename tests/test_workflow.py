"""The workflow of pull requests calls what there is, and asks for no more than it needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def workflow() -> dict[Any, Any]:
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def scripts() -> list[str]:
    return [step["run"] for step in steps() if "run" in step]


def test_it_runs_on_pull_requests_and_on_main() -> None:
    triggers = workflow()[True]  # YAML 1.1 reads the key "on" as true
    assert set(triggers) == {"pull_request", "push"}
    assert triggers["push"]["branches"] == ["main"]


def test_the_make_targets_and_their_arguments_exist() -> None:
    targets = {"DEV": ".venv/.installed-dev"}
    found = re.findall(r"\bmake (\S+)(?: (\w+)=)?", "\n".join(scripts()))
    assert {target for target, _ in found} >= {"bench", "golden"}
    for target, argument in found:
        rule = next((f"$({name})" for name, path in targets.items() if path == target), target)
        block = re.search(rf"^{re.escape(rule)}:.*\n(?:\t.*\n?)+", MAKEFILE, re.M)
        assert block, f"the Makefile has no target {target}"
        if argument:
            assert f"$({argument})" in block.group(), f"{target} does not use {argument}"


def test_files_that_are_called_or_shown_exist() -> None:
    text = "\n".join(scripts())
    assert ".ci/run" in text
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    for path in re.findall(r"\btests/[\w/.]+", text):
        assert (ROOT / path).is_file(), f"{path} does not exist"


def test_it_may_read_and_one_job_may_comment() -> None:
    assert workflow()["permissions"] == {"contents": "read"}
    asked = {name: job.get("permissions") for name, job in workflow()["jobs"].items()}
    assert asked == {
        "test": None,
        "regression": {"contents": "read", "pull-requests": "write"},
    }


def test_actions_are_pinned_to_a_major_version() -> None:
    uses = [step["uses"] for step in steps() if "uses" in step]
    assert uses
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", one) for one in uses), uses


def test_no_expression_stands_in_a_script() -> None:
    """A branch's name in a script would be run as part of it; values come in by ``env``."""
    assert not any("${{" in script for script in scripts())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("script", scripts())
def test_scripts_are_bash(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
