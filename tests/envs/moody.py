"""A slow world for tests that hangs, crashes or fails where it is told to. Worker processes import it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.envs import NoPlanError, TextEnv, register


class OwnError(Exception):
    """An exception that no other process knows, and that cannot be unpickled."""

    def __init__(self, word: str, number: int):
        super().__init__(f"{word} {number}")


class Slow(TextEnv):
    """Wait until the bell rings. `trouble`: seed → what happens at turn 1, as an action of the same name does.

    "hang" leaves a process of its own behind. With `mark`, a file, trouble comes only while that is not there yet.
    """

    waits = True
    instructions = "Wait."
    task_types = ("waiting",)

    def __init__(
        self,
        *,
        nap: float = 0.0,
        trouble: dict[int, str] | None = None,
        mark: str = "",
        split: str = "train",
        max_turns: int = 4,
        render_mode: str | None = None,
    ):
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.nap, self.trouble, self.mark = nap, trouble or {}, mark

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.seed = seed
        return super().reset(seed=seed, options=options)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self.bell = int(rng.integers(2, 9))
        self.instructions = f"Wait for {self.bell}."
        return self._watch()

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        time.sleep(self.nap)
        trouble = self._trouble() or action
        if trouble == "hang":
            subprocess.run(["sleep", "600"], check=False)
        if trouble == "crash":
            os._exit(7)
        if trouble == "fail":
            raise OwnError("own", 1)
        if action == "tell":
            return f"{os.getpid()} {'torch' in sys.modules} {os.getpgid(0)}", 0.0, False, True
        print("this is no answer")
        return self._watch(), 1.0 / self.bell, self._is_rung(), True

    def _trouble(self) -> str | None:
        trouble = self.trouble.get(self.seed or 0) if self.turn == 1 else None
        if trouble and self.mark:
            trouble = None if Path(self.mark).exists() else trouble
            Path(self.mark).touch()
        return trouble

    def _watch(self) -> str:
        return f"It is {self.turn}."

    def _is_rung(self) -> bool:
        return self.turn + 1 >= self.bell

    def _situation(self) -> dict[str, Any]:
        return {
            "success": self._over and self.turn >= self.bell,
            "task_id": f"{self.split}-{self.bell}",
            "task_type": "waiting",
            "state_key": f"{self.turn}",
        }

    def expert(self) -> str:
        if self.bell > self.max_turns:
            raise NoPlanError("too late")
        return "wait"


register("tests/Slow-v0", Slow)
