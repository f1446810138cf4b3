"""A frozen lake that tells whatever any credit scheme may need of an environment; and a filter of groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentgym.agents.trajectory import Trajectory
from agentgym.envs import register
from agentgym.envs.frozen_lake import FrozenLakeEnv

TELLING_LAKE = "test/TellingLake-v0"


class TellingLake(FrozenLakeEnv):
    """Its rewards have parts, its actions take their time, and its question has an answer."""

    def _situation(self) -> dict[str, Any]:
        situation = super()._situation()
        success = float(situation["success"])
        told = {"score": success, "duration": 1.0 + self.turn % 3, "answers": ["right"]}
        return {**situation, **told, "reward_parts": {"outcome": success, "haste": -0.1 * self.turn}}


register(TELLING_LAKE, TellingLake)


def is_even(group: Sequence[Trajectory]) -> bool:
    """Keeps every other group that is drawn."""
    return int(group[0].group.rpartition("/")[2]) % 2 == 0
