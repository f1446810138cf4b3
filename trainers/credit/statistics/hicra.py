"""HICRA: GRPO with more credit for the tokens that plan."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.outcome.grpo import grpo
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive, UnitInterval


@credit(
    "hicra",
    paper="arXiv:2509.03646",
    granularity="token",
    needs=["tokens", "planning_K"],
    requires_groups=True,
)
def hicra(
    batch: TurnBatch,
    *,
    alpha: UnitInterval = 0.2,
    scale: Literal["std", "none"] = "none",
    epsilon: Positive = 1e-6,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """HICRA: GRPO's advantage, raised at planning tokens (arXiv:2509.03646).

        A_i     = R_i − mean_g R
        A_{i,k} = A_i + α·|A_i|   at planning tokens,   A_i at others

    So that good plans are credited more, (1 + α)·A, and bad ones blamed less, (1 − α)·A; no sign changes.

    - `alpha` α = 0.2: the paper's.
    - `scale="std"`: A_i divided by std_g R + `epsilon`, as in `grpo`. `invalid_action_penalty`: as there.

    Which tokens plan is for `planning_K` to say: in the paper those of "strategic grams", phrases that recur in
    many solutions. In training the signal `planning_tokens` finds them, by a rule of its own. A group of one keeps
    its raw return as A_i. Turns without tokens have nothing to credit; trajectories without turns are not counted.

    Paper and code: the official code could not be read. A port of it to TRL, by others, says that it raises tokens
    of high entropy too, in correct responses longer than their group's mean; such a mask may be given as
    `planning_K`.
    """
    advantage_T = grpo(batch, scale=scale, epsilon=epsilon, invalid_action_penalty=invalid_action_penalty).advantage_T
    assert advantage_T is not None
    advantage_K = advantage_T[batch.turn_K]
    planning_K = batch.flags("planning_K")
    return Credit(
        advantage_K=advantage_K + alpha * planning_K * np.abs(advantage_K),
        parts={"outcome_advantage_T": advantage_T},
    )
