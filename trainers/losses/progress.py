"""The loss of SPA's progress estimator, a model that says how much each turn contributes to the outcome."""

from __future__ import annotations

import torch

from agentgym.trainers.arrays import IntArray
from agentgym.trainers.segments import segment_of


def progress_loss(contribution_T: torch.Tensor, turn_offsets_N: IntArray, outcome_N: torch.Tensor) -> torch.Tensor:
    """SPA's loss of its progress estimator (arXiv:2505.20732): a scalar.

        L = mean_N (Σ_{t in i} c_t − R_i)²

    `contribution_T`: c_t, read once the last token of turn t's response has been read. `outcome_N`: R_i, the final
    reward. No turn has a target of its own: only the sum over a trajectory has; one without turns sums to 0.
    """
    trajectory_T = torch.as_tensor(segment_of(turn_offsets_N), device=contribution_T.device)
    completion_N = contribution_T.new_zeros(len(outcome_N)).index_add(0, trajectory_T, contribution_T)
    return (completion_N - outcome_N).square().mean()
