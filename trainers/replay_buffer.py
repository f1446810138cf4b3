"""A replay buffer: the turns of all episodes so far, up to a bound, for whoever learns off-policy.

Tokens lie on the disk, in a file for each training step that is mapped into memory; where a turn's tokens are, and what
it earned, is a part of every checkpoint. A file is written once, before any checkpoint speaks of it, and is removed
when no checkpoint that is left needs it, so that a kill at any moment loses nothing.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agentgym.agents.run_files import list_checkpoints, replay_path
from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.arrays import IntArray
from agentgym.trainers.minibatches import natural
from agentgym.trainers.processes import Processes


@dataclass(frozen=True, slots=True)
class Transition:
    """A turn, and what the agent was shown next."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    reward: float
    next_prompt: tuple[int, ...] | None
    """None after the last turn of an episode, a truncated one too."""


ROW = np.dtype([("step", "i8"), ("start", "i8"), ("answer", "i8"), ("end", "i8"), ("reward", "f8"), ("ends", "?")])
"""A turn: its prompt is [start, answer) of its step's tokens, its response [answer, end); whether it was the last."""


class ReplayBuffer:
    """The last `capacity` turns, oldest first. All processes have the same, whoever has played."""

    per_process = False

    def __init__(
        self,
        run_dir: Path,
        env_id: str,
        processes: Processes,
        *,
        capacity: int,
        recorded: Sequence[Trajectory] = (),
    ):
        """`recorded`: trajectories that come before those of the first step. Nothing is written yet."""
        self.run_dir, self.env_id, self.processes, self.capacity = run_dir, env_id, processes, capacity
        self.recorded = recorded
        self._rows = np.zeros(0, ROW)
        """Of whole steps, so that the first may be too old to be drawn."""
        self._checksums: dict[int, int] = {}
        """Of each step's file."""
        self._outdated: dict[int, int] = {}
        """Files that hold nothing to be drawn → the step that made them so."""
        self._tokens: dict[int, NDArray[np.int32]] = {}

    def __len__(self) -> int:
        return min(len(self._rows), self.capacity)

    @property
    def latest(self) -> int:
        """The last training step whose turns are here; -1 before the first."""
        return max(self._checksums, default=-1)

    def add(self, step: int, trajectories: Sequence[Trajectory]) -> None:
        """Keep the turns of a training step, of all processes. Called by all.

        Replayed trajectories are here already.
        """
        first = self.recorded if not self._checksums and self.processes.is_main else ()
        new = [("", t) for t in first] + [(t.group, t) for t in trajectories if not t.replayed]
        everyone = self.processes.gather([(group, *_flat(trajectory)) for group, trajectory in new])
        in_order = sorted((each for own in everyone for each in own), key=lambda each: natural(each[0]))
        tokens = [np.zeros(1, np.int32), *(tokens for _, tokens, _ in in_order)]  # nothing could not be mapped
        rows = [np.zeros(0, ROW), *(rows for _, _, rows in in_order)]
        for before, own in zip(np.cumsum([len(each) for each in tokens]), rows[1:], strict=False):
            for place in ("start", "answer", "end"):
                own[place] += before
            own["step"] = step
        self._rows = np.concatenate([self._rows, *rows])
        self._write(step, np.concatenate(tokens))
        self._forget(step)

    def _write(self, step: int, tokens: NDArray[np.int32]) -> None:
        path = replay_path(self.run_dir, step)
        self._checksums[step] = zlib.crc32(tokens.tobytes())
        if self.processes.is_main:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}")
            with unfinished.open("wb") as file:
                np.save(file, tokens)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        self.processes.wait()
        self._tokens[step] = np.load(path, mmap_mode="r")

    def _forget(self, step: int) -> None:
        """Let go of steps all of whose turns are too old, and of files that no checkpoint needs any more."""
        oldest = self._rows["step"][len(self._rows) - len(self)] if len(self) else step
        self._rows = self._rows[self._rows["step"] >= oldest]
        for old in [kept for kept in self._tokens if kept < oldest]:
            del self._tokens[old], self._checksums[old]
            self._outdated[old] = step
        finished = [int(path.name.rpartition("-")[2]) for path in list_checkpoints(self.run_dir)]
        for old in [old for old, since in self._outdated.items() if since < min(finished, default=since + 1)]:
            del self._outdated[old]
            if self.processes.is_main:
                replay_path(self.run_dir, old).unlink(missing_ok=True)

    def draw(self, count: int, seed: int) -> IntArray:
        """The numbers of so many turns, uniformly and with replacement; none while there is no turn."""
        if not len(self):
            return np.zeros(0, np.int64)
        return np.random.default_rng(seed).integers(len(self._rows) - len(self), len(self._rows), size=count)

    def transitions(self, numbers: IntArray) -> list[Transition]:
        """The turns with these numbers."""
        return [self._transition(number) for number in numbers.tolist()]

    def _transition(self, number: int) -> Transition:
        row = self._rows[number]
        tokens = self._tokens[int(row["step"])]
        response = tuple(tokens[row["answer"] : row["end"]].tolist())
        next_prompt = None if row["ends"] else self.prompt(number + 1)
        return Transition(self.prompt(number), response, float(row["reward"]), next_prompt)

    def prompt(self, number: int) -> tuple[int, ...]:
        """What the agent was shown before the turn with this number: tokens."""
        row = self._rows[number]
        return tuple(self._tokens[int(row["step"])][row["start"] : row["answer"]].tolist())

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`: what is where. The tokens are in the files."""
        return {
            "env_id": self.env_id,
            "run_dir": str(self.run_dir.absolute()),
            "rows": {name: torch.from_numpy(self._rows[name].copy()) for name in ROW.names or ()},
            "checksums": dict(self._checksums),
            "outdated": dict(self._outdated),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`. Called by all.

        Raises `ValueError` in one line for the buffer of another environment, and where a file is missing or another.
        """
        if state["env_id"] != self.env_id:
            raise ValueError(f"the replay buffer is of {state['env_id']}, and env_id is {self.env_id}")
        rows = np.zeros(len(state["rows"]["step"]), ROW)
        for name, values in state["rows"].items():
            rows[name] = values.numpy()
        tokens = {}
        for step, checksum in state["checksums"].items():
            path = replay_path(self.run_dir, step)
            beside = replay_path(Path(state["run_dir"]), step)
            if self.processes.is_main and not path.exists() and beside.exists():  # the checkpoint is another run's
                path.parent.mkdir(parents=True, exist_ok=True)
                copyfile(beside, path)
            self.processes.wait()
            tokens[step] = _read(path, checksum)
        self._rows, self._tokens = rows, tokens
        self._checksums, self._outdated = dict(state["checksums"]), dict(state["outdated"])


def _flat(trajectory: Trajectory) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """The tokens of a trajectory one after the other, and its turns in them.

    What a prompt adds to the turn before stands behind that turn, so that a prompt is one piece however it came about.
    """
    tokens: list[int] = []
    rows: list[tuple[int, int, int, int, float, bool]] = []
    start = 0
    for number, turn in enumerate(trajectory.turns):
        if not turn.continues:
            start = len(tokens)
        tokens += turn.prompt_ids
        answer = len(tokens)
        tokens += turn.response_ids
        rows.append((0, start, answer, len(tokens), turn.reward, number + 1 == len(trajectory.turns)))
    return np.array(tokens, np.int32), np.array(rows, ROW)


def _read(path: Path, checksum: int) -> NDArray[np.int32]:
    if not path.is_file():
        raise ValueError(f"the replay buffer's {path} is missing")
    try:
        tokens: NDArray[np.int32] = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"the replay buffer's {path} cannot be read: {error}") from None
    if zlib.crc32(tokens.tobytes()) != checksum:
        raise ValueError(f"the replay buffer's {path} is not the one that the checkpoint was written with")
    return tokens
