"""Agents: whoever answers an observation with an action.

An agent is asked, and answers when it can: a language model answers all who wait in one batch, a server whenever an
answer comes in, and nobody is held up by another.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentgym.agents.trajectory import StopReason, Turn
from agentgym.envs import NoPlanError


@dataclass(frozen=True, eq=False)
class View:
    """What one seat of a live episode is shown when it is to act."""

    episode: str
    """`Trajectory.episode`."""
    seat: str
    """"" in worlds with one seat."""
    rules: str
    """The environment's instructions."""
    observation: str
    info: Mapping[str, Any]
    """As `agentgym.envs.Info`."""
    turns: Sequence[Turn]
    """What the seat has played so far."""
    seed: int
    """What an agent's randomness for this seat in this episode derives from, and nothing else."""
    env: Any
    """The environment itself: for its own expert, its action space and its scripted partners, and nobody else."""
    task_seed: int = 0
    """The task's: the same in all episodes of a group."""
    player: str = ""
    """Who is to answer, by the name in `EpisodeSpec.players`; "" where nobody has drawn one."""

    @property
    def turn(self) -> int:
        """How many turns the seat has played."""
        return len(self.turns)


@dataclass(slots=True)
class Decision:
    """An agent's answer; or, with `stop_reason`, that it cannot answer and the episode ends here.

    The other fields are those of `Turn`, which are recorded.
    """

    action: str
    response: str = ""
    continues: bool = False
    prompt_ids: list[int] = field(default_factory=list)
    response_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    fault: str = ""
    policy_step: int = 0
    stop_reason: StopReason | None = None
    error: Exception | None = None
    """What the environment raised when it was asked for its plan: a failure of its own, as in a step."""


class Agent(Protocol):
    """Anything that acts."""

    @property
    def trainable(self) -> bool:
        """Whether what it plays is learned from."""
        ...

    def ask(self, views: Sequence[View]) -> None:
        """Begin to think about answers."""
        ...

    def answers(self) -> list[tuple[View, Decision]]:
        """Answers to those who were asked, in any order: at least one while any is waited for."""
        ...


class InstantAgent(ABC):
    """Base of agents that answer each view by itself, at once: only `decide` is to be written."""

    trainable = False

    def __init__(self) -> None:
        self._asked: list[View] = []

    @abstractmethod
    def decide(self, view: View) -> Decision:
        """The answer."""

    def ask(self, views: Sequence[View]) -> None:
        """See `Agent.ask`."""
        self._asked += views

    def answers(self) -> list[tuple[View, Decision]]:
        """See `Agent.answers`."""
        asked, self._asked = self._asked, []
        return [(view, self.decide(view)) for view in asked]


def _turn_random(view: View) -> random.Random:
    """Private randomness of this turn: the same whatever else is asked."""
    return random.Random(f"{view.seed}/{view.turn}")


def random_action(view: View) -> str:
    """One of the admissible actions; where they are not listed, one from the action space."""
    rng = _turn_random(view)
    actions = view.info.get("admissible_actions")
    if actions:
        return str(rng.choice(actions))
    space = view.env.action_space(view.seat) if view.seat else view.env.action_space
    space.seed(rng.getrandbits(31))
    return str(space.sample())


class RandomAgent(InstantAgent):
    """Draws among the admissible actions; where they are not listed, from the action space."""

    def decide(self, view: View) -> Decision:
        """See `InstantAgent.decide`."""
        return Decision(random_action(view))


def planned_action(env: Any, seat: str = "") -> str | None:
    """The expert's next action for a seat; None where no plan leads to success any more.

    Raises `NotImplementedError` where the environment has no expert.
    """
    try:
        return str(env.expert(seat) if seat else env.expert())
    except NoPlanError:
        return None


class ExpertAgent(InstantAgent):
    """Plays the environment's own expert, and with probability `noise` a random action (`random_action`).

    Where the expert sees no way to success any more, a random action is played: an imperfect
    demonstrator goes on. An environment without an expert raises `NotImplementedError`.
    """

    def __init__(self, noise: float = 0.0):
        """`noise` in [0, 1]."""
        super().__init__()
        if not 0 <= noise <= 1:
            raise ValueError(f"noise must be in [0, 1], not {noise}")
        self.noise = noise

    def decide(self, view: View) -> Decision:
        """See `InstantAgent.decide`."""
        try:
            distribution = self.distribution(view)
        except NotImplementedError:
            raise
        except Exception as error:  # a search server that is down, say, when the expert asks it
            return Decision(action="", error=error)
        return Decision(_turn_random(view).choices(list(distribution), list(distribution.values()))[0])

    def distribution(self, view: View) -> dict[str, float]:
        """The probability of every action that may be played."""
        actions = list(dict.fromkeys(view.info.get("admissible_actions", ()))) or [random_action(view)]
        expert = planned_action(view.env, view.seat)
        if expert is None:
            return dict.fromkeys(actions, 1 / len(actions))
        distribution = dict.fromkeys(actions, self.noise / len(actions)) if self.noise else {}
        distribution[expert] = distribution.get(expert, 0.0) + 1 - self.noise
        return distribution


class HumanAgent(InstantAgent):
    """Asks at the terminal. End of input (Ctrl-D) raises `EOFError`."""

    def decide(self, view: View) -> Decision:
        """See `InstantAgent.decide`."""
        return Decision(input("> "))
