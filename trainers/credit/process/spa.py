"""SPA-RL: the final reward, redistributed over the turns by a progress estimator."""

from __future__ import annotations

from typing import Literal

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, counted_turns, gae, token_rewards
from agentgym.trainers.credit.blocks import whiten as whitened
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.credit.values.ppo import end_values
from agentgym.trainers.parameters import NonNegative, UnitInterval
from agentgym.trainers.segments import segment_sum


@credit(
    "spa",
    paper="arXiv:2505.20732",
    needs=["tokens", "progress_T", "executable_T", "value_K"],
    needs_with={"bootstrap_truncated": ["final_value_N"], "kl_coefficient": ["logprob_K", "reference_logprob_K"]},
    granularity="token",
)
def spa(
    batch: TurnBatch,
    *,
    scores: Literal["progress", "leave_one_out"] = "progress",
    variant: Literal["paper", "released"] = "paper",
    progress_weight: NonNegative = 1.0,
    grounding_reward: NonNegative = 0.5,
    kl_coefficient: NonNegative = 0.0,
    gamma: UnitInterval = 1.0,
    gae_lambda: UnitInterval = 0.95,
    whiten: bool = True,
    bootstrap_truncated: bool = False,
) -> Credit:
    """SPA-RL: stepwise progress attribution with a grounding reward (arXiv:2505.20732).

        s_t = w·c_t + g·[the action of turn t could be executed]
        r_l = s_t on the last token of turn t, 0 on others, less κ·(log π − log π_ref) on every token
        A   = GAE of r and the critic's V over the response tokens of the trajectory, then whitened

    c_t is `progress_T`, the contributions of an estimator that is trained so that Σ_t c_t is the completion of
    the task: that sum is part `completion_N`. The rewards of the environment do not enter.

    - `progress_weight` w = 1 and `grounding_reward` g = 0.5, that of the released data script.
    - `kl_coefficient` κ: 0, since the released code does not have its configuration; it needs `logprob_K` and
      `reference_logprob_K`. TRL's is 0.2.
    - `gamma` 1, `gae_lambda` 0.95, `whiten`: TRL's defaults, for the same reason; see `ppo` for these, for
      `bootstrap_truncated` and for targets.
    - `scores`, `variant`: see below.

    A turn without tokens passes its reward on to the token before it. Groups are compared only with
    `scores="leave_one_out"`, where a trajectory alone in its task keeps its return.

    Paper and code: the released code departs twice. Its data script overwrites c_t with the return less that of
    the others, R_i − mean_{j≠i} R_j, in all turns: `scores="leave_one_out"`; it also calls the last turn's action
    executable whatever happened, which here is up to `executable_T`. Its trainer multiplies s_t by the number of
    turns that follow, so that the last turn's score is lost: `variant="released"`. The released KL term lies on
    the tokens of observations too, which are no part of a batch here.
    """
    progress_T = batch.signal("progress_T")
    if scores == "leave_one_out":
        return_T = batch.episode_return_N[batch.trajectory_T]
        counted_T = counted_turns(batch, "trajectories")
        score_T = compare(return_T, batch.group_T, scale="leave_one_out", among=counted_T)
    else:
        score_T = progress_weight * progress_T
    score_T = score_T + grounding_reward * batch.flags("executable_T")
    n_following_T = batch.n_turns_N[batch.trajectory_T] - 1 - batch.turn_index_T
    placed_T = score_T * n_following_T if variant == "released" else score_T
    reward_K = token_rewards(batch, placed_T) - _kl_penalty(batch, kl_coefficient)

    value_K = batch.signal("value_K")
    end_N = end_values(batch, bootstrap_truncated, "spa")
    gae_K = gae(reward_K, value_K, batch.token_offsets_N, gamma=gamma, lam=gae_lambda, end_value=end_N)
    return Credit(
        advantage_K=whitened(gae_K) if whiten else gae_K,
        targets={"value_K": gae_K + value_K},
        parts={
            "completion_N": segment_sum(progress_T, batch.trajectory_T, batch.n_trajectories),
            "step_score_T": score_T,
            "reward_K": reward_K,
        },
    )


def _kl_penalty(batch: TurnBatch, coefficient: float) -> float | FloatArray:
    """κ·(log π − log π_ref) of each token, 0 for κ = 0 without the log-probabilities."""
    if coefficient == 0:
        return 0.0
    for need in ("logprob_K", "reference_logprob_K"):
        require(batch, need, "spa with kl_coefficient")
    return coefficient * (batch.signal("logprob_K") - batch.signal("reference_logprob_K"))
