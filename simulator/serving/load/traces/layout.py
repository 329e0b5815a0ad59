"""Kinds of traces: which column holds what, and what its times are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.workload import PREFIX_BLOCK_TOKENS

Times = Literal["stated", "seconds", "milliseconds", "dates"]
"""``stated``: seconds, taken as they are. The others count from the first request."""


@dataclass(frozen=True)
class Layout:
    """Which column holds what; an empty name is a column that the file does not have.

    Attributes
    ----------
    prompt, output, arrival, adapter, hashes : str
        Columns, in lower case in CSV.
    times : what the arrival column holds.
    others : columns that may stand beside them and are not used.
    any_others : whether any column may.
    block_tokens : prompt tokens that one hash stands for.
    zero_is_failed : whether an output of 0 tokens marks a request that failed.
    """

    prompt: str
    output: str
    arrival: str = ""
    adapter: str = ""
    hashes: str = ""
    times: Times = "stated"
    others: tuple[str, ...] = ()
    any_others: bool = False
    block_tokens: int = PREFIX_BLOCK_TOKENS
    zero_is_failed: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are used."""
        named = (self.arrival, self.prompt, self.output, self.adapter, self.hashes)
        return tuple(name for name in named if name)

    def knows(self, name: str) -> bool:
        """Whether a column may be there."""
        # That of the hashes is never one of the others: where it is not used, it would be lost.
        return (
            name in self.columns or name in self.others or (self.any_others and name != "hash_ids")
        )

    def present(self, where: str, names: Sequence[str]) -> Layout:
        """Return the layout without the optional columns that a file does not have.

        Raises
        ------
        InputError
            If a column that is needed is not among ``names``; ``where`` begins the sentence.
        """
        needed = [self.prompt, self.output]
        if self.times != "stated":
            needed.append(self.arrival)
        for name in needed:
            if name not in names:
                raise InputError(f"{where}: column {name} is missing")
        optional = ("arrival", "adapter", "hashes")
        absent: dict[str, Any] = {part: "" for part in optional if getattr(self, part) not in names}
        return dataclasses.replace(self, **absent)

    def hint(self, name: str, present: Sequence[str]) -> str:
        """Return ``"; did you mean …?"`` for a column that is not known.

        What the name says of its content counts before its spelling: ``input_toks`` is nearest to
        ``output_tokens`` by letters. Columns that are there already are never meant.
        """
        free = [column for column in self.columns if column not in present]
        kinds = {word for word, part in _WORDS.items() if word in name.lower()}
        parts = {_WORDS[word] for word in kinds}
        if parts:
            free = [column for column in free if column in {getattr(self, p) for p in parts}]
            return f"; did you mean {' or '.join(free)}?" if free else ""
        return did_you_mean(name, free)


_WORDS = {
    "prompt": "prompt", "input": "prompt", "context": "prompt", "request": "prompt",
    "output": "output", "generat": "output", "completion": "output", "response": "output",
    "arriv": "arrival", "time": "arrival", "start": "arrival",
    "adapt": "adapter", "lora": "adapter",
}  # fmt: skip

OURS = Layout("prompt_tokens", "output_tokens", "arrival_s", "adapter")
AZURE = Layout("contexttokens", "generatedtokens", "timestamp", times="dates")
BURSTGPT = Layout(
    "request tokens",
    "response tokens",
    "timestamp",
    times="seconds",
    others=("session id", "elapsed time", "model", "total tokens", "log type"),
    zero_is_failed=True,
)
MOONCAKE = Layout(
    "input_length",
    "output_length",
    "timestamp",
    hashes="hash_ids",
    times="milliseconds",
    any_others=True,
)
BAILIAN = dataclasses.replace(MOONCAKE, times="seconds", block_tokens=16)
VLLM = Layout("input_lens", "output_lens", "start_times", times="seconds")

FORMATS = "arrival_s,prompt_tokens,output_tokens,adapter or TIMESTAMP,ContextTokens,GeneratedTokens"
"""The headers, for messages."""


def csv_layout(names: Sequence[str]) -> Layout:
    """Return the layout that a header, in lower case, is meant to have."""
    if BURSTGPT.prompt in names or BURSTGPT.output in names:
        return BURSTGPT
    return AZURE if AZURE.arrival in names or AZURE.prompt in names else OURS


def json_layout(names: Sequence[str]) -> Layout:
    """Return the layout that the keys of the first object are meant to have."""
    if MOONCAKE.prompt in names or MOONCAKE.arrival in names:
        # Qwen-Bailian's traces name the turn before; their times are seconds.
        return BAILIAN if "parent_chat_id" in names else MOONCAKE
    return OURS
