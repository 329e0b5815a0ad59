"""Every visit of a unit by the last prompt token and the first decode tokens of a run.

One recording for all pictures of tokens: the trace for Perfetto and the timelines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardwire.simulator.engines.compiled import simulate
from hardwire.simulator.program import TokenProgram, build_program
from hardwire.simulator.requests import Requests, Timeline
from hardwire.simulator.single import Result

OUTPUT_TOKENS = 4
"""Of which the first comes out of the last prompt token."""
MAX_USERS = 4
MAX_PROMPT = 4096
"""Bounds the memory of a recording at half a gigabyte."""


@dataclass(frozen=True)
class Recording:
    """What the engine did.

    Attributes
    ----------
    start, end : (tokens, stages, 2) int64, cycles
        Of each visit: by the main branch of a stage and by its side branch; -1 where there is none.
    """

    program: TokenProgram
    prompt: int
    times: Timeline
    start: np.ndarray
    end: np.ndarray

    @property
    def users(self) -> int:
        """How many requests were recorded."""
        return len(self.times.first) - 1

    def last(self, prompt_tokens: int, decode_tokens: int = OUTPUT_TOKENS) -> np.ndarray:
        """Numbers of the last tokens of each user's prompt and of its first decode tokens.

        Parameters
        ----------
        prompt_tokens, decode_tokens : of each user at most so many.
        """
        first = self.times.first
        begin = max(self.prompt - prompt_tokens, 0)
        end = self.prompt + min(decode_tokens, OUTPUT_TOKENS - 1)
        return np.concatenate([first[user] + np.arange(begin, end) for user in range(self.users)])

    def user_of(self, token: int) -> int:
        """The user whose token it is."""
        return int(np.searchsorted(self.times.first, token, side="right")) - 1

    def context_of(self, token: int) -> int:
        """Tokens that a token attends to, itself included."""
        return int(token - self.times.first[self.user_of(token)]) + 1


def record(
    result: Result,
    *,
    issue: str | None = None,
    users: int = MAX_USERS,
    loaded: bool = True,
) -> Recording:
    """Run the first tokens of a run again and keep every visit.

    Prompts are cut to 4,096 tokens. The power limit is not applied to these times.

    Parameters
    ----------
    issue : instead of the chip's.
    users : at most so many, and as many as the run had.
    loaded : whether with the run's adapter, where it had one.
    """
    adapters = [] if result.adapter is None or not loaded else [result.adapter.adapter]
    program = build_program(result.chip, result.model, adapters, issue=issue)
    prompt = min(result.prompt, MAX_PROMPT)
    requests = Requests.uniform(min(result.users, users), prompt, OUTPUT_TOKENS, len(adapters))
    times = simulate(program, requests, record=True)
    assert times.start is not None and times.end is not None
    return Recording(program, prompt, times, times.start, times.end)
