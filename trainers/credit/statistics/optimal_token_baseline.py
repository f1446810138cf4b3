"""The optimal token baseline: a baseline for each position of a response, weighted by gradient norms."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import discounted_returns, response_rewards
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.parameters import Positive
from agentgym.trainers.segments import intersect, segment_sum

_NEEDS = ("tokens", "logprob_K", "sum_pi_squared_K")


@credit(
    "optimal_token_baseline",
    paper="arXiv:2602.07078",
    granularity="token",
    needs=_NEEDS,
    needs_with={"positions=sequence": ["position_K"]},
    requires_groups=True,
)
def optimal_token_baseline(
    batch: TurnBatch,
    *,
    positions: Literal["response", "sequence"] = "response",
    zero_tail: bool = True,
    epsilon: Positive = 1e-8,
) -> Credit:
    """Optimal token baseline: the return from each token on, less a baseline of its position (arXiv:2602.07078).

        w_l     = 1 − 2π(a_l) + Σ_v π(v)²         of the distribution that token l was sampled from
        W_{i,l} = Σ_{k≤l} w_{i,k}
        B_{g,l} = Σ_{i∈g} G_{i,l} W_{i,l} / (Σ_{i∈g} W_{i,l} + ε)
        A_{i,l} = G_{i,l} − B_{g,l}

    G is the undiscounted reward from token l on, in later turns too. w is the squared norm of the gradient of
    log π with respect to the logits.

    - `positions="response"`: l counts the response tokens of a trajectory, all turns one after the other: verl's
      multi-turn (TIR) version. "sequence": l counts the environment's tokens between the turns too, which are
      told by the signal `position_K`: verl's version for one turn.
    - `zero_tail`: where the longest trajectory of a group is alone, from the number of response tokens of the
      second longest on, its baseline is 0. Else it would be its own return, and its advantage 0. On, as in verl.
    - `epsilon` ε = 1e-8, verl's.

    Rewards lie on the last tokens of their turns, or are `token_reward_K`'s. A group with one trajectory that
    has tokens has the baseline 0. Turns without tokens pass their reward to the token before; trajectories
    without tokens are not counted.

    Paper and code: what could be read of the paper agrees with verl's code, which is the definition followed here,
    its correction by importance weights left out. With `positions="sequence"` verl compares positions in the
    sequence with a number of response tokens where it zeroes the tail, and so do we; it also counts a response
    without a token as a sibling, and we do not. Whether that version zeroes the tail has changed in verl.
    """
    logprob_K, sum_pi_squared_K = batch.signal("logprob_K"), batch.signal("sum_pi_squared_K")
    group_K = batch.group_N[batch.trajectory_K]
    position_K, place_K = _positions(batch, group_K, positions)
    return_K = discounted_returns(response_rewards(batch, 0.0), batch.token_offsets_N, 1.0)
    weight_K = _running_sum(1 - 2 * np.exp(logprob_K) + sum_pi_squared_K, batch.token_offsets_N)

    n_places = int(place_K.max(initial=-1)) + 1
    weighted = segment_sum(return_K * weight_K, place_K, n_places)
    baseline_K = (weighted / (segment_sum(weight_K, place_K, n_places) + epsilon))[place_K]

    second_g, longest_N = _lengths(batch)
    alone_K = second_g[group_K] == 0
    if zero_tail:
        alone_K |= longest_N[batch.trajectory_K] & (position_K >= second_g[group_K])
    baseline_K[alone_K] = 0.0
    return Credit(advantage_K=return_K - baseline_K, parts={"return_K": return_K, "baseline_K": baseline_K})


def _positions(
    batch: TurnBatch, group_K: IntArray, positions: Literal["response", "sequence"]
) -> tuple[FloatArray | IntArray, IntArray]:
    """The position of each token in its trajectory, and a number for each position of each group."""
    if positions == "sequence":
        require(batch, "position_K", 'optimal_token_baseline with positions="sequence"')
        told_K = batch.signal("position_K")
        return told_K, intersect(group_K, np.unique(told_K, return_inverse=True)[1])
    position_K = np.arange(batch.n_tokens) - batch.token_offsets_N[batch.trajectory_K]
    longest_g = np.zeros(batch.n_groups, dtype=np.int64)
    np.maximum.at(longest_g, batch.group_N, batch.n_tokens_N)
    return position_K, (np.cumsum(longest_g) - longest_g)[group_K] + position_K


def _running_sum(value: FloatArray, offsets: IntArray) -> FloatArray:
    """Σ_{k≤l} x_k within each segment."""
    total: FloatArray = np.append(0.0, np.cumsum(value))
    before: FloatArray = np.repeat(total[offsets[:-1]], np.diff(offsets))
    return total[1:] - before


def _lengths(batch: TurnBatch) -> tuple[IntArray, BoolArray]:
    """The second largest number of tokens in each group, and which trajectories alone have more."""
    length_N, group_N = batch.n_tokens_N, batch.group_N
    ascending = np.lexsort((length_N, group_N))
    last = ascending[np.append(np.diff(group_N[ascending]) != 0, True)[: len(ascending)]]
    rest_N = length_N.copy()
    rest_N[last] = 0
    second_g = np.zeros(batch.n_groups, dtype=np.int64)
    np.maximum.at(second_g, group_N, rest_N)
    return second_g, length_N > second_g[group_N]
