"""A run directory: what is in it, and that no run is overwritten unawares."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from platform import python_version
from typing import Any

import yaml

from agentgym.agents.evaluation import Evaluation
from agentgym.agents.run_files import (
    CONFIG,
    EVALUATIONS,
    METRICS,
    NAMES,
    REPORT,
    is_checkpoint_path,
    list_checkpoints,
    list_judgements,
    list_step_files,
    list_tracker_files,
)
from agentgym.config import RunConfig, load_run_config
from agentgym.overrides import ConfigError
from agentgym.trainers.checkpoint import remove_checkpoint


class RunDirectory:
    """The files of one run."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def prepare(cls, config: RunConfig, name: str) -> tuple[RunDirectory, Path | None]:
        """The directory of a new or resumed run, and the checkpoint to resume from.

        Raises `ConfigError` when a run, or something else, is there already, and when no checkpoint is where one
        should be resumed.
        """
        if config.resume_from_checkpoint:
            checkpoint = _checkpoint_to_resume(config)
            directory = cls(checkpoint.parents[1])
            if (directory.path / CONFIG).exists():
                load_run_config(directory.path / CONFIG)  # it will be replaced: not if it is another's
            return directory, checkpoint
        path = Path(config.output_dir or f"runs/{name}-{datetime.now():%Y%m%d-%H%M%S}")
        directory = cls(path)
        if taken := [name for name in NAMES if (path / name).exists()]:
            if not directory.is_run():
                raise ConfigError(f"output_dir: {path} holds {taken[0]}, but no run: choose another directory")
            if not config.overwrite_output_dir:
                raise ConfigError(
                    f"output_dir: {path} already holds a run; choose another directory, go on with it "
                    "(--resume_from_checkpoint true) or delete it (--overwrite_output_dir true)"
                )
            if Path(config.model).is_dir() and Path(config.model).resolve().is_relative_to(path.resolve()):
                raise ConfigError(f"output_dir: {path} holds the model to train, {config.model}: choose another one")
        above = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise ConfigError(f"output_dir: {path} cannot be made: {above} is not a directory that can be written to")
        return directory, None

    def is_run(self) -> bool:
        """Whether this is provably a run: it holds a whole configuration and metrics that can be read as ours."""
        try:
            load_run_config(self.path / CONFIG)
            return (self.path / METRICS).is_file() and all("step" in row for row in self.metrics())
        except (ValueError, TypeError, OSError):
            return False

    def begin(self, config: RunConfig, *, finished_steps: int) -> None:
        """Write the configuration; forget whatever belongs to steps that a resumed run will do again.

        A run that is here and not resumed is deleted: `prepare` has asked whether it may be.
        """
        if finished_steps == 0 and self.is_run():
            self._delete()
        self.path.mkdir(parents=True, exist_ok=True)
        self._forget_after(finished_steps)
        # The configuration last: with the metrics it is what tells a run from other folders.
        of_the_call = {"overwrite_output_dir": False, "resume_from_checkpoint": False}
        values = config.model_dump(mode="json") | of_the_call
        _replace(self.path / CONFIG, yaml.safe_dump(values, sort_keys=False))

    def _forget_after(self, finished_steps: int) -> None:
        """Remove what later steps left: they are done again, or never.

        What cannot be read is met first: nothing is removed then.
        """
        try:
            kept = [row for row in self.metrics() if row["step"] <= finished_steps]
            evaluations = self.evaluations()
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path}: {METRICS} or {EVALUATIONS} cannot be read ({error}); mend or remove that file to go on"
            ) from None
        for step, path in list_step_files(self.path):
            if step > finished_steps:
                _remove(path)
        _replace(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in kept))
        made = [result for result in evaluations if result["step"] <= finished_steps]
        if len(made) < len(evaluations):
            write_evaluations(self.path / EVALUATIONS, made)
        (self.path / REPORT).unlink(missing_ok=True)  # it shows what is no more

    def _delete(self) -> None:
        """Remove the files of the run, and nothing else that lies among them."""
        for path in [file for _, file in list_step_files(self.path)]:
            _remove(path)
        for path in list_tracker_files(self.path) + list_judgements(self.path):
            _remove(path)
        for name in (REPORT, EVALUATIONS, METRICS, CONFIG):
            (self.path / name).unlink(missing_ok=True)

    def metrics(self) -> Iterable[dict[str, float]]:
        """The metrics of all steps so far. A last line that a kill cut short is left out."""
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def add_metrics(self, metrics: dict[str, float]) -> None:
        """Append the metrics of one step."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            # JSON has no NaN and no infinity: null stands for them.
            finite = {name: value if isfinite(value) else None for name, value in metrics.items()}
            file.write(json.dumps(finite, allow_nan=False) + "\n")

    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations so far."""
        path = self.path / EVALUATIONS
        return list(json.loads(path.read_text(encoding="utf-8"))["results"]) if path.exists() else []

    def add_evaluation(self, evaluation: Evaluation, *, stage: str, step: int) -> None:
        """Add an evaluation, in place of an earlier one of the same stage and seat."""
        results = [r for r in self.evaluations() if (r["stage"], r.get("seat", "")) != (stage, evaluation.seat)]
        results.append({"stage": stage, "step": step, **evaluation.to_dict()})
        write_evaluations(self.path / EVALUATIONS, results)


def _checkpoint_to_resume(config: RunConfig) -> Path:
    """The checkpoint that `config` names, or the last one of the run. Raises `ConfigError` if it is not there."""
    resume = config.resume_from_checkpoint
    if isinstance(resume, str):
        checkpoint = Path(resume)
        if not is_checkpoint_path(checkpoint) or not checkpoint.is_dir():
            raise ConfigError(f"resume_from_checkpoint: {resume} is not a checkpoint of a run directory")
        if config.output_dir and Path(config.output_dir).resolve() != checkpoint.parents[1].resolve():
            raise ConfigError(f"resume_from_checkpoint: {resume} is not in output_dir {config.output_dir}")
        return checkpoint
    if config.output_dir is None:
        raise ConfigError("resume_from_checkpoint: true needs output_dir, the run to go on with")
    checkpoints = list_checkpoints(Path(config.output_dir))
    if not checkpoints:
        begin_again = "; begin it again with --overwrite_output_dir true in place of --resume_from_checkpoint"
        is_run = RunDirectory(Path(config.output_dir)).is_run()
        raise ConfigError(
            f"resume_from_checkpoint: {config.output_dir} has no checkpoint{begin_again if is_run else ''}"
        )
    return checkpoints[-1]


def write_evaluations(path: Path, results: list[dict[str, Any]]) -> None:
    """Write evaluations with the versions that they were made with."""
    _replace(path, json.dumps({"results": results, "versions": versions()}, indent=1) + "\n")


def _remove(path: Path) -> None:
    """Delete a file, a checkpoint, or what is left of one."""
    if not path.is_dir():
        path.unlink()
    elif path.name.startswith("."):
        shutil.rmtree(path)
    else:
        remove_checkpoint(path)


def _replace(path: Path, text: str) -> None:
    """Write a file at once, so that a kill leaves the old one or the new one."""
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def versions() -> dict[str, str]:
    """The versions that decide a run's numbers."""
    packages = ("agentgym", "gymnasium", "numpy", "torch", "transformers", "peft", "accelerate")
    return {"python": python_version(), **{package: version(package) for package in packages}}
