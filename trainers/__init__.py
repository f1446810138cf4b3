"""Learning: credit schemes, losses, the training loop and its checkpoints.

`Trainer` is the loop, `TrainerConfig` what it can be told, `TurnBatch` what every credit scheme works on. The
names are imported at first use: torch takes seconds, and who only asks for credit does not need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentgym.trainers.batch import TurnBatch
    from agentgym.trainers.config import TrainerConfig
    from agentgym.trainers.trainer import Trainer

__all__ = ["Trainer", "TrainerConfig", "TurnBatch"]

_LAZY = {
    "Trainer": "agentgym.trainers.trainer",
    "TrainerConfig": "agentgym.trainers.config",
    "TurnBatch": "agentgym.trainers.batch",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
