"""TEMPO: the episodes of a group form a prefix tree, and a token that branches is credited for where it led."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.batch_json import distinct
from agentgym.trainers.credit.blocks import compare
from agentgym.trainers.credit.outcome.grpo import grpo
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive
from agentgym.trainers.segments import segment_mean


@credit(
    "tempo",
    paper="arXiv:2509.18314",
    granularity="token",
    needs=["observation", "token_ids"],
    requires_groups=True,
)
def tempo(
    batch: TurnBatch,
    *,
    scale: Literal["std", "none"] = "std",
    epsilon: Positive = 1e-6,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """TEMPO: GRPO with a TD correction where the episodes of a group branch (arXiv:2509.18314).

        V(s)    = mean of R_j over the trajectories j of the task that begin with the prefix s
        A_{i,k} = (R_i − mean_g R + V(s_{k+1}) − V(s_k))/(std_g R + ε)   for token k of trajectory i

    The prefix s_k is everything before the token: the tokens of its turn, and the earlier turns' observations
    and tokens. Where observations differ, the environment branches, and no token is credited for it. A token
    that all who were there chose has V(s_{k+1}) = V(s_k), so that without branches this is `grpo`; after
    a trajectory's last companion has left it, too.

    - `scale="none"`: without the division. std has ddof 1 and `epsilon` is 1e-6, as in the official code.
    - `invalid_action_penalty`: subtracted from the turn's R_i − mean_g R alone, as in `grpo`; V is of plain R.

    A group of one keeps its raw return (mean 0, std 1). Turns without tokens have an observation and nothing to
    credit; trajectories without turns are not counted.

    Paper and code: the same formula in both, for one turn; prefixes through several turns are ours. In a group
    of one the official code divides by an undefined std and gives NaN.
    """
    outcome_T = grpo(batch, scale=scale, epsilon=epsilon, invalid_action_penalty=invalid_action_penalty).advantage_T
    assert outcome_T is not None
    # V is linear in R: prefix values of the normalised returns are normalised prefix values.
    played_N = batch.n_turns_N > 0
    return_N = compare(batch.episode_return_N, batch.group_N, scale=scale, among=played_N, epsilon=epsilon)
    value_S = prefix_values(batch, return_N)
    after_K = np.arange(batch.n_tokens) + batch.turn_K + 1
    td_K = value_S[after_K] - value_S[after_K - 1]
    return Credit(
        advantage_K=outcome_T[batch.turn_K] + td_K,
        parts={"outcome_advantage_T": outcome_T, "td_K": td_K},
    )


def prefix_values(batch: TurnBatch, value_N: FloatArray) -> FloatArray:
    """value_S: for each symbol the mean value of the trajectories of its task that agree up to and with it.

    The symbols S of a trajectory are its turns one after the other, of each the observation, then the tokens:
    turn t's observation is symbol `token_offsets_T[t] + t`, token k is symbol `k + turn_K[k] + 1`.
    """
    symbol_S, offsets_N = dialogue_symbols(batch)
    order = lexicographic_order(symbol_S, offsets_N, batch.group_N)
    length = np.diff(offsets_N)[order]
    row = np.repeat(np.arange(len(order)), length)  # of each symbol, trajectory after trajectory in this order
    start = np.cumsum(length) - length
    depth = np.arange(len(row)) - start[row]
    symbol = offsets_N[order][row] + depth

    shared = shares_prefix(symbol_S, offsets_N, batch.group_N, order, row, depth)
    # Trajectories with a common prefix are neighbours, so that by depth each node of the tree is one stretch.
    by_depth = np.argsort(depth.astype(np.int32), kind="stable")
    node = np.cumsum(~shared[by_depth]) - 1
    mean = segment_mean(value_N[order[row[by_depth]]], node, len(node))
    value_S = np.empty(len(symbol_S))
    value_S[symbol[by_depth]] = mean[node]
    return value_S


def dialogue_symbols(batch: TurnBatch) -> tuple[IntArray, IntArray]:
    """Observations and tokens of all trajectories as numbers, and where each trajectory begins, and the end."""
    assert batch.observation_T is not None and batch.token_K is not None
    symbol_S = np.empty(batch.n_turns + batch.n_tokens, dtype=np.int64)
    symbol_S[batch.known_token_offsets()[:-1] + np.arange(batch.n_turns)] = -1 - distinct(batch.observation_T)
    symbol_S[np.arange(batch.n_tokens) + batch.turn_K + 1] = batch.token_K  # not negative: no observation
    return symbol_S, batch.token_offsets_N + batch.turn_offsets_N


def lexicographic_order(symbol_S: IntArray, offsets_N: IntArray, group_N: IntArray) -> IntArray:
    """The trajectories sorted by group, and in it so that those with a common prefix are neighbours."""
    content, size = symbol_S.tobytes(), symbol_S.itemsize
    bounds, groups = (size * offsets_N).tolist(), group_N.tolist()
    # Bytes compare as fast as memory can be read; any order of the symbols does.
    order = sorted(range(len(groups)), key=lambda i: (groups[i], content[bounds[i] : bounds[i + 1]]))
    return np.array(order, dtype=np.int64)


def shares_prefix(
    symbol_S: IntArray, offsets_N: IntArray, group_N: IntArray, order: IntArray, row: IntArray, depth: IntArray
) -> BoolArray:
    """Whether each symbol, and all before it in its trajectory, are those of the trajectory next before in `order`."""
    before = np.roll(order, 1)
    is_peer = group_N[before] == group_N[order]
    is_peer[:1] = False
    exists = is_peer[row] & (depth < np.diff(offsets_N)[before][row])
    differs = np.ones(len(row), dtype=np.int64)
    at, where = offsets_N[before][row[exists]] + depth[exists], offsets_N[order][row[exists]] + depth[exists]
    differs[exists] = symbol_S[at] != symbol_S[where]
    so_far = np.append(0, np.cumsum(differs))
    shared: BoolArray = so_far[1:] == so_far[np.arange(len(row)) - depth]
    return shared
