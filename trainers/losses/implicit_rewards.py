"""Losses of implicit reward models: language models whose log-ratio to a reference, q, is the reward of a token."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from agentgym.trainers.arrays import IntArray
from agentgym.trainers.segments import last_entries


def prime_cross_entropy(q_sum_N: torch.Tensor, outcome_N: torch.Tensor, *, beta: float = 0.05) -> torch.Tensor:
    """PRIME's loss of its process reward model (arXiv:2502.01456, eq. 5): a scalar.

        L = -mean_N [o log σ(β Σ q) + (1 − o) log(1 − σ(β Σ q))]

    `q_sum_N`: Σ over the response's tokens of log π_φ − log π_ref. `outcome_N`: o in [0, 1], whether it was correct.
    """
    return F.binary_cross_entropy_with_logits(beta * q_sum_N, outcome_N)


def prime_token_rewards(q_K: torch.Tensor, token_offsets_N: IntArray, *, beta: float = 0.05) -> torch.Tensor:
    """PRIME's reward of each token, β q, and 0 for the last of each response: its reward is the outcome. Shape (K,).

    As in the official recipe; the paper gives every token its reward. `prime` normalises them.
    """
    reward_K = beta * q_K
    reward_K[torch.as_tensor(last_entries(token_offsets_N), device=q_K.device)] = 0.0
    return reward_K


def trajectory_dpo(
    step_reward_T: torch.Tensor, turn_offsets_N: IntArray, group_N: IntArray, success_N: torch.Tensor
) -> torch.Tensor:
    """iStar's loss of its reward model: DPO between the trajectories of a task (arXiv:2509.19199), a scalar.

        Q_i = mean over the turns of i of β Σ q,   L = -mean over pairs of log σ(Q_success − Q_failure)

    `step_reward_T`: β Σ q of each turn. The pairs are all of one succeeded and one failed trajectory of the same
    group, of all groups together; a group without both has none. 0 where there are no pairs; a trajectory without
    turns is in none.
    """
    mean_N = mean_step_rewards(step_reward_T, turn_offsets_N)
    has_turns_N = torch.as_tensor(turn_offsets_N[1:] > turn_offsets_N[:-1], device=step_reward_T.device)
    margin_P = preference_margins(mean_N[has_turns_N], group_N[has_turns_N.cpu().numpy()], success_N[has_turns_N])
    return -F.logsigmoid(margin_P).mean() if len(margin_P) else step_reward_T.sum() * 0.0


def mean_step_rewards(step_reward_T: torch.Tensor, turn_offsets_N: IntArray) -> torch.Tensor:
    """Q: the mean of each trajectory's step rewards, 0 for one without turns. Shape (N,)."""
    count_N = torch.as_tensor(turn_offsets_N[1:] - turn_offsets_N[:-1], device=step_reward_T.device)
    trajectory_T = torch.repeat_interleave(torch.arange(len(count_N), device=count_N.device), count_N)
    sum_N = step_reward_T.new_zeros(len(count_N)).index_add(0, trajectory_T, step_reward_T)
    return sum_N / count_N.clamp(min=1)


def preference_margins(score_N: torch.Tensor, group_N: IntArray, success_N: torch.Tensor) -> torch.Tensor:
    """How far the succeeded one's score is above the failed one's, in each pair of these in a group. Shape (pairs,).

    The share above 0 is how often the model that scores is right.
    """
    group = torch.as_tensor(group_N, device=score_N.device)
    is_pair = success_N.bool()[:, None] & ~success_N.bool()[None, :] & (group[:, None] == group[None, :])
    return (score_N[:, None] - score_N[None, :])[is_pair]


def pairwise_accuracy(score_N: torch.Tensor, group_N: IntArray, outcome_N: torch.Tensor) -> torch.Tensor:
    """How often the response with the better outcome has the higher score, among those of a task: a scalar.

    Pairs count by how far their outcomes, in [0, 1], are apart; the mean over groups, ½ for a group whose outcomes
    are all the same. A tie is wrong. PRIME's metric of its reward model.
    """
    accuracy = []
    for group in dict.fromkeys(group_N.tolist()):
        score, outcome = score_N[group_N == group], outcome_N[group_N == group]
        better = (outcome[:, None] - outcome[None, :]).clamp(min=0)
        right = (better * (score[:, None] > score[None, :])).sum()
        accuracy.append(right / better.sum() if better.any() else torch.full_like(right, 0.5))
    return torch.stack(accuracy).mean()
