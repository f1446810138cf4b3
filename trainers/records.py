"""What a step played and what was computed of it, written side by side into the run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agentgym.agents.run_files import credit_path, trajectory_path
from agentgym.agents.trajectory import Trajectory, write_trajectories
from agentgym.trainers.experience import Experience


@dataclass(frozen=True)
class Records:
    """The writer of the trajectories and the credit of one process."""

    run_dir: Path
    process: int
    every: int = 1
    """Only the first of so many steps is kept."""

    def write(self, experience: Experience, played: Sequence[Trajectory]) -> None:
        """Write all that was played, replayed or retried, and the table of what was learned from.

        The table's column `place_N` is each trajectory's place in the file of trajectories.
        """
        if experience.step % self.every:
            return
        files = [path(self.run_dir, experience.step, self.process) for path in (trajectory_path, credit_path)]
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_trajectories(files[0], played)
        place = {id(trajectory): i for i, trajectory in enumerate(played)}
        place_N = np.array([place.get(id(t), -1) for t in experience.trajectories], np.int64)
        table = experience.batch.with_columns({"place_N": place_N})
        replace(table, observation_T=None).save(files[1])
