"""PettingZoo's `api_test` for games in text."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from pettingzoo.utils import BaseWrapper

from agentgym.envs import TextAECEnv, TextSpace


class InDict(BaseWrapper[str, dict[str, str], str | None]):
    """Observations as {"text": …}: api_test reads `.dtype` of an observation, which a str does not have."""

    def observation_space(self, agent: str) -> Any:
        return self.spaces.setdefault(agent, spaces.Dict({"text": TextSpace()}))

    def observe(self, agent: str) -> dict[str, str]:
        return {"text": self.env.observe(agent)}

    def __init__(self, env: TextAECEnv):
        super().__init__(env)  # type: ignore[arg-type]
        self.spaces: dict[str, Any] = {}
