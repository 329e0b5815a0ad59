"""Run model and clock together on a model's real weights: tokens, their times, their adapter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.kernels.decoder.base_weights import ROW, TENSOR, TERNARY
from hardwire.kernels.decoder.decoder import Decoder
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.datapath import adapter_format
from hardwire.simulator.execution import execute
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import AdapterLoad, Requests

SEED = 1
MOST_THREADS = 2


@dataclass(frozen=True)
class UserTokens:
    """Output tokens of one user, when they were there (seconds), and with what."""

    tokens: list[int]
    first_token_s: float
    last_token_s: float
    adapter_version: int


@dataclass(frozen=True)
class ValueRun:
    """A run that computed its tokens.

    ``load_s`` is when the adapter's last slice was in SRAM; it streams in from cycle 0 on while the
    first tokens follow it through the layers. None without an adapter.
    """

    weights: str
    kv_bits: int
    kv_format: str
    users: list[UserTokens]
    load_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "weights": self.weights,
            "kv_bits": self.kv_bits,
            "kv_format": self.kv_format,
            "load_s": self.load_s,
            "users": [dict(vars(user)) for user in self.users],
        }


def weights_folder(path: str | None) -> Path | None:
    """The folder that ``--model`` names, if it holds safetensors beside its config."""
    folder = Path(path) if path is not None else None
    return folder if folder is not None and any(folder.glob("*.safetensors")) else None


def decoder_threads() -> int:
    """Threads of a decoder's products: two, or fewer where numba has fewer."""
    import numba  # noqa: PLC0415

    return min(MOST_THREADS, int(numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def rom_format(chip: Chip) -> str:
    """The narrowest packed weight format that holds the chip's bits per weight, and its groups.

    3, 4 or 6 bits, or the mix of 3 and 6 bits with 3.5 per cell. Beyond 6 bits, the widest. Scales
    are shared by as many inputs as on the chip, in steps of 32, or by a row. Ternary weights whose
    rows have one scale have that of their tensor, as BitNet's do.
    """

    def cells(bits: float) -> str:
        return "rom3" if bits <= 3 else "rom3+6" if bits <= 3.5 else "rom4" if bits <= 4 else "rom6"

    rom, inputs = chip.rom, max(32, int(chip.rom.scale_group) // 32 * 32)
    group = "" if inputs == 32 else "/row" if inputs == ROW else f"/{inputs}"
    layers = f"{cells(float(rom.bits_per_weight))}{group}"
    if rom.alphabet == TERNARY:
        layers = f"{TERNARY}/{TENSOR}" if inputs == ROW else f"{TERNARY}{group}"
    if math.isnan(rom.head_bits):
        return layers
    return f"{layers}:{cells(float(rom.head_bits))}{group}"


def execute_run(
    chip: Chip,
    model: LanguageModel,
    folder: Path,
    adapter: Adapter | None,
    *,
    prompt: int,
    output: int,
    users: int,
) -> ValueRun:
    """Decode greedily from random prompts in the chip's formats, on the chip's clock.

    The power limit is not applied to these times. The adapter streams into SRAM from cycle 0 on.

    Raises
    ------
    InputError
        If the model's weights are missing, damaged or of another shape.
    """
    weights = rom_format(chip)
    kv_bits, eight = int(chip.formats.kv_bits), str(chip.formats.kv_8bit)
    kv_format = "e4m3" if kv_bits == 8 and eight == "e4m3" else kv_bits
    decoder = Decoder.load(folder, weights, kv_bits=kv_format, threads=decoder_threads())
    adapters, images, loads = [], [], []
    if adapter is not None:
        adapters = [adapter]
        images = [decoder.add_adapter(adapter.name, adapter, adapter_format(chip, adapter))]
        loads = [AdapterLoad(adapter=1, start=0, mode="streamed")]
    program = build_program(chip, model, adapters)
    requests = Requests.uniform(users, prompt, output, len(adapters))
    random = np.random.default_rng(SEED)
    prompts = [random.integers(0, model.vocab, prompt).tolist() for _ in range(users)]
    run = execute(program, requests, loads, decoder, images, prompts)
    found = []
    for user in range(users):
        times = run.timeline.output_times(requests, user) / program.clock_hz
        found.append(
            UserTokens(
                tokens=run.tokens[user].tolist(),
                first_token_s=float(times[0]),
                last_token_s=float(times[-1]),
                adapter_version=int(run.versions[run.timeline.first[user]]),
            )
        )
    load_s = float(run.timeline.load_done[0]) / program.clock_hz if loads else None
    return ValueRun(
        weights=weights,
        kv_bits=kv_bits,
        kv_format=decoder.cache.format,
        users=found,
        load_s=load_s,
    )
