"""EPO's history: the mean entropy of each turn index over all training steps so far (arXiv:2509.22576)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.experience import Experience
from agentgym.trainers.losses.regularisers import HistoryMean
from agentgym.trainers.signals.signal import Resources, Signal


class EntropyHistory(Signal):
    """H̄ for each turn: what entropies of turns of its index were over the training steps, this one included.

    `past_entropy.padded_T`: shorter steps get zeros in front, as in the official code; `past_entropy.per_turn_T`: the
    mean over the steps that had such a turn.
    """

    gives = ("past_entropy.*_T",)
    needs = ("entropy_K",)

    def __init__(self, resources: Resources, wanted: frozenset[str]):
        super().__init__(resources, wanted)
        self.steps: list[list[float]] = []
        """By step and turn index."""

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        """Add the step to the history; give its mean, in nats: shapes (T,)."""
        batch = experience.batch
        self.steps.append(mean_by_index(self.resources.processes.gather(entropy_by_index(batch))))
        means: dict[str, HistoryMean] = {"past_entropy.padded_T": "padded", "past_entropy.per_turn_T": "per_turn"}
        wanted = means if self.gives[0] in self.wanted else self.wanted  # named in a configuration it gives both
        return {name: past_mean(self.steps, means[name])[batch.turn_index_T] for name in sorted(wanted)}

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        self.steps = [list(step) for step in state["steps"]]


def entropy_by_index(batch: TurnBatch) -> tuple[FloatArray, FloatArray]:
    """By turn index: the sum of the turns' mean entropies, and how many turns have tokens."""
    has_tokens_T = batch.n_tokens_T > 0
    sum_T = np.bincount(batch.turn_K, batch.signal("entropy_K"), batch.n_turns)
    mean_T = sum_T / np.maximum(batch.n_tokens_T, 1)
    index_T, length = batch.turn_index_T[has_tokens_T], int(batch.turn_index_T.max(initial=-1)) + 1
    sums = np.bincount(index_T, mean_T[has_tokens_T], length)
    return sums.astype(np.float64), np.bincount(index_T, minlength=length).astype(np.float64)


def mean_by_index(parts: Sequence[tuple[FloatArray, FloatArray]]) -> list[float]:
    """The means by turn index of what each process has of a step (`entropy_by_index`)."""
    longest = max(len(sums) for sums, _ in parts)
    total, count = np.zeros(longest), np.zeros(longest)
    for sums, counts in parts:
        total[: len(sums)] += sums
        count[: len(counts)] += counts
    means: list[float] = (total / np.maximum(count, 1)).tolist()
    return means


def past_mean(steps: Sequence[Sequence[float]], history: HistoryMean) -> FloatArray:
    """H̄ by turn index: as many entries as the longest step has turns."""
    longest = max(map(len, steps), default=0)
    if history == "padded":
        rows = [[0.0] * (longest - len(step)) + list(step) for step in steps]
        return np.array(rows, np.float64).mean(axis=0) if rows else np.zeros(0)
    sums, counts = np.zeros(longest), np.zeros(longest)
    for step in steps:
        sums[: len(step)] += step
        counts[: len(step)] += 1
    return sums / counts
