"""The file of a fitted GPU server: what was fitted, over the server that gives all else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hardwire.experiments.calibration.gpu_server import DEVIATIONS, PARTS, ServerFit, over, scales
from hardwire.experiments.shared.folder import write_text
from hardwire.models import catalogue
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import Batching
from hardwire.models.parameters import quantities
from hardwire.models.schema import editor_line

DIGITS = 4
"""Significant digits of a fitted value; its range begins with as many."""

ENDINGS = (".yaml", ".yml")


def check_out(out: Path) -> None:
    """See that a server's file can be written there, before the work.

    Raises
    ------
    InputError
        If the file exists, or ends in neither ``.yaml`` nor ``.yml``.
    """
    if out.suffix.lower() not in ENDINGS:
        raise InputError(f"--out {out}: a server's file ends in .yaml")
    if out.exists():
        raise InputError(f"--out {out}: already exists")


def write_server(fit: ServerFit, out: Path, base: str) -> Path:
    """Write the file of a fitted server.

    Parameters
    ----------
    base : the name or path of the server that it extends.

    Raises
    ------
    InputError
        As ``check_out``, if a value is not allowed in the file, or the file cannot be written.
    """
    check_out(out)
    write_text(out, server_text(fit, out, base))
    return out


def server_text(fit: ServerFit, out: Path, base: str) -> str:
    """The text of that file.

    Raises
    ------
    InputError
        If a fitted value is not allowed in the file.
    """
    parent = base
    if catalogue.is_path("server", base):
        parent = os.path.relpath(Path(base).resolve(), out.absolute().parent.resolve())
    lines = [
        editor_line("server", out.absolute().parent),
        "kind: batch",
        f"title: {_quoted(f'{fit.model.name} on {fit.base.name}, fitted to {fit.profile}')}",
        f"extends: {_quoted(parent)}",
    ]
    if fit.model.name != fit.base.model.name:
        lines += [f"model: {fit.model.name}", *_of_the_model(fit)]
    for name in PARTS:
        if getattr(fit.base.batching, name) > 0:
            why = "in the straight lines that were fitted"
            lines.append(_parameter(name, 0, "derived", None, why))
    lines += [*_fitted(fit), *_blocks(fit)]
    return "\n".join(lines) + "\n"


def _of_the_model(fit: ServerFit) -> Iterator[str]:
    """What a model has by itself, and what no row says anything of."""
    old, new, b = fit.base.model, fit.model, fit.base.batching
    weights = over(fit.base, new).batching.weights_gb
    yield _parameter(
        "weights_gb", weights, "derived", None,
        f"{new.parameter_count / 1e9:.3f}e9 parameters, each of as many bytes as in "
        f"{fit.base.name}",
    )  # fmt: skip
    if new.max_position < b.context_tokens:
        yield _parameter(
            "context_tokens", new.max_position, "published", None,
            f"the longest context of {new.name}",
        )  # fmt: skip
    for name, factor in scales(old, new).items():
        value = getattr(b, name) * factor
        if name not in fit.values and value > 0:
            span = (value / 2, value * 2)
            why = f"no row says it: that of {fit.base.name} times {factor:.3g}, by the models' size"
            yield _parameter(name, value, "assumed", span, why)


def _fitted(fit: ServerFit) -> Iterator[str]:
    for one in fit.coefficients:
        spec = quantities(Batching)[one.name]
        low, high = (one.value + sign * DEVIATIONS * one.deviation for sign in (-1, 1))
        span = (max(low, spec.low), min(high, spec.high))
        if not spec.low <= one.value <= spec.high:
            raise InputError(
                f"{fit.profile}: {one.name}: the rows give {one.value:g} ({spec.allowed()})"
            )
        times = "time" if one.rows == 1 else "times"
        source = f"fitted to {fit.profile}: part of {one.rows} measured {times} of {fit.model.name}"
        if one.open:
            source += f", which hardly tell it; {fit.base.name} gives the rest"
        yield _parameter(one.name, one.value, "calibrated", span, source)


def _blocks(fit: ServerFit) -> Iterator[str]:
    yield "fit:"
    yield f"  names: [{', '.join(one.name for one in fit.coefficients)}]"
    yield f"  rows: {len(fit.points)}"
    yield f"  residual: {fit.residual:.3g}"
    yield "  covariance:"
    for row in fit.covariance:
        yield f"    - [{', '.join(f'{value:.9g}' for value in row)}]"
    yield "domain:"
    for name, (low, high) in fit.domain.items():
        yield f"  {name}: [{low:g}, {high:g}]"


def _parameter(
    name: str, value: float, kind: str, span: tuple[float, float] | None, source: str
) -> str:
    number = value if isinstance(value, int) else _digits(value)
    told = f", range: [{_digits(span[0]):.10g}, {_digits(span[1]):.10g}]" if span else ""
    return f"{name}: {{value: {number:.10g}, kind: {kind}{told}, source: {_quoted(source)}}}"


def _digits(value: float) -> float:
    return float(np.format_float_positional(value, DIGITS, unique=False, fractional=False))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
