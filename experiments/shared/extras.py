"""Packages that are not in the default install, and what to say where one is missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from hardwire.models.errors import InputError

EXTRA_OF = {
    "distributed": "bench",
    "duckdb": "bench",
    "optuna": "bench",
    "SALib": "bench",
    "jinja2": "bench",
    "vl_convert": "bench",
    "ipywidgets": "notebooks",
    "jupytext": "notebooks",
    "nbclient": "notebooks",
}
"""Which extra brings a package, by import name."""


def needs(package: str, for_what: str) -> ModuleType:
    """Import a package of an extra.

    Parameters
    ----------
    package : import name, with submodules, such as ``optuna.samplers``.
    for_what : what needs it, for the message.

    Raises
    ------
    InputError
        If it is not installed; the message says how to install it.
    """
    top = package.partition(".")[0]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != top:
            raise
        extra = EXTRA_OF[top]
        raise InputError(
            f"{for_what} needs the package {top}: pip install 'hardwire[{extra}]'"
        ) from None
