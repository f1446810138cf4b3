"""What a run has written down of a training step: the trajectories, and the table of what was computed of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from agentgym.agents.run_files import CONFIG, credit_beside, list_trajectories
from agentgym.agents.trajectory import read_trajectories
from agentgym.config import load_run_config
from agentgym.trainers.batch import TurnBatch


@dataclass(frozen=True)
class RecordedStep:
    """A training step of a run."""

    scheme: str
    """The run's credit scheme."""
    batch: TurnBatch
    """The table of all processes: signals, advantages, targets."""
    excluded: list[bool]
    """Of each trajectory that was played, replayed or retried, whether it is not in the table."""


def places_of(batch: TurnBatch, path: Path, n_played: int) -> list[int]:
    """Where in its file of trajectories, which is `path` and holds `n_played`, each of a table's trajectories is.

    Raises `ValueError` in one line where the file has lost some of them.
    """
    places: list[int] = batch.columns["place_N"].tolist()
    if places and max(places) >= n_played:
        raise ValueError(f"{path} holds {n_played} trajectories, and {credit_beside(path)} is of {max(places) + 1}")
    return places


def read_step(run_dir: Path, step: int | None) -> RecordedStep:
    """A step of a run, counted from 1 as in its metrics; the last one that was kept unless given.

    Raises `ValueError` in one line for a directory that is no run, and for a step that was not kept.
    """
    if not (run_dir / CONFIG).is_file():
        raise ValueError(f"{run_dir} is no run: it has no {CONFIG}")
    config = load_run_config(run_dir / CONFIG)
    files = list_trajectories(run_dir)
    if not files:
        raise ValueError(f"{run_dir}: there is no {run_dir / 'trajectories'} with the trajectories of a step")
    number = max(files) if step is None else step - 1
    if number not in files:
        kept = f"{min(files) + 1} to {max(files) + 1}" if len(files) > 1 else str(number + 1)
        raise ValueError(f"{run_dir}: step {step} was not kept; there is {kept}, every trajectory_steps-th of them")
    batches, excluded = [], []
    for path in files[number]:
        if not credit_beside(path).is_file():
            raise ValueError(f"{run_dir}: there is no {credit_beside(path)}: an earlier agentgym wrote this run")
        played, batch = list(read_trajectories(path)), TurnBatch.load(credit_beside(path))
        places = places_of(batch, path, len(played))
        observations = [turn.observation for place in places for turn in played[place].turns]
        batches.append(replace(batch, observation_T=observations))
        taken = set(places)
        excluded += [place not in taken for place in range(len(played))]
    scheme = "imitation" if config.trainer == "cloning" else config.credit
    return RecordedStep(scheme, TurnBatch.concatenate(batches), excluded)
