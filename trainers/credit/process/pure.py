"""PURE: the worth of a response is its worst step, not the sum of its steps."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, discounted_returns, min_form_weights, rate_of_others, token_rewards
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive
from agentgym.trainers.segments import last_entries, segment_sum


@credit(
    "pure",
    paper="arXiv:2504.15275",
    needs=["tokens", "process_reward_T"],
    granularity="token",
    requires_groups=True,
)
def pure(
    batch: TurnBatch,
    *,
    temperature: Positive = 0.1,
    weighting: Literal["min_form", "mean"] = "min_form",
    baseline: Literal["token", "step"] = "token",
    verifiable_weight: NonNegative = 0.0,
    mask_separators: bool = False,
) -> Credit:
    """PURE: min-form credit assignment of given process rewards (arXiv:2504.15275). A step is a turn here.

        w_t   = exp(−p_t/T) / Σ_k exp(−p_k/T)        over the turns of the trajectory
        p*_t  = w_t·p_t,   P_i = Σ_t p*_t            → min_t p_t for T → 0
        b_{i,t} = L_t · Σ_{j≠i} P_j / Σ_{j≠i} L_j    "token": others' reward per token, times the turn's tokens
        b_{i,t} = mean_{j≠i} (P_j / n_j)             "step": others' reward per turn
        r_l   = p*_t − b_{i,t}                       on the last token of turn t, 0 on others
        r_end += c·(R_i − mean_{j≠i} R_j)            on the last token of the trajectory
        A_l   = Σ_{k≥l} r_k                          over the response tokens of the trajectory

    p_t is `process_reward_T`, in (−1, 1); L_t counts the turn's tokens, n_j the trajectory's turns, and j the
    other trajectories of the task that have turns.

    - `temperature` T = 0.1: the official scripts'.
    - `weighting="mean"`: w_t = 1/n_i, the official `disable_weighted_reward`.
    - `baseline`: "token" is the official default.
    - `verifiable_weight` c: 0 is the official reward mode "PRM", a positive one "PRMVR" (coefficient 1 there).
      R_i, the episode's return, should be 1 if the task was solved, else 0.
    - `mask_separators`: sets the advantage of each turn's last token to 0. The official code does so because
      its steps end in a separator, "\\n\\n", that decides nothing. Turns end in no separator, so it is off here:
      with one token a turn nothing would be left to learn from.

    A trajectory alone in its task has the baseline 0. A turn without tokens passes its reward on to the token
    before it. Trajectories without turns do not count.

    Paper and code: separators are masked in the official code by default (`mask_separators=True`), where steps
    are parts of one response; its KL penalty is left to the trainer. No other difference known.
    """
    process_T = batch.signal("process_reward_T")
    trajectory_T, n_turns_N, n_tokens_N = batch.trajectory_T, batch.n_turns_N, batch.n_tokens_N
    if weighting == "min_form":
        weight_T = min_form_weights(process_T, batch.turn_offsets_N, temperature)
    else:
        weight_T = 1.0 / n_turns_N[trajectory_T]
    weighted_T = weight_T * process_T
    outcome_N = segment_sum(weighted_T, trajectory_T, batch.n_trajectories)
    if baseline == "token":
        baseline_T = rate_of_others(outcome_N, n_tokens_N, batch.group_N)[trajectory_T] * batch.n_tokens_T
    else:
        rate_N = outcome_N / np.maximum(n_turns_N, 1)
        baseline_T = rate_of_others(rate_N, n_turns_N > 0, batch.group_N)[trajectory_T]

    reward_K = token_rewards(batch, weighted_T - baseline_T)
    verifiable_N = compare(batch.episode_return_N, batch.group_N, scale="leave_one_out", among=n_turns_N > 0)
    reward_K[last_entries(batch.token_offsets_N)] += verifiable_weight * verifiable_N[n_tokens_N > 0]
    advantage_K = discounted_returns(reward_K, batch.token_offsets_N, 1.0)
    if mask_separators:
        advantage_K[last_entries(batch.known_token_offsets())] = 0.0
    return Credit(
        advantage_K=advantage_K,
        parts={"weighted_reward_T": weighted_T, "outcome_reward_N": outcome_N, "reward_K": reward_K},
    )


def step_scores(logits: FloatArray) -> FloatArray:
    """The step scores p in (−1, 1) of PURE's process reward model: p_pos − p_neg of its two logits.

    `logits`: shape [steps, 2], "negative" before "positive". The difference of the two probabilities is
    tanh of half the difference of the logits.
    """
    return np.tanh((logits[:, 1] - logits[:, 0]) / 2)
