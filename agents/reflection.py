"""Reflection on failed episodes: from which turn to try again, and what to do better (R³L, arXiv:2601.03715)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

from pydantic import Field

from agentgym.agents.branching import Guidance
from agentgym.agents.contexts import ChatPieces
from agentgym.agents.engines import Request, Sample
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import Trajectory, Turn

INSTRUCTIONS = (
    "You are shown an episode that you have played and that failed, step by step, and the rules that it was played by. "
    "Find the step at which it went wrong. Answer with one JSON object and nothing else: "
    '{"summary": what you did, "root_cause": why it failed, "improvement": what to do instead, '
    '"retry_from_step": the number of the step from which you want to try again}.'
)


@dataclass(frozen=True)
class Reflection:
    """What comes of thinking about a failed episode."""

    guidance: Guidance
    """From which turn of it to try again, and what the agent is told then."""
    written: Turn | None = None
    """The reflection as the policy has written it, to be learned from; None if somebody else has thought."""


class Reflector(Protocol):
    """Somebody who reflects. One of your own is a class with a constructor like that of `PolicyReflector`."""

    def reflect(self, rules: str, failed: Sequence[Trajectory]) -> list[Reflection | None]:
        """What comes of each episode; None where nothing does. `rules`: the environment's instructions."""
        ...


class PolicyReflector:
    """The policy itself, which reads the log of its episode and answers in JSON (R³L, arXiv:2601.03715).

    It is asked about failures alone. (The official code asks about every attempt, successes too, and leaves it to the
    answer whether it was one.) An answer that is no such JSON object, or names a step that there is not, is none; so is
    one about an episode that does not fit into the model's context with it.
    """

    def __init__(self, agent: LLMAgent, *, max_new_tokens: Annotated[int, Field(ge=1, description="≥ 1")] = 1024):
        """`max_new_tokens` of a reflection: 4096 in the official configurations.

        Raises `ValueError` in one line where the model's context has no room for them.
        """
        if max_new_tokens >= agent.context_length:
            raise ValueError(
                f"retry_kwargs: a reflection of max_new_tokens {max_new_tokens} leaves nothing of the context of "
                f"{agent.context_length} tokens for the episode: set it to {agent.context_length // 4} or less"
            )
        self.agent = agent
        self.sampling = replace(agent.sampling, max_new_tokens=max_new_tokens)
        self._pieces = ChatPieces(agent.tokenizer, INSTRUCTIONS)

    def reflect(self, rules: str, failed: Sequence[Trajectory]) -> list[Reflection | None]:
        """See `Reflector.reflect`."""
        prompts = [list(self._pieces.opening(episode_log(rules, trajectory))) for trajectory in failed]
        most = self.agent.context_length - self.sampling.max_new_tokens
        requests = [
            Request(i, prompt, derived_seed(failed[i].episode, "reflection"), self.sampling)
            for i, prompt in enumerate(prompts)
            if len(prompt) <= most
        ]
        self.agent.engine.submit(requests)
        samples: dict[Any, Sample] = {}
        while len(samples) < len(requests):
            samples |= {sample.key: sample for sample in self.agent.engine.collect()}
        return [
            self._read(failed[i], prompts[i], samples[i]) if i in samples else None for i in range(len(failed))
        ]  # fmt: skip

    def _read(self, trajectory: Trajectory, prompt: list[int], sample: Sample) -> Reflection | None:
        response = self.agent.decode(sample.ids)
        guidance = read_reflection(response, len(trajectory.turns))
        if guidance is None:
            return None
        written = Turn(
            observation="",
            state_key="reflection",
            action=response,
            response=response,
            prompt_ids=prompt,
            response_ids=sample.ids,
            logprobs=sample.logprobs,
            policy_step=sample.policy_step,
        )
        return Reflection(guidance, written)


def episode_log(rules: str, trajectory: Trajectory) -> str:
    """What a reflector is shown of an episode."""
    steps = [
        f"Step {number}\nObservation: {turn.observation}\nAction: {turn.action}"
        for number, turn in enumerate(trajectory.turns)
    ]
    end = f"In the end: {trajectory.final_observation}\nThe episode failed; its reward is {trajectory.total_reward:g}."
    return "\n\n".join(filter(None, [rules, *steps, end]))


def read_reflection(response: str, n_turns: int) -> Guidance | None:
    """The guidance in the first JSON object of a response; None where there is none, or no such turn."""
    try:
        said, _ = json.JSONDecoder().raw_decode(response, response.index("{"))
        turn, improvement = said["retry_from_step"], said["improvement"]
    except (ValueError, KeyError, RecursionError):
        return None
    if type(turn) is not int or not 0 <= turn < n_turns or not isinstance(improvement, str):
        return None
    reason = said.get("root_cause", "")
    why = f" It failed: {reason}" if reason and isinstance(reason, str) else ""
    return Guidance(turn, f"You have been here before.{why} Now do better: {improvement}")
