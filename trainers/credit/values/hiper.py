"""HiPER: separate credit for acting, for naming a sub-goal, and for deciding to change it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import discounted_returns, gae, penalised, standardise, successors
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.parameters import NonNegative, UnitInterval
from agentgym.trainers.segments import offsets_at, segment_of

ROLES = frozenset({"switch", "subgoal", "action", ""})
"""What a response token may belong to, as `role_K` says."""


@credit(
    "hiper",
    paper="arXiv:2602.16165",
    needs=["tokens", "role_K", "switch_T", "value_low_T", "value_high_T"],
    needs_with={"termination_head": ["value_switch_T"], "consistency_penalty": ["subgoal_T"]},
    granularity="token",
)
def hiper(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 1.0,
    gae_lambda: UnitInterval = 1.0,
    segment_gae_lambda: UnitInterval = 0.95,
    termination_head: bool = True,
    assign_high_to_switch: bool = False,
    norm_adv: bool = True,
    bootstrap_truncated: bool = False,
    keep_penalty: NonNegative = 0.0,
    keep_penalty_mode: Literal["fixed", "normalized"] = "normalized",
    consistency_penalty: NonNegative = 0.0,
    invalid_action_penalty: NonNegative = 0.1,
) -> Credit:
    """HiPER: hierarchical advantage estimation, within sub-goals and across them (arXiv:2602.16165).

    A trajectory is cut into segments k = [s_k, e_k] of d_k turns where `switch_T` says that a new sub-goal
    begins, and at its first turn. After the last segment all values are 0. Acting, GAE within a segment:

        δ_t = r_t + γ·V′ − V^low_t,   V′ = V^low_{t+1}, at e_k V^high at s_{k+1}
        A^low_t = δ_t + γλ·A^low_{t+1},   A^low = 0 after e_k

    Naming a sub-goal, GAE over segments, as in a semi-Markov process:

        δ_k = Σ_j γ^j r_{s_k+j} + γ^{d_k}·V^high_{k+1} − V^high_k
        A^high_k = δ_k + γ^{d_k} λ_seg·A^high_{k+1}

    Deciding to switch, a return within the segment:

        A^switch_t = G_t − V^switch_t,   G_t = r_t + γ·G_{t+1},   G = V^high at s_{k+1} after e_k

    The targets of the critics are A^low + V^low, A^high + V^high (at the first turns of segments; elsewhere V^high
    itself, which leaves no error) and G.

    A^low goes to the turn's "action" tokens, A^high to the "subgoal" tokens of the first turn of its segment,
    A^switch to the "switch" tokens of every turn (`role_K`). Tokens that get none of them are not trained.

    - `gamma` 1, `gae_lambda` λ = 1, `segment_gae_lambda` λ_seg = 0.95: the official code's.
    - `termination_head=False`: no A^switch; needs no `value_switch_T` then.
    - `assign_high_to_switch`: A^high goes to the "switch" tokens of the same turn too.
    - `norm_adv`: each of the three is made (A − mean)/(std + 1e-8), ddof 0, over the turns of the batch that
      have tokens for it. On in the scripts of the published results.
    - `bootstrap_truncated`: after the last segment of a truncated episode come the last V^low, and the last
      segment's V^high, not 0. Off, as the code has it; the script for ALFWorld turns it on.
    - `keep_penalty`: subtracted at each turn that does not switch ("fixed"), or there divided by the number of
      the trajectory's turns, if it has several ("normalized"). Scripts: "normalized", 0.3 in ALFWorld, where
      success is worth 10, and 3.5 in WebShop.
    - `consistency_penalty`: subtracted at each turn but the first that does not switch and yet names another
      sub-goal than the turn before (`subgoal_T`); where one of the two is empty nothing is. Scripts: 0.3.
    - `invalid_action_penalty` 0.1: subtracted at turns with an invalid action, as verl-agent's trainer does.

    All penalties change the rewards before anything is estimated. Turns without tokens of a role count in the
    chains and not in the normalisation. No groups are compared.

    Paper and code: where the switch is judged, a comment in the official code says that the paper weighs
    V^high − V^low with (q − β), whether it switched less the probability of it; the code runs the G − V^switch
    given here, which needs a third head of the critic. The paper's form is not offered. The code takes a response
    in which it finds no action for action tokens throughout; here that is for whoever makes `role_K` to say. A
    token that belongs to two parts gets the advantages of both there, and here that of its one role.
    """
    reward_T = _shaped_rewards(batch, invalid_action_penalty, keep_penalty, keep_penalty_mode, consistency_penalty)
    turns_S = offsets_at(batch.flags("switch_T"), batch.turn_offsets_N)
    low_T, high_T, return_T = _estimate(
        batch, reward_T, turns_S, gamma, gae_lambda, segment_gae_lambda, bootstrap_truncated
    )
    value_low_T, value_high_T = batch.signal("value_low_T"), batch.signal("value_high_T")
    targets = {"value_low_T": low_T + value_low_T, "value_high_T": high_T + value_high_T}

    role_K = _roles(batch)
    begins_T = np.zeros(batch.n_turns, dtype=np.bool_)
    begins_T[turns_S[:-1]] = True
    is_switch_K, begins_K = role_K == "switch", begins_T[batch.turn_K]
    to_high_K = ((role_K == "subgoal") | (is_switch_K & assign_high_to_switch)) & begins_K
    levels = {"action": (low_T, role_K == "action"), "subgoal": (high_T, to_high_K)}
    if termination_head:
        require(batch, "value_switch_T", "hiper with termination_head")
        levels["switch"] = (return_T - batch.signal("value_switch_T"), is_switch_K)
        targets["value_switch_T"] = return_T

    advantage_T = {name: _of_turns_with(to_K, value_T, batch, norm_adv) for name, (value_T, to_K) in levels.items()}
    return Credit(
        advantage_K=np.sum([advantage_T[name][batch.turn_K] * to_K for name, (_, to_K) in levels.items()], axis=0),
        trained_K=np.logical_or.reduce([to_K for _, to_K in levels.values()]),
        targets=targets,
        parts={"reward_T": reward_T, "segment_T": segment_of(turns_S)}
        | {f"{name}_advantage_T": values_T for name, values_T in advantage_T.items()},
    )


def _estimate(
    batch: TurnBatch,
    reward_T: FloatArray,
    turns_S: IntArray,
    gamma: float,
    gae_lambda: float,
    segment_gae_lambda: float,
    bootstrap_truncated: bool,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A^low_T; A^high_T, 0 but at the first turns of segments; and the return G_T within segments.

    `turns_S` are the offsets of the segments (S) in the turns.
    """
    value_low_T, first_S, last_S = batch.signal("value_low_T"), turns_S[:-1], turns_S[1:] - 1
    value_high_S = batch.signal("value_high_T")[first_S]
    trajectory_S, segments_N = batch.trajectory_T[first_S], np.searchsorted(first_S, batch.turn_offsets_N)

    is_final_S = turns_S[1:] == batch.turn_offsets_N[1:][trajectory_S]
    is_cut_S = is_final_S & batch.truncated_N[trajectory_S] & bootstrap_truncated
    next_high_S = np.where(is_cut_S, value_high_S, successors(value_high_S, segments_N))
    next_low_S = np.where(is_cut_S, value_low_T[last_S], next_high_S)

    low_T = gae(reward_T, value_low_T, turns_S, gamma=gamma, lam=gae_lambda, end_value=next_low_S)

    gamma_S = gamma ** np.diff(turns_S)
    reward_S = discounted_returns(reward_T, turns_S, gamma)[first_S]
    delta_S = reward_S + gamma_S * next_high_S - value_high_S
    high_T = np.zeros(batch.n_turns)
    high_T[first_S] = discounted_returns(delta_S, segments_N, gamma_S * segment_gae_lambda)

    followed_T = reward_T.copy()
    followed_T[last_S] += gamma * next_high_S
    return low_T, high_T, discounted_returns(followed_T, turns_S, gamma)


