"""Live episodes, with one seat or several: whose turn it is, what is seen, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from agentgym.agents.agent import Decision, View
from agentgym.agents.recording import (
    BrokenPromiseError,
    begun_turn,
    check_moment,
    close,
    complete,
    end_reason,
    finite,
    opened,
)
from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import StopReason, Trajectory, Turn
from agentgym.envs import TextEnv

if TYPE_CHECKING:
    from agentgym.envs.multi_agent import TextAECEnv


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """An episode to be played."""

    env_id: str
    seed: int
    """The task: episodes of a group share it."""
    group: str
    sampling_seed: int
    """The agents' randomness: different for every episode of a group."""
    players: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Who holds the seats, by name: drawn with the task's seed, so that a group has one company."""

    @property
    def episode(self) -> str:
        """Names the episode among those that are played with it."""
        return f"{self.group}/{self.sampling_seed}"


@dataclass(frozen=True)
class Branch:
    """A moment of an episode, from which it can be played on: with another `sampling_seed` in `spec`, differently.

    The environment that it is played on in must have been made with the same arguments.
    """

    spec: EpisodeSpec
    env_state: object
    """None in a world with one seat whose state could not be copied: then the same actions are played again."""
    trajectories: Sequence[Trajectory]
    pending: Any = None
    """What else the kind of episode has to remember."""


class Episode(Protocol):
    """A live episode."""

    env: Any
    spec: EpisodeSpec
    trajectories: list[Trajectory]
    """One for each seat. They are whole once nobody is to act any more."""

    def to_act(self) -> list[View]:
        """What those are shown who are to act and have not been shown it yet; empty when the episode is over."""
        ...

    def play(self, view: View, decision: Decision) -> list[Trajectory]:
        """Carry out a decision; return the trajectories whose last turn is now complete, its reward known.

        Raises what the environment raises, now or when the decision was made (`Decision.error`), and
        `BrokenPromiseError`.
        """
        ...

    def snapshot(self) -> Branch:
        """The present moment. Nobody may have been shown what they have not answered yet."""
        ...


def begin(env: Any, start: EpisodeSpec | Branch) -> Episode:
    """Reset `env` to the task of a spec, or put it back to where a branch begins."""
    return SoloEpisode(env, start) if isinstance(env, TextEnv) else SeatedEpisode(env, start)


class SoloEpisode:
    """An episode of a world with one seat."""

    def __init__(self, env: TextEnv, start: EpisodeSpec | Branch):
        """Begins the episode. Raises what the environment raises, and `BrokenPromiseError`."""
        self.env = env
        if isinstance(start, Branch):
            self.spec = start.spec
            if start.env_state is None:
                _play_again(env, start)
            else:
                env.restore(start.env_state)
            self.trajectories = _copied(start)
            self._observation, self._info = deepcopy(start.pending)
        else:
            self.spec = start
            self._observation, self._info = env.reset(seed=start.seed)
            check_moment(self._observation, self._info)
            self.trajectories = [_opened(start, "", self._info)]
        self._shown = self._over = False

    def to_act(self) -> list[View]:
        """See `Episode.to_act`."""
        if self._shown or self._over:
            return []
        self._shown = True
        (trajectory,) = self.trajectories
        return [_view(self.spec, trajectory, self.env.instructions, self._observation, self._info, self.env)]

    def play(self, view: View, decision: Decision) -> list[Trajectory]:
        """See `Episode.play`."""
        if decision.error is not None:
            raise decision.error
        (trajectory,) = self.trajectories
        if decision.stop_reason is not None:
            self._end(decision.stop_reason)
            return []
        turn = begun_turn(view, decision)
        self._observation, reward, terminated, truncated, self._info = self.env.step(decision.action)
        check_moment(self._observation, self._info)
        complete(turn, reward, self._info)
        trajectory.turns.append(turn)
        self._shown = False
        if terminated or truncated:
            self._end(end_reason(terminated, self._info))
        return [trajectory]

    def snapshot(self) -> Branch:
        """See `Episode.snapshot`."""
        return Branch(
            self.spec, self.env.snapshot(), deepcopy(self.trajectories), deepcopy((self._observation, self._info))
        )

    def _end(self, stop_reason: StopReason) -> None:
        self._over = True
        close(self.trajectories[0], stop_reason, self._observation, self._info)


