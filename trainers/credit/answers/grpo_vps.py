"""GRPO-VPS: GRPO, and how far each turn moved the probability of the right answer."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import successors
from agentgym.trainers.credit.outcome.grpo import grpo
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive


@credit(
    "grpo_vps",
    paper="arXiv:2604.20659",
    needs=["answer_logprob_T", "final_answer_logprob_N"],
    requires_groups=True,
)
def grpo_vps(
    batch: TurnBatch,
    *,
    alpha: NonNegative = 1.2,
    scale: Literal["std", "none"] = "none",
    epsilon: Positive = 1e-6,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """GRPO-VPS: the group's comparison of outcomes, and how far each turn moved the answer (arXiv:2604.20659, eq. 3–6).

        C_t     = π(answer | before turn t),   ΔC_t = C_{t+1} − C_t ∈ [−1, 1]
        A_{i,t} = R_i − mean_g R + α·ΔC_{i,t}

    C after the last turn is `final_answer_logprob_N`'s. The ΔC of an episode add up to what it gained in all.

    - `alpha` α = 1.2: the paper's best, and little different within [0.8, 1.4].
    - `scale="std"`: the outcome's part divided by std_g R + `epsilon`, as in `grpo`.

    A group of one keeps its raw return. Tokens do not matter; trajectories without turns are not counted.

    Paper and code: no official code was found. The paper cuts one response into segments at tokens of high
    entropy; here the segments are the turns. It does not say whether the answer's probability is the product over
    its tokens; here it is their geometric mean, as in `igpo` (the same for an answer of one token).
    """
    outcome_T = grpo(batch, scale=scale, epsilon=epsilon, invalid_action_penalty=invalid_action_penalty).advantage_T
    assert outcome_T is not None
    confidence_T = np.exp(batch.signal("answer_logprob_T"))
    final_N = np.exp(batch.signal("final_answer_logprob_N"))
    progress_T = successors(confidence_T, batch.turn_offsets_N, final_N) - confidence_T
    return Credit(
        advantage_T=outcome_T + alpha * progress_T,
        parts={"outcome_advantage_T": outcome_T, "progress_T": progress_T},
    )
