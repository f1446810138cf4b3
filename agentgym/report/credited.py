"""Trajectories with their credit, computed as the trainer did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentgym.agents.trajectory import Trajectory
from agentgym.report.run_data import TrajectoryFiles
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute, get_scheme
from agentgym.trainers.experience import usable_trajectories

_PART_SUFFIX = "_advantage_T"


@dataclass(frozen=True)
class Credited:
    """A trajectory with its credit."""

    trajectory: Trajectory
    advantages: list[float] | None = None
    """None for a trajectory that takes no part, or where no credit could be computed."""
    parts: Mapping[str, list[float]] = field(default_factory=dict)
    """The advantages that the scheme makes its own of, by name: for GiGPO those of episode and step."""


@dataclass(frozen=True)
class CreditedStep:
    """What was played in one training step, with its credit."""

    files: TrajectoryFiles
    episodes: list[Credited]
    problem: str | None
    """Why no credit could be computed."""


def credited_step(files: TrajectoryFiles, config: Mapping[str, Any]) -> CreditedStep:
    """Read a step's trajectories and compute their credit as the trainer did.

    Raises `ValueError` for a file that cannot be read; a scheme that cannot be computed from trajectories
    alone is no error but a `problem` that is shown.
    """
    trajectories = files.read()
    try:
        return CreditedStep(files, _with_credit(trajectories, config), None)
    except ValueError as error:
        return CreditedStep(files, [Credited(trajectory) for trajectory in trajectories], str(error))


def _with_credit(trajectories: Sequence[Trajectory], config: Mapping[str, Any]) -> list[Credited]:
    scheme, params = config.get("credit"), config.get("credit_kwargs") or {}
    if not isinstance(scheme, str) or not isinstance(params, dict):
        raise ValueError("the configuration names no credit scheme")
    usable = usable_trajectories(trajectories, get_scheme(scheme).requires_groups)
    batch = TurnBatch.from_trajectories(usable)
    credit = compute(scheme, batch, **params)
    nested = {name: batch.nest_turns(part) for name, part in credit.parts.items() if name.endswith(_PART_SUFFIX)}
    advantages = batch.nest_turns(credit.turn_advantages(batch))
    place = {id(trajectory): i for i, trajectory in enumerate(usable)}
    credited = []
    for trajectory in trajectories:
        i = place.get(id(trajectory))
        if i is None:
            credited.append(Credited(trajectory))
        else:
            parts = {name.removesuffix(_PART_SUFFIX): values[i] for name, values in nested.items()}
            credited.append(Credited(trajectory, advantages[i], parts))
    return credited