class SeatedEpisode:
    """An episode of a game of several seats: one trajectory for each, in the order of `possible_agents`.

    A turn's reward is what its seat earns up to its next act or the end; what a seat is given before its first act is
    counted to its first turn. Where several are to act at once they are shown it together, and carried out in the
    game's order.
    """

    def __init__(self, env: TextAECEnv, start: EpisodeSpec | Branch):
        """Begins the episode. Raises what the environment raises, and `BrokenPromiseError`."""
        self.env = env
        seats = list(env.possible_agents)
        self._shown: set[str] = set()
        self._decided: dict[str, tuple[View, Decision]] = {}
        if isinstance(start, Branch):
            self.spec = start.spec
            env.restore(start.env_state)
            self.trajectories = _copied(start)
            self._open: dict[str, Turn] = deepcopy(start.pending)
        else:
            self.spec = start
            env.reset(seed=start.seed)
            for seat in seats:
                check_moment(env.observe(seat), env.infos[seat])
            self.trajectories = [_opened(start, seat, env.infos[seat]) for seat in seats]
            _introduce(self.trajectories, start.players)
            self._open = {}
        self._of = dict(zip(seats, self.trajectories, strict=True))
        self._ended = False

    def to_act(self) -> list[View]:
        """See `Episode.to_act`."""
        if self._ended:
            return []
        seats = [seat for seat in self.env.to_act if seat not in self._shown]
        self._shown.update(seats)
        return [self._look(seat) for seat in seats]

    def play(self, view: View, decision: Decision) -> list[Trajectory]:
        """See `Episode.play`. An answer that comes when the game is over changes nothing."""
        if self._ended:
            return []
        if decision.error is not None:
            raise decision.error
        if decision.stop_reason is not None:
            return self._end(dict.fromkeys(self._of, decision.stop_reason))
        self._decided[view.seat] = view, decision
        completed: list[Trajectory] = []
        while not self.env.is_over and self.env.agent_selection in self._decided:
            completed += self._step(self.env.agent_selection)
        if self.env.is_over:
            completed += self._end(
                {seat: end_reason(self.env.terminations[seat], self.env.infos[seat]) for seat in self._of}
            )
        return completed

    def snapshot(self) -> Branch:
        """See `Episode.snapshot`."""
        return Branch(self.spec, self.env.snapshot(), deepcopy(self.trajectories), deepcopy(self._open))

    def _look(self, seat: str) -> View:
        observation, info, trajectory = self.env.observe(seat), self.env.infos[seat], self._of[seat]
        check_moment(observation, info)
        # The turn whose reward is not known yet has been played all the same.
        turns = [*trajectory.turns, self._open[seat]] if seat in self._open else trajectory.turns
        return _view(self.spec, trajectory, self.env.instructions[seat], observation, info, self.env, turns)

    def _step(self, seat: str) -> list[Trajectory]:
        """Carry out a seat's decision; its turn before is complete now."""
        view, decision = self._decided.pop(seat)
        turn = begun_turn(view, decision)
        completed = [seat] if self._complete(seat) else []
        if not completed:
            turn.reward = finite(self.env.cumulative_rewards[seat], "the reward")
        turn.order = sum(self.env.turns.values())
        self.env.step(decision.action)
        self._shown.discard(seat)
        self._open[seat] = turn
        return [self._of[each] for each in completed]

    def _complete(self, seat: str) -> bool:
        """Close the seat's open turn with what it has earned since."""
        turn = self._open.pop(seat, None)
        if turn is None:
            return False
        before = turn.reward
        complete(turn, self.env.cumulative_rewards[seat], self.env.infos[seat])
        turn.reward += before
        self._of[seat].turns.append(turn)
        return True

    def _end(self, reasons: Mapping[str, StopReason]) -> list[Trajectory]:
        self._ended = True
        completed = [trajectory for seat, trajectory in self._of.items() if self._complete(seat)]
        for seat, trajectory in self._of.items():
            close(trajectory, reasons[seat], self.env.observe(seat), self.env.infos[seat])
        return completed


def _opened(spec: EpisodeSpec, seat: str, info: Mapping[str, Any]) -> Trajectory:
    return opened(spec.env_id, spec.seed, spec.group, spec.episode, seat, info)


def _introduce(trajectories: Sequence[Trajectory], players: Mapping[str, str]) -> None:
    """Tell each seat's trajectory who holds it and who holds the others."""
    for trajectory in trajectories:
        trajectory.player = players.get(trajectory.seat, "")
        others = {seat: name for seat, name in players.items() if seat != trajectory.seat}
        named = others.values() if len(others) == 1 else (f"{seat}: {name}" for seat, name in others.items())
        trajectory.partner = ", ".join(named)


def _play_again(env: TextEnv, start: Branch) -> None:
    """Bring `env` to where a branch begins, by its actions. Raises `BrokenPromiseError` where they lead elsewhere."""
    (trajectory,), (there, told) = start.trajectories, start.pending
    moments = [(turn.observation, turn.state_key) for turn in trajectory.turns] + [(there, told["state_key"])]
    observation, info = env.reset(seed=start.spec.seed)
    for number, moment in enumerate(moments):
        if (observation, info["state_key"]) != moment:
            raise BrokenPromiseError(f"the same actions lead elsewhere after {number} turns: {observation!r:.80}")
        if number < len(trajectory.turns):
            observation, _, _, _, info = env.step(trajectory.turns[number].action)


def _copied(start: Branch) -> list[Trajectory]:
    """The branch's trajectories, of the episode that begins with it now."""
    trajectories = deepcopy(list(start.trajectories))
    for trajectory in trajectories:
        trajectory.group, trajectory.episode = start.spec.group, start.spec.episode
    return trajectories


def _view(
    spec: EpisodeSpec,
    trajectory: Trajectory,
    rules: str,
    observation: str,
    info: Mapping[str, Any],
    env: Any,
    turns: Sequence[Turn] | None = None,
) -> View:
    seat = trajectory.seat
    seed = derived_seed(spec.sampling_seed, seat) if seat else spec.sampling_seed
    seen = trajectory.turns if turns is None else turns
    player = spec.players.get(seat, "")
    return View(trajectory.episode, seat, rules, observation, info, seen, seed, env, spec.seed, player)
