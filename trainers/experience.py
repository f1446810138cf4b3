"""What one training step learns from: trajectories, the table of all that is known of them, their token sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.arrays import IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.layout import Layout, lay_out
from agentgym.trainers.segments import entries


@dataclass(frozen=True, eq=False)
class Experience:
    """The trajectories of one training step that credit can be computed for, in three forms that go together."""

    step: int
    """Training steps finished before it."""
    trajectories: Sequence[Trajectory]
    batch: TurnBatch
    """The table: signals, credit and what the loss takes as given are its columns."""
    layout: Layout
    """The sampled tokens, in the order of `batch`, in the sequences that a model reads."""

    @classmethod
    def of(cls, step: int, trajectories: Sequence[Trajectory]) -> Experience:
        """The experience of trajectories none of which ended in a technical error."""
        return cls(step, trajectories, TurnBatch.from_trajectories(trajectories), lay_out(trajectories))

    def with_columns(self, columns: Mapping[str, NDArray[Any]]) -> Experience:
        """With these columns in the table."""
        return replace(self, batch=self.batch.with_columns(columns))

    def select(self, index_N: IntArray) -> Experience:
        """The experience of the trajectories with these indices, in this order."""
        return replace(
            self,
            trajectories=[self.trajectories[i] for i in index_N.tolist()],
            batch=self.batch.select(index_N),
            layout=self.layout.select(entries(self.batch.token_offsets_N, index_N)),
        )

    def without_excluded(self, requires_groups: bool) -> Experience:
        """Without the trajectories that `excluded_N` says cannot be learned from, and without that column.

        As in `usable_trajectories` siblings that are left alone go too, for schemes that compare them.
        """
        columns = dict(self.batch.columns)
        out_N = columns.pop("excluded_N").astype(np.bool_)
        left = [t for t, out in zip(self.trajectories, out_N, strict=True) if not out]
        usable = set(map(id, usable_trajectories(left, requires_groups)))
        index_N = np.array([i for i, t in enumerate(self.trajectories) if id(t) in usable], np.int64)
        kept = replace(self, batch=replace(self.batch, columns=columns))
        return kept if len(index_N) == len(out_N) else kept.select(index_N)

    @property
    def n_retokenized(self) -> int:
        """How many sampled tokens are another token in the sequences to be trained on. Must be 0.

        Raises `RuntimeError` if a sampled token has no place or two.
        """
        laid_out = len(self.layout.token_K)
        if laid_out != self.batch.n_tokens:
            raise RuntimeError(f"{self.batch.n_tokens} tokens were sampled, {laid_out} would be trained on")
        return int((self.layout.token_K != self.batch.token_K).sum())


def usable_trajectories(trajectories: Sequence[Trajectory], requires_groups: bool) -> list[Trajectory]:
    """The trajectories that credit can be computed for.

    Episodes that the environment failed are left out, and so, for schemes that compare siblings, is an
    episode whose siblings all failed.
    """
    played = [t for t in trajectories if t.counts]
    size = Counter((t.group, t.seat) for t in played)
    return [t for t in played if size[t.group, t.seat] > 1 or not requires_groups]
