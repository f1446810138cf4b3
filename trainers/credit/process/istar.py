"""iStar: advantages of episodes, and of turns by the rewards that an implicit process reward model gives them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from agentgym.trainers.arrays import BoolArray, FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, counted_turns, episode_scores, peak_normalised, whiten
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.parameters import NonNegative, Positive

Baseline: TypeAlias = Literal["rloo", "grpo", "grpo_without_std", "reinforce_pp_baseline"]


@credit("istar", paper="arXiv:2509.19199", needs=["implicit_reward_T"], requires_groups=True)
def istar(
    batch: TurnBatch,
    *,
    step_weight: float = 1.0,
    baseline: Baseline = "rloo",
    step_statistics: Literal["all_turns", "first_turns"] = "all_turns",
    normalisation: Literal["batch_norm", "none"] = "batch_norm",
    epsilon: Positive = 1e-6,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """iStar: implicit step rewards for agents (arXiv:2509.19199).

        r^φ_{i,t} = β·Σ_l log(π_φ/π_old)          over the tokens of the turn: `implicit_reward_T`
        r_{i,t}   = r^φ_{i,t}/(max |r^φ| + 1e-6)  "batch_norm": over the batch, left out below 1e-3
        A^E_i     = R_i against the returns of the task g,   each trajectory counted once
        A^S_{i,t} = r_{i,t} against the rewards of the turns of the task
        A_{i,t}   = A^E_i + ω·A^S_{i,t}

    - `baseline`: what "against" is, for both levels. "rloo": n/(n − 1)·(x − mean), the default of the official
      scripts and of the paper's best results; "grpo": (x − mean)/(std + ε) with ddof 1; "grpo_without_std":
      x − mean; "reinforce_pp_baseline": x − mean, whitened over all response tokens of the batch, each having
      its turn's value (needs tokens).
    - `step_weight` ω = 1, `epsilon` ε = 1e-6, `normalisation`: the official scripts'; the paper's α is 1 too.
    - `step_statistics`: the turns that mean, std and n of A^S are taken of, see below.
    - `invalid_action_penalty`: subtracted from R_i at a turn with an invalid action, and from nothing else.

    A level with one entry in the task (one trajectory, or one turn) keeps its raw value.

    Paper and code: the paper compares a step reward with all step rewards of the task. The official code counts
    each trajectory once here too and so takes mean, std and n of the first turns only (whether on purpose is not
    known): `step_statistics="first_turns"`. The division by the largest reward was found in the code only:
    `normalisation="none"` is without it.
    """
    step_T = batch.signal("implicit_reward_T")
    if normalisation == "batch_norm":
        step_T = peak_normalised(step_T, np.arange(batch.n_turns + 1))
    first_T = counted_turns(batch, "trajectories")
    step_counted_T = first_T if step_statistics == "first_turns" else counted_turns(batch, "turns")

    episode_T = _against_task(episode_scores(batch, invalid_action_penalty), first_T, batch, baseline, epsilon)
    step_advantage_T = _against_task(step_T, step_counted_T, batch, baseline, epsilon)
    return Credit(
        advantage_T=episode_T + step_weight * step_advantage_T,
        parts={
            "step_reward_T": step_T,
            "episode_advantage_T": episode_T,
            "step_advantage_T": step_advantage_T,
        },
    )


def _against_task(
    value_T: FloatArray, among_T: BoolArray, batch: TurnBatch, baseline: Baseline, epsilon: float
) -> FloatArray:
    """Each turn's value against those of its task that count."""
    if baseline == "rloo":
        return compare(value_T, batch.group_T, scale="leave_one_out", among=among_T)
    if baseline == "grpo":
        return compare(value_T, batch.group_T, scale="std", among=among_T, epsilon=epsilon)
    centred_T = compare(value_T, batch.group_T, among=among_T)
    return centred_T if baseline == "grpo_without_std" else _whitened_over_tokens(centred_T, batch)


def _whitened_over_tokens(value_T: FloatArray, batch: TurnBatch) -> FloatArray:
    """The turns' values, whitened by mean and variance over tokens: a turn counts once for each it has."""
    require(batch, "tokens", "istar with baseline='reinforce_pp_baseline'")
    value_TK = np.concatenate([value_T, value_T[batch.turn_K]])
    return whiten(value_TK, among=np.arange(len(value_TK)) >= batch.n_turns)[: batch.n_turns]
