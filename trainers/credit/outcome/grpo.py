"""GRPO and what differs from it in one word: Dr. GRPO, pass@k GRPO."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import Statistics, compare, counted_turns, episode_scores
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive
from agentgym.trainers.segments import segment_std


@credit("grpo", paper="arXiv:2402.03300", granularity="episode", requires_groups=True)
def grpo(
    batch: TurnBatch,
    *,
    scale: Literal["std", "none"] = "std",
    statistics: Statistics = "trajectories",
    epsilon: Positive = 1e-6,
    variance_floor: NonNegative = 0.0,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """GRPO: the episode's return against those of its group (DeepSeekMath §4.1.2, outcome supervision).

        A_i = (R_i − mean_g R)/(std_g R + ε)

    - `scale="none"`: without the division, as in `dr_grpo`.
    - std has ddof 1 and ε = 1e-6 is added to it, as in verl; the paper gives neither.
    - `variance_floor`: std² is at least this. 0, none; 1e-6 is verl's vectorised GRPO.
    - `statistics="trajectories"` counts each trajectory once, as the paper has it; "turns" counts it once a
      turn, so that long ones weigh more: the default of verl-agent (`compute_mean_std_cross_steps`).
      Under "trajectories" its first turn's score stands for the trajectory, its penalty included.
    - `invalid_action_penalty` c: subtracted from R_i at an invalid turn, and at no other (verl-agent's rule).
      0, none; 0.1 in verl-agent.

    A group of one keeps its raw score (mean 0, std 1), as in verl. Tokens play no part; a trajectory without
    turns sampled nothing and is not counted.

    Paper and code: the paper names neither ddof nor epsilon. verl has two versions, of which the vectorised
    one floors the variance (`variance_floor=1e-6`). verl-agent counts turns (`statistics="turns"`) and
    subtracts the penalty.
    """
    score_T = episode_scores(batch, invalid_action_penalty)
    advantage_T = compare(
        score_T,
        batch.group_T,
        scale=scale,
        among=counted_turns(batch, statistics),
        epsilon=epsilon,
        variance_floor=variance_floor,
    )
    return Credit(advantage_T=advantage_T, parts={"episode_score_T": score_T})


@credit("dr_grpo", paper="arXiv:2503.20783", granularity="episode", requires_groups=True)
def dr_grpo(
    batch: TurnBatch, *, statistics: Statistics = "trajectories", invalid_action_penalty: NonNegative = 0.0
) -> Credit:
    """Dr. GRPO: the episode's return less its group's mean, not divided by the std (arXiv:2503.20783, §3.2).

        A_i = R_i − mean_g R

    The paper's other half, the sum over a response's tokens divided by a constant and not by its length, is
    the loss's aggregation. `statistics` and `invalid_action_penalty` are those of `grpo`, and so is what
    happens to groups of one, turns without tokens and trajectories without turns.

    Paper and code: no difference known.
    """
    return grpo(batch, scale="none", statistics=statistics, invalid_action_penalty=invalid_action_penalty)


@credit("grpo_passk", paper="arXiv:2503.19595", granularity="episode", requires_groups=True)
def grpo_passk(batch: TurnBatch, *, scale: Literal["std", "none"] = "std", epsilon: Positive = 1e-6) -> Credit:
    """pass@k GRPO: only the best episode of a group is reinforced, by its lead (arXiv:2503.19595).

        A_i = (R_i − second highest R of g)/(std_g R + ε)   if R_i is the highest of the group, else 0

    - `scale="none"`: without the division. std has ddof 1 and ε = 1e-6 is added to it.

    Episodes that share the highest return have no lead: 0. So has a group of one, which has no second. Tokens
    play no part; trajectories without turns are not counted. All turns of the best episode get its advantage;
    for penalties at single turns there is no definition.

    Paper and code: the formula is verl's, which cites the paper and calls k = n its group; the paper's own
    code was not found. verl divides by the std by default and raises for a group of one.
    """
    has_turns_N = batch.n_turns_N > 0
    return_N = np.where(has_turns_N, batch.episode_return_N, -np.inf)
    best_first = np.lexsort((-return_N, batch.group_N))
    rank_one, rank_two = best_first[:-1], best_first[1:]
    # Neighbours in this order, of one group, whose first is the first of its group.
    leads = np.append(True, batch.group_N[rank_one] != batch.group_N[rank_two])[: len(rank_one)]
    leads &= (batch.group_N[rank_one] == batch.group_N[rank_two]) & has_turns_N[rank_two]
    best, second = rank_one[leads], rank_two[leads]

    advantage_N = np.zeros(batch.n_trajectories)
    advantage_N[best] = return_N[best] - return_N[second]
    if scale == "std":
        std = segment_std(return_N[has_turns_N], batch.group_N[has_turns_N], batch.n_groups)
        advantage_N /= (std + epsilon)[batch.group_N]
    return Credit(advantage_T=advantage_N[batch.trajectory_T], parts={"episode_return_N": batch.episode_return_N})
