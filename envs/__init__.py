"""Text environments: worlds whose observations and actions are strings.

Importing this package registers the built-in ids, so that `gymnasium.make("agentgym/Sokoban-v0")` works.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentgym.envs.games import GAMES, make_game, register_game, registered_games
from agentgym.envs.registration import BUILTIN, make, register, registered
from agentgym.envs.text_env import Info, NoPlanError, NotInstalledError, TextEnv
from agentgym.envs.text_space import TextSpace

if TYPE_CHECKING:
    from agentgym.envs.alfworld.env import AlfworldEnv
    from agentgym.envs.checker import TextEnvError, check_game, check_text_env
    from agentgym.envs.discrete import DiscreteTextEnv
    from agentgym.envs.frozen_lake import FrozenLakeEnv
    from agentgym.envs.multi_agent import Partner, Played, TextAECEnv
    from agentgym.envs.one_seat import OneSeat
    from agentgym.envs.scienceworld.env import ScienceWorldEnv
    from agentgym.envs.search_qa.env import SearchQaEnv
    from agentgym.envs.sokoban.env import SokobanEnv
    from agentgym.envs.text_world.env import TextWorldEnv
    from agentgym.envs.webshop.env import WebShopEnv
    from agentgym.envs.worker import WorkerEnv

__all__ = [
    "AlfworldEnv",
    "DiscreteTextEnv",
    "FrozenLakeEnv",
    "Info",
    "NoPlanError",
    "NotInstalledError",
    "OneSeat",
    "Partner",
    "Played",
    "ScienceWorldEnv",
    "SearchQaEnv",
    "SokobanEnv",
    "TextAECEnv",
    "TextEnv",
    "TextEnvError",
    "TextSpace",
    "TextWorldEnv",
    "WebShopEnv",
    "WorkerEnv",
    "check_game",
    "check_text_env",
    "make",
    "make_game",
    "register",
    "register_game",
    "registered",
    "registered_games",
]

_LAZY = {
    "AlfworldEnv": "agentgym.envs.alfworld.env",
    "DiscreteTextEnv": "agentgym.envs.discrete",
    "FrozenLakeEnv": "agentgym.envs.frozen_lake",
    "OneSeat": "agentgym.envs.one_seat",
    "Partner": "agentgym.envs.multi_agent",
    "Played": "agentgym.envs.multi_agent",
    "ScienceWorldEnv": "agentgym.envs.scienceworld.env",
    "SearchQaEnv": "agentgym.envs.search_qa.env",
    "SokobanEnv": "agentgym.envs.sokoban.env",
    "TextAECEnv": "agentgym.envs.multi_agent",
    "TextEnvError": "agentgym.envs.checker",
    "TextWorldEnv": "agentgym.envs.text_world.env",
    "WebShopEnv": "agentgym.envs.webshop.env",
    "WorkerEnv": "agentgym.envs.worker",
    "check_game": "agentgym.envs.checker",
    "check_text_env": "agentgym.envs.checker",
}
"""Names whose modules are imported at first use, so that importing this package stays quick."""

for _env_id, _entry_point in BUILTIN.items():
    register(_env_id, _entry_point)
for _env_id, _entry_point in GAMES.items():
    register_game(_env_id, _entry_point)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
