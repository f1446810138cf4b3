"""Stratified GRPO: episodes are compared with those of their group that have the same structure."""

from __future__ import annotations

from typing import Literal

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, counted_turns, episode_scores
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.parameters import NonNegative, Positive, UnitInterval
from agentgym.trainers.segments import intersect


@credit(
    "stratified_grpo",
    paper="arXiv:2510.06214",
    granularity="episode",
    needs_with={"strata=signal": ["stratum_N"]},
    requires_groups=True,
)
def stratified_grpo(
    batch: TurnBatch,
    *,
    strata: Literal["turns", "signal"] = "turns",
    alpha: UnitInterval = 0.8,
    epsilon: Positive = 1e-6,
    ddof: Literal[0, 1] = 1,
    singleton: Literal["zero", "raw"] = "zero",
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """Stratified GRPO: advantages within strata of like episodes, blended with GRPO's (arXiv:2510.06214, §4).

        A^SAN_i    = (R_i − mean_k R)/(std_k R + ε)      over the stratum k of the task
        A^global_i = (R_i − mean_g R)/(std_g R + ε)      over the task g
        A_i        = α·A^SAN_i + (1 − α)·A^global_i

    - `strata="turns"`: episodes of one task with the same number of turns; the paper's is the number of search
      calls, which in a search environment is that of turns but one. "signal": those of equal `stratum_N`.
    - `alpha` α: 1 is stratified advantage normalisation (SAN) alone, 0 is GRPO. The 0.8 is ours: the paper's
      value could not be established.
    - `epsilon` 1e-6 and `ddof` 1 as in `grpo`, so that one stratum, or α = 0, is GRPO. ddof 0 gives the paper's
      unit variance exactly.
    - `singleton`: an episode alone in its stratum, or in its group, gets 0 there, or keeps its raw score ("raw",
      as `grpo` does).
    - `invalid_action_penalty` c: subtracted from R_i at an invalid turn, and at no other. 0, none.

    Equal returns give 0. Tokens play no part; trajectories without turns are not counted.

    Paper and code: no official code was found; ddof, epsilon and lone episodes are not stated in what could be
    read of the paper.
    """
    score_T = episode_scores(batch, invalid_action_penalty)
    if strata == "signal":
        require(batch, "stratum_N", 'stratified_grpo with strata="signal"')
    stratum_N = batch.n_turns_N if strata == "turns" else batch.categories("stratum_N")
    stratum_T = intersect(batch.group_T, stratum_N[batch.trajectory_T])
    san_T, global_T = (
        compare(
            score_T,
            segment_T,
            scale="std",
            singleton=singleton,
            among=counted_turns(batch, "trajectories"),
            ddof=ddof,
            epsilon=epsilon,
        )
        for segment_T in (stratum_T, batch.group_T)
    )
    return Credit(
        advantage_T=alpha * san_T + (1 - alpha) * global_T,
        parts={"stratum_T": stratum_T, "stratified_advantage_T": san_T, "global_advantage_T": global_T},
    )
