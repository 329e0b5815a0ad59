"""Words of pictures: of published rows, of parameters, and of what a picture shows."""

from __future__ import annotations

import re
from textwrap import fill

from hardwire.models.chip import DECLARED

_WORDS = {
    "hc1.rate": "decode rate, 1k/1k",
    "hc1.die": "die area, at most",
    "hc1.transistors": "transistors, at most",
    "hc1.context": "context, at least",
    "hc1.card_power": "card power",
    "hc1.server_power": "server power, ten cards",
    "hc1.server_rate": "server rate, ten cards",
    "demo.step": "demo: mean decode step",
    "demo.prefill": "demo: a prompt token",
    "roma.rom.bytes": "ROM, bytes",
    "roma.area.total": "area, all",
    "roma.area.l_units": "area, L units",
    "roma.area.h_units": "area, H units",
    "roma.area.vector_units": "area, vector units",
    "roma.area.other": "area, other",
    "roma.power.256": "chip power, 256 tokens",
    "dies.hops": "29 longer hops",
    "dies.pair": "a pair of dies, bytes/s",
    "dies.lanes": "4,944 lanes, power",
    "dies.masks.low": "masks of a re-spin, low",
    "dies.masks.high": "masks of a re-spin, high",
    "dies.recurring.low": "a module, low",
    "dies.recurring.high": "a module, high",
    "experts.busiest.1": "busiest die, 1 user",
    "experts.busiest.8": "busiest die, 8 users",
    "experts.busiest.32": "busiest die, 32 users",
    "experts.busiest.64": "busiest die, 64 users",
    "experts.busiest.256": "busiest die, 256 users",
    "hnlpu.rate": "decode rate, 216 users",
    "hnlpu.step": "time of a token, 216 users",
    "hnlpu.sram.bytes": "SRAM, bytes",
    "hnlpu.sram.bandwidth": "SRAM, bytes/s",
    "hnlpu.sram.area": "SRAM, area",
    "hnlpu.area.neurons": "hardwired weights, area",
    "hnlpu.area.vex": "attention unit, area",
    "hnlpu.power.neurons": "hardwired weights, power",
    "hnlpu.power.vex": "attention unit, power",
    "hnlpu.power.buffer": "attention buffer, power",
    "hnlpu.power.interconnect": "links, power",
    "hnlpu.power.hbm": "HBM interface, power",
    "hnlpu.power.chip": "chip power",
    "hnlpu.power": "system power",
    "unit.rom": "ROM unit, power",
    "unit.sram": "SRAM unit, power",
    "unit.mac.int8": "multiply-add, INT8",
    "unit.mac.fp16": "multiply-add, FP16",
    "unit.clock": "clock of a core",
    "hnlpu.die.yield": "yield",
    "hnlpu.die.gross": "dies a wafer",
    "hnlpu.die.good": "good dies a wafer",
    "hnlpu.die.cost": "cost of a good die",
    "hnlpu.masks.units": "masks, count",
    "hnlpu.masks.share": "masks, share of a variant",
    "hnlpu.masks.variant.low": "masks of a variant, low",
    "hnlpu.masks.variant.high": "masks of a variant, high",
    "vllm.out_of_memory": "vLLM: out of memory",
    "macro.sram.n3e": "SRAM macro, N3E",
    "macro.sram.n2": "SRAM macro, N2",
    "die.n7.yield": "die on N7, yield",
    "die.n7.cost": "good die on N7, cost",
    "demo TTFT a token, all 9": "demo: TTFT a token, all",
}
_PATTERNS = (
    (r"demo\.0?(\d+)\.rate", "demo {}: decode rate"),
    (r"demo\.0?(\d+)\.ttft", "demo {}: TTFT"),
    (r"roma\.rate\.(\d+)", "decode rate, {} tokens"),
    (r"roma\.ttft\.(\d+)", "TTFT, {} tokens"),
    (r"roma\.tokens\.(\d+)\.r(\d+)", "tokens in {} MB, rank {}"),
    (r"trtllm\.(\w+)\.(\d+)\.(\d+)", "TRT-LLM, {}, {} + {}"),
    (r"vllm\.r32\.(\d+)\.(\d+)\.tpot", "vLLM rank 32, {} slots, {} adapters: TPOT"),
    (r"vllm\.qwen\.(\d+)\.(\d+)\.tpot", "vLLM Qwen, {} slots, {} adapters: TPOT"),
    (r"parts\.([\w-]+)\.(\d+b)\.(\d+)\.(\d+)", "{}, {}, {} + {}"),
    (r"parts\.([\w-]+)\.(\d+b)\.tp(\d+)\.(\d+)\.(\d+)", "{0}, {1} on {2}, {3} + {4}"),
    (r"single\.(\w+)", "one user, {}"),
    (r"vllm\.keeps_up\.(\w+)\.(\w+)", "vLLM keeps up: {}, {}"),
    (r"vllm\.saturated\.(\w+)\.(\w+)", "vLLM saturated: {}, {}"),
    (r"macro\.(\w+)\.(\d+)", "{} macro, {} rows"),
)
_LONGEST = 60
"""Of a parameter's words: of longer ones only what stands before a colon fits beside a row."""
_UPPER = {"h100", "h200", "b200", "l40s", "a100", "8b", "70b", "rom", "sram", "tpot"}


def words_of(row: str) -> str:
    """What a row is, in a few words: ``demo 3: TTFT``; its id where none are known.

    The system is not named: it heads the panel.
    """
    if row in _WORDS:
        return _WORDS[row]
    for pattern, words in _PATTERNS:
        found = re.fullmatch(pattern, row)
        if found:
            return words.format(*map(_part, found.groups()))
    return row


def _part(text: str) -> str:
    if text.isdigit():
        return f"{int(text):,}"
    return text.upper() if text in _UPPER else text


def parameter_words(name: str) -> str:
    """What a declared parameter is, in words, without its unit."""
    said = DECLARED[name].meaning.replace("mm2", "mm²")
    if len(said) > _LONGEST:
        said = said.partition(": ")[0]
    if said.startswith("of "):
        return f"{name.rpartition('.')[2].replace('_', ' ')} {said}"
    return said


def quantity_words(name: str) -> str:
    """What a calibration or a sensitivity names, in words: a parameter, perhaps of one run.

    The clocks of several runs have a name after a comma.
    """
    if name == "measurement":
        return "the error of the measurement"
    parameter, _, which = name.partition(", ")
    if parameter not in DECLARED:
        return name.replace("datapath.", "")
    return parameter_words(parameter) + (f", {which}" if which else "")


def caption(finding: str) -> str:
    """What a picture shows, as a page of the manual has it below the picture."""
    return fill(f"*{finding}*", 100, break_long_words=False, break_on_hyphens=False)
