"""A chip: sections of parameters read from one YAML file, each with value, kind and source.

Values may be plain numbers or NumPy arrays of equal shape: every closed form takes both, so a
sweep over a million designs is one call on one ``Chip``.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.models import catalogue
from hardwire.models.brief import brief, one_line
from hardwire.models.calibration import Calibration, Target, read_block, read_calibration
from hardwire.models.catalogue import did_you_mean
from hardwire.models.chip_card import Cost, Floorplan, Power
from hardwire.models.chip_memories import Rom, Sram
from hardwire.models.description import FileKind, read_description
from hardwire.models.errors import InputError
from hardwire.models.parameters import (
    Parameter,
    check_value,
    check_values,
    choice,
    count,
    declared,
    one_of,
    quantity,
    to_frame,
)
from hardwire.models.process import PROCESS, Process

if TYPE_CHECKING:
    import pandas as pd

    from hardwire.models.language_model import LanguageModel


ISSUES = ("serial", "pipelined")
KV_BITS = (4, 8, 16)
KV_8BIT = ("int8", "e4m3")
DISK_FORMATS = ("float32", "float16")
HOST_COPIES = ("converted", "file")


@dataclass(frozen=True)
class Die:
    """The die as published: what area and transistors are compared with."""

    area_mm2: Any = quantity("mm2", 1, 50000, "die area")
    transistors: Any = quantity("", 1e6, 1e13, "transistors on the die", default=math.nan)


@dataclass(frozen=True)
class Datapath:
    """Clock, voltage, broadcast and issue."""

    clock_ghz: Any = quantity("GHz", 0.01, 10, "clock of the datapath")
    supply_v: Any = quantity("V", 0.4, 1.1, "supply voltage of logic and memories")
    lanes: Any = count("", 1, 4096, "activations broadcast to a matrix per cycle")
    pipeline_ghz: Any = quantity(
        "GHz", 0.01, 10, "clock that the pipeline is cut for, at the nominal voltage"
    )
    fill_cycles: Any = count("cycles", 1, 4096, "pipeline fill of one operation")
    fill_lanes: Any = count("", 1, 4096, "lanes that the pipeline fill is stated for")
    fill_ghz: Any = quantity("GHz", 0.01, 10, "clock of the pipeline that its fill is stated for")
    vector_lanes: Any = count("", 1, 65536, "elements per cycle in norms, RoPE and activations")
    issue: Any = choice(ISSUES, "one token in flight, or tokens one behind another")
    layers: Any = choice(("distinct", "shared"), "own hardware per layer, or one array for all")
    prompt_overlap: Any = quantity(
        "",
        0,
        0.5,
        "share of the layers that the next token of a prompt does not wait for, in serial issue "
        "through layers of their own; 0 if not given, and more than half is pipelined issue",
        default=0.0,
    )
    outputs_per_pass: Any = quantity(
        "",
        1,
        1e9,
        "outputs that accumulate in parallel; all of them if not given",
        default=math.inf,
    )


@dataclass(frozen=True)
class Attention:
    """The KV memory of a layer and the multipliers beside it."""

    kv_memories: Any = choice(
        ("shared", "separate"), "K and V in one memory with its multipliers, or in one each"
    )
    kv_read_bytes_per_cycle: Any = count("B/cycle", 1, 1 << 24, "read port of a KV memory")
    macs_per_cycle: Any = count("/cycle", 1, 1 << 26, "multiply-accumulates beside a KV memory")


@dataclass(frozen=True)
class Lora:
    """The low-rank side path of a ROM matrix group, and of the LM head on chips that have one."""

    order: Any = choice(("parallel", "sequential"), "beside the base pass, or after it")
    read_bytes_per_cycle: Any = count("B/cycle", 1, 1 << 24, "adapter SRAM read per side path")
    macs_per_cycle: Any = count("/cycle", 1, 1 << 24, "multiply-accumulates per side path")
    switch_cycles: Any = count("cycles", 1, 1e9, "to point at another resident adapter")
    activations_per_cycle: Any = count(
        "/cycle",
        1,
        65536,
        "activations that a side path hears per cycle: those of the broadcast at least, and more "
        "over a bus of its own",
        default=1,
    )
    head: Any = choice(
        ("absent", "present"),
        "a side path beside the LM head, as wide as the others, or none; absent if not given",
        default="absent",
    )


@dataclass(frozen=True)
class Formats:
    """Number formats of what is in SRAM, and the ranks that it is laid out for."""

    adapter_format: Any = choice(
        ("float32", "float16", "int8", "int4", "int2"), "format of adapters in SRAM"
    )
    kv_bits: Any = one_of("bit", KV_BITS, "bits per KV cache element")
    max_rank: Any = count(
        "", 1, 1024, "highest rank that the side path can index", stream="lora.max_rank"
    )
    kv_8bit: Any = choice(
        KV_8BIT,
        "KV elements of 8 bits: integers with a scale for 32, or floats (FP8) without scales",
        default="int8",
    )


@dataclass(frozen=True)
class Sampling:
    """From logits to the next token."""

    topk_logits_per_cycle: Any = count("/cycle", 1, 1 << 20, "logits that top-k scans per cycle")
    loop_cycles: Any = count("cycles", 1, 1e9, "softmax, draw, stop test and feedback")
    host_us: Any = quantity(
        "us",
        0,
        1e6,
        "time outside the chip per sampled token, whatever the clock; 0 if not given",
        default=0.0,
    )


@dataclass(frozen=True)
class Link:
    """Disk, host memory and the link into the chip."""

    bandwidth_gb_per_s: Any = quantity("GB/s", 0.001, 10000, "host link, effective")
    latency_us: Any = quantity("us", 0, 1e6, "host link, set-up of a transfer")
    pj_per_bit: Any = quantity(
        "pJ/bit",
        0,
        10000,
        "energy of a bit over the host link: both its ends and the host's memory",
    )
    burst_bytes: Any = count("B", 64, 1 << 30, "bytes per SRAM burst while an adapter loads")
    disk_gb_per_s: Any = quantity("GB/s", 0.001, 1000, "disk read, effective")
    disk_latency_us: Any = quantity("us", 0, 1e7, "disk, first byte")
    disk_format: Any = choice(
        DISK_FORMATS, "format of an adapter's file, where it is given by its shape"
    )
    convert_gb_per_s: Any = quantity(
        "GB/s", 0.001, 10000, "host, from an adapter's file to its SRAM format; bytes of the file"
    )
    host_copy: Any = choice(
        HOST_COPIES,
        "adapters in host memory: in the SRAM format, or as their files, converted on the way",
    )


SECTIONS: dict[str, type] = {
    "die": Die,
    "datapath": Datapath,
    "rom": Rom,
    "sram": Sram,
    "attention": Attention,
    "lora": Lora,
    "formats": Formats,
    "sampling": Sampling,
    "link": Link,
    "floorplan": Floorplan,
    "power": Power,
    "cost": Cost,
    "process": Process,
}


@dataclass(frozen=True)
class Chip:
    """A chip file, resolved. ``chip.sram.capacity_mib`` is a value; ``chip.parameters`` has the
    origin of each, by dotted name.

    After ``with_values``, ``overrides`` are the user's values and ``as_filed`` the chip before
    them. Of a file that extends a measured chip, ``overrides`` are the values that differ, ``own``
    the parameters that state them, and ``as_filed`` the measured chip.
    """

    name: str
    title: str
    model: str
    process_name: str
    die: Die
    datapath: Datapath
    rom: Rom
    sram: Sram
    attention: Attention
    lora: Lora
    formats: Formats
    sampling: Sampling
    link: Link
    floorplan: Floorplan
    power: Power
    cost: Cost
    process: Process
    parameters: Mapping[str, Parameter]
    calibration: Calibration | None = None
    target: Target | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    as_filed: Chip | None = None
    own: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rom.check()

    def __repr__(self) -> str:
        changes = " ".join(f"{key}={brief(value)}" for key, value in self.overrides.items())
        return one_line(
            self,
            self.name,
            self.model,
            self.process_name,
            f"{brief(self.die.area_mm2)} mm²",
            f"{brief(self.datapath.clock_ghz)} GHz",
            str(self.datapath.issue),
            changes and f"set: {changes}",
        )

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> Chip:
        """Read a chip from the catalogue, or from a path that ends in ``.yaml`` or ``.yml``.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, an unknown key, a missing parameter, a wrong
            unit or a value out of range.
        """
        return cls.from_file(catalogue.locate("chip", name))

    @classmethod
    def from_file(cls, path: Path) -> Chip:
        """Read a chip file, the chip file that it ``extends`` and the process that it names.

        A file that extends a measured chip and states no ``calibration`` of its own is a variant:
        its differences are set over the measured chip, as ``with_values`` does, but with the range
        that the file gives them. The calibration says what the measured chip is, not what the
        variant would do.
        """
        found = read_description(path, CHIP)
        process_name = found.references["process"]
        process, of_process = process_of(process_name)
        parameters = {**found.parameters, **of_process}
        try:
            found.sections["rom"].check()
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None
        parent = None
        if found.parent is not None and "calibration" not in found.stated:
            parent = cls.from_file(found.parent)
        calibration = (
            read_calibration(path.name, found.others.get("calibration"), parameters)
            if parent is None
            else parent.calibration
        )
        chip = cls(
            name=found.name,
            title=found.title,
            model=found.references["model"],
            process_name=process_name,
            process=process,
            parameters=parameters,
            calibration=calibration,
            # Announced of one chip, not of those that extend it.
            target=(
                read_block(path.name, "target", found.others["target"], Target)
                if "target" in found.stated
                else None
            ),
            **found.sections,
        )
        if parent is not None and "title" not in found.stated:
            chip = dataclasses.replace(chip, title=f"{parent.title}, changed by {path.name}")
        return chip if parent is None or calibration is None else chip._over(parent, path.name)

    def _over(self, parent: Chip, where: str) -> Chip:
        """This chip as what its file, and those that it extends, set over the measured one."""
        measured = parent.as_filed or parent

        def belief(parameter: Parameter | None) -> Any:
            return parameter and (parameter.value, parameter.range)

        own = {
            name: parameter
            for name, parameter in self.parameters.items()
            if belief(parameter) != belief(measured.parameters.get(name))
        }
        for name, parameter in own.items():
            if parameter.kind == "calibrated":
                raise InputError(
                    f"{where}: {name}: is fitted to nothing: give it another kind, or the file a "
                    "calibration of its own"
                )
        changed = {name: parameter.value for name, parameter in own.items()}
        return dataclasses.replace(self, overrides=changed, own=own, as_filed=measured)

    def value(self, name: str) -> Any:
        """A parameter's value by dotted name: a number, an array or a word."""
        section, _, field = name.partition(".")
        return getattr(getattr(self, section), field)

    def target_for(self, model: LanguageModel) -> float | None:
        """Tokens/s for one user that were announced of this chip with this model, or None."""
        announced = self.target if model.name == self.model else None
        return announced.tokens_per_s if announced else None

    def published_transistors(self, model: LanguageModel) -> float | None:
        """The published count, or None where nothing is published of this chip as it is."""
        value = float(np.ravel(self.die.transistors)[0])
        own = self.as_filed is None and not self.overrides and model.name == self.model
        return value if own and math.isfinite(value) else None

    def to_frame(self) -> pd.DataFrame:
        """Every parameter, a row each, as ``hardwire.models.parameters.to_frame`` gives them.

        One that was set has the kind ``set``; range and source stay those of the file.
        """
        frame = to_frame(self.parameters)
        set_here = [name for name in self.overrides if name not in self.own]
        for name in frame.index.intersection(set_here):
            frame.at[name, "value"], frame.at[name, "kind"] = self.overrides[name], "set"
        return frame

    def with_values(self, values: Mapping[str, Any]) -> Chip:
        """A copy with some parameters set, by dotted name, and remembered as ``overrides``.

        Parameters
        ----------
        values : a number, a word, a text such as ``"512 MiB"``, or an array with one number for
            each design.

        Raises
        ------
        InputError
            On an unknown parameter, a wrong unit, a value out of range, a fraction where a whole
            number is needed, a number that is none, or arrays whose shapes do not go together.

        Examples
        --------
        >>> Chip.open("hc1").with_values({"sram.capacity_mib": "512 MiB"}).sram.capacity_mib
        512.0
        """
        checked = {}
        for name, value in values.items():
            spec = DECLARED.get(name)
            if spec is None:
                raise InputError(f"{name}: no such parameter{did_you_mean(name, DECLARED)}")
            # Anything that says it is an array, also pandas' columns.
            array = np.asarray(value) if hasattr(value, "__array__") else None
            checked[name] = (
                check_values(name, array, spec)
                if array is not None and array.ndim
                else check_value(name, value if array is None else array.item(), spec)
            )
        chip = dataclasses.replace(
            self._replaced(checked),
            overrides={**self.overrides, **checked},
            as_filed=self.as_filed or self,
            own={k: p for k, p in self.own.items() if k not in checked},
        )
        if any(np.ndim(value) for value in checked.values()):
            chip._check_shapes()
        return chip

    def _check_shapes(self) -> None:
        """Refuse arrays that cannot be of the same designs."""
        shapes = {name: np.shape(self.value(name)) for name in DECLARED}
        arrays = {name: shape for name, shape in shapes.items() if shape}
        try:
            np.broadcast_shapes(*arrays.values())
        except ValueError:
            said = ", ".join(f"{name} {shape}" for name, shape in arrays.items())
            raise InputError(
                f"one number for each design is needed, but shapes are {said}"
            ) from None

    def _replaced(self, values: Mapping[str, Any]) -> Chip:
        """A copy with values that the package itself has checked or drawn, taken as they are.

        They are no one's settings: intervals draw anew what is replaced so.
        """
        sections: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            section, _, field = key.partition(".")
            sections.setdefault(section, {})[field] = value
        changed = {
            section: dataclasses.replace(getattr(self, section), **fields)
            for section, fields in sections.items()
        }
        return dataclasses.replace(self, **changed)

    def with_process(self, name: str | os.PathLike[str]) -> Chip:
        """A copy on another process of the catalogue.

        Only what the process file states changes: macro densities are parameters of the chip.
        What was set of the old process is forgotten.

        Raises
        ------
        InputError
            If the catalogue has no such process.
        """
        path = catalogue.resolve("process", name)
        process, found = process_of(path.stem)
        kept = {k: p for k, p in self.parameters.items() if not k.startswith("process.")}
        return dataclasses.replace(
            self,
            process_name=path.stem,
            process=process,
            parameters={**kept, **found},
            overrides={k: v for k, v in self.overrides.items() if not k.startswith("process.")},
            as_filed=self.as_filed and self.as_filed.with_process(name),
            own={k: p for k, p in self.own.items() if not k.startswith("process.")},
        )


CHIP = FileKind(
    "chip",
    {name: section for name, section in SECTIONS.items() if section is not Process},
    references={"model": "model", "process": "process"},
    files=("model",),
    others=("calibration", "target"),
)
"""What may stand in a chip file."""

DECLARED = declared(SECTIONS)
"""Every parameter that a chip can have, by dotted name."""


def process_of(name: str) -> tuple[Process, dict[str, Parameter]]:
    """A process of the catalogue, and its parameters by their names in a chip."""
    found = read_description(catalogue.resolve("process", name), PROCESS)
    parameters = {f"process.{key}": parameter for key, parameter in found.parameters.items()}
    return found.sections[""], parameters
