"""Where an adapter comes from: its file on disk, host memory, and the way over the link.

What lies on disk is what training wrote, PEFT's float32 or float16, and not the image of the SRAM.
The host converts it, block by block while it passes: as it is read from disk, where host memory
holds converted adapters, or as it is sent, where it holds files.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.datapath import adapter_bytes, shape_bytes

CHECKPOINT_DTYPES = {"float32": "F32", "float16": "F16"}
"""The names of the formats in a checkpoint."""


@dataclass(frozen=True)
class Supply:
    """An adapter before it is in SRAM. Numbers, or arrays with one element per design.

    Attributes
    ----------
    file_bytes : of its file on disk.
    host_bytes : that it takes of host memory.
    image_bytes : that it takes of SRAM.
    disk_s : from the request until it is in host memory.
    bytes_per_s : of the image, over the link.
    """

    file_bytes: Any
    host_bytes: Any
    image_bytes: Any
    disk_s: Any
    bytes_per_s: Any


def supply(chip: Chip, model: LanguageModel, adapter: Adapter | AdapterShape) -> Supply:
    """The way of an adapter to a chip.

    An opened adapter has the file that it was opened from; for a shape it is what PEFT would write
    in ``link.disk_format``. Of an ``AdapterShape``, whose rank may be an array, the header of the
    file is left out: 0.04 % of rank 16.
    """
    link = chip.link
    image: Any
    if isinstance(adapter, AdapterShape):
        on_disk = dataclasses.replace(adapter, adapter_format=link.disk_format)
        image, file = shape_bytes(chip, model, adapter), shape_bytes(chip, model, on_disk)
    else:
        image, file = adapter_bytes(chip, adapter), adapter.file_bytes
        if file is None:
            file = adapter.checkpoint_bytes(CHECKPOINT_DTYPES[link.disk_format])
    disk, wire, convert = (
        rate * 1e9 for rate in (link.disk_gb_per_s, link.bandwidth_gb_per_s, link.convert_gb_per_s)
    )
    if link.host_copy == "converted":
        host, disk = image, np.minimum(disk, convert)
    else:
        host, wire = file, np.minimum(wire, convert * image / file)
    return Supply(
        file_bytes=file,
        host_bytes=host,
        image_bytes=image,
        disk_s=link.disk_latency_us * 1e-6 + file / disk,
        bytes_per_s=wire,
    )
