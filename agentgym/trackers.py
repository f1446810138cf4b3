"""Experiment trackers: those of accelerate, which leaves out without an error what is not installed."""

from __future__ import annotations

from collections.abc import Iterable

from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from agentgym.envs.names import unknown

_EXTRAS = ("tensorboard", "wandb")
"""Trackers that this package names as extras."""


def check_trackers(names: Iterable[str]) -> None:
    """Raise `ValueError` in one line for a tracker that accelerate does not know or that is not installed."""
    known = [str(each) for each in LoggerType if each != LoggerType.ALL]
    available = {str(each) for each in get_available_trackers()}
    for name in names:
        if name not in (*known, str(LoggerType.ALL)):
            raise ValueError(unknown("report_to: unknown tracker", name, known))
        if name in known and name not in available:
            package = f"agentgym[{name}]" if name in _EXTRAS else name
            raise ValueError(f"report_to: {name} is not installed: pip install '{package}'")
