"""A run that is also computed: its adapter through the kernels, and its tokens by the decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hardwire.models.errors import InputError
from hardwire.simulator.single import Result

if TYPE_CHECKING:
    from hardwire.experiments.run.kernels import Execution
    from hardwire.experiments.run.tokens import ValueRun


@dataclass(frozen=True)
class Executed:
    """A result, and what was computed beside it: None where there are no weights for it."""

    result: Result
    kernels: Execution | None = None
    tokens: ValueRun | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object of ``--json``: that of the result, with ``execution`` and ``computed``."""
        data = self.result.to_dict()
        if self.kernels is not None:
            data["execution"] = self.kernels.to_dict()
        if self.tokens is not None:
            data["computed"] = self.tokens.to_dict()
        return data


def execute(result: Result, model: str | None) -> Executed:
    """Compute what a run has weights for.

    Parameters
    ----------
    model : what ``--model`` names, which may be a folder with weights.

    Raises
    ------
    InputError
        If there are no weights at all, or some that cannot be used.
    """
    # Here, because the decoder takes longer to import than most runs take.
    from hardwire.experiments.run.kernels import execute as run_kernels  # noqa: PLC0415
    from hardwire.experiments.run.tokens import execute_run, weights_folder  # noqa: PLC0415

    adapter = None if result.adapter is None else result.adapter.adapter
    folder = weights_folder(model)
    if adapter is None and folder is None:
        raise InputError("--execute: needs weights: an adapter's, or a model folder's (--model)")
    chip, base = result.chip, result.model
    kernels = None if adapter is None else run_kernels(chip, base, adapter)
    load = {"prompt": result.prompt, "output": result.output, "users": result.users}
    tokens = None if folder is None else execute_run(chip, base, folder, adapter, **load)
    return Executed(result, kernels, tokens)
