"""Reflect, then retry: a failed episode is tried again from the turn at which it went wrong.

R³L's (arXiv:2601.03715): whoever reflects names that turn and says what to do better; the retry goes on from there, so
told. An attempt and its retry are siblings that part at the pivot, and are learned from from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentgym.agents.agent import Agent
from agentgym.agents.branching import Branching, Guided
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.reflection import PolicyReflector, Reflection, Reflector
from agentgym.agents.rollout import MakeEnv, play
from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import StopReason, Trajectory
from agentgym.envs.names import named
from agentgym.trainers.metrics import Sums

_OF_REFLECTIONS = "a reflection has none: set learn_reflections to false"
UNTOLD = {
    "logprob_K": "the tokens of a retry were not sampled after the prompts that they are learned after",
    **dict.fromkeys(("greedy_return_N", "duration_T", "answers"), _OF_REFLECTIONS),
}
"""What neither a retry nor, if it is learned from, a reflection tells, and why."""
REFLECTORS: dict[str, type[Any]] = {"policy": PolicyReflector}


def get_reflector(name: str) -> type[Any]:
    """The reflector of this name, or of one's own as "module:Class".

    Raises `ValueError` in one line: with the nearest names, or for what is no reflector.
    """
    found: type[Any] = named("reflector", name, REFLECTORS)
    if not isinstance(found, type) or not hasattr(found, "reflect"):
        raise ValueError(f"the reflector {name!r} is none: a class with a method `reflect` is expected")
    return found


@dataclass
class Retried:
    """What comes of the groups of a round."""

    groups: dict[int, list[Trajectory]] = field(default_factory=dict)
    """What is learned from besides the attempts, by the group's number."""
    counts: Sums = field(default_factory=Sums)


class Retries:
    """One retry of each failed attempt that somebody has something to say about.

    What is learned from is the retry *distilled*, the same tokens after prompts without the guidance. They were not
    sampled after these: they have no log-probabilities of a sampler, and ratios are taken to the policy as it was
    before the step (`update`). With `learn_reflections`, where a retry succeeds and earns more than its attempt, what
    has led to it is learned from too: the reflection, with the retry's return, and the retry as it was played. Each is
    a group of its own, which schemes that compare siblings leave out.

    A retry that the environment fails, or does not lead to the same place, is none.
    """

    def __init__(self, agent: LLMAgent, reflector: Reflector, rules: str, *, learn_reflections: bool = True):
        """`rules`: the environment's instructions."""
        self.agent, self.reflector, self.rules, self.learn_reflections = agent, reflector, rules, learn_reflections
        self.attempts = Branching(agent)

    @property
    def first(self) -> Agent:
        """Who makes the first attempts."""
        return self.attempts

    def play(
        self, groups: Mapping[int, Sequence[Trajectory]], make_env: MakeEnv, *, num_envs: int, workers: int
    ) -> Retried:
        """Reflect on the attempts of a round and retry them; attempts are told where their retries part from them."""
        places = [(n, i) for n, group in groups.items() for i, attempt in enumerate(group) if _has_failed(attempt)]
        attempts = [groups[n][i] for n, i in places]
        reflections = self.reflector.reflect(self.rules, attempts)
        tried = [(place, each) for place, each in zip(places, reflections, strict=True) if each is not None]
        branches = [
            self.attempts.branch(groups[n][i], each.guidance.turn, derived_seed(groups[n][i].episode, "retry"))
            for (n, i), each in tried
        ]
        guided = Guided(
            self.agent,
            {branch.spec.episode: each.guidance for branch, (_, each) in zip(branches, tried, strict=True)},
        )
        played = play(guided, make_env, branches, num_envs=num_envs, workers=workers)
        retried = Retried()
        retried.counts["attempts"] += len(attempts)
        for ((n, i), reflection), retry in zip(tried, played, strict=True):
            retried.counts["lost"] += not retry.counts
            if retry.counts:
                attempt = groups[n][i]
                attempt.pivot = retry.pivot = reflection.guidance.turn
                retried.groups.setdefault(n, []).extend(self._lessons(attempt, i, reflection, retry, guided))
                retried.counts.add(_outcome(attempt, retry))
        self.attempts.forget()
        return retried

    def _lessons(
        self, attempt: Trajectory, member: int, reflection: Reflection, retry: Trajectory, guided: Guided
    ) -> list[Trajectory]:
        """What a retry is learned from as."""
        lessons = [replace(guided.distilled(retry), retry="distilled")]
        if self.learn_reflections and retry.success and retry.total_reward > attempt.total_reward:
            step, _, number = attempt.group.rpartition("/")
            if reflection.guidance.text:
                lessons.append(replace(retry, group=f"{step}/guided-{member}/{number}", retry="guided"))
            if reflection.written is not None:
                turn = replace(reflection.written, reward=retry.total_reward)
                lessons.append(
                    replace(
                        retry,
                        group=f"{step}/reflection-{member}/{number}",
                        turns=[turn],
                        stop_reason=StopReason.SUCCESS,
                        final_state_key=turn.state_key,
                        pivot=0,
                        retry="reflection",
                    )
                )
        return lessons


def _has_failed(attempt: Trajectory) -> bool:
    return attempt.counts and bool(attempt.turns) and not attempt.success


def _outcome(attempt: Trajectory, retry: Trajectory) -> dict[str, float]:
    return {
        "episodes": 1,
        "success": retry.success,
        "better": retry.total_reward > attempt.total_reward,
        "worse": retry.total_reward < attempt.total_reward,
        "pivot": retry.pivot,
        "tokens": sum(len(turn.response_ids) for turn in retry.turns[retry.pivot :]),
    }
