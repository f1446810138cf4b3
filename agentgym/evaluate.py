"""Evaluate any agent on a panel of tasks: what `agentgym eval` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Console

from agentgym.agents.evaluation import Evaluation, evaluate
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.partners import Always, Source
from agentgym.agents.room import check_room
from agentgym.agents.trajectory import Trajectory
from agentgym.config import try_environment
from agentgym.envs import TextAECEnv, TextEnv, make, make_game
from agentgym.envs.names import unknown
from agentgym.envs.worker import WorkerEnv
from agentgym.named_agents import NamedAgent, load_agent
from agentgym.progress import progress_on
from agentgym.seating import Seating, Spec, company, partner_weights, without_model

_OF_ONE_SEAT = ("seat", "partner", "partners")
"""Arguments of a game of which one seat is played, and of no game with all its seats."""


@dataclass(frozen=True)
class Panel:
    """Which tasks are played, and what is told of how far it is."""

    episodes: int
    seed: int
    split: str
    console: Console


def evaluate_agent(
    agent: NamedAgent, env_id: str, env_kwargs: dict[str, Any], panel: Panel, *, env_timeout: float | None = None
) -> Evaluation:
    """Play the panel and sum it up. In its own environment a run's agent meets that run's settings of it.

    `env_timeout`: seconds for a reset or a step, as in `TrainerConfig`.
    """
    env_kwargs = _settings(agent, env_id) | env_kwargs
    if agent.config is not None and agent.config.env_id == env_id:
        env_timeout = agent.config.env_timeout if env_timeout is None else env_timeout
    make_env: Callable[[], TextEnv] = partial(make, env_id, **env_kwargs, split=panel.split)
    if env_timeout is not None:
        make_env = partial(WorkerEnv, make_env, env_timeout)
    try_environment(env_id, make_env)  # a wrong id or argument is an error of the call, not of an episode
    if isinstance(agent.agent, LLMAgent):
        check_room(agent.agent, make_env, env_id)
    with agent.serving():
        return _played(agent.agent, make_env, f"{agent.name} in {env_id}", env_id, agent.name, panel)


@dataclass
class Agents:
    """Agents by name, each loaded once: whoever plays against itself shares its weights."""

    loaded: dict[str, NamedAgent] = field(default_factory=dict)

    def __getitem__(self, name: str) -> NamedAgent:
        if name not in self.loaded:
            self.loaded[name] = load_agent(name)
        return self.loaded[name]

    def partner(self, game: TextAECEnv, name: str) -> Source:
        """The partner of this name: one that needs no model, or another on the model of this name."""
        return Always(name, without_model(name, game) or self[name].make())


def evaluate_in_game(
    agent: NamedAgent,
    partner: Spec,
    env_id: str,
    env_kwargs: dict[str, Any],
    panel: Panel,
    *,
    seats: Sequence[str],
    agents: Agents,
) -> list[Evaluation]:
    """Play the panel in each of the seats, all of the game's if none is named, with `partner` in the others.

    Raises `ValueError` in one line for a world with one seat, and for seats and partners that do not exist.
    """
    own = {name: value for name, value in _settings(agent, env_id).items() if name not in _OF_ONE_SEAT}
    make_env: Callable[[], TextAECEnv] = partial(make_game, env_id, **(own | env_kwargs), split=panel.split)
    try_environment(env_id, make_env)
    game = make_env()
    for seat in seats:
        if seat not in game.possible_agents:
            raise ValueError(f"--seat: {unknown('the game has no seat', seat, game.possible_agents)}")
    weights = partner_weights(partner, game, "--partner")
    if isinstance(agent.agent, LLMAgent):
        check_room(agent.agent, make_env, env_id)
    results = []
    for seat in seats or game.possible_agents:
        others = {other: weights for other in game.possible_agents if other != seat}
        players = company(Seating((seat,), others), agent.agent, partial(agents.partner, game))
        label = f"{agent.name} as {seat} against {', '.join(weights)} in {env_id}"
        with ExitStack() as stack:
            for each in {id(named): named for named in (agent, *agents.loaded.values())}.values():
                stack.enter_context(each.serving())
            results.append(_played(players, make_env, label, env_id, agent.name, panel))
    return results


def _settings(agent: NamedAgent, env_id: str) -> dict[str, Any]:
    """The environment's arguments in the run that the agent comes from, if it is that run's environment."""
    if agent.config is None or agent.config.env_id != env_id:
        return {}
    limit = {} if agent.config.max_turns is None else {"max_turns": agent.config.max_turns}
    return agent.config.env_kwargs | limit


def _played(players: Any, make_env: Callable[[], Any], label: str, env_id: str, agent: str, panel: Panel) -> Evaluation:
    with progress_on(panel.console, transient=True) as progress:
        done, seen = progress.count(label, panel.episodes, unit="episode"), set[str]()

        def count(trajectory: Trajectory) -> None:
            seen.add(trajectory.episode)
            done.reach(len(seen))

        return evaluate(
            players,
            make_env,
            env=env_id,
            agent=agent,
            split=panel.split,
            seed=panel.seed,
            episodes=panel.episodes,
            on_episode=count,
        )
