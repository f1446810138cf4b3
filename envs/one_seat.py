"""One seat of a game as a `TextEnv`: partners hold the other seats (`OneSeat`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from agentgym.envs.multi_agent import Partner, SeatedPartner, StatefulPartner, TextAECEnv
from agentgym.envs.names import named
from agentgym.envs.text_env import TextEnv

MIXTURE = "mixture"
"""The name that stands for the game's own mixture of partners."""


class OneSeat(TextEnv):
    """One seat of a game as an ordinary environment; partners hold the other seats and play inside `step`.

    What `agentgym.envs.register_game` puts in gymnasium's register; or under an id of one's own:

        register("mine/Haggle-v0", OneSeat, game=Haggle, seat="buyer", partner=greedy)

    A seed gives the task that it gives in the game itself. An observation is all that was told to the seat since
    it last acted, a reward all that it earned since. Where a game is over before the seat's first turn, its first
    `step`, with whatever action, returns that end. `info["partner"]` says who holds the other seats.
    """

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {"game", "mixtures"}
    _never_copied: ClassVar[frozenset[str]] = frozenset({"game"})

    def __init__(
        self,
        game: Callable[..., TextAECEnv],
        *,
        seat: str | None = None,
        partner: Partner | str | Mapping[str, float] = MIXTURE,
        partners: Mapping[str, Partner | str | Mapping[str, float]] | None = None,
        split: str = "train",
        render_mode: str | None = None,
        **kwargs: Any,
    ):
        """`game`: the game's class or a factory of it, which is given `kwargs`, `split` and `render_mode`.

        `seat`: the game's first unless given. `partner`: who holds each other seat: a callable, a name of the game's
        `partners`, one's own as "module:name", or names with weights, of which one is drawn with each task's seed;
        "mixture" is the game's own. `partners`: the same for single seats, by seat.
        """
        self.game = game(split=split, render_mode=render_mode, **kwargs)
        seats, by_seat = self.game.possible_agents, partners or {}
        seat = seats[0] if seat is None else seat
        if seat not in seats or not by_seat.keys() <= set(seats) - {seat}:
            raise ValueError(
                f"the seats are {', '.join(seats)}: one is `seat`, the others may have partners, not "
                f"seat={seat!r} with partners for {', '.join(by_seat) or 'nobody'}"
            )
        self.splits = self.game.splits
        super().__init__(split=split, max_turns=self.game.max_turns, render_mode=render_mode)
        self.seat = seat
        self.mixtures = {name: mixture(self.game, by_seat.get(name, partner)) for name in seats if name != seat}
        """Who may hold each other seat: partners and weights by name."""
        self.partners: dict[str, Partner] = {}
        """Who holds the other seats in this episode."""
        self.instructions = self.game.instructions[seat]
        self.task_types = self.game.task_types
        self.answer_form = self.game.answer_form
        self.data_source = self.game.data_source
        self._names = ""
        self._seed: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """See `TextEnv.reset`."""
        self._seed = seed
        return super().reset(seed=seed, options=options)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self.game.reset(seed=self._seed, options=options)
        rng = np.random.default_rng(int(rng.integers(2**63)))  # the game's own begins with the same seed
        drawn = {seat: draw(mixture, rng) for seat, mixture in self.mixtures.items()}
        self._names = ", ".join(drawn[seat] if len(drawn) == 1 else f"{seat}: {drawn[seat]}" for seat in drawn)
        # Each environment has its own copy of a partner with a state: two environments never influence each other.
        self.partners = {
            seat: copy.deepcopy(partner) if isinstance(partner, StatefulPartner | SeatedPartner) else partner
            for seat, partner in ((seat, self.mixtures[seat][name][0]) for seat, name in drawn.items())
        }
        self._sit()
        for partner in self.partners.values():
            seed = int(rng.integers(2**31))
            if isinstance(partner, StatefulPartner):
                partner.reset(seed)
        self._play_partners()
        return self.game.observe(self.seat)

    def _sit(self) -> None:
        for seat, partner in self.partners.items():
            if isinstance(partner, SeatedPartner):
                partner.sit(self.game, seat)

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
        return self.game.infos[self.seat] | {"partner": self._names}

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
        self._sit()

    def close(self) -> None:
        """Close the game."""
        self.game.close()


Mixture = dict[str, tuple[Partner, float]]
"""Partners by name, each with the weight with which it is drawn."""


def mixture(game: TextAECEnv, partner: Partner | str | Mapping[str, float]) -> Mixture:
    """The partners that a setting speaks of, and their weights. Raises `ValueError` for unknown names and weights."""
    if callable(partner):
        return {getattr(partner, "__name__", type(partner).__name__): (partner, 1.0)}
    if partner == MIXTURE:
        if not game.mixture:
            raise ValueError(f"{type(game).__name__} has no mixture of partners: name one with `partner`")
        partner = game.mixture
    weights = {partner: 1.0} if isinstance(partner, str) else dict(partner)
    if not weights or any(not weight > 0 for weight in weights.values()):
        raise ValueError(f"partners need weights above 0, not {weights}")
    return {name: (named("partner", name, game.partners)(), weight) for name, weight in weights.items()}


def draw(mixture: Mixture, rng: np.random.Generator) -> str:
    """A name of the mixture, drawn by the weights."""
    names = list(mixture)
    weights = np.array([mixture[name][1] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))] if len(names) > 1 else names[0]
