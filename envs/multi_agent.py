"""Games of several seats: PettingZoo's AEC interface in text.

`TextAECEnv` is to `pettingzoo.AECEnv` what `TextEnv` is to `gymnasium.Env`: a subclass implements `_start`,
`_act`, `_to_act` and `_situation`, and the base class keeps whose turn it is, what each seat has not heard yet,
rewards, ends and infos. `agentgym.envs.OneSeat` makes a `TextEnv` of such a game.

A *seat* is a place in the game (PettingZoo's agent), a *turn* is one seat's act.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from pettingzoo import AECEnv

from agentgym.envs.snapshots import Snapshots
from agentgym.envs.text_env import SPLITS, expect_settings
from agentgym.envs.text_space import TextSpace


@dataclass(frozen=True, slots=True)
class Played:
    """The outcome of one seat's act."""

    told: Mapping[str, str] = field(default_factory=dict)
    """New text by the seat that hears it. Whoever acted hears of it only by what stands here."""
    rewards: Mapping[str, float] = field(default_factory=dict)
    """Rewards by seat; 0 for a seat that is missing. Any seat may be given one, not only the one that acted."""
    reward_parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same rewards in named components, by seat, where they have any."""
    terminated: bool = False
    """The game is over, for all seats."""
    truncated: bool = False
    """The game is cut off, for all seats, by a rule of its own; `max_turns` is seen to by the base class."""
    is_action_valid: bool = True
    """The action was understood and legal."""


class Partner(Protocol):
    """Whoever holds a seat without being trained: any callable of this form."""

    def __call__(self, observation: str, info: dict[str, Any]) -> str:
        """An action for what its seat has been told since it last acted, and its seat's info."""


@runtime_checkable
class StatefulPartner(Protocol):
    """A partner that remembers or draws: at the start of each episode it is given the seed to begin anew with."""

    def reset(self, seed: int) -> None:
        """Forget the last episode. Same seed, same behaviour, whatever was played before."""


@runtime_checkable
class SeatedPartner(Protocol):
    """A partner that computes with the game's own rules: before each episode's `reset` it is shown its seat.

    It may use the game's methods for its own seat (what its own private part makes of an offer), and nothing that
    its seat does not know.
    """

    def sit(self, game: Any, seat: str) -> None:
        """Hold `seat` of the live `game` from now on. May be called again in mid-game, with a copy of that game."""


