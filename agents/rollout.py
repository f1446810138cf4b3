"""Episodes in groups, played: the only loop over episodes there is.

A *group* is `group_size` episodes of one task. All who are to act are asked together, and each is carried out as its
answer comes; a slot that falls free is refilled at once, and slow episodes are never dropped.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from agentgym.agents.agent import Agent, Decision, View
from agentgym.agents.episode import Branch, Episode, EpisodeSpec, begin
from agentgym.agents.recording import BrokenPromiseError
from agentgym.agents.trajectory import StopReason, Trajectory
from agentgym.envs.faults import place_in_others

logger = logging.getLogger(__name__)

MakeEnv: TypeAlias = Callable[[], Any]
"""Makes a `TextEnv` or a `TextAECEnv`."""
Players: TypeAlias = Agent | Mapping[str, Agent]
"""Who plays: one agent in all seats, or an agent for each seat."""
Answer: TypeAlias = tuple[View, Decision]
T = TypeVar("T")
R = TypeVar("R")


class GroupError(RuntimeError):
    """A group is not one: its episodes differ in task or first state, or their number is wrong."""


def play(
    players: Players,
    make_env: MakeEnv,
    starts: Sequence[EpisodeSpec | Branch],
    *,
    num_envs: int = 128,
    workers: int = 16,
    on_turn: Callable[[Trajectory], None] = lambda trajectory: None,
    on_episode: Callable[[Trajectory], None] = lambda trajectory: None,
) -> list[Trajectory]:
    """Play every start to its end; return the trajectories in the order of `starts`, one for each seat.

    At most `num_envs` episodes are live at a time. `on_turn` is called with a trajectory whose last turn is now
    complete, `on_episode` with each trajectory of an episode that ends. Environments that wait for something (their
    attribute `waits`) are reset and stepped side by side, `workers` at a time; the results are the same.

    An environment that raises, or gives what none may give, is retried once, from the start on a fresh instance;
    failing again ends the episode with `StopReason.ENV_ERROR` and the reason: it is returned, not hidden, and is no
    failure of the agent.
    """
    for name, value in (("num_envs", num_envs), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    with ThreadPoolExecutor(workers, "env") as pool:
        side_by_side = pool.map if workers > 1 else map
        return _Play(players, make_env, starts, num_envs, side_by_side, on_turn, on_episode).run()


class _Play:
    """The state of one `play`: what is live, what waits, and which environments are idle."""

    def __init__(
        self,
        players: Players,
        make_env: MakeEnv,
        starts: Sequence[EpisodeSpec | Branch],
        num_envs: int,
        side_by_side: Callable[..., Iterable[Any]],
        on_turn: Callable[[Trajectory], None],
        on_episode: Callable[[Trajectory], None],
    ):
        self.players, self.make_env, self.starts, self.num_envs = players, make_env, starts, num_envs
        self.side_by_side, self.on_turn, self.on_episode = side_by_side, on_turn, on_episode
        self.waiting = list(reversed(range(len(starts))))
        self.live: dict[int, Episode] = {}
        self.idle: list[Any] = []
        self.asked: dict[View, tuple[int, Agent]] = {}
        self.failed_once: set[int] = set()
        self.ended: dict[int, list[Trajectory]] = {}

    def run(self) -> list[Trajectory]:
        try:
            while self.waiting or self.live:
                self._start()
                self._ask()
                self._carry_out(self._answers())
        finally:
            for env in [*self.idle, *(episode.env for episode in self.live.values())]:
                _close(env)
        return [trajectory for index in range(len(self.starts)) for trajectory in self.ended[index]]

    def _start(self) -> None:
        """Fill the free slots."""
        while self.waiting and len(self.live) < self.num_envs:
            free = self.num_envs - len(self.live)
            starting = [(index, self._env(index)) for index in (self.waiting.pop() for _ in self.waiting[-free:])]
            ready = [(index, env) for index, env in starting if env is not None]

            def start(of: tuple[int, Any]) -> Episode:
                return begin(of[1], self.starts[of[0]])

            for (index, env), outcome in zip(ready, self._each(start, ready, [env for _, env in ready]), strict=True):
                if isinstance(outcome, Exception):
                    self._env_failed(index, env, "at reset", outcome)
                else:
                    self.live[index] = outcome

    def _env(self, index: int) -> Any | None:
        """An environment for an episode; None if it cannot be made."""
        if self.idle and index not in self.failed_once:  # a second try gets one that nobody has played with
            return self.idle.pop()
        try:
            return self.make_env()
        except Exception as error:
            self._env_failed(index, None, "at reset", error)
            return None

    def _ask(self) -> None:
        views: dict[int, tuple[Agent, list[View]]] = {}
        for index, episode in self.live.items():
            for view in episode.to_act():
                player = self.players[view.seat] if isinstance(self.players, Mapping) else self.players
                self.asked[view] = index, player
                views.setdefault(id(player), (player, []))[1].append(view)
        for player, of_player in views.values():
            player.ask(of_player)

    def _answers(self) -> dict[int, list[Answer]]:
        """What is answered now, by episode. Answers that nobody waits for any more are left out."""
        answered: dict[int, list[Answer]] = defaultdict(list)
        for player in {id(player): player for _, player in self.asked.values()}.values():
            for view, decision in player.answers():
                index, _ = self.asked.pop(view, (-1, player))
                if index >= 0:
                    answered[index].append((view, decision))
        return answered

    def _carry_out(self, answered: dict[int, list[Answer]]) -> None:
        indices = list(answered)

        def play_on(index: int) -> list[Trajectory]:
            return [done for view, decision in answered[index] for done in self.live[index].play(view, decision)]

        envs = [self.live[index].env for index in indices]
        for index, outcome in zip(indices, self._each(play_on, indices, envs), strict=True):
            episode = self.live[index]
            if isinstance(outcome, Exception):
                self._drop(index)
                turn = max(len(trajectory.turns) for trajectory in episode.trajectories)
                self._env_failed(index, episode.env, f"turn {turn}", outcome)
                continue
            for trajectory in outcome:
                self.on_turn(trajectory)
            if all(trajectory.stop_reason is not None for trajectory in episode.trajectories):
                self._drop(index)
                self.idle.append(episode.env)
                self._record(index, episode.trajectories)

    def _each(self, do: Callable[[T], R], items: Sequence[T], envs: Sequence[Any]) -> Iterator[R | Exception]:
        """What `do` gives for each item, or raises; side by side for those whose environments wait."""

        def attempt(item: T) -> R | Exception:
            try:
                return do(item)
            except SystemExit as error:  # an environment that would end us all
                return BrokenPromiseError(f"SystemExit: {error}")
            except Exception as error:
                return error

        waits = [getattr(env, "waits", False) for env in envs]
        begun = iter(self.side_by_side(attempt, [item for item, slow in zip(items, waits, strict=True) if slow]))
        return iter([next(begun) if slow else attempt(item) for item, slow in zip(items, waits, strict=True)])

    def _drop(self, index: int) -> None:
        """Forget a live episode, and what is still waited for in it."""
        del self.live[index]
        self.asked = {view: of for view, of in self.asked.items() if of[0] != index}

    def _env_failed(self, index: int, env: Any | None, place: str, error: Exception) -> None:
        """Queue the episode again at its first failure, give it up at the second. `env`: None if not made."""
        start = self.starts[index]
        spec = start.spec if isinstance(start, Branch) else start
        kind = "" if isinstance(error, BrokenPromiseError) else f"{type(error).__name__}: "
        reason = f"{spec.env_id}, seed {spec.seed}, {place}: {kind}{error}"
        if env is not None:
            _close(env)
        if index not in self.failed_once:
            logger.warning("%s%s; trying again afresh", reason, place_in_others(error))
            self.failed_once.add(index)
            self.waiting.append(index)
            return
        logger.warning("%s again; the episode is excluded", reason)
        trajectory = Trajectory(spec.env_id, spec.seed, spec.group, task_id="", task_type="", episode=spec.episode)
        trajectory.stop_reason = StopReason.ENV_ERROR
        trajectory.error = reason
        self._record(index, [trajectory])

    def _record(self, index: int, trajectories: list[Trajectory]) -> None:
        self.ended[index] = trajectories
        for trajectory in trajectories:
            self.on_episode(trajectory)


def _close(env: Any) -> None:
    """Close an environment that nobody needs any more. That it cannot be closed hurts nobody either."""
    try:
        env.close()
    except Exception as error:
        logger.warning("closing an environment failed: %s: %s", type(error).__name__, error)


def check_groups(trajectories: Sequence[Trajectory], group_size: int | None) -> None:
    """Raise `GroupError` unless every group is `group_size` episodes of one task and company from one first state.

    None stands for groups of any size. Episodes excluded as `ENV_ERROR` count for the size only: what they played
    is unknown. In worlds of several seats siblings are those of one seat.
    """
    groups: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        groups[trajectory.group].append(trajectory)
    for name, members in groups.items():
        named = {member.episode for member in members if member.episode}
        size = len(named) + sum(not member.episode for member in members)
        if group_size is not None and size != group_size:
            raise GroupError(f"group {name!r} has {size} episodes, not {group_size}")
        for seat in {member.seat for member in members}:
            _check_peers(name, [member for member in members if member.seat == seat and member.counts])


def _check_peers(group: str, peers: Sequence[Trajectory]) -> None:
    tasks = {peer.task_id for peer in peers}
    if len(tasks) > 1:
        raise GroupError(f"group {group!r} mixes the tasks {', '.join(sorted(tasks))}")
    partners = {peer.partner for peer in peers}
    if len(partners) > 1:
        raise GroupError(f"group {group!r} mixes the partners {', '.join(sorted(partners))}: siblings meet the same")
    # Among several seats one that is not the first to act begins after what the others did.
    first_turns = [peer.turns[0] for peer in peers if peer.turns and not peer.seat]
    for what in ("state_key", "observation"):
        if (number := len({getattr(turn, what) for turn in first_turns})) > 1:
            raise GroupError(
                f"group {group!r} (task {tasks.pop()}) starts in {number} different states, by their {what}: "
                "reset(seed) of this environment does not give one first state (run check_text_env)"
            )
