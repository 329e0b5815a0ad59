"""A GPU as its data sheet has it, and what is known of how much of that programs reach."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hardwire.models import catalogue
from hardwire.models.brief import one_line
from hardwire.models.description import FileKind, read_description
from hardwire.models.errors import InputError
from hardwire.models.parameters import Parameter, choice, quantity, to_frame

if TYPE_CHECKING:
    import pandas as pd

VENDORS = ("nvidia", "amd")

ARITHMETIC = {"bf16": "bf16", "fp8": "fp8", "int8": "int8", "int4": "bf16", "fp4": "fp4"}
"""By the precision of the weights, what a linear layer computes in: 4-bit integers are weights
only (AWQ, GPTQ), which kernels widen to bfloat16; the others have activations of their kind."""

PRECISIONS = tuple(ARITHMETIC)


@dataclass(frozen=True)
class GpuSheet:
    """What the file of a GPU states with value, kind and source. Rates are dense, per GPU."""

    vendor: Any = choice(VENDORS, "who makes it")
    memory_gb: Any = quantity("GB", 1, 1000, "memory")
    memory_tb_per_s: Any = quantity("TB/s", 0.01, 100, "bandwidth of the memory")
    bf16_tflops: Any = quantity("TFLOP/s", 1, 1e5, "dense bfloat16, 32-bit sums")
    memory_reached: Any = quantity("", 0.1, 1, "share of the bandwidth that kernels reach")
    compute_reached: Any = quantity("", 0.05, 1, "share of dense rates that linear layers reach")
    attention_reached: Any = quantity(
        "", 0.05, 1, "share of the bfloat16 rate that attention of prompts reaches"
    )
    link_gb_per_s: Any = quantity("GB/s", 1, 1e4, "to other GPUs, each way")
    link_us: Any = quantity("us", 0, 1e4, "an all-reduce of a few tokens in one server")
    idle_w: Any = quantity("W", 0, 1e4, "power at rest")
    limit_w: Any = quantity("W", 1, 1e4, "power limit")
    price_usd: Any = quantity("USD", 0, 1e7, "price with its share of a server")
    fp8_tflops: Any = quantity("TFLOP/s", 0, 1e5, "dense 8-bit floats; 0 for none", default=0.0)
    int8_tops: Any = quantity("TOP/s", 0, 1e5, "dense 8-bit integers; 0 for none", default=0.0)
    fp4_tflops: Any = quantity("TFLOP/s", 0, 1e5, "dense 4-bit floats; 0 for none", default=0.0)
    fp4_reached: Any = quantity(
        "", 0.05, 1, "share of that rate that linear layers reach", default=1.0
    )


@dataclass(frozen=True)
class Gpu:
    """A GPU file, resolved. ``parameters`` has the origin of each number.

    Attributes
    ----------
    name, title : in the catalogue.
    sheet : the numbers.
    """

    name: str
    title: str
    sheet: GpuSheet
    parameters: Mapping[str, Parameter]

    def __repr__(self) -> str:
        sheet = self.sheet
        memory = f"{sheet.memory_gb:g} GB at {sheet.memory_tb_per_s:g} TB/s"
        return one_line(self, self.name, self.title, memory)

    def to_frame(self) -> pd.DataFrame:
        """Every parameter, a row each: see ``hardwire.models.parameters.to_frame``."""
        return to_frame(self.parameters)

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> Gpu:
        """Read a GPU from the catalogue, or from a path that ends in ``.yaml``.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, an unknown or missing key, a wrong unit or a
            value out of range.
        """
        found = read_description(catalogue.locate("gpu", name), GPU)
        return cls(found.name, found.title, found.sections[""], found.parameters)

    def flops(self, precision: str) -> float:
        """Dense operations per second of linear layers with weights of a precision.

        Raises
        ------
        InputError
            If the GPU has no such arithmetic; the sentence names what it has.
        """
        rate = getattr(self.sheet, RATES[ARITHMETIC[precision]])
        if not rate:
            known = [p for p in PRECISIONS if getattr(self.sheet, RATES[ARITHMETIC[p]])]
            raise InputError(
                f"precision: {self.name} computes in {', '.join(known)}, not in {precision}"
            )
        return float(rate) * 1e12

    def reached(self, precision: str) -> Any:
        """The share of ``flops`` that linear layers reach."""
        four = ARITHMETIC[precision] == "fp4"
        return self.sheet.fp4_reached if four else self.sheet.compute_reached


RATES = {
    "bf16": "bf16_tflops",
    "fp8": "fp8_tflops",
    "int8": "int8_tops",
    "fp4": "fp4_tflops",
}
"""By arithmetic, the field of a sheet with its rate."""

GPU = FileKind("gpu", {"": GpuSheet})
"""What may stand in the file of a GPU."""
