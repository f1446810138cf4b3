"""How probable the true answer is before each turn and after the last: the signal of IGPO and its relatives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.experience import Experience
from agentgym.trainers.layout import TokenSequence, share_sequences
from agentgym.trainers.policy import logprob
from agentgym.trainers.signals.forced_answers import forced_answers
from agentgym.trainers.signals.signal import Resources, Signal


class AnswerProbability(Signal):
    """The mean log-probability of the answer's tokens, m = (1/L) Σ_l log π(answer token l | prompt, forced response).

    `answer_prob_T` is exp m, the geometric mean of their probabilities. Before a turn in which siblings were shown the
    same, they share one computation.
    """

    gives = ("answer_logprob_T", "final_answer_logprob_N", "answer_prob_T", "final_answer_prob_N")
    needs = ("answers",)

    def __init__(self, resources: Resources, wanted: frozenset[str]):
        """Raises `ValueError` for a tokenizer that does not tell which characters a token stands for."""
        super().__init__(resources, wanted)
        if not resources.agent.tokenizer.is_fast:
            raise ValueError(
                f"the signal {self.gives[0]} needs to know which tokens are the answer's, and the model's tokenizer "
                f"({type(resources.agent.tokenizer).__name__}, a slow one) does not tell: take a model with a fast one"
            )

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        """Shapes (T,) and (N,)."""
        agent, told = self.resources.agent, self.resources.told
        forced = [forced_answers(agent, t, told.rules(t.seat), told.answer_form) for t in experience.trajectories]
        flat = [each for trajectory in forced for each in trajectory]
        layout = share_sequences([TokenSequence(each.ids, each.answer) for each in flat])
        logprob_K = self.resources.policy.read(layout, {"logprob": logprob})["logprob"]
        length = np.array([len(each.answer) for each in flat], np.int64)
        mean = np.bincount(np.repeat(np.arange(len(flat)), length), logprob_K, len(flat)) / length
        is_final = np.zeros(len(flat), np.bool_)
        is_final[np.cumsum([len(trajectory) for trajectory in forced], dtype=np.int64) - 1] = True
        logprob_T, final_logprob_N = mean[~is_final], mean[is_final]
        values = (logprob_T, final_logprob_N, np.exp(logprob_T), np.exp(final_logprob_N))
        given = dict(zip(self.gives, values, strict=True))
        return {name: given[name] for name in sorted(self.wanted)}
