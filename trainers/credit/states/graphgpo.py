"""GraphGPO: a turn is worth what it brings an episode nearer to a success that any of its siblings reached."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.arrays import IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import Statistics, compare, counted_turns
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive, UnitInterval
from agentgym.trainers.segments import entries, intersect, segment_sum


@credit("graphgpo", paper="arXiv:2605.26684", needs=["state_key", "final_state_N", "success_N"], requires_groups=True)
def graphgpo(
    batch: TurnBatch,
    *,
    omega: UnitInterval = 0.1,
    success_reward: Positive = 10.0,
    episode_weight: NonNegative = 1.0,
    graph_weight: NonNegative = 1.0,
    paper_exponent: bool = False,
    epsilon: Positive = 1e-6,
    statistics: Statistics = "turns",
    invalid_action_penalty: NonNegative = 0.1,
) -> Credit:
    """GraphGPO: advantages of episodes, and of turns by their distance to success (arXiv:2605.26684).

        d(s)      = the fewest turns, of any episodes of the task, that lead from the state s to a success
        G_{i,t}   = R⁺·ω^d(s_{i,t+1}), 0 if nobody solved the task
        A^G_{i,t} = (G_{i,t} − mean_s G)/(std_s G + ε)     over the turns of the task that began in the state s_{i,t}
        A^E_i     = (R_i − mean_g R)/(std_g R + ε),   R_i = R⁺·[success] − c·(invalid turns of i)
        A_{i,t}   = β_E·A^E_i + β_G·A^G_{i,t}

    The states of a task's episodes are the nodes of a graph, its turns the edges; the last turn of an episode that
    succeeded leads to a node for success, which is at distance 0, the last of another to the state that was left
    behind (`final_state_N`). States from which no turns lead to success are one further away than the furthest from
    which some do. The rewards of the environment do not enter. Standard deviations have ddof 1.

    - `omega` ω = 0.1, `success_reward` R⁺ = 10, weights β_E = β_G = 1, `epsilon` 1e-6: the official recipe's.
    - `paper_exponent`: R⁺·ω^(d + 1), the turn itself counted too. After standardising ε alone tells the two apart.
    - `statistics`: what mean and std of A^E are taken over; the recipe's is "turns".
    - `invalid_action_penalty` c = 0.1: the recipe's; it reaches all turns of the episode.

    A turn alone in its state, or whose companions are all as near, gets A^G = 0; so does every turn of a task that
    nobody solved. An episode alone in its task gets A^E = 0; if it has but one turn, and turns are counted, R_i.

    Paper and code: the exponent, by default the recipe's. The recipe was read in a public reproduction.
    """
    success_N = batch.flags("success_N")
    n_invalid_N = segment_sum((~batch.valid_T).astype(np.float64), batch.trajectory_T, batch.n_trajectories)
    score_N = success_reward * success_N - invalid_action_penalty * n_invalid_N
    episode_T = compare(
        score_N[batch.trajectory_T],
        batch.group_T,
        scale="std",
        singleton="zero" if statistics == "trajectories" else "raw",
        among=counted_turns(batch, statistics),
        epsilon=epsilon,
    )
    state_T, distance_T = distances_to_success(batch)
    solved_T = (segment_sum(success_N.astype(np.float64), batch.group_N, batch.n_groups) > 0)[batch.group_T]
    return_T = success_reward * solved_T * omega ** (distance_T + float(paper_exponent))
    graph_T = compare(return_T, state_T, scale="std", singleton="zero", epsilon=epsilon)
    return Credit(
        advantage_T=episode_weight * episode_T + graph_weight * graph_T,
        parts={
            "episode_score_N": score_N,
            "episode_advantage_T": episode_T,
            "distance_after_T": distance_T,
            "graph_return_T": return_T,
            "graph_advantage_T": graph_T,
        },
    )


def distances_to_success(batch: TurnBatch) -> tuple[IntArray, IntArray]:
    """The state that each turn began in, the group's own, and the distance to success of the one that it led to.

    A breadth-first search from the successes backwards, of all groups at once: each turn is looked at once.
    """
    assert batch.state_T is not None and batch.final_state_N is not None
    group_TN = np.concatenate([batch.group_T, batch.group_N])
    state_TN = intersect(group_TN, np.concatenate([batch.state_T, batch.final_state_N]))
    n_states = int(state_TN.max(initial=-1)) + 1
    group_V = np.zeros(n_states + batch.n_groups, dtype=np.int64)  # V: the states, and a node of success a group
    group_V[state_TN], group_V[n_states:] = group_TN, np.arange(batch.n_groups)

    before_T, final_N = state_TN[: batch.n_turns], state_TN[batch.n_turns :]
    after_T, has_turns_N = np.append(before_T[1:], 0)[: batch.n_turns], batch.n_turns_N > 0
    end_N = np.where(batch.flags("success_N"), n_states + batch.group_N, final_N)
    after_T[batch.turn_offsets_N[1:][has_turns_N] - 1] = end_N[has_turns_N]

    by_after = np.argsort(after_T, kind="stable")
    into_V = np.searchsorted(after_T[by_after], np.arange(len(group_V) + 1))
    distance_V = np.where(np.arange(len(group_V)) < n_states, -1, 0)
    frontier, distance = np.arange(n_states, len(group_V)), 0
    while frontier.size:
        distance += 1
        found = np.unique(before_T[by_after[entries(into_V, frontier)]])
        frontier = found[distance_V[found] < 0]
        distance_V[frontier] = distance
    furthest = np.zeros(batch.n_groups, dtype=np.int64)
    np.maximum.at(furthest, group_V, distance_V)
    distance_V = np.where(distance_V < 0, furthest[group_V] + 1, distance_V)
    return before_T, distance_V[after_T]
