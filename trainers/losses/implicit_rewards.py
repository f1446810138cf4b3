"""Losses of implicit reward models: language models whose log-ratio to a reference, q, is the reward of a token."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from agentgym.trainers.arrays import BoolArray, IntArray


def prime_cross_entropy(q_sum_N: torch.Tensor, outcome_N: torch.Tensor, *, beta: float = 0.05) -> torch.Tensor:
    """PRIME's loss of its process reward model (arXiv:2502.01456, eq. 5): a scalar.

        L = -mean_N [o log σ(β Σ q) + (1 − o) log(1 − σ(β Σ q))]

    `q_sum_N`: Σ over the response's tokens of log π_φ − log π_ref. `outcome_N`: o in [0, 1], whether it was correct.
    """
    return F.binary_cross_entropy_with_logits(beta * q_sum_N, outcome_N)


def n_preference_pairs(turn_offsets_N: IntArray, group_N: IntArray, success_N: BoolArray) -> int:
    """How many pairs of a success and a failure of the same group `trajectory_dpo` takes the mean over."""
    counts_N = np.diff(turn_offsets_N) > 0
    n_groups = int(group_N.max(initial=-1)) + 1
    won_g = np.bincount(group_N[success_N & counts_N], minlength=n_groups)
    lost_g = np.bincount(group_N[~success_N & counts_N], minlength=n_groups)
    return int((won_g * lost_g).sum())


def trajectory_dpo(
    step_reward_T: torch.Tensor, turn_offsets_N: IntArray, group_N: IntArray, success_N: torch.Tensor
) -> torch.Tensor:
    """iStar's loss of its reward model: DPO between the trajectories of a task (arXiv:2509.19199), a scalar.

        Q_i = mean over the turns of i of β Σ q,   L = -mean over pairs of log σ(Q_success − Q_failure)

    `step_reward_T`: β Σ q of each turn. The pairs are all of one succeeded and one failed trajectory of the same
    group, of all groups together; a group without both has none. 0 where there are no pairs; a trajectory without
    turns is in none.
    """
    count_N = torch.as_tensor(turn_offsets_N[1:] - turn_offsets_N[:-1], device=step_reward_T.device)
    trajectory_T = torch.repeat_interleave(torch.arange(len(count_N), device=count_N.device), count_N)
    sum_N = step_reward_T.new_zeros(len(count_N)).index_add(0, trajectory_T, step_reward_T)
    mean_N = sum_N / count_N.clamp(min=1)
    group = torch.as_tensor(group_N, device=step_reward_T.device)
    won_N, lost_N = success_N.bool() & (count_N > 0), ~success_N.bool() & (count_N > 0)
    is_pair = won_N[:, None] & lost_N[None, :] & (group[:, None] == group[None, :])
    margin = (mean_N[:, None] - mean_N[None, :])[is_pair]
    return -F.logsigmoid(margin).mean() if len(margin) else step_reward_T.sum() * 0.0
