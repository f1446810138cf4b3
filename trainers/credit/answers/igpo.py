"""IGPO: a turn is rewarded for raising the probability of the right answer."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, discounted_returns, gains
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive, UnitInterval
from agentgym.trainers.segments import last_entries, segment_of

InfoGainType: TypeAlias = Literal["prob_diff", "log_prob_diff"]

VARIANCE_EPSILON = 1e-8
"""What IGPO and A²TGPO add to a variance, inside the root."""


@credit("igpo", paper="arXiv:2510.14967", needs=["answer_logprob_T"], requires_groups=True)
def igpo(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 1.0,
    info_gain_type: InfoGainType = "prob_diff",
    norm_mode: Literal["joint", "separate"] = "joint",
    scale: Literal["std", "none"] = "std",
    outcome_weight: NonNegative = 1.0,
    info_gain_weight: NonNegative = 1.0,
    zero_rewards: Literal["merge", "keep"] = "merge",
    epsilon: Positive = 1e-6,
) -> Credit:
    """IGPO: each turn earns the information it gained about the answer, the last the outcome (arXiv:2510.14967).

        r_{i,t} = π(answer | before turn t + 1) − π(answer | before turn t)  for t < T,   r_{i,T} = R_i
        x_{i,t} = (r_{i,t} − mean r)/(std r + ε)                             over the turns of the task
        A_{i,t} = Σ_{j≥t} γ^{j−t} x_{i,j}

    π is the geometric mean of the answer's token probabilities, exp m_t with m_t = `answer_logprob_T`; what the
    last turn did to it is not looked at. std = √(variance + 1e-8) with ddof 0.

    - `info_gain_type`: the difference of probabilities ("prob_diff", the paper's) or of m_t ("log_prob_diff").
    - `norm_mode`: mean and std over all rewards of the task ("joint"), or over outcomes and over gains
      ("separate"). `scale="none"`: without the division.
    - `outcome_weight`, `info_gain_weight`: factors before the normalisation, with which the official code makes
      its curriculum (outcome 0.5 → 1, gain 1 → 0.5 in the course of training; off by default). With "separate"
      they cancel, but for ε.
    - `zero_rewards="merge"`: a turn whose x is exactly 0 joins the next one that has another, without a discount;
      "keep": it is a turn as any. Only γ < 1 shows the difference.
    - `gamma` 1 and `epsilon` 1e-6: the official code's.

    A reward alone in its pool (with "separate" the outcome in a group of one) gets x = 0. Tokens do not matter;
    trajectories without turns are not counted.

    Paper and code: the code offers both `info_gain_type` and both `norm_mode`. Its functions' defaults are ours,
    "prob_diff" as in the paper, and "joint"; its training script of February 2026 has "log_prob_diff" and
    "separate". The merging of exact zeros is the code's alone: it finds the turns again by their rewards. The code
    falls back to the outcome where an answer's probability is missing; here a missing one is an error. An invalid
    format has the outcome −2 there, which is for the environment to say. The release of November 2025 computed
    something else, which is not offered.
    """
    gain_T = information_gains(batch, info_gain_type)
    final_T = final_turns(batch)
    outcome_T = batch.episode_return_N[batch.trajectory_T]
    reward_T = np.where(final_T, outcome_weight * outcome_T, info_gain_weight * gain_T)
    pool_T = batch.group_T if norm_mode == "joint" else 2 * batch.group_T + final_T
    normalised_T = normalise(reward_T, pool_T, scale=scale, epsilon=epsilon)
    accumulate = merged_returns if zero_rewards == "merge" else discounted_returns
    return Credit(
        advantage_T=accumulate(normalised_T, batch.turn_offsets_N, gamma),
        parts={"info_gain_T": gain_T, "reward_T": reward_T, "normalised_reward_T": normalised_T},
    )


def information_gains(batch: TurnBatch, info_gain_type: InfoGainType) -> FloatArray:
    """What each turn but the last of its trajectory gained in the answer's (log-)probability; 0 for the last."""
    logprob_T = batch.signal("answer_logprob_T")
    return gains(np.exp(logprob_T) if info_gain_type == "prob_diff" else logprob_T, batch.turn_offsets_N)


def final_turns(batch: TurnBatch) -> BoolArray:
    """Which turns are the last of their trajectories."""
    final_T = np.zeros(batch.n_turns, dtype=np.bool_)
    final_T[last_entries(batch.turn_offsets_N)] = True
    return final_T


def normalise(
    value: FloatArray,
    pool: IntArray,
    *,
    scale: Literal["std", "none"],
    epsilon: float,
    among: BoolArray | None = None,
) -> FloatArray:
    """(x − mean)/(√(variance + 1e-8) + ε) within each pool, ddof 0; 0 for an entry alone in its pool."""
    return compare(
        value,
        pool,
        scale=scale,
        singleton="zero",
        among=among,
        ddof=0,
        epsilon=epsilon,
        variance_epsilon=VARIANCE_EPSILON,
    )


def merged_returns(reward: FloatArray, offsets: IntArray, gamma: float) -> FloatArray:
    """Discounted returns where an entry with reward 0 is one with the next that has another.

    It gets that one's return, undiscounted; 0 if none follows in its segment.
    """
    entry = np.flatnonzero(reward)
    bounds = np.searchsorted(entry, offsets)
    return_ = np.append(discounted_returns(reward[entry], bounds, gamma), 0.0)
    following = np.searchsorted(entry, np.arange(len(reward)))
    return np.where(following < bounds[1:][segment_of(offsets)], return_[following], 0.0)
