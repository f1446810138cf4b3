"""Leave one out: of episodes (RLOO), and of turns with the same index (TRLOO)."""

from __future__ import annotations

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import (
    Statistics,
    compare,
    counted_turns,
    discounted_returns,
    episode_scores,
    penalised,
)
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, UnitInterval
from agentgym.trainers.segments import intersect


@credit("rloo", paper="arXiv:2402.14740", granularity="episode", requires_groups=True)
def rloo(
    batch: TurnBatch, *, statistics: Statistics = "trajectories", invalid_action_penalty: NonNegative = 0.0
) -> Credit:
    """RLOO: the episode's return less the mean of the others in its group (Ahmadian et al. 2024).

        A_i = R_i − 1/(n−1)·Σ_{j≠i} R_j = n/(n−1)·(R_i − mean_g R)

    - `statistics="turns"`: n and the mean are taken over the group's turns, as verl-agent does by default,
      which no longer leaves a whole trajectory out.
    - `invalid_action_penalty` c: subtracted from R_i at an invalid turn, and at no other. 0, none; 0.1 in
      verl-agent.

    A group of one keeps its raw score, as in verl. Tokens play no part; trajectories without turns are not
    counted.

    Paper and code: verl computes the paper's formula; its vectorised version gives a group of one 0.
    verl-agent counts turns (`statistics="turns"`) and subtracts the penalty.
    """
    score_T = episode_scores(batch, invalid_action_penalty)
    among_T = counted_turns(batch, statistics)
    advantage_T = compare(score_T, batch.group_T, scale="leave_one_out", among=among_T)
    return Credit(advantage_T=advantage_T, parts={"episode_score_T": score_T})


@credit("turn_loo", paper="arXiv:2602.05885", requires_groups=True)
def turn_loo(batch: TurnBatch, *, gamma: UnitInterval = 1.0, invalid_action_penalty: NonNegative = 0.0) -> Credit:
    """TRLOO: a turn's return less those of the group's other turns of the same index (arXiv:2602.05885, §4.2).

        G_{i,t} = Σ_{k≥t} γ^{k−t} r_{i,k}                            (eq. 2)
        A_{i,t} = G_{i,t} − 1/(n_t−1)·Σ_{j≠i} G_{j,t}                (eq. 5)

    over the n_t trajectories of the task that have a turn t. As a trajectory has one turn of each index, its
    own rewards stay out of its baseline.

    - `gamma`: 1, the paper's.
    - `invalid_action_penalty` c: subtracted from G_{i,t} at an invalid turn, and at no other. 0, none.

    A turn that no sibling reached keeps its return (baseline 0); so does a group of one. Tokens play no part.

    Paper and code: no difference known; the paper leaves turns without siblings open, and a port of its
    estimator to verl passes their return through.
    """
    return_T = discounted_returns(batch.reward_T, batch.turn_offsets_N, gamma)
    return_T = penalised(return_T, batch, invalid_action_penalty)
    advantage_T = compare(return_T, intersect(batch.group_T, batch.turn_index_T), scale="leave_one_out")
    return Credit(advantage_T=advantage_T, parts={"return_T": return_T})
