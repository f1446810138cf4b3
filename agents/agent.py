"""Agents: whoever answers an observation with an action.

An agent is given all live episodes at once, so that a language model can answer them in one batch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentgym.agents.trajectory import StopReason, Trajectory
from agentgym.envs import NoPlanError, TextEnv


@dataclass(slots=True)
class Episode:
    """A live episode: its environment, and the present moment in it."""

    env: TextEnv
    trajectory: Trajectory
    observation: str
    info: dict[str, Any]
    sampling_seed: int
    """What an agent's randomness in this episode derives from, and nothing else."""

    @property
    def turn(self) -> int:
        """How many turns have been played."""
        return len(self.trajectory.turns)


@dataclass(slots=True)
class Decision:
    """An agent's answer; or, with `stop_reason`, that it cannot answer and the episode ends here."""

    action: str
    response: str = ""
    continues: bool = False
    prompt_ids: list[int] = field(default_factory=list)
    response_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    policy_step: int = 0
    stop_reason: StopReason | None = None
    error: Exception | None = None
    """What the environment raised when it was asked for its plan: a failure of its own, as in a step."""


class Agent(Protocol):
    """Anything that acts."""

    def act(self, episodes: Sequence[Episode]) -> list[Decision]:
        """One decision for each episode, in their order."""
        ...


def _turn_random(episode: Episode) -> random.Random:
    """Private randomness of this turn: the same whatever else is in the batch."""
    return random.Random(f"{episode.sampling_seed}/{episode.turn}")


def random_action(episode: Episode) -> str:
    """One of the admissible actions; where they are not listed, one from the action space."""
    rng = _turn_random(episode)
    actions = episode.info.get("admissible_actions")
    if actions:
        return str(rng.choice(actions))
    episode.env.action_space.seed(rng.getrandbits(31))
    return str(episode.env.action_space.sample())


class RandomAgent:
    """Draws among the admissible actions; where they are not listed, from the action space."""

    def act(self, episodes: Sequence[Episode]) -> list[Decision]:
        """See `Agent.act`."""
        return [Decision(action=random_action(episode)) for episode in episodes]


def planned_action(env: TextEnv) -> str | None:
    """The expert's next action; None where no plan leads to success any more.

    Raises `NotImplementedError` where the environment has no expert.
    """
    try:
        return env.expert()
    except NoPlanError:
        return None


class ExpertAgent:
    """Plays the environment's own expert, and with probability `noise` a random action (`random_action`).

    Where the expert sees no way to success any more, a random action is played: an imperfect
    demonstrator goes on. An environment without an expert raises `NotImplementedError`.
    """

    def __init__(self, noise: float = 0.0):
        """`noise` in [0, 1]."""
        if not 0 <= noise <= 1:
            raise ValueError(f"noise must be in [0, 1], not {noise}")
        self.noise = noise

    def act(self, episodes: Sequence[Episode]) -> list[Decision]:
        """See `Agent.act`."""
        return [self._decide(episode) for episode in episodes]

    def _decide(self, episode: Episode) -> Decision:
        try:
            distribution = self.distribution(episode)
        except NotImplementedError:
            raise
        except Exception as error:  # a search server that is down, say, when the expert asks it
            return Decision(action="", error=error)
        return Decision(_turn_random(episode).choices(list(distribution), list(distribution.values()))[0])

    def distribution(self, episode: Episode) -> dict[str, float]:
        """The probability of every action that may be played."""
        actions = list(dict.fromkeys(episode.info.get("admissible_actions", ()))) or [random_action(episode)]
        expert = planned_action(episode.env)
        if expert is None:
            return dict.fromkeys(actions, 1 / len(actions))
        distribution = dict.fromkeys(actions, self.noise / len(actions)) if self.noise else {}
        distribution[expert] = distribution.get(expert, 0.0) + 1 - self.noise
        return distribution


class HumanAgent:
    """Asks at the terminal. End of input (Ctrl-D) raises `EOFError`."""

    def act(self, episodes: Sequence[Episode]) -> list[Decision]:
        """See `Agent.act`."""
        return [Decision(action=input("> ")) for _ in episodes]
