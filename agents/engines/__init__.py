"""Inference engines: token ids in, sampled token ids and their log-probabilities out.

An engine knows nothing of text, environments or training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Engine", "Sample", "SamplingParams"]


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are drawn."""

    max_new_tokens: int = 64
    """Per turn, the end-of-turn token included."""
    temperature: float = 1.0
    """0 takes the likeliest token; its log-probability then is the model's at temperature 1."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability are drawn from."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if self.temperature < 0:
            raise ValueError(f"temperature must be at least 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")


@dataclass(slots=True)
class Sample:
    """One sampled response."""

    ids: list[int] = field(default_factory=list)
    """The sampled tokens, the stop token included."""
    logprobs: list[float] = field(default_factory=list)
    """Each token's log-probability under the whole distribution at the temperature (before top_p cuts it)."""
    policy_step: int = 0
    """Finished training steps of the policy that was sampled from."""


class Engine(Protocol):
    """Anything that samples."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        params: SamplingParams,
    ) -> list[Sample]:
        """One response for each prompt; none may be empty.

        `seeds[i]` in [0, 2⁶³) decides alone how prompt i's randomness falls: neither the order of the batch
        nor its other members matter (beyond the rounding of the model's arithmetic).
        """
        ...