class TextAECEnv(Snapshots, AECEnv[str, str, str | None]):  # type: ignore[misc]  # pettingzoo has no types
    """Base class of games with several seats, whose observations and actions are strings.

    What `TextEnv` promises holds here too: the same class, arguments and seed give the same game in every
    process; randomness is private; any string is an answerable action. `infos[seat]` has the keys of
    `agentgym.envs.Info` as that seat may know them; `success` is that seat's own.

    All seats end together. As everywhere in PettingZoo, each then takes `step(None)` once.
    """

    # Both of PettingZoo's converters ask for is_parallelizable: `turn_based_aec_to_parallel` is the right one for
    # games in which seats take turns, `aec_to_parallel` for those in which all decide before any is told.
    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4, "is_parallelizable": True}  # noqa: RUF012
    possible_agents: list[str]
    """All seats. A class attribute, or set before `super().__init__`."""
    instructions: Mapping[str, str]
    """The rules and the action grammar in words, by seat: for the system prompt. A seat's private part of the task
    is in its first observation and in `infos[seat]["task"]`."""
    task_types: tuple[str, ...]
    """Every value that `infos[seat]["task_type"]` may take."""
    splits: tuple[str, ...] = SPLITS
    """The splits this game has. No task is in two of them."""
    answer_form: str = "{answer}"
    """Where `infos[seat]` has `answers`: how one of them is given as an action."""
    data_source: str = "builtin"
    """Where the tasks come from: "builtin", or the path that was given as `data`."""
    partners: ClassVar[Mapping[str, Callable[[], Partner]]] = {}
    """The scripted partners that know this game, by name: each call makes a new one."""
    mixture: ClassVar[Mapping[str, float]] = {}
    """Whom a learner meets unless it is told otherwise: names of `partners` with weights."""
    moves_at_once: ClassVar[bool] = False
    """All decide before any is told, in every round: PettingZoo's parallel view then asks all, else one at a time."""
    zero_sum: bool = False
    """What the seats earn in a game sums to 0."""

    _shared_between_snapshots: ClassVar[frozenset[str]] = frozenset({"_observation_spaces", "_action_spaces", "spec"})

    def __init__(self, *, split: str = "train", max_turns: int, render_mode: str | None = None):
        """`max_turns`: the most turns of each seat. A game ends truncated when a seat without any left is to act."""
        super().__init__()
        expect_settings(self.splits, split, max_turns, render_mode)
        self.split = split
        self.max_turns = max_turns
        self.render_mode = render_mode
        self._observation_spaces = {seat: TextSpace() for seat in self.possible_agents}
        self._action_spaces = {seat: TextSpace() for seat in self.possible_agents}
        self.np_random, _ = seeding.np_random()
        self.agents: list[str] = []
        self.to_act: tuple[str, ...] = ()

    # What a subclass implements ---------------------------------------------------------------------------

    @abstractmethod
    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        """Begin a task drawn with `rng` alone; return the first observation of each seat."""

    @abstractmethod
    def _act(self, seat: str, action: str) -> Played:
        """Carry out what `seat` does. Where seats move at once, tell nothing before the last of them has acted."""

    @abstractmethod
    def _to_act(self) -> Sequence[str]:
        """The seats whose turn it is, at least one: several where they decide without being told of one another."""

    @abstractmethod
    def _situation(self, seat: str) -> dict[str, Any]:
        """The keys of `Info` for the present state as `seat` knows it, all but `is_action_valid` and `reward_parts`."""

    def expert(self, seat: str) -> str:
        """A good next action of `seat`. Raises `NotImplementedError` and `NoPlanError` as `TextEnv.expert` does."""
        raise NotImplementedError(f"{type(self).__name__} has no expert")

    def look_alikes(self, seat: str) -> Sequence[dict[str, Any]]:
        """Options of `reset` that, with any one seed, give tasks which differ only in what `seat` may not know.

        What it observes and what its `info["task"]` says must be equal in all of them until another seat acts
        (`check_game`). Empty where a game takes no such options.
        """
        return ()

    # PettingZoo's interface -------------------------------------------------------------------------------

    def observation_space(self, agent: str) -> TextSpace:
        """All strings."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> TextSpace:
        """All strings."""
        return self._action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start a game. Without `seed` the next task of the private generator is taken."""
        if seed is not None:
            self.np_random, _ = seeding.np_random(seed)
        seats = list(self.possible_agents)
        self.agents = seats
        self.turns = dict.fromkeys(seats, 0)
        """Turns played, by seat."""
        self.rewards = dict.fromkeys(seats, 0.0)
        self._cumulative_rewards = dict.fromkeys(seats, 0.0)
        self.terminations = dict.fromkeys(seats, False)
        self.truncations = dict.fromkeys(seats, False)
        self._valid = dict.fromkeys(seats, True)
        self._parts: dict[str, dict[str, float]] = {seat: {} for seat in seats}
        first = self._start(self.np_random, options or {})
        self._unheard = {seat: [first[seat]] for seat in seats}
        self._select()
        self._tell_infos()

    def step(self, action: str | None) -> None:
        """Play one turn of `agent_selection`; after the game's end, `None` takes it from the table.

        Raises `ResetNeeded` where no seat is left, and `TypeError` for a living seat that answers with no string.
        """
        if not self.agents:
            raise ResetNeeded("the game has not begun or is over: call reset() before step()")
        seat = self.agent_selection
        if self.is_over:
            self._was_dead_step(action)
            return
        if not isinstance(action, str):
            raise TypeError(f"{seat} is to act: its action must be a str, not {type(action).__name__}")
        self._unheard[seat] = []
        self._cumulative_rewards[seat] = 0.0
        self._parts[seat] = {}
        played: object = self._act(seat, action)
        if not isinstance(played, Played):
            raise TypeError(f"{type(self).__name__}._act must return a Played, not {played!r:.80}")
        self.turns[seat] += 1
        self._valid[seat] = played.is_action_valid
        self._hand_out(played)
        self._end_or_go_on(played)
        self._tell_infos()

    def observe(self, agent: str) -> str:
        """Everything that `agent` was told since it last acted, a text a line; at first its first observation."""
        return "\n".join(self._unheard[agent])

    def render(self) -> str | None:
        """The observation of the seat that is to act in the render mode "ansi", else None."""
        return self.observe(self.agent_selection) if self.render_mode == "ansi" else None

    def close(self) -> None:
        """Release what the game holds: nothing, unless a subclass says otherwise."""

    # What is read beside PettingZoo's own ------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """The last game has ended, or none has begun."""
        return not self.to_act

    @property
    def cumulative_rewards(self) -> Mapping[str, float]:
        """What each seat has earned since it last acted: what `last()` tells of the seat that is to act."""
        return self._cumulative_rewards

    def _hand_out(self, played: Played) -> None:
        for seat, text in played.told.items():
            self._unheard[seat].append(text)
        self.rewards = {seat: played.rewards.get(seat, 0.0) for seat in self.agents}
        self._accumulate_rewards()
        for seat, parts in played.reward_parts.items():
            known = self._parts[seat]
            self._parts[seat] = known | {name: known.get(name, 0.0) + value for name, value in parts.items()}

    def _end_or_go_on(self, played: Played) -> None:
        if played.terminated:
            self.terminations = dict.fromkeys(self.agents, True)
        elif played.truncated or not self._select():
            self.truncations = dict.fromkeys(self.agents, True)
        else:
            return
        self.to_act = ()
        self.agent_selection = self.agents[0]

    def _select(self) -> bool:
        """Find who is to act; False if one of them has no turn left."""
        self.to_act = tuple(self._to_act())
        self.agent_selection = self.to_act[0]
        return all(self.turns[seat] < self.max_turns for seat in self.to_act)

    def _tell_infos(self) -> None:
        self.infos = {seat: self._info(seat) for seat in self.agents}

    def _info(self, seat: str) -> dict[str, Any]:
        info = self._situation(seat)
        info["is_action_valid"] = self._valid[seat]
        if self._parts[seat]:
            info["reward_parts"] = self._parts[seat]
        return info
