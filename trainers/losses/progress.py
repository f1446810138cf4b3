"""The loss of SPA's progress estimator."""

from __future__ import annotations

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.segments import segment_sum


def progress_residual(batch: TurnBatch, progress_T: FloatArray) -> FloatArray:
    """Σ_t c_t − R of each trajectory, shape (N,): the mean of its square is SPA's loss (arXiv:2505.20732).

    R is the episode's undiscounted return. The gradient with respect to c_t is 2 (Σ c − R)/N for every turn alike:
    which turn contributed is learned only by comparing trajectories.
    """
    return segment_sum(progress_T, batch.trajectory_T, batch.n_trajectories) - batch.episode_return_N
