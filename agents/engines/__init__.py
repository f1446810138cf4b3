"""Inference engines: token ids in, sampled token ids and their log-probabilities out.

An engine knows nothing of text, environments or training. It is asked (`submit`) and answers when it can (`collect`),
in any order: what is sampled for a request depends on its prompt, seed and parameters alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Engine", "Request", "Sample", "SamplingParams", "generate"]


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


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to be answered."""

    key: Hashable
    """Tells the request from all others that wait, and its sample."""
    prompt: Sequence[int]
    """Not empty."""
    seed: int
    """In [0, 2⁶³). Decides alone how the randomness falls: neither the order of requests nor the company matters
    (beyond the rounding of the model's arithmetic)."""
    params: SamplingParams
    session: str = ""
    """Requests of one session, a seat of an episode, share prefixes: what was computed for them may be kept."""


@dataclass(slots=True)
class Sample:
    """One sampled response."""

    key: Hashable
    """The request's."""
    ids: list[int] = field(default_factory=list)
    """The sampled tokens, the stop token included."""
    logprobs: list[float] = field(default_factory=list)
    """Each token's log-probability under the whole distribution at the temperature (before top_p cuts it)."""
    policy_step: int = 0
    """Finished training steps of the policy that was sampled from."""


class Engine(Protocol):
    """Anything that samples. One engine serves one agent: whoever submits also collects."""

    owns_weights: bool
    """Whether it has weights of its own, so that it can sample while others are trained."""

    def submit(self, requests: Sequence[Request]) -> None:
        """Take requests to be answered. Raises `ValueError` for an empty prompt."""
        ...

    def collect(self) -> list[Sample]:
        """Samples that are finished, at least one while requests wait, in any order."""
        ...

    def serving(self, model: Any, step: int) -> AbstractContextManager[None]:
        """Within, sample from `model`, the policy after `step` training steps."""
        ...


def generate(
    engine: Engine, prompts: Sequence[Sequence[int]], seeds: Sequence[int], params: SamplingParams
) -> list[Sample]:
    """One sample for each prompt, in their order."""
    asked = enumerate(zip(prompts, seeds, strict=True))
    engine.submit([Request(i, prompt, seed, params) for i, (prompt, seed) in asked])
    samples: dict[Hashable, Sample] = {}
    while len(samples) < len(prompts):
        samples |= {sample.key: sample for sample in engine.collect()}
    return [samples[i] for i in range(len(prompts))]
