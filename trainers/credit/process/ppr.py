"""PPR: process rewards of turns, normalised by the outcome (ReNorm)."""

from __future__ import annotations

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import gae, penalised, token_rewards
from agentgym.trainers.credit.blocks import whiten as whitened
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.credit.values.ppo import end_values
from agentgym.trainers.parameters import NonNegative, UnitInterval
from agentgym.trainers.segments import last_entries


@credit(
    "ppr",
    paper="arXiv:2509.25598",
    needs=["tokens", "process_reward_T", "value_K"],
    needs_with={"bootstrap_truncated": ["final_value_N"]},
    granularity="token",
)
def ppr(
    batch: TurnBatch,
    *,
    offset: float = 1.0,
    gamma: UnitInterval = 1.0,
    gae_lambda: UnitInterval = 1.0,
    whiten: bool = True,
    bootstrap_truncated: bool = False,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """PPR: principle process reward with ReNorm (arXiv:2509.25598).

        r̂_t = p_t + R_i − μ    for every turn but the last of the trajectory
        r̂_T = R_i              for the last, whose process nobody judges
        A    = GAE of r̂ on the turns' last tokens and the critic's V, then whitened

    p_t is `process_reward_T` in [0, 1] (the judge's score by its maximum) and R_i, the episode's return, should
    be in [0, 1] too. With μ = 1 a turn earns p_t − 1 ≤ 0 where the answer is wrong and p_t ≥ 0 where it is
    right: a process is never rewarded for a failure, and the outcome counts in every turn however long the
    trajectory.

    - `offset` μ = 1: `renorm_beta` of the official scripts.
    - `gamma` 1 and `gae_lambda` 1: the official configuration's; see `ppo` for these, `whiten`,
      `bootstrap_truncated` and targets.
    - `invalid_action_penalty`: subtracted from r̂ at a turn with an invalid action; official: none.

    A turn without tokens passes its reward on to the token before it. No groups are compared.

    Paper and code: no difference known. The equation is that of the authors' published code (Zhuohao-Li/ppr);
    the paper's own text was not at hand.
    """
    outcome_T = batch.episode_return_N[batch.trajectory_T]
    reward_T = batch.signal("process_reward_T") + outcome_T - offset
    last = last_entries(batch.turn_offsets_N)
    reward_T[last] = outcome_T[last]
    reward_K = token_rewards(batch, penalised(reward_T, batch, invalid_action_penalty))

    value_K = batch.signal("value_K")
    end_N = end_values(batch, bootstrap_truncated, "ppr")
    gae_K = gae(reward_K, value_K, batch.token_offsets_N, gamma=gamma, lam=gae_lambda, end_value=end_N)
    return Credit(
        advantage_K=whitened(gae_K) if whiten else gae_K,
        targets={"value_K": gae_K + value_K},
        parts={"renormed_reward_T": reward_T, "reward_K": reward_K},
    )
