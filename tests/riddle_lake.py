"""A frozen lake that nobody is shown, and a fake reflector that has seen it: for tests of retries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agentgym.agents.branching import Guidance
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.reflection import Reflection
from agentgym.agents.trajectory import Trajectory
from agentgym.envs import register
from agentgym.envs.frozen_lake import FrozenLakeEnv

RIDDLE = "test/Riddle-v0"
HINT = "P_G"
"""Told this, the small model goes to the right 46 times in a hundred; shown "?" alone, 5 times."""


class Riddle(FrozenLakeEnv):
    """Whatever happens, "?" is seen."""

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        super()._start(rng, options)
        return "?"

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        return "?", *super()._act(action)[1:]


register(RIDDLE, Riddle)


class FirstMistake:
    """A fake reflector, by a rule: the first step that was not to the right was wrong."""

    def __init__(self, agent: LLMAgent, *, text: str = HINT):
        self.text = text

    def reflect(self, rules: str, failed: Sequence[Trajectory]) -> list[Reflection | None]:
        mistakes = [[turn.action != "right" for turn in trajectory.turns].index(True) for trajectory in failed]
        return [Reflection(Guidance(turn, self.text)) for turn in mistakes]
