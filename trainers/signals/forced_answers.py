"""The true answer as a forced response: what the probability of knowing it is read off.

Before every turn, and after the last, the agent is made to answer at once and rightly: to the prompt that it was shown
comes the shortest response that gives the answer. How probable the answer's own tokens are there says how much the
agent knows by then: the signal of IGPO (arXiv:2510.14967, eq. 3) and its relatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class ForcedAnswer:
    """A prompt, and after it a response up to the end of the answer in it."""

    ids: tuple[int, ...]
    answer: tuple[int, ...]
    """Ascending indices into `ids`: the answer's own tokens, at least one; the last is the last of `ids`."""


def forced_answers(agent: LLMAgent, trajectory: Trajectory, rules: str, answer_form: str) -> list[ForcedAnswer]:
    """The first of the trajectory's answers forced before each turn and after the last: one more than turns.

    `rules` and `answer_form` are the environment's `instructions` and `answer_form`. What does not fit into the
    model's context is cut off at the prompt's beginning. Raises `ValueError` for a trajectory without an answer, or
    with one that is not a token.
    """
    if not trajectory.answers:
        raise ValueError(f"task {trajectory.task_id!r} of {trajectory.env_id} has no answer to tell the probability of")
    before, after = agent.format.write(answer_form.replace("{answer}", _MARK)).split(_MARK)
    response, places = _tokenize(agent.tokenizer, before, trajectory.answers[0], after)
    if not places:
        raise ValueError(f"task {trajectory.task_id!r} of {trajectory.env_id}: the answer is empty")
    room = max(agent.context_length - len(response), 0)
    forced = []
    for prompt in agent.prompts(trajectory, rules):
        shown = prompt[max(len(prompt) - room, 0) :]
        forced.append(ForcedAnswer((*shown, *response), tuple(len(shown) + place for place in places)))
    return forced


_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"


def _tokenize(tokenizer: PreTrainedTokenizerBase, before: str, answer: str, after: str) -> tuple[list[int], list[int]]:
    """The tokens of the response up to the answer's end, and which of them are the answer's.

    The response is tokenised in one piece, as a model would write it: a token belongs to the answer if any character
    of it does, be it a blank or a bracket that the vocabulary joins to it.
    """
    encoded = tokenizer(before + answer + after, add_special_tokens=False, return_offsets_mapping=True)
    start, end = len(before), len(before) + len(answer)
    places = [
        place
        for place, (first, last) in enumerate(encoded["offset_mapping"])
        if first < end and last > start and first < last
    ]
    return list(encoded["input_ids"])[: places[-1] + 1 if places else 0], places
