"""Trajectories with their credit, as training wrote it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentgym.agents.run_files import credit_beside
from agentgym.agents.trajectory import Trajectory
from agentgym.recorded import places_of
from agentgym.report.run_data import TrajectoryFiles
from agentgym.trainers.batch import TurnBatch

_PART, _SUFFIX = "part.", "_advantage_T"


@dataclass(frozen=True)
class Credited:
    """A trajectory with its credit."""

    trajectory: Trajectory
    advantages: list[float] | None = None
    """None for a trajectory that takes no part, or whose credit was not written down."""
    parts: Mapping[str, list[float]] = field(default_factory=dict)
    """The advantages that the scheme makes its own of, by name: for GiGPO those of episode and step."""


@dataclass(frozen=True)
class CreditedStep:
    """What was played in one training step, with its credit."""

    files: TrajectoryFiles
    episodes: list[Credited]
    problem: str | None
    """Why there is no credit."""


def credited_step(files: TrajectoryFiles) -> CreditedStep:
    """Read a step's trajectories and their credit.

    Raises `ValueError` for a file that cannot be read; that there is no file of credit is no error but a `problem`
    that is shown.
    """
    missing = [path for path in map(credit_beside, files.paths) if not path.is_file()]
    if missing:
        problem = f"There is no {missing[0].parent.name}/{missing[0].name}: an earlier agentgym wrote this run."
        return CreditedStep(files, [Credited(t) for played in files.read() for t in played], problem)
    pairs = zip(files.read(), files.paths, strict=True)
    return CreditedStep(files, [each for played, path in pairs for each in _credited(played, path)], None)


def _credited(played: Sequence[Trajectory], path: Path) -> list[Credited]:
    """A process's trajectories with their credit."""
    batch = TurnBatch.load(credit_beside(path))
    advantages = batch.nest_turns(batch.columns["advantage_T"])
    parts = {
        name.removeprefix(_PART).removesuffix(_SUFFIX): batch.nest_turns(values)
        for name, values in batch.columns.items()
        if name.startswith(_PART) and name.endswith(_SUFFIX)
    }
    credited = [Credited(trajectory) for trajectory in played]
    for i, place in enumerate(places_of(batch, path, len(played))):
        own = {name: values[i] for name, values in parts.items()}
        credited[place] = Credited(played[place], advantages[i], own)
    return credited
