"""What a worker does: the metrics of some points, as a table and as the bytes of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hardwire.experiments.sweep.fidelity import evaluate
from hardwire.experiments.sweep.fidelity_replay import UnreadableError
from hardwire.experiments.sweep.inputs import names_files
from hardwire.experiments.sweep.keys import program_version
from hardwire.experiments.sweep.store import encode, key_array, words
from hardwire.experiments.sweep.study import Study
from hardwire.models.errors import InputError
from hardwire.simulator.obstacles import OBSTACLES


@dataclass(frozen=True)
class Computed:
    """Points as a worker returns them.

    Attributes
    ----------
    encoded : a Parquet file of the points that did not fail: key, metrics, obstacle.
    failed : numbers of the points that did, with why.
    code : (points,) int16, the index into the reasons of ``Study.judge``; 0 is feasible.
    """

    encoded: bytes
    failed: dict[int, str]
    code: np.ndarray


def compute(
    study: Study, settings: Mapping[str, np.ndarray], keys: np.ndarray, version: str
) -> Computed:
    """Metrics of points, judged by the constraints of their study.

    A point whose computation raises is marked as failed; the others of its chunk are not lost.

    Raises
    ------
    InputError
        If the worker runs another version of the program than ``version``, if a file cannot be
        read, or if one is not the file that ``keys`` are of: it was edited meanwhile, or a worker
        elsewhere has another one under its name.
    """
    if version != program_version():
        raise InputError(
            f"--scheduler: a worker runs hardwire {program_version()}, this is {version}"
        )
    metrics, failed = _evaluate(study, settings, len(keys))
    if names_files(study) and not np.array_equal(study.keys(settings), keys):
        raise InputError(
            f"{study.name}: a file that it names changed meanwhile, or is another one where a "
            "worker runs; start again"
        )
    code, _ = study.judge(settings, metrics)
    kept = np.ones(len(keys), bool)
    kept[list(failed)] = False
    table = points_table(study, keys, metrics)
    if failed:
        table = table.filter(pa.array(kept))
    return Computed(encode(table), failed, code)


def points_table(study: Study, keys: np.ndarray, metrics: Mapping[str, np.ndarray]) -> pa.Table:
    """Key, metrics and obstacle of points."""
    columns = {"key": key_array(keys)}
    columns |= {name: pa.array(metrics[name]) for name in study.columns}
    columns["obstacle"] = words(metrics["obstacle"], OBSTACLES)
    if study.fidelity == "replay":
        columns["detail"] = pa.array(metrics["failure"].tolist(), pa.string())
    return pa.table(columns)


def _evaluate(
    study: Study, settings: Mapping[str, np.ndarray], points: int
) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    try:
        return evaluate(study, settings), {}
    except UnreadableError:
        raise
    except Exception:  # find out which point it is
        found = [
            _evaluate_one(study, {name: values[[n]] for name, values in settings.items()})
            for n in range(points)
        ]
    failed = {n: why for n, (_, why) in enumerate(found) if why}
    names = (*study.columns, "obstacle", "failure")
    return {name: np.concatenate([one[name] for one, _ in found]) for name in names}, failed


def _evaluate_one(
    study: Study, settings: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], str]:
    try:
        return evaluate(study, settings), ""
    except UnreadableError:
        raise
    except Exception as error:  # whatever it is: the sweep goes on and says so
        empty: dict[str, np.ndarray] = {name: np.full(1, np.nan) for name in study.columns}
        empty["obstacle"] = np.zeros(1, np.int8)
        empty["failure"] = np.array([""], object)
        text = " ".join(str(error).split())[:300]
        return empty, text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
