"""A game of two seats that a few steps of training change, with partners, registered as `TUG` for runs by id."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from agentgym.envs import Partner, Played, TextAECEnv, register_game

PULLS: Mapping[str, str] = {"west": "left", "east": "right"}


def strong(observation: str, info: dict[str, Any]) -> str:
    """Always pulls."""
    return PULLS[info["state_key"].partition("/")[0]]


class Moody:
    """Pulls or not, by its seed."""

    def reset(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def __call__(self, observation: str, info: dict[str, Any]) -> str:
        return strong(observation, info) if self.rng.random() < 0.5 else "up"


def broken(observation: str, info: dict[str, Any]) -> str:
    """Has gone."""
    raise ConnectionError("the partner has gone")


def mute(observation: str, info: dict[str, Any]) -> Any:
    """Answers nothing."""
    return None


class Tug(TextAECEnv):
    """Two seats pull a rope in turns, each its own way; what one wins the other loses. The board shows one's side."""

    possible_agents: ClassVar[list[str]] = ["west", "east"]
    instructions: ClassVar[Mapping[str, str]] = {"west": "Pull left.", "east": "Pull right."}
    task_types = ("tug",)
    partners: ClassVar[Mapping[str, Callable[[], Partner]]] = {
        "strong": lambda: strong,
        "moody": Moody,
        "broken": lambda: broken,
        "mute": lambda: mute,
    }
    mixture: ClassVar[Mapping[str, float]] = {"strong": 1, "moody": 1}
    zero_sum = True

    def __init__(self, *, split: str = "train", max_turns: int = 2, render_mode: str | None = None):
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        self.number, self.rope, self.mover, self.left = int(rng.integers(10_000)), 0, "west", 4
        return {"west": "# P _", "east": "_ P #"}

    def _to_act(self) -> tuple[str]:
        return (self.mover,)

    def _act(self, seat: str, action: str) -> Played:
        other = self.mover = "east" if seat == "west" else "west"
        pulls = action == PULLS[seat]
        self.left -= 1
        self.rope += pulls * (1 if seat == "east" else -1)
        told = {"west": "# P _", "east": "_ P #"}
        rewards = {seat: float(pulls), other: -float(pulls)}
        parts = {who: {"pull": value} for who, value in rewards.items()}
        return Played({other: told[other]}, rewards, parts, terminated=not self.left)

    def _situation(self, seat: str) -> dict[str, Any]:
        ahead = self.rope if seat == "east" else -self.rope
        return {
            "success": ahead > 0,
            "task_id": f"tug-{self.split}-{self.number}",
            "task_type": "tug",
            "state_key": f"{seat}/{self.rope}",
            "payoff": float(ahead),
            "agreement": self.rope == 0,
            "admissible_actions": ["left", "right"],
            "answers": [PULLS[seat]],
            "duration": 1.0,
        }

    def expert(self, seat: str) -> str:
        """It pulls."""
        return PULLS[seat]


TUG = "tests.seated_games:tests/Tug-v0"
register_game("tests/Tug-v0", Tug)