def _shaped_rewards(
    batch: TurnBatch,
    invalid_action_penalty: float,
    keep_penalty: float,
    keep_penalty_mode: Literal["fixed", "normalized"],
    consistency_penalty: float,
) -> FloatArray:
    """reward_T less the penalties for invalid actions, for keeping the sub-goal, and for renaming a kept one."""
    keeps_T = ~batch.flags("switch_T")
    reward_T = penalised(batch.reward_T, batch, invalid_action_penalty)
    if keep_penalty_mode == "fixed":
        reward_T -= keep_penalty * keeps_T
    else:
        n_turns_T = batch.n_turns_N[batch.trajectory_T]
        reward_T -= keep_penalty * (keeps_T & (n_turns_T > 1)) / n_turns_T
    if consistency_penalty:
        reward_T -= consistency_penalty * (keeps_T & _renames(batch))
    return reward_T


def _renames(batch: TurnBatch) -> BoolArray:
    """The turns that name another sub-goal than the turn before of the same trajectory, where both name one."""
    require(batch, "subgoal_T", "hiper with consistency_penalty")
    subgoal_T = batch.categories("subgoal_T")
    named_T = np.array([subgoal != "" for subgoal in batch.columns["subgoal_T"].tolist()], dtype=np.bool_)
    renames_T = np.zeros(batch.n_turns, dtype=np.bool_)
    renames_T[1:] = (subgoal_T[1:] != subgoal_T[:-1]) & named_T[1:] & named_T[:-1] & (batch.turn_index_T[1:] > 0)
    return renames_T


def _roles(batch: TurnBatch) -> NDArray[np.object_]:
    """role_K. Raises `ValueError` for a role that is none of `ROLES`."""
    role_K: NDArray[np.object_] = batch.columns["role_K"].astype(object, copy=False)
    unknown = set(role_K.tolist()) - ROLES
    if unknown:
        raise ValueError(f"hiper: role_K is {unknown.pop()!r:.80} somewhere, which is none of {sorted(ROLES)}")
    return role_K


def _of_turns_with(to_K: BoolArray, value_T: FloatArray, batch: TurnBatch, norm_adv: bool) -> FloatArray:
    """The values of the turns that have such tokens, among themselves standardised if so wished; 0 for others."""
    has_T = np.bincount(batch.turn_K[to_K], minlength=batch.n_turns) > 0
    return np.where(has_T, standardise(value_T, has_T) if norm_adv else value_T, 0.0)
