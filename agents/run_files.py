"""The names of a run's files: the one place that knows them. Imports nothing of ours.

Whatever belongs to a training step is called `step-NNNNNN…`. A checkpoint bears the number of the finished steps,
so that the first one is `step-000001`; what was played and computed within a step bears the number of the steps
finished before it, from `step-000000`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
EVALUATIONS = "eval.json"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"
"""The folder of the checkpoints: PEFT adapters with the trainer's state."""
TRAJECTORIES = "trajectories"
"""The folder of what was played: a file for each step and process."""
CREDIT = "credit"
"""The folder of what training computed: signals, advantages, targets."""
REPLAY = "replay"
"""The folder of a replay buffer: the tokens of what was played, a file for each step."""
POOL = "pool"
"""The folder of the adapters that partners are drawn of: a file for each, by the steps it had finished."""
JUDGEMENTS = "judgements"
"""The folder of what judges have said: a file for each process. Known by content, it belongs to no step."""
TRACKER = "agentgym"
"""The name that trackers know a run's project by; TensorBoard's event files lie in a folder of that name."""

NAMES = (CONFIG, METRICS, EVALUATIONS, REPORT, CHECKPOINTS, TRAJECTORIES, CREDIT, REPLAY, POOL, JUDGEMENTS)
"""What a run directory may hold that only a run should have put there."""

_CHECKPOINT = re.compile(r"step-(\d{6,})")
_UNFINISHED_CHECKPOINT = re.compile(r"\.step-(\d{6,})\..+")
_TRAJECTORIES = re.compile(r"step-(\d{6,})\.process-(\d+)\.jsonl(?:\.gz|\.zst)?")
_OF_A_STEP = re.compile(r"\.?step-(\d{6,})\..+")
"""Trajectories, credit and replay, of any process and format, unfinished ones included."""


def checkpoint_path(run_dir: Path, finished_steps: int) -> Path:
    """The checkpoint written after so many steps."""
    return run_dir / CHECKPOINTS / f"step-{finished_steps:06d}"


def trajectory_path(run_dir: Path, step: int, process: int) -> Path:
    """The file of what a process played in a step, counted from 0."""
    return run_dir / TRAJECTORIES / f"step-{step:06d}.process-{process}.jsonl.gz"


def credit_path(run_dir: Path, step: int, process: int) -> Path:
    """The file of what a process computed in a step, counted from 0."""
    return run_dir / CREDIT / f"step-{step:06d}.process-{process}.npz"


def replay_path(run_dir: Path, step: int) -> Path:
    """The file of what a replay buffer keeps of a step, counted from 0."""
    return run_dir / REPLAY / f"step-{step:06d}.npy"


def pool_path(run_dir: Path, finished_steps: int) -> Path:
    """The adapter that partners may play with, of the policy after so many steps."""
    return run_dir / POOL / f"step-{finished_steps:06d}.safetensors"


def credit_beside(trajectories: Path) -> Path:
    """The file of what was computed of the trajectories in this file."""
    return trajectories.parents[1] / CREDIT / f"{trajectories.name.partition('.jsonl')[0]}.npz"


def list_checkpoints(run_dir: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return [path for _, path in sorted(_numbered(run_dir / CHECKPOINTS, _CHECKPOINT))]


def is_checkpoint_path(path: Path) -> bool:
    """Whether `path` has the name and the place of a checkpoint in a run directory."""
    return path.parent.name == CHECKPOINTS and _CHECKPOINT.fullmatch(path.name) is not None


def list_trajectories(run_dir: Path) -> dict[int, list[Path]]:
    """The trajectory files by step, counted from 0; those of a step in the order of the processes."""
    by_step: dict[int, dict[int, Path]] = defaultdict(dict)
    folder = run_dir / TRAJECTORIES
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := _TRAJECTORIES.fullmatch(path.name):
            by_step[int(match[1])][int(match[2])] = path
    return {step: [paths[process] for process in sorted(paths)] for step, paths in sorted(by_step.items())}


def list_step_files(run_dir: Path) -> list[tuple[int, Path]]:
    """Everything that belongs to one training step, and how many steps were finished with that step.

    Checkpoints come first and the newest first: a removal in this order that is cut short leaves no checkpoint
    whose steps' files are gone.
    """
    checkpoints = [
        *_numbered(run_dir / CHECKPOINTS, _CHECKPOINT),
        *_numbered(run_dir / CHECKPOINTS, _UNFINISHED_CHECKPOINT),
        *_numbered(run_dir / POOL, _OF_A_STEP),
    ]
    within = [each for folder in (TRAJECTORIES, CREDIT, REPLAY) for each in _numbered(run_dir / folder, _OF_A_STEP)]
    return sorted(checkpoints, reverse=True) + [(step + 1, path) for step, path in sorted(within)]


def list_tracker_files(run_dir: Path) -> list[Path]:
    """What TensorBoard and accelerate, which calls it, left in a run directory."""
    folder = run_dir / TRACKER
    return sorted([*folder.rglob("events.out.tfevents.*"), *folder.rglob("hparams.yml")])


def list_judgements(run_dir: Path) -> list[Path]:
    """The files of what judges have said."""
    return sorted((run_dir / JUDGEMENTS).glob("process-*.jsonl"))


def _numbered(folder: Path, name: re.Pattern[str]) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := name.fullmatch(path.name):
            yield int(match[1]), path
