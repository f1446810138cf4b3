"""PPO's advantages: generalised advantage estimation over tokens, and over turns."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import gae, penalised, response_rewards
from agentgym.trainers.credit.blocks import whiten as whitened
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.parameters import NonNegative, UnitInterval


@credit(
    "ppo",
    paper="arXiv:1707.06347",
    needs=["tokens", "value_K"],
    needs_with={"bootstrap_truncated": ["final_value_N"]},
    granularity="token",
)
def ppo(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 1.0,
    gae_lambda: UnitInterval = 0.95,
    whiten: bool = True,
    bootstrap_truncated: bool = False,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """PPO: generalised advantage estimation over tokens (arXiv:1707.06347, eq. 11 and 12; arXiv:1506.02438, eq. 16).

        δ_l = r_l + γ·V_{l+1} − V_l
        A_l = δ_l + γλ·A_{l+1}
        target of V_l = A_l + V_l

    The chain runs over the response tokens of all turns of a trajectory; what the environment says in between
    is skipped. A turn's reward lies on its last token, unless the batch has `token_reward_K`: then those are
    the rewards, and those of turns are not looked at.

    - `gamma` 1, `gae_lambda` λ = 0.95: TRL's, for tokens; the paper's 0.99 and 0.95 are for steps of MuJoCo.
    - `whiten`: (A − mean)/√(var + 1e-8) over all tokens of the batch with ddof 1, as in verl and TRL; the
      targets are taken before. A single token gets 0, where verl raises.
    - `bootstrap_truncated`: V after the last token of a truncated episode is `final_value_N`, not 0. Off, as
      in verl; the paper bootstraps wherever a segment of experience is cut off.
    - `invalid_action_penalty`: subtracted from the reward of a turn with an invalid action (verl-agent: 0.1).

    A turn without tokens passes its reward on to the token before it; before the first token it is lost. No
    groups are compared.

    Paper and code: the paper's equations do not whiten, all well-known code does, that of its published results
    (OpenAI Baselines, with ddof 0) too: `whiten=False` is the paper's. verl-agent gives each turn a chain of
    its own that ends in the episode's return; that is not offered.
    """
    reward_K = response_rewards(batch, invalid_action_penalty)
    value_K = batch.signal("value_K")
    end_N = end_values(batch, bootstrap_truncated, "ppo")
    gae_K = gae(reward_K, value_K, batch.token_offsets_N, gamma=gamma, lam=gae_lambda, end_value=end_N)
    return Credit(
        advantage_K=whitened(gae_K) if whiten else gae_K,
        targets={"value_K": gae_K + value_K},
        parts={"reward_K": reward_K, "gae_K": gae_K},
    )


@credit("turn_ppo", paper="arXiv:2512.17008", needs=["value_T"], needs_with={"bootstrap_truncated": ["final_value_N"]})
def turn_ppo(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 0.99,
    gae_lambda: UnitInterval = 0.9,
    whiten: bool = True,
    bootstrap_truncated: bool = False,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """Turn-PPO: generalised advantage estimation over turns, each of which is one action (arXiv:2512.17008).

        δ_t = r_t + γ·V_{t+1} − V_t
        A_t = δ_t + γλ·A_{t+1}
        target of V_t = A_t + V_t

    V_t is the critic's value of the situation before turn t. All tokens of a turn get its advantage.

    - `gamma` 0.99, `gae_lambda` λ = 0.9: what the paper's ablation recommends.
    - `whiten`: (A − mean)/√(var + 1e-8) over all turns of the batch with ddof 1, as the public code does; the
      targets are taken before. A single turn gets 0.
    - `bootstrap_truncated`: V after the last turn of a truncated episode is `final_value_N`, not 0.
    - `invalid_action_penalty`: subtracted from the reward of a turn with an invalid action (verl-agent: 0.1).

    Turns without tokens count like others. No groups are compared.

    Paper and code: no official code was found; whitening, and no bootstrap of truncated episodes, are those of the
    turn-level GAE that HiPER's authors (JonP07/HiPER-agent) compare with. Whether the paper whitens could not
    be established.
    """
    reward_T = penalised(batch.reward_T, batch, invalid_action_penalty)
    value_T = batch.signal("value_T")
    end_N = end_values(batch, bootstrap_truncated, "turn_ppo")
    gae_T = gae(reward_T, value_T, batch.turn_offsets_N, gamma=gamma, lam=gae_lambda, end_value=end_N)
    return Credit(
        advantage_T=whitened(gae_T) if whiten else gae_T,
        targets={"value_T": gae_T + value_T},
        parts={"gae_T": gae_T},
    )


def end_values(batch: TurnBatch, bootstrap_truncated: bool, scheme: str) -> FloatArray:
    """end_value_N: V after each trajectory's last turn: `final_value_N` where it was truncated, 0 where it ended.

    0 for all unless `bootstrap_truncated`. Raises `ValueError` if a truncated trajectory has no final value.
    """
    if not bootstrap_truncated or not batch.truncated_N.any():
        return np.zeros(batch.n_trajectories)
    require(batch, "final_value_N", f"{scheme} with bootstrap_truncated")
    return np.where(batch.truncated_N, batch.signal("final_value_N"), 0.0)
