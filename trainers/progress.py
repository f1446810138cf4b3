"""How far a training step has come: whoever shows it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""Is told a phase, how much of it is done, and of how much."""


def say_nothing(phase: str, done: int, of: int) -> None:
    """An `OnProgress` that keeps it to itself."""
