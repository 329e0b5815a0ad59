"""What a caller names, as the object that it names: the one place where names become objects."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from hardwire.experiments.shared.style import FORMATS
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape, open_adapter
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server

if TYPE_CHECKING:
    from hardwire.experiments.sweep import Study

Named = str | os.PathLike[str]
ChipLike = Chip | Named
ModelLike = LanguageModel | Named
AdapterLike = Adapter | Named
ServerLike = Server | BatchServer | Named

P = ParamSpec("P")
T = TypeVar("T")

_SET = re.compile(r"--set (?=[\w.]+)")
_OPTION = re.compile(r"(?<!\S)--([a-z][a-z-]*)")


def in_python_words(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function's ``InputError`` speak of arguments where it speaks of options.

    The sentences are those of the command line, so that there is one of each; ``--adapter-rates``
    is the argument ``adapter_rates``.
    """

    @functools.wraps(function)
    def worded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except InputError as error:
            raise InputError(argument_words(str(error))) from None

    return worded


def argument_words(sentence: str) -> str:
    """A sentence about options as one about arguments."""
    named = _SET.sub("", sentence).replace("--set: ", "settings: ")
    return _OPTION.sub(lambda option: option[1].replace("-", "_"), named)


def chip_of(chip: ChipLike, settings: Mapping[str, Any] | None = None) -> Chip:
    """A chip by name, file or as it is, with settings; a value may be an array over designs.

    Raises
    ------
    InputError
        As ``Chip.open`` and ``Chip.with_values``.
    """
    chosen = chip if isinstance(chip, Chip) else Chip.open(text_of("chip", chip, "a Chip"))
    if not settings:
        return chosen
    # Lists of numbers are arrays, too.
    return chosen.with_values({k: np.asarray(v) if np.ndim(v) else v for k, v in settings.items()})


def model_of(model: ModelLike | None, chip: Chip) -> LanguageModel:
    """A model by name, config.json or as it is; by default the chip's own."""
    if isinstance(model, LanguageModel):
        return model
    if model is None:
        return LanguageModel.open(chip.model)
    return LanguageModel.open(text_of("model", model, "a LanguageModel"))


def adapter_of(adapter: AdapterLike | None, model: LanguageModel) -> Adapter | None:
    """An adapter by shape, path or as it is; ``"none"`` and None are no adapter."""
    if adapter is None or isinstance(adapter, Adapter):
        return adapter
    if isinstance(adapter, os.PathLike):
        return Adapter.open(Path(adapter), model)
    return open_adapter(text_of("adapter", adapter, "an Adapter"), model)


def shape_of(
    adapter: AdapterLike | AdapterShape | None, model: LanguageModel
) -> Adapter | AdapterShape | None:
    """As ``adapter_of``; a regular one as its shape, which closed forms take more quickly."""
    if isinstance(adapter, AdapterShape):
        return adapter
    opened = adapter_of(adapter, model)
    return opened and (AdapterShape.of_adapter(opened) or opened)


def study_of(study: Study | Mapping[str, Any] | Named) -> Study:
    """A study by name, file, as the mapping that a file holds, or as it is."""
    from hardwire.experiments.sweep import Study  # noqa: PLC0415 - for sweeps and searches only

    if isinstance(study, Study):
        return study
    if isinstance(study, Mapping):
        return Study.from_dict("study", study)
    return Study.open(text_of("study", study, "a Study"))


def text_of(argument: str, value: Any, kind: str) -> str:
    """A name, or the text of a path, which always looks like one.

    Raises
    ------
    InputError
        If it is neither; ``kind`` says what else the argument may be.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str):
            return text if os.path.dirname(text) else os.path.join(os.curdir, text)
    raise InputError(f"{argument}: a name, a path or {kind} is expected, not {value!r:.80}")


def folder_of(argument: str, value: Any) -> Path:
    """A folder by its path.

    Raises
    ------
    InputError
        If it is no path.
    """
    return Path(value if isinstance(value, str) else text_of(argument, value, "its text"))


def format_of(figures: str) -> str:
    """A format of figures.

    Raises
    ------
    InputError
        If it is none.
    """
    if figures not in FORMATS:
        raise InputError(f"figures: '{figures}' is not one of {', '.join(FORMATS)}")
    return figures
