"""What the checks of games share: the game under test, what is played there, and how two plays are compared."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentgym.envs.checks.subject import SHORT, fail
from agentgym.envs.multi_agent import TextAECEnv
from agentgym.envs.text_env import NoPlanError


class Moment(NamedTuple):
    """What a game tells all seats after `reset` or one act."""

    to_act: tuple[str, ...]
    observations: dict[str, str]
    rewards: dict[str, float]
    terminations: dict[str, bool]
    truncations: dict[str, bool]
    infos: dict[str, dict[str, Any]]


@dataclass
class GameSubject:
    """The game under test, how much of it to try, and what to play there."""

    new: Callable[..., TextAECEnv]
    seeds: tuple[int, ...]
    script_turns: int
    tasks_per_split: int
    scripts: dict[int, list[str]] = field(default_factory=dict)

    def script(self, seed: int) -> list[str]:
        """What whoever is to act plays: random actions, the expert's, and one that is no action."""
        if seed not in self.scripts:
            self.scripts[seed] = list(_write_script(self.new(), seed, self.script_turns))
        return self.scripts[seed]


def _write_script(game: TextAECEnv, seed: int, turns: int) -> Iterator[str]:
    rng = random.Random(seed)
    game.reset(seed=seed)
    for number in range(turns):
        if game.is_over:
            return
        seat = game.agent_selection
        action = expert_action(game, seat) if rng.random() < 0.5 else None
        action = "" if number == 3 else action or random_action(game, rng)
        game.step(action)
        yield action


def expert_action(game: TextAECEnv, seat: str) -> str | None:
    """The expert's action for a seat, or None where there is no expert or it knows no way."""
    try:
        return game.expert(seat)
    except (NotImplementedError, NoPlanError):
        return None


def random_action(game: TextAECEnv, rng: random.Random) -> str:
    """One of the admissible actions of the seat that is to act; where they are not listed, any text."""
    seat = game.agent_selection
    listed = game.infos[seat].get("admissible_actions")
    if listed:
        return str(rng.choice(listed))
    space = game.action_space(seat)
    space.seed(rng.getrandbits(31))
    return str(space.sample())


def moment(game: TextAECEnv) -> Moment:
    """What the game tells now; it stays as it is whatever happens next."""
    return Moment(
        tuple(game.to_act),
        {seat: game.observe(seat) for seat in game.possible_agents},
        dict(game.rewards),
        dict(game.terminations),
        dict(game.truncations),
        copy.deepcopy(game.infos),
    )


def play(game: TextAECEnv, actions: Iterable[str]) -> list[Moment]:
    """Play until the actions or the game are over."""
    moments: list[Moment] = []
    for action in actions:
        if game.is_over:
            break
        game.step(action)
        moments.append(moment(game))
    return moments


def reset(game: TextAECEnv, seed: int | None = None, options: dict[str, Any] | None = None) -> Moment:
    """Begin a game."""
    game.reset(seed=seed, options=options)
    return moment(game)


def episode(game: TextAECEnv, seed: int, actions: Iterable[str]) -> list[Moment]:
    """The reset with `seed` and what came of the actions."""
    return [reset(game, seed), *play(game, actions)]


def expect_equal(expected: Sequence[Moment], received: Sequence[Moment], what: str) -> None:
    """`what` should have given the same moments."""
    for number, (left, right) in enumerate(zip(expected, received, strict=False)):
        for name, a, b in _values(left, right):
            if a != b:
                fail(f"{what} to repeat {name} after act {number}: {SHORT.repr(a)}", b)
    if len(expected) != len(received):
        fail(f"{what} to repeat the number of acts: {len(expected) - 1}", len(received) - 1)


def _values(left: Moment, right: Moment) -> Iterator[tuple[str, Any, Any]]:
    """Every value of two moments by name."""
    yield "to_act", left.to_act, right.to_act
    for name in Moment._fields[1:]:
        a, b = getattr(left, name), getattr(right, name)
        for seat in sorted(a.keys() | b.keys()):
            if name != "infos" or seat not in a or seat not in b:
                yield f"{name}[{seat!r}]", a.get(seat, "nothing"), b.get(seat, "nothing")
                continue
            for key in sorted(a[seat].keys() | b[seat].keys()):
                yield f"infos[{seat!r}][{key!r}]", a[seat].get(key, "nothing"), b[seat].get(key, "nothing")
