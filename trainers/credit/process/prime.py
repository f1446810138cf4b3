"""PRIME: implicit process rewards of tokens and the outcome, each against the others of the task."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, discounted_returns, peak_normalised, rate_of_others
from agentgym.trainers.credit.blocks import whiten as whitened
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative
from agentgym.trainers.segments import last_entries, segment_mean


@credit(
    "prime",
    paper="arXiv:2502.01456",
    needs=["tokens", "implicit_reward_K"],
    granularity="token",
    requires_groups=True,
)
def prime(
    batch: TurnBatch,
    *,
    process_weight: NonNegative = 5.0,
    outcome_weight: NonNegative = 5.0,
    normalisation: Literal["batch_norm", "none"] = "batch_norm",
    process_baseline: Literal["all", "others"] = "all",
    whiten: bool = True,
) -> Credit:
    """PRIME: process reinforcement through implicit rewards (arXiv:2502.01456, eq. 5 and Algorithm 1).

        r^φ_l = β·log(π_φ/π_ref)                            `implicit_reward_K`
        x_l   = r^φ_l/(max_l |Σ_{k≥l} r^φ_k| + 1e-6)        "batch_norm": over the batch, left out below 1e-3
        p_l   = n/(n−1)·x_l − 1/(n−1)·Σ_j mean_{k∈j} x_k    over the n trajectories j of the task: "all"
        p_l   = x_l − 1/(n−1)·Σ_{j≠i} mean_{k∈j} x_k        "others"
        o_i   = n/(n−1)·(R_i − mean_j R_j)                  on the last token of the trajectory, 0 on others
        G_l   = Σ_{k≥l} (c_p·p_k + c_o·o_k)                 over the response tokens of the trajectory
        A_l   = (G_l − mean G)/√(var G + 1e-8)              over all tokens of the batch, ddof 1, or G_l

    - `process_weight` c_p and `outcome_weight` c_o: 5 and 5, `reward_dpo_coef` and `reward_gt_coef` of the
      official recipe.
    - `normalisation`: "batch_norm" is the official recipe's `prime_norm`.
    - `process_baseline`, `whiten`: see below.

    R_i, the episode's return, is the recipe's accuracy in [0, 1]. A trajectory alone in its task has the
    baseline 0 at both levels, where the official code divides by 0. Trajectories without tokens do not count;
    turns without tokens get nothing.

    Paper and code: the paper's eq. 5 is `process_baseline="others"`, both weights 1, `normalisation="none"` and
    `whiten=False`. In the official recipe the mean of the token's own trajectory stays in the baseline and its
    reward is scaled by n/(n−1) in return, which for outcomes comes to the same and for processes does not; the
    defaults here are the recipe's in everything, but that it divides by the maximum however small that is. It gives
    the last token of a response no process reward: that is up to the signal.
    """
    process_K = batch.signal("implicit_reward_K")
    if normalisation == "batch_norm":
        process_K = peak_normalised(process_K, batch.token_offsets_N)
    has_tokens_N = batch.n_tokens_N > 0
    process_advantage_K = _against_others(process_K, batch, process_baseline)
    outcome_N = compare(batch.episode_return_N, batch.group_N, scale="leave_one_out", among=has_tokens_N)

    reward_K = process_weight * process_advantage_K
    reward_K[last_entries(batch.token_offsets_N)] += outcome_weight * outcome_N[has_tokens_N]
    return_K = discounted_returns(reward_K, batch.token_offsets_N, 1.0)
    return Credit(
        advantage_K=whitened(return_K) if whiten else return_K,
        parts={"process_reward_K": process_K, "outcome_advantage_N": outcome_N, "return_K": return_K},
    )


def _against_others(process_K: FloatArray, batch: TurnBatch, baseline: Literal["all", "others"]) -> FloatArray:
    """p: each token's process reward less the mean of the trajectories' means."""
    mean_N = segment_mean(process_K, batch.trajectory_K, batch.n_trajectories)
    has_tokens_N = batch.n_tokens_N > 0
    if baseline == "others":
        return process_K - rate_of_others(mean_N, has_tokens_N, batch.group_N)[batch.trajectory_K]
    # The means of trajectories enter the statistics, the tokens that are compared with them do not.
    value_NK = np.concatenate([mean_N, process_K])
    group_NK = np.concatenate([batch.group_N, batch.group_N[batch.trajectory_K]])
    among_NK = np.concatenate([has_tokens_N, np.zeros(batch.n_tokens, dtype=np.bool_)])
    return compare(value_NK, group_NK, scale="leave_one_out", among=among_NK)[batch.n_trajectories :]
