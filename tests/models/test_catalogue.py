"""Names and paths: what is found, in which case, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from hardwire.models import Adapter, Chip, InputError, LanguageModel, catalogue
from hardwire.models.adapter.shape import open_adapter
from hardwire.models.adapter.write import write_adapter
from hardwire.models.gpu_server import BatchServer
from hardwire.models.server import Server

LLAMA = LanguageModel.by_name("llama-3.1-8b")
TINY = LanguageModel(
    "tiny", "llama", 1, 8, 8, 2, 2, 4, 16, True, 64, False, False, False, False, False, "silu"
)
OPENED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "hc1": ("chip", Chip.open),
    "llama-3.1-8b": ("model", LanguageModel.open),
    "hc1x10": ("server", Server.open),
    "vllm-h100": ("server", BatchServer.open),
}


class Somewhere:
    """A path of another library."""

    def __init__(self, text: str | bytes) -> None:
        self.text = text

    def __fspath__(self) -> str | bytes:
        return self.text


@pytest.mark.parametrize("name", OPENED)
def test_names_and_paths_may_be_text_or_path_like(name: str, tmp_path: Path) -> None:
    kind, opened = OPENED[name]
    file = catalogue.resolve(kind, name)
    other_case = tmp_path / f"My.{name}{file.suffix.upper()}"
    shutil.copy(file, other_case)
    expected = opened(name)
    assert opened(name.upper()) == opened(PurePosixPath(name)) == opened(file) == expected
    for path in (str(other_case), other_case, Somewhere(str(other_case))):
        assert opened(path).name == f"My.{name}"


def test_what_has_a_separator_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "chip"
    with pytest.raises(InputError) as caught:
        Chip.open(path)
    assert str(caught.value) == f"{path}: does not exist"
    shutil.copy(catalogue.resolve("chip", "hc1"), path)
    assert Chip.open(path).name == "chip"


def test_adapters_open_from_text_and_path_like(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    write_adapter(path, TINY, 2, "qv")
    weights = Adapter.open(path, TINY)
    for source in (str(path), path, Somewhere(str(path))):
        assert open_adapter(source, TINY) == Adapter.open(source, TINY) == weights
    config = path / "adapter_config.json"
    assert Adapter.from_config(Somewhere(str(config)), TINY).parameters == weights.parameters
    assert open_adapter(PurePosixPath("none"), TINY) is None


@pytest.mark.parametrize("value", [None, 3, b"hc1", ["hc1"], Somewhere(os.fsencode("hc1"))])
@pytest.mark.parametrize(
    "opened",
    [
        Chip.open,
        LanguageModel.open,
        LanguageModel.by_name,
        LanguageModel.from_config,
        Server.open,
        BatchServer.open,
        Chip.open("hc1").with_process,
        lambda value: Adapter.open(value, LLAMA),
        lambda value: Adapter.from_config(value, LLAMA),
        lambda value: open_adapter(value, LLAMA),
    ],
)
def test_what_is_neither_text_nor_path_is_refused(opened: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(InputError, match="a name or a path is expected, not") as caught:
        opened(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 16, Path("r16:qv")])
def test_a_shape_is_text(value: Any) -> None:
    with pytest.raises(InputError, match="adapter shape: a text is expected, not"):
        Adapter.from_shape(value, LLAMA)


@pytest.mark.parametrize(
    ("word", "choices", "expected"),
    [
        ("sram.kv_bits", ["sram.capacity", "lora.kv_bits"], "; did you mean lora.kv_bits?"),
        ("lora.format", ["formats.kv", "lora.x"], "; did you mean formats.kv?"),
        (
            "lora.format",
            ["formats.adapter_format", "lora.x"],
            "; did you mean formats.adapter_format?",
        ),
        ("clock_ghz", ["datapath.clock_ghz", "sram.x"], "; did you mean datapath.clock_ghz?"),
        ("lama-3.1-8b", ["llama-3.1-8b", "wholly-different.1-8b"], "; did you mean llama-3.1-8b?"),
        ("HC2", ["hc1", "roma"], "; did you mean hc1?"),
        ("nothing.near", ["sram.kv_bits"], ""),
        (
            "area_mm2",
            ["area_mm2.io", "area_mm2.total"],
            "; did you mean area_mm2.total or area_mm2.io?",
        ),
    ],
)
def test_what_is_near_is_offered(word: str, choices: list[str], expected: str) -> None:
    assert catalogue.did_you_mean(word, choices) == expected


def test_a_file_that_is_there_was_said_to_be_no_chip_in_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.parquet").touch()
    with pytest.raises(InputError, match=r"mine\.parquet: is there, but .* a chip ends in .yaml"):
        Chip.open("mine.parquet")
    with pytest.raises(InputError, match=r"holds weights; a model is a config\.json"):
        LanguageModel.open(tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"mine\.parquet: is there, but .* a model ends in .json"):
        LanguageModel.open("mine.parquet")
