"""Bi-level GAE: advantages of turns first, then of the tokens within each turn."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import gae, penalised, token_rewards
from agentgym.trainers.credit.blocks import whiten as whitened
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.credit.values.ppo import end_values
from agentgym.trainers.parameters import NonNegative, UnitInterval


@credit(
    "bi_level_gae",
    paper="arXiv:2510.16907",
    needs=["tokens", "value_K"],
    needs_with={"bootstrap_truncated": ["final_value_N"]},
    granularity="token",
)
def bi_level_gae(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 1.0,
    gae_lambda: UnitInterval = 1.0,
    high_level_gamma: UnitInterval = 0.95,
    turn_ends: Literal["turns", "nonzero_rewards"] = "turns",
    whiten: bool = True,
    bootstrap_truncated: bool = False,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """Bi-level GAE of VAGEN: estimated over turns, then over the tokens of each turn (arXiv:2510.16907).

    With p_1 < p_2 < … the last tokens of a trajectory's turns, first over turns:

        δ_j = r_j + γ_H·V(p_{j+1}) − V(p_j),   A_j = δ_j + γ_H λ·A_{j+1},   u_j = A_j + V(p_j)

    then over the tokens of each turn, with u_j for the reward of its last token and nothing after it:

        δ_l = γ·V_{l+1} − V_l,   A_l = δ_l + γλ·A_{l+1},   A_{p_j} = u_j − V(p_j) = A_j
        target of V_l = A_l + V_l

    With γ_H = γ = λ = 1 this is `ppo`.

    - `gamma` 1, `gae_lambda` λ = 1 and `high_level_gamma` γ_H = 0.95: RAGEN's; VAGEN's scripts have γ_H from
      0.9 to 0.99.
    - `turn_ends="nonzero_rewards"`: a turn whose reward is exactly 0 is one with the turn after it. The last
      turn of a trajectory is an end in any case, where RAGEN's code stops with an error.
    - `whiten`: (A − mean)/√(var + 1e-8) over all tokens of the batch with ddof 1; the targets are taken before.
    - `bootstrap_truncated`: V after the last turn of a truncated episode is `final_value_N`, not 0.
    - `invalid_action_penalty`: subtracted from the reward of a turn with an invalid action.

    A turn without tokens passes its reward on to the turn before it; before the first token it is lost. No
    groups are compared.

    Paper and code: RAGEN's code finds the ends of turns where rewards are not 0, so that turns without reward merge
    with the next: `turn_ends="nonzero_rewards"`. The paper's turns, and those that VAGEN's code marks, are the
    real ones. One version of VAGEN's code takes the value before a turn's first token, not that before its
    last, for the turn's; that is not offered. Neither bootstraps truncated episodes.
    """
    value_K = batch.signal("value_K")
    reward_K = token_rewards(batch, penalised(batch.reward_T, batch, invalid_action_penalty))
    end_E = _turn_ends(batch, reward_K if turn_ends == "nonzero_rewards" else None)  # E: ends of turns
    end_N = end_values(batch, bootstrap_truncated, "bi_level_gae")

    ends_N = np.searchsorted(end_E, batch.token_offsets_N)  # the ends of trajectory i are [ends_N[i], ends_N[i + 1])
    turn_E = gae(reward_K[end_E], value_K[end_E], ends_N, gamma=high_level_gamma, lam=gae_lambda, end_value=end_N)
    return_K = np.zeros(batch.n_tokens)
    return_K[end_E] = turn_E + value_K[end_E]
    gae_K = gae(return_K, value_K, np.append(0, end_E + 1), gamma=gamma, lam=gae_lambda)

    return Credit(
        advantage_K=whitened(gae_K) if whiten else gae_K,
        targets={"value_K": gae_K + value_K},
        parts={"reward_K": reward_K, "gae_K": gae_K, "turn_end_E": end_E, "turn_gae_E": turn_E},
    )


def _turn_ends(batch: TurnBatch, reward_K: FloatArray | None) -> IntArray:
    """The last token of each turn; of those whose reward is not 0 and of trajectories where rewards are given."""
    is_end_K = np.zeros(batch.n_tokens, dtype=np.bool_)
    is_end_K[batch.known_token_offsets()[1:][batch.n_tokens_T > 0] - 1] = True
    if reward_K is not None:
        is_end_K &= reward_K != 0
        is_end_K[batch.token_offsets_N[1:][batch.n_tokens_N > 0] - 1] = True
    return np.flatnonzero(is_end_K)
