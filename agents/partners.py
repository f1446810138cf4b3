"""Who sits in the seats of a game: scripted partners as agents, and companies drawn for each task.

A *partner* is who holds a seat without learning. Which one it is follows from the task's seed alone, so that all
episodes of a group meet the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from agentgym.agents.agent import Agent, Decision, InstantAgent, View
from agentgym.agents.seeds import derived_seed
from agentgym.envs.multi_agent import Partner, SeatedPartner, StatefulPartner

LEARNER = "learner"
"""The name of whoever is trained."""


class ScriptedAgent(InstantAgent):
    """A game's scripted partner, or anybody's of that form: a new one for every seat of every episode.

    One with a state begins anew with a seed that follows from the task's. What it raises fails the episode, as what
    the environment raises does.
    """

    def __init__(self, make_partner: Callable[[], Partner]):
        super().__init__()
        self.make_partner = make_partner
        self._seated: WeakKeyDictionary[Any, dict[str, tuple[str, Partner]]] = WeakKeyDictionary()
        """By the live game: whom each seat is held by, and in which episode."""

    def decide(self, view: View) -> Decision:
        """See `InstantAgent.decide`."""
        try:
            action: object = self._partner(view)(view.observation, dict(view.info))
            if not isinstance(action, str):
                raise TypeError(f"the partner in seat {view.seat} answers {action!r:.80}, which is no str")
        except Exception as error:
            return Decision("", error=error)
        return Decision(action)

    def _partner(self, view: View) -> Partner:
        of_game = self._seated.setdefault(view.env, {})
        episode, partner = of_game.get(view.seat, ("", None))
        if partner is None or episode != view.episode or view.turn == 0:
            partner = self.make_partner()
            if isinstance(partner, SeatedPartner):
                partner.sit(view.env, view.seat)
            if isinstance(partner, StatefulPartner):
                partner.reset(derived_seed(view.task_seed, "partner", view.seat) >> 32)
            of_game[view.seat] = view.episode, partner
        return partner


class Source(Protocol):
    """What a partner's name in a configuration stands for: one agent, or several of which one is drawn for a task."""

    def draw(self, seed: int) -> str:
        """The name of the one who plays."""
        ...

    def agent(self, name: str) -> Agent:
        """Who was drawn by this name."""
        ...


@dataclass(frozen=True)
class Always:
    """The source that is one agent."""

    name: str
    of: Agent

    def draw(self, seed: int) -> str:
        """See `Source`."""
        return self.name

    def agent(self, name: str) -> Agent:
        """See `Source`."""
        return self.of


class Partners:
    """The agent of all seats that are not learned in: it passes on to whom was drawn for the task."""

    trainable = False

    def __init__(self, sources: Mapping[str, Mapping[str, tuple[Source, float]]]):
        """`sources`: by seat, then by name, each with its weight, above 0."""
        self.sources = sources
        self._drawn: dict[str, Source] = {}
        self._pending: dict[int, tuple[Agent, int]] = {}

    def draw(self, task_seed: int) -> dict[str, str]:
        """The names of who holds the seats in a task."""
        return {seat: self._draw(seat, derived_seed(task_seed, "partner in", seat)) for seat in self.sources}

    def _draw(self, seat: str, seed: int) -> str:
        of_seat = list(self.sources[seat].values())
        weights = np.array([weight for _, weight in of_seat])
        rng = np.random.default_rng(seed)
        source = of_seat[int(rng.choice(len(of_seat), p=weights / weights.sum()))][0]
        name = source.draw(int(rng.integers(2**31)))
        self._drawn[name] = source
        return name

    def ask(self, views: Sequence[View]) -> None:
        """See `Agent.ask`."""
        of_agent: dict[int, tuple[Agent, list[View]]] = {}
        for view in views:
            agent = self._drawn[view.player].agent(view.player)
            of_agent.setdefault(id(agent), (agent, []))[1].append(view)
        for key, (agent, asked) in of_agent.items():
            waiting = self._pending.get(key, (agent, 0))[1]
            self._pending[key] = agent, waiting + len(asked)
            agent.ask(asked)

    def answers(self) -> list[tuple[View, Decision]]:
        """See `Agent.answers`."""
        answers: list[tuple[View, Decision]] = []
        for key, (agent, waiting) in list(self._pending.items()):
            given = agent.answers()
            answers += given
            self._pending[key] = agent, waiting - len(given)
            if len(given) >= waiting:
                del self._pending[key]
        return answers


@dataclass(frozen=True)
class Company:
    """Who plays a game: a learner in some seats, partners in the others."""

    learner: Agent
    learners: tuple[str, ...]
    """The learner's seats."""
    partners: Partners

    @cached_property
    def players(self) -> Mapping[str, Agent]:
        """The agent of each seat, as `play` takes them."""
        return dict.fromkeys(self.learners, self.learner) | dict.fromkeys(self.partners.sources, self.partners)

    def draw(self, task_seed: int) -> dict[str, str]:
        """The names of who holds the seats in a task: `EpisodeSpec.players`."""
        return dict.fromkeys(self.learners, LEARNER) | self.partners.draw(task_seed)
