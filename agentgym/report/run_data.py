"""What a run directory holds, read and checked.

Only `config.yaml` must be there: a report can be made of a run at any moment of its life. Whatever is there
must be readable; a `ValueError` names the file, and the line where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from agentgym.agents.evaluation import Evaluation
from agentgym.agents.run_files import CONFIG, EVALUATIONS, METRICS, list_trajectories
from agentgym.agents.trajectory import Trajectory, read_trajectories
from agentgym.overrides import read_yaml
from agentgym.trainers.arrays import FloatArray


@dataclass(frozen=True, kw_only=True)
class StageEvaluation(Evaluation):
    """An evaluation, and when in the run it was made."""

    stage: Literal["before", "after"]
    step: int
    """Training steps finished by then."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of the training steps, in order; columns end in `_S` for their axis."""

    rows: list[dict[str, float]]

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: str) -> bool:
        return any(name in row for row in self.rows)

    def column(self, name: str) -> FloatArray:
        """One metric over the steps; NaN where a step does not have it."""
        return np.array([row.get(name, np.nan) for row in self.rows], dtype=np.float64)

    def total(self, name: str) -> float:
        """The sum over the steps that have it."""
        return float(np.nansum(self.column(name)))

    def names(self, prefix: str) -> list[str]:
        """The metrics whose name begins so, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name.startswith(prefix)))

    @cached_property
    def step_S(self) -> FloatArray:
        """The number of each step, from 1."""
        return self.column("step")

    @cached_property
    def played_S(self) -> FloatArray:
        """The episodes of each step that count: without those the environment failed."""
        return np.nan_to_num(self.column("episodes")) - np.nan_to_num(self.column("stop_reason/env_error"))


@dataclass(frozen=True)
class TrajectoryFiles:
    """What was played in one training step: a file of each process."""

    step: int
    """The training step as in the metrics, from 1. File names count from 0."""
    paths: list[Path]

    def read(self) -> list[list[Trajectory]]:
        """The trajectories of each process."""
        of_processes = []
        for path in self.paths:
            with _naming(path):
                of_processes.append(list(read_trajectories(path)))
        return of_processes


@dataclass(frozen=True)
class RunData:
    """A run directory."""

    run_dir: Path
    config: dict[str, Any]
    metrics: Metrics
    evaluations: list[StageEvaluation]
    versions: dict[str, str]
    trajectory_files: list[TrajectoryFiles]
    """By step."""

    @property
    def n_processes(self) -> int:
        """How many processes have played."""
        return max((len(files.paths) for files in self.trajectory_files), default=1)


def read_run(run_dir: Path) -> RunData:
    """Read a run directory but for its trajectories. Raises `ValueError` naming file and line."""
    if not run_dir.is_dir():
        raise ValueError(f"{run_dir}: not a directory")
    evaluations, versions = _read_evaluations(run_dir / EVALUATIONS)
    return RunData(
        run_dir,
        _read_config(run_dir / CONFIG),
        _read_metrics(run_dir / METRICS),
        evaluations,
        versions,
        [TrajectoryFiles(step + 1, paths) for step, paths in list_trajectories(run_dir).items()],
    )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what reading a file may raise into a `ValueError` that names it."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None


def _read_config(path: Path) -> dict[str, Any]:
    config = read_yaml(path)
    if "env_id" not in config:
        raise ValueError(f"{path} is not the configuration of a run: it names no environment (env_id)")
    return config


def _read_metrics(path: Path) -> Metrics:
    if not path.exists():
        return Metrics([])
    with _naming(path):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    by_step: dict[float, dict[str, float]] = {}
    for number, line in enumerate(lines, start=1):
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines) and not line.endswith("\n"):
                break  # a kill cut it short
            raise ValueError(f"{place}: not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{place}: expected an object, not {row!r:.80}")
        checked = {name: _number(value, f"{place}: {name}") for name, value in row.items()}
        if not np.isfinite(checked.get("step", np.nan)):
            raise ValueError(f"{place}: 'step' is missing")
        by_step[checked["step"]] = checked  # a resumed run may do a step again
    return Metrics([by_step[step] for step in sorted(by_step)])


def _number(value: object, place: str) -> float:
    if value is None:
        return float("nan")
    if not isinstance(value, int | float):
        raise ValueError(f"{place} is {value!r:.80}, not a number")
    return float(value)


def _read_evaluations(path: Path) -> tuple[list[StageEvaluation], dict[str, str]]:
    if not path.exists():
        return [], {}
    with _naming(path):
        text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object, not {content!r:.80}")
    try:
        results = TypeAdapter(list[StageEvaluation]).validate_python(content.get("results", []))
        versions = TypeAdapter(dict[str, str]).validate_python(content.get("versions", {}))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{path}: {where}: {fault['msg']}, not {fault['input']!r:.80}") from None
    return results, versions
