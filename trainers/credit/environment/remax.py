"""ReMax: the return against that of a greedy rollout of the same task."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import discounted_returns, penalised, response_rewards
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative
from agentgym.trainers.segments import segment_of, segment_sum


@credit("remax", paper="arXiv:2310.10505", needs=["greedy_return_N"])
def remax(
    batch: TurnBatch,
    *,
    returns: Literal["to_go", "episode"] = "to_go",
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """ReMax: the return less that of a greedy rollout of the same task (arXiv:2310.10505, Algorithm 2).

        A_{i,t} = Σ_{k≥t} r_{i,k} − R^greedy_i

    - `returns="to_go"`: what is earned from the turn on; "episode": the whole episode's return, at each turn.
      The paper rewards the last token alone, where both are the same.
    - `invalid_action_penalty` c: subtracted from A_{i,t} at an invalid turn, and at no other. 0, none.

    Where the batch has `token_reward_K`, in place of the turns' rewards, the sums are over tokens and each
    token has its own advantage. Groups play no part, and each trajectory has its own greedy return; nothing is
    special about groups of one, turns without tokens or trajectories without turns.

    Paper and code: the paper's return is the episode's; its code, and verl's, sum from each token on, so that
    rewards and KL penalties before it do not count, and subtract the same greedy return everywhere. We do as
    the code does; `returns="episode"` is the paper's equation.
    """
    baseline_N = batch.signal("greedy_return_N")
    if "token_reward_K" in batch.columns:
        return_K = _returns(response_rewards(batch, 0.0), batch.token_offsets_N, returns)
        penalty_T = penalised(np.zeros(batch.n_turns), batch, invalid_action_penalty)
        advantage_K = return_K - baseline_N[batch.trajectory_K] + penalty_T[batch.turn_K]
        return Credit(advantage_K=advantage_K, parts={"return_K": return_K})
    return_T = _returns(batch.reward_T, batch.turn_offsets_N, returns)
    advantage_T = penalised(return_T - baseline_N[batch.trajectory_T], batch, invalid_action_penalty)
    return Credit(advantage_T=advantage_T, parts={"return_T": return_T})


def _returns(reward: FloatArray, offsets: IntArray, which: Literal["to_go", "episode"]) -> FloatArray:
    if which == "to_go":
        return discounted_returns(reward, offsets, 1.0)
    trajectory = segment_of(offsets)
    return segment_sum(reward, trajectory, len(offsets) - 1)[trajectory]
