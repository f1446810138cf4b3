"""How probable the true answer is before each turn and after the last: the signal of IGPO and its relatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agentgym.agents.answers import ForcedAnswer
from agentgym.trainers.batch import FloatArray
from agentgym.trainers.layout import TokenSequence, share_sequences
from agentgym.trainers.scoring import log_probabilities

ANSWER_SIGNALS = ("answer_logprob_T", "final_answer_logprob_N", "answer_prob_T", "final_answer_prob_N")


def answer_signals(
    model: Any, forced: Sequence[Sequence[ForcedAnswer]], *, max_tokens: int, temperature: float
) -> dict[str, FloatArray]:
    """All of `ANSWER_SIGNALS`, from what each trajectory's answer was forced after (`forced_answers`).

    m = (1/L) Σ_l log π(answer token l | prompt, forced response so far), and exp m, the geometric mean of the tokens'
    probabilities. Before a turn in which siblings were shown the same, they share one computation. `max_tokens`: in a
    micro-batch, padding counted.
    """
    flat = [each for trajectory in forced for each in trajectory]
    batch = share_sequences([TokenSequence(each.ids, each.answer) for each in flat])
    logprob_K = log_probabilities(model, batch, max_tokens=max_tokens, temperature=temperature)
    length = np.array([len(each.answer) for each in flat], np.int64)
    mean = np.bincount(np.repeat(np.arange(len(flat)), length), logprob_K, len(flat)) / length
    is_final = np.zeros(len(flat), np.bool_)
    is_final[np.cumsum([len(trajectory) for trajectory in forced], dtype=np.int64) - 1] = True
    logprob_T, final_logprob_N = mean[~is_final], mean[is_final]
    values = (logprob_T, final_logprob_N, np.exp(logprob_T), np.exp(final_logprob_N))
    return dict(zip(ANSWER_SIGNALS, values, strict=True))
