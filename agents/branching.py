"""Episodes that can be played on from any of their turns, and agents that are told something when they do.

For worlds with one seat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from agentgym.agents.agent import Agent, Decision, View
from agentgym.agents.episode import Branch, EpisodeSpec
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.trajectory import Trajectory, Turn


@dataclass(frozen=True)
class _Moment:
    env_state: object
    observation: str
    info: Mapping[str, Any]


class Branching:
    """An agent every moment of whose episodes is kept, by a snapshot of the environment where it can give one."""

    def __init__(self, agent: Agent):
        self.agent = agent
        self._moments: dict[tuple[str, int], _Moment] = {}

    @property
    def trainable(self) -> bool:
        """See `Agent.trainable`."""
        return self.agent.trainable

    def ask(self, views: Sequence[View]) -> None:
        """See `Agent.ask`."""
        for view in views:
            moment = _Moment(_snapshot(view.env), view.observation, deepcopy(view.info))
            self._moments[view.episode, view.turn] = moment
        self.agent.ask(views)

    def answers(self) -> list[tuple[View, Decision]]:
        """See `Agent.answers`."""
        return self.agent.answers()

    def branch(self, trajectory: Trajectory, turn: int, sampling_seed: int) -> Branch:
        """The moment before a turn, from 0, of an episode that this agent has played, to be played on from."""
        moment = self._moments[trajectory.episode, turn]
        so_far = replace(
            trajectory,
            turns=trajectory.turns[:turn],
            stop_reason=None,
            score=None,
            final_observation="",
            final_state_key="",
        )
        spec = EpisodeSpec(trajectory.env_id, trajectory.seed, trajectory.group, sampling_seed)
        return Branch(spec, moment.env_state, [so_far], (moment.observation, moment.info))

    def forget(self) -> None:
        """Drop what was kept."""
        self._moments.clear()


def _snapshot(env: Any) -> object:
    """None for an environment that cannot be copied, whatever it raises: a handle of a process, say."""
    try:
        return env.snapshot()
    except Exception:
        return None


@dataclass(frozen=True)
class Guidance:
    """What an agent is told, from a turn of an episode on."""

    turn: int
    text: str
    """"" tells nothing: the agent just tries again."""


class Guided:
    """A language model's agent that is told something in its episodes; how they would look without is kept.

    The text stands below the observation: in a dialogue below the first from the turn on, which stays in view, in a
    window below each present one. Environment, record and those who ask see the plain observation.
    """

    def __init__(self, agent: LLMAgent, guidance: Mapping[str, Guidance]):
        """`guidance`: by `Trajectory.episode`, of all that are played."""
        self.agent, self.guidance = agent, guidance
        self._views: dict[View, View] = {}
        self._plain: dict[tuple[str, int], Decision] = {}

    @property
    def trainable(self) -> bool:
        """See `Agent.trainable`."""
        return self.agent.trainable

    def ask(self, views: Sequence[View]) -> None:
        """See `Agent.ask`."""
        told = {self._told(view): view for view in views}
        self._views |= told
        self.agent.ask([*told])

    def answers(self) -> list[tuple[View, Decision]]:
        """See `Agent.answers`."""
        answers = [(self._views.pop(told), decision) for told, decision in self.agent.answers()]
        for view, decision in answers:
            if decision.stop_reason is None and self.guidance[view.episode].text:
                plain = replace(view, turns=self._without(view.episode, view.turns))
                self._plain[view.episode, view.turn] = self.agent.after(plain, decision)
        return answers

    def distilled(self, trajectory: Trajectory) -> Trajectory:
        """A trajectory that was played so, as if nothing had been told: the same tokens after the plain prompts.

        They were not sampled after these, and have no log-probabilities.
        """
        return replace(trajectory, turns=self._without(trajectory.episode, trajectory.turns))

    def _told(self, view: View) -> View:
        guidance = self.guidance[view.episode]
        is_in_view = self.agent.context.window is None and view.turn != guidance.turn
        if is_in_view or not guidance.text:
            return view
        return replace(view, observation=f"{view.observation}\n\n{guidance.text}")

    def _without(self, episode: str, turns: Sequence[Turn]) -> list[Turn]:
        found = [(turn, self._plain.get((episode, number))) for number, turn in enumerate(turns)]
        return [
            replace(turn, continues=plain.continues, prompt_ids=plain.prompt_ids, logprobs=[]) if plain else turn
            for turn, plain in found
        ]
