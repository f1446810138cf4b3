"""A gym for multi-turn reinforcement learning of LLM agents.

    import agentgym

    env = agentgym.make("agentgym/Sokoban-v0")
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.expert())

Importing agentgym makes its environments known to gymnasium and is quick: what needs torch is imported at its
first use.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# In a clone the other floors lie beside this folder, not in it. Whatever is installed, what runs in a clone is the
# clone: `python -m agentgym.train` in its root finds this folder first, and then must find the others.
if not (Path(__file__).parent / "envs").is_dir():
    __path__.append(str(Path(__file__).parents[1]))

from agentgym.envs import TextEnv, make, register, registered

if TYPE_CHECKING:
    from agentgym.config import RunConfig
    from agentgym.envs import check_text_env
    from agentgym.train import TrainingRun

    __version__: str

# Read when torch is first imported. By default its threads wait for one another by spinning, and whenever
# anything else runs on the machine everything becomes several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = [
    "RunConfig",
    "TextEnv",
    "TrainingRun",
    "__version__",
    "check_text_env",
    "make",
    "register",
    "registered",
]

_LAZY = {
    "RunConfig": "agentgym.config",
    "TrainingRun": "agentgym.train",
    "check_text_env": "agentgym.envs",
}
"""Names whose modules are imported at first use."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("agentgym")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
