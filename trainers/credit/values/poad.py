"""POAD and NTPO: what a turn earned, passed on among its tokens by a critic of tokens."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import gae, penalised, standardise, token_rewards
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.credit.values.ppo import end_values
from agentgym.trainers.parameters import NonNegative, UnitInterval
from agentgym.trainers.segments import last_entries


@credit(
    "poad",
    paper="arXiv:2405.15821",
    needs=["tokens", "value_K"],
    needs_with={"bootstrap_truncated": ["final_value_N"]},
    granularity="token",
)
def poad(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 0.95,
    gae_lambda: UnitInterval = 0.95,
    norm_adv: bool = True,
    bootstrap_truncated: bool = False,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """POAD: GAE on Bellman backups with action decomposition, which discount turns only (arXiv:2405.15821).

    Inside a turn t, from token l to the next, nothing is discounted:

        δ_{t,l} = V_{t,l+1} − V_{t,l},   A_{t,l} = δ_{t,l} + λ·A_{t,l+1}

    and at its last token

        δ_t = r_t + γ·V_{t+1,0} − V_t,   A_t = δ_t + γλ·A_{t+1,0}
        target of V_{t,l} = A_{t,l} + V_{t,l}

    so that the value of a turn's first token is the value of the situation, whatever the turn's length.

    - `gamma` 0.95, `gae_lambda` λ = 0.95: the official code's.
    - `norm_adv`: (A − mean)/(std + 1e-8) over all tokens of the batch with ddof 0; the targets are taken before.
    - `bootstrap_truncated`: V after the last turn of a truncated episode is `final_value_N`, not 0. The official
      code does so where its buffer ends within an episode; here episodes are whole, and it is off.
    - `invalid_action_penalty`: subtracted from the reward of a turn with an invalid action.

    A turn without tokens passes its reward on to the turn before it; before the first token it is lost. No
    groups are compared.

    Paper and code: the official code standardises advantages, in each minibatch and without those that are exactly 0,
    which stand for padding there; here all tokens of the batch count. `norm_adv=False` is the bare definition.
    """
    is_last_K = np.zeros(batch.n_tokens, dtype=np.bool_)
    is_last_K[last_entries(batch.known_token_offsets())] = True
    end_N = end_values(batch, bootstrap_truncated, "poad")
    return _token_gae(batch, np.where(is_last_K, gamma, 1.0), gae_lambda, norm_adv, end_N, invalid_action_penalty)


@credit(
    "ntpo",
    paper="arXiv:2405.15821",
    needs=["tokens", "value_K"],
    needs_with={"bootstrap_truncated": ["final_value_N"]},
    granularity="token",
)
def ntpo(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 0.95,
    gae_lambda: UnitInterval = 0.95,
    norm_adv: bool = True,
    bootstrap_truncated: bool = False,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """NTPO: naive token-level policy optimisation, POAD's comparison, which discounts every token (arXiv:2405.15821).

        δ_l = r_l + γ·V_{l+1} − V_l,   A_l = δ_l + γλ·A_{l+1},   target of V_l = A_l + V_l

    over the tokens of all turns of a trajectory, r_l being the turn's reward at its last token and else 0. Up to
    the standardisation this is `ppo`. The parameters are those of `poad`, and so is what happens to turns
    without tokens. No groups are compared.

    Paper and code: the official code standardises advantages as for `poad`; `norm_adv=False` is the bare definition.
    """
    end_N = end_values(batch, bootstrap_truncated, "ntpo")
    return _token_gae(batch, gamma, gae_lambda, norm_adv, end_N, invalid_action_penalty)


def _token_gae(
    batch: TurnBatch,
    gamma: float | FloatArray,
    gae_lambda: float,
    norm_adv: bool,
    end_N: FloatArray,
    invalid_action_penalty: float,
) -> Credit:
    value_K = batch.signal("value_K")
    reward_K = token_rewards(batch, penalised(batch.reward_T, batch, invalid_action_penalty))
    gae_K = gae(reward_K, value_K, batch.token_offsets_N, gamma=gamma, lam=gae_lambda, end_value=end_N)
    return Credit(
        advantage_K=standardise(gae_K) if norm_adv else gae_K,
        targets={"value_K": gae_K + value_K},
        parts={"reward_K": reward_K, "gae_K": gae_K},
    )
