"""R³L: an attempt and its retry are compared, and what went well is amplified."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.outcome.grpo import grpo
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative


@credit("r3l", paper="arXiv:2601.03715", granularity="episode")
def r3l(
    batch: TurnBatch,
    *,
    amplify: bool = True,
    success_return: float = 1.0,
    success_advantage: NonNegative = 1.0,
    positive_factor: NonNegative = 3.0,
) -> Credit:
    """R³L's positive amplification: failures are blamed plainly, what is better is credited more (arXiv:2601.03715).

        S_i = R_i − mean_g R
        A_i = 1 where R_i ≥ 1,   3·S_i where S_i ≥ 0,   S_i elsewhere

    over the attempts and retries of a task. Which turns are learned from `pivot_N` says, for this scheme and all
    others: an attempt and its retry from where they part.

    - `success_return`, `success_advantage`, `positive_factor`: what a success earns at least, A there, and the factor
      elsewhere. 1, 1 and 3: the official code's, whose environments give 1 for a success.
    - `amplify=False`: A_i = S_i.

    A group of one keeps its raw return as S_i. Tokens play no part; trajectories without turns are not counted.

    Paper and code: the official code is compared; the paper's constants could not be read.
    """
    score_T = grpo(batch, scale="none").advantage_T
    assert score_T is not None
    if not amplify:
        return Credit(advantage_T=score_T)
    amplified_T = np.where(score_T >= 0, positive_factor * score_T, score_T)
    has_succeeded_T = (batch.episode_return_N >= success_return)[batch.trajectory_T]
    return Credit(
        advantage_T=np.where(has_succeeded_T, success_advantage, amplified_T), parts={"outcome_advantage_T": score_T}
    )
