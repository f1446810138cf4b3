"""What both sides of `update_vs_trl.py` are given: the settings, the prompts, the reward, the report.

Imported by scripts in two virtual environments, so it needs the standard library alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One training run."""

    model: str
    """A directory with model and tokenizer. The tokenizer's end token is none of the model's tokens."""
    output_dir: str
    prompts: int
    """Groups a step, each on a prompt of its own."""
    group_size: int
    prompt_tokens: int
    """Length of every prompt, the chat template's marks included."""
    new_tokens: int
    """Length of every response."""
    steps: int
    """Steps that count."""
    warmup: int
    """Steps before them."""
    threads: int
    learning_rate: float
    seed: int

    @property
    def all_steps(self) -> int:
        return self.warmup + self.steps


def prompt_texts(setting: Setting, template_tokens: int) -> list[str]:
    """As many different prompts as a run takes: digits, each of which is one token."""
    rng = random.Random(setting.seed)
    length = setting.prompt_tokens - template_tokens
    texts = ["".join(rng.choices("0123456789", k=length)) for _ in range(setting.prompts * setting.all_steps)]
    if len(set(texts)) < len(texts):
        raise ValueError(f"prompts of {length} digits are too short to be all different")
    return texts


def reward(text: str) -> float:
    """How much of a response is lower-case letters: any model's responses differ in it."""
    return sum(character.islower() for character in text) / 100


@dataclass
class StepCounts:
    """What one step processed."""

    prompt_lengths: list[int]
    responses: list[Sequence[int]]

    def summary(self) -> dict[str, Any]:
        lengths = [len(response) for response in self.responses]
        return {
            "sequences": len(self.responses),
            "distinct_responses": len({tuple(response) for response in self.responses}),
            "prompt_tokens": sum(self.prompt_lengths),
            "response_tokens": sum(lengths),
            "shortest_response": min(lengths),
            "longest_response": max(lengths),
        }


@dataclass
class Run:
    """What one run reports, warm-up steps included."""

    trainable_parameters: int
    parameters: int
    packages: tuple[str, ...]
    steps: list[dict[str, Any]] = field(default_factory=list)

    def begin_step(self) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def end_step(self) -> None:
        begin, cpu_begin = self._begin
        self._seconds = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu_begin}

    def add(self, counts: StepCounts, rollout_seconds: float, **training: float) -> None:
        """Record the step that has ended. `training`: figures that show that it trains."""
        seconds = {**self._seconds, "rollout_seconds": rollout_seconds}
        self.steps.append({**seconds, **counts.summary(), "training": training})

    def print(self, adapter_norm: float) -> None:
        """As one line of JSON, the last on standard output. `adapter_norm`: of LoRA's B matrices, 0 untrained."""
        report = {
            "adapter_norm": adapter_norm,
            **asdict(self),
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "versions": {
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in self.packages},
            },
        }
        print(json.dumps(report), flush=True)


def read_setting() -> Setting:
    """The setting that the command line of a worker names: a JSON file."""
    return Setting(**json.loads(Path(sys.argv[1]).read_text()))
