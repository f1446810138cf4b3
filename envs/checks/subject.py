"""What every check shares: the environment under test, what is played there, and how a verdict is given."""

from __future__ import annotations

import math
import random
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from agentgym.envs.replay import Turn, first_difference, reset, step
from agentgym.envs.text_env import NoPlanError, TextEnv


@dataclass
class Subject:
    """The environment under test, how much of it to try, and what to play there."""

    new: Callable[..., TextEnv]
    seeds: tuple[int, ...]
    script_turns: int
    tasks_per_split: int
    expert_success_rate: float
    scripts: dict[int, list[str]] = field(default_factory=dict)

    def script(self, seed: int) -> list[str]:
        """Actions that make a varied episode: random ones, the expert's, and one that is no action."""
        if seed not in self.scripts:
            self.scripts[seed] = _write_script(self.new(), seed, self.script_turns)
        return self.scripts[seed]


class VerdictError(Exception):
    """What was expected and what was received; `check_text_env` adds the name of the check."""


class Words(str):
    """What was received, in words; a plain str is a value and is shown in quotes."""

    __slots__ = ()


def fail(expected: str, received: object) -> NoReturn:
    """Raise the verdict that `expected` was not kept."""
    shown = received if isinstance(received, Words) else SHORT.repr(received)
    raise VerdictError(f"expected {expected}, received {shown}")


def expect(holds: object, expected: str, received: object) -> None:
    """Raise a verdict unless `holds`."""
    if not holds:
        fail(expected, received)


def expect_equal(expected: Sequence[Turn], received: Sequence[Turn], what: str) -> None:
    """`what` should have given the same turns."""
    difference = first_difference(expected, received)
    if difference:
        where, a, b = difference
        fail(f"{what} to repeat {where}: {SHORT.repr(a)}", b)


SHORT = reprlib.Repr()
"""Values as messages show them."""
SHORT.maxstring = SHORT.maxother = 120


def expert_action(env: TextEnv) -> str | None:
    """The expert's action, or None where there is no expert or it knows no way."""
    try:
        return env.expert()
    except (NotImplementedError, NoPlanError):
        return None


def _write_script(env: TextEnv, seed: int, turns: int) -> list[str]:
    rng = random.Random(seed)
    env.action_space.seed(seed)
    turn = reset(env, seed)
    actions: list[str] = []
    while not turn.over and len(actions) < turns:
        choices = turn.info.get("admissible_actions")
        action = expert_action(env) if len(actions) % 2 == 0 else None
        action = action or (rng.choice(choices) if choices else env.action_space.sample())
        actions.append("" if len(actions) == 3 else action)
        turn = step(env, actions[-1])
    return actions


def is_finite(value: Any) -> bool:
    """A number that is neither NaN nor infinite."""
    return isinstance(value, float | int) and math.isfinite(value)


def expert_actions(subject: Subject, seed: int) -> list[str]:
    """What the expert plays until the episode is over or it has no answer."""
    env = subject.new()
    turn, actions = reset(env, seed), list[str]()
    while not turn.over and (action := expert_action(env)) is not None:
        actions.append(action)
        turn = step(env, action)
    return actions
