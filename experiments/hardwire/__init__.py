"""Simulate LLM chips whose base model is cast in silicon: the names for notebooks and programs.

::

    import hardwire as hw

    result = hw.run("hc1", adapter="r16:all-linear")
    result                      # the verdict, as a table in a notebook
    result.base.decode_tokens_per_s_user
    result.to_frame()           # pandas
    result.plot()               # matplotlib

A function for each question (``run``, ``run_system``, ``plan``, ``predict``, ``replay``,
``compare``, ``sweep``, ``search``, ``solve``, ``sensitivity``, ``calibrate``, ``validate``,
``fit_server``, ``diff``, ``report``) takes
names, paths or objects; the objects are ``Chip``, ``LanguageModel``, ``Adapter``, ``Server`` and
``System``.
``make_server`` writes a GPU server's file from its parts; ``schema`` says what may stand in a file.
What cannot be used raises ``InputError``, whose message is one sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardwire.compiled import keep_compiled_code

if TYPE_CHECKING:
    from hardwire.designs import search, sensitivity, solve, sweep
    from hardwire.evidence import calibrate, validate
    from hardwire.fitting import fit_server
    from hardwire.models.adapter.adapter import Adapter
    from hardwire.models.chip import Chip
    from hardwire.models.errors import InputError
    from hardwire.models.gpu_make import make_server
    from hardwire.models.language_model import LanguageModel
    from hardwire.models.schema import schema
    from hardwire.models.server import Server
    from hardwire.models.system.system import System
    from hardwire.serving import compare, replay
    from hardwire.show import report
    from hardwire.sides import diff
    from hardwire.single import predict, run
    from hardwire.systems import plan, run_system

    __version__: str

_HOME = {
    "Adapter": "hardwire.models.adapter.adapter",
    "Chip": "hardwire.models.chip",
    "InputError": "hardwire.models.errors",
    "LanguageModel": "hardwire.models.language_model",
    "Server": "hardwire.models.server",
    "System": "hardwire.models.system.system",
    "calibrate": "hardwire.evidence",
    "compare": "hardwire.serving",
    "diff": "hardwire.sides",
    "fit_server": "hardwire.fitting",
    "make_server": "hardwire.models.gpu_make",
    "plan": "hardwire.systems",
    "predict": "hardwire.single",
    "replay": "hardwire.serving",
    "report": "hardwire.show",
    "run": "hardwire.single",
    "run_system": "hardwire.systems",
    "schema": "hardwire.models.schema",
    "search": "hardwire.designs",
    "sensitivity": "hardwire.designs",
    "solve": "hardwire.designs",
    "sweep": "hardwire.designs",
    "validate": "hardwire.evidence",
}
"""Where each name comes from. It is imported when first asked for: a program needs few of them."""

__all__ = [
    "Adapter",
    "Chip",
    "InputError",
    "LanguageModel",
    "Server",
    "System",
    "__version__",
    "calibrate",
    "compare",
    "diff",
    "fit_server",
    "make_server",
    "plan",
    "predict",
    "replay",
    "report",
    "run",
    "run_system",
    "schema",
    "search",
    "sensitivity",
    "solve",
    "sweep",
    "validate",
]

keep_compiled_code()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        value: Any = version("hardwire")
    elif name in _HOME:
        from importlib import import_module  # noqa: PLC0415

        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'hardwire' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
