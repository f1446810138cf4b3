"""One seat of a game as a `TextEnv`: partners hold the other seats (`OneSeat`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from agentgym.envs.multi_agent import TextAECEnv
from agentgym.envs.text_env import TextEnv


class Partner(Protocol):
    """Whoever holds a seat without being trained: any callable of this form."""

    def __call__(self, observation: str, info: dict[str, Any]) -> str:
        """An action for what its seat has been told since it last acted, and its seat's info."""


@runtime_checkable
class StatefulPartner(Protocol):
    """A partner that remembers or draws: at the start of each episode it is given the seed to begin anew with."""

    def reset(self, seed: int) -> None:
        """Forget the last episode. Same seed, same behaviour, whatever was played before."""


class OneSeat(TextEnv):
    """One seat of a game as an ordinary environment; partners hold the other seats and play inside `step`.

    To be registered under an id of its own:

        register("mine/Haggle-v0", OneSeat, game=Haggle, seat="buyer", partners={"seller": greedy})

    A seed gives the task that it gives in the game itself. An observation is all that was told to the seat since
    it last acted, a reward all that it earned since. Where a game is over before the seat's first turn, its first
    `step`, with whatever action, returns that end.
    """

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {"game"}

    def __init__(
        self,
        game: Callable[..., TextAECEnv],
        *,
        seat: str,
        partners: Mapping[str, Partner],
        split: str = "train",
        render_mode: str | None = None,
        **kwargs: Any,
    ):
        """`kwargs`, `split` and `render_mode` go to `game`, the game's class or a factory of it."""
        self.game = game(split=split, render_mode=render_mode, **kwargs)
        expected = set(self.game.possible_agents) - {seat}
        if seat not in self.game.possible_agents or partners.keys() != expected:
            raise ValueError(
                f"the seats are {', '.join(self.game.possible_agents)}: one is `seat`, all others need a partner, not "
                f"seat={seat!r} with partners for {', '.join(partners) or 'nobody'}"
            )
        self.splits = self.game.splits
        super().__init__(split=split, max_turns=self.game.max_turns, render_mode=render_mode)
        self.seat = seat
        # Each environment has its own copy of a partner with a state: two environments never influence each other.
        self.partners = {
            name: copy.deepcopy(partner) if isinstance(partner, StatefulPartner) else partner
            for name, partner in partners.items()
        }
        self.instructions = self.game.instructions[seat]
        self.task_types = self.game.task_types
        self.data_source = self.game.data_source
        self._seed: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """See `TextEnv.reset`."""
        self._seed = seed
        return super().reset(seed=seed, options=options)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self.game.reset(seed=self._seed, options=options)
        for partner in self.partners.values():
            seed = int(rng.integers(2**31))
            if isinstance(partner, StatefulPartner):
                partner.reset(seed)
        self._play_partners()
        return self.game.observe(self.seat)

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        if not self.game.is_over:
            self.game.step(action)
            self._play_partners()
        game, seat = self.game, self.seat
        valid = game.infos[seat]["is_action_valid"]
        return game.observe(seat), game.cumulative_rewards[seat], game.terminations[seat], valid

    def _play_partners(self) -> None:
        game = self.game
        while not game.is_over and game.agent_selection != self.seat:
            seat = game.agent_selection
            game.step(self.partners[seat](game.observe(seat), game.infos[seat]))

    def _is_cut_off(self) -> bool:
        return self.game.truncations[self.seat]

    def _situation(self) -> dict[str, Any]:
        return dict(self.game.infos[self.seat])

    def expert(self) -> str:
        """See `TextAECEnv.expert`."""
        return self.game.expert(self.seat)

    def snapshot(self) -> object:
        """See `TextEnv.snapshot`; the game's and the partners' state belong to it."""
        return super().snapshot(), self.game.snapshot()

    def restore(self, snapshot: object) -> None:
        """See `TextEnv.restore`."""
        if not isinstance(snapshot, tuple):
            raise TypeError(f"restore takes what snapshot() returned, not {type(snapshot).__name__}")
        own, game = snapshot
        super().restore(own)
        self.game.restore(game)

    def close(self) -> None:
        """Close the game."""
        self.game.close()
