"""Play an environment by a list of actions, and tell where two plays differ."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from agentgym.envs.text_env import TextEnv


class Turn(NamedTuple):
    """What `reset` (with reward 0 and nothing over) or `step` returned."""

    observation: str
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]

    @property
    def over(self) -> bool:
        """The episode ended with this turn."""
        return self.terminated or self.truncated


def reset(env: TextEnv, seed: int | None = None) -> Turn:
    """`env.reset`; what it returned stays as it is whatever the environment does next."""
    observation, info = env.reset(seed=seed)
    return Turn(observation, 0.0, False, False, copy.deepcopy(info))


def step(env: TextEnv, action: str) -> Turn:
    """`env.step`, likewise."""
    observation, reward, terminated, truncated, info = env.step(action)
    return Turn(observation, reward, terminated, truncated, copy.deepcopy(info))


def play(env: TextEnv, actions: Iterable[str]) -> list[Turn]:
    """Play until the actions or the episode are over."""
    turns: list[Turn] = []
    for action in actions:
        turns.append(step(env, action))
        if turns[-1].over:
            break
    return turns


def episode(env: TextEnv, seed: int, actions: Iterable[str]) -> list[Turn]:
    """The reset with `seed` (turn 0) and the turns after it."""
    return [reset(env, seed), *play(env, actions)]


def first_difference(expected: Sequence[Turn], received: Sequence[Turn]) -> tuple[str, Any, Any] | None:
    """Where two plays first differ, down to the keys of `info`, and the two values; None if nowhere."""
    for number, (left, right) in enumerate(zip(expected, received, strict=False)):
        for name, a, b in _values(left, right):
            if a != b:
                return f"{name} at turn {number}", a, b
    if len(expected) != len(received):
        return "the number of turns", len(expected) - 1, len(received) - 1
    return None


def _values(left: Turn, right: Turn) -> Iterator[tuple[str, Any, Any]]:
    """Every value of two turns by name."""
    yield from zip(Turn._fields[:-1], left[:-1], right[:-1], strict=True)
    for key in sorted(left.info.keys() | right.info.keys()):
        yield f"info[{key!r}]", left.info.get(key, "nothing"), right.info.get(key, "nothing")
