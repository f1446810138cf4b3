"""A text face for gymnasium environments with discrete actions: `DiscreteTextEnv`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, ClassVar, TypeAlias

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym.envs.splits import split_of
from agentgym.envs.text_env import NoPlanError, TextEnv
from agentgym.envs.text_space import TextSpace

Discrete: TypeAlias = gymnasium.Env[Any, Any]

_LONGEST_ACTION = 100
"""Longer strings are not an action, and are not even lower-cased."""


def positive_reward(observation: Any, reward: float) -> bool:
    """The usual success rule: the episode's last reward is above 0."""
    return reward > 0


class _Table(dict[Any, Any]):
    """A toy-text world's transitions: they never change, so that snapshots share them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Table:
        return self


class DiscreteTextEnv(TextEnv):
    """Words for the actions of a gymnasium environment, and a text for its observations.

        env = DiscreteTextEnv(
            gymnasium.make("CliffWalking-v1"),
            actions=["up", "right", "down", "left"],
            describe=lambda state, env: f"You are in row {state // 12}, column {state % 12}.",
            success=lambda state, reward: True,
            instructions="Walk to row 3, column 11. The other cells of row 3 are a cliff. "
            "Answer with one word: up, right, down or left.",
            max_turns=30,
        )

    A task is a seed of the wrapped environment, drawn from the private generator; the seed's hash says to
    which split it belongs. (In a world with few starts, seeds of two splits may begin alike; such a world
    overrides `_new_task`, as FrozenLake does.)

    Where the wrapped environment is one of gymnasium's toy-text worlds (it has its transition table `P` and
    its state `s`), `expert` plans by value iteration.

    Args:
        env: has a `Discrete` action space, and randomness of its own only (gymnasium's worlds do).
        actions: a name for each action, in the order of their numbers.
        describe: (observation, bare wrapped environment) → text.
        instructions: the rules and the action grammar in words.
        success: (observation, reward) of the step that ended the episode → whether the task is solved.
        name: what task ids and the task type begin with; by default the wrapped environment's id.
        split, max_turns, render_mode: see `TextEnv`. The wrapped environment's own time limit, if it has
            one, also truncates.
    """

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {
        "actions", "instructions", "task_types", "_describe", "_success", "_number_of",
    }  # fmt: skip

    def __init__(
        self,
        env: Discrete,
        *,
        actions: Sequence[str],
        describe: Callable[[Any, Any], str],
        instructions: str,
        max_turns: int,
        success: Callable[[Any, float], bool] = positive_reward,
        name: str | None = None,
        split: str = "train",
        render_mode: str | None = None,
    ):
        """See the class. Raises `ValueError` when the names do not fit the wrapped environment's actions."""
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.env = env
        self.actions = tuple(actions)
        self._number_of = _numbers(self.actions, env.action_space)
        self.action_space = TextSpace(self.actions)
        self._describe, self._success = describe, success
        self.instructions = instructions
        self._name = name or (env.spec.id if env.spec else type(env.unwrapped).__name__)
        self.task_types = (self._name,)
        self._text = ""
        self._task_id = ""
        self._solved = False
        self._cut_short = False
        self._policy: NDArray[np.int64] | None = None

    def _new_task(self, rng: np.random.Generator) -> int:
        """Choose a task of this split, set `_task_id`; return the seed for the wrapped environment."""
        while True:
            seed = int(rng.integers(2**31))
            self._task_id = f"{self._name}:{seed}"
            if split_of(self._task_id) == self.split:
                return seed

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        seed = self._new_task(rng)
        world: Any = self.env.unwrapped
        if type(getattr(world, "P", None)) is dict:
            world.P = _Table(world.P)
        observation, _ = self.env.reset(seed=seed, options=options)
        self._solved = self._cut_short = False
        self._policy = None
        self._text = self._describe(observation, world)
        return self._text

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        number = self._number_of.get(action.strip().lower()) if len(action) <= _LONGEST_ACTION else None
        if number is None:
            shown = action if len(action) <= 40 else action[:40] + "…"
            hint = f"{shown!r} is not an action. Answer with one of: {', '.join(self.actions)}."
            return f"{hint}\n{self._text}", 0.0, False, False
        observation, reward, terminated, self._cut_short, _ = self.env.step(number)
        self._solved = bool(terminated) and self._success(observation, float(reward))
        self._text = self._describe(observation, self.env.unwrapped)
        return self._text, float(reward), bool(terminated), True

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one turn; see `TextEnv.step`."""
        observation, reward, terminated, truncated, info = super().step(action)
        truncated = truncated or (bool(self._cut_short) and not terminated)
        self._over = terminated or truncated
        return observation, reward, terminated, truncated, info

    def _situation(self) -> dict[str, Any]:
        return {
            "success": self._solved,
            "task_id": self._task_id,
            "task_type": self.task_types[0],
            "state_key": self._text,
            "admissible_actions": list(self.actions),
        }

    def expert(self) -> str:
        """The action with the highest expected return, for worlds with gymnasium's transition table `P`."""
        world: Any = self.env.unwrapped
        if not hasattr(world, "P"):
            raise NotImplementedError(f"{type(world).__name__} has no transition table P to plan with")
        if self._over:
            raise NoPlanError("the episode has not begun or is over")
        if self._policy is None:
            self._policy = best_actions(world.P)
        return self.actions[int(self._policy[int(world.s)])]


def task_hash(task: str) -> str:
    """A short stable name of a task, for its `task_id`."""
    return blake2b(task.encode("utf-8"), digest_size=8).hexdigest()


def best_actions(
    P: dict[int, dict[int, list[tuple[float, int, float, bool]]]], gamma: float = 0.999
) -> NDArray[np.int64]:
    """The best action number of every state of a toy-text table `P[state][action]`, by value iteration.

    The table lists (probability, next state, reward, terminated). With a `gamma` so near 1 the best is the
    likeliest way to the reward, and among equally likely ones the shortest.
    """
    width = max(len(outcomes) for row in P.values() for outcomes in row.values())
    nothing = (0.0, 0, 0.0, True)
    table = np.array(
        [[o + [nothing] * (width - len(o)) for o in (P[s][a] for a in sorted(P[s]))] for s in sorted(P)],
        float,
    )
    probability, following, reward = table[..., 0], table[..., 1].astype(int), table[..., 2]
    goes_on = gamma * (1 - table[..., 3])
    values = np.zeros(len(P))
    while True:
        q = (probability * (reward + goes_on * values[following])).sum(-1)
        change = np.abs(q.max(-1) - values).max()
        values = q.max(-1)
        if change < 1e-9:
            best: NDArray[np.int64] = q.argmax(-1)
            return best


def _numbers(actions: tuple[str, ...], space: gymnasium.Space[Any]) -> dict[str, int]:
    """The action number of every name, in lower case."""
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise ValueError(f"the wrapped environment's actions must be Discrete, not {space}")
    if len(actions) != space.n:
        raise ValueError(f"actions must name {space.n} actions, not {len(actions)}")
    numbers = {name.strip().lower(): int(space.start) + index for index, name in enumerate(actions)}
    if len(numbers) < len(actions) or "" in numbers:
        raise ValueError(f"actions must be different, not blank, without regard to case, not {list(actions)}")
    return numbers
