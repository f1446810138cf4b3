"""SPIRAL's baseline: what each seat has earned of late (arXiv:2506.24119)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.experience import Experience
from agentgym.trainers.parameters import UnitInterval
from agentgym.trainers.signals.signal import Resources, Signal

Role: TypeAlias = tuple[str, str]
"""The game, by its `env_id`, and the seat: "" in worlds with one."""


class RunningBaseline(Signal):
    """b(game, seat): an exponential moving average of the seat's returns, as it stood before the episode.

        b ← decay·b + (1 − decay)·R,   from b = 0, after it was read

    Episodes count one after the other in the order of the step's groups, by all processes together: b does not depend
    on their number. (In the official code each process has averages of its own.) A replayed episode or a retry reads b
    and leaves it as it is: the policy has not played it on its own. Nor does a seat count that had no turn: what it was
    given is not recorded.
    """

    gives = ("running_baseline_N",)

    def __init__(self, resources: Resources, wanted: frozenset[str], *, decay: UnitInterval = 0.95):
        """`decay` 0.95: the official code's; b forgets a game in about 1/(1 − decay) others."""
        super().__init__(resources, wanted)
        self.decay = decay
        self.baselines: dict[Role, float] = {}

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        """In units of the return: shape (N,)."""
        processes, returns = self.resources.processes, experience.batch.episode_return_N.tolist()
        own = [
            (_group_number(t), (t.env_id, t.seat), value, bool(t.turns) and t.is_own_play)
            for t, value in zip(experience.trajectories, returns, strict=True)
        ]
        everyone = processes.gather(own)
        rows = [(number, process, *row) for process, of in enumerate(everyone) for number, *row in of]
        read: list[float] = []
        for _, process, role, value, counts in sorted(rows, key=lambda row: row[0]):  # stable: a group is one process's
            baseline = self.baselines.get(role, 0.0)
            if process == processes.index:
                read.append(baseline)
            if counts:
                self.baselines[role] = self.decay * baseline + (1 - self.decay) * value
        place = sorted(range(len(own)), key=lambda i: own[i][0])
        baseline_N = np.zeros(len(own))
        baseline_N[place] = read
        return {"running_baseline_N": baseline_N}

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {"baselines": [[*role, baseline] for role, baseline in self.baselines.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        self.baselines = {(env_id, seat): baseline for env_id, seat, baseline in state["baselines"]}


def _group_number(trajectory: Trajectory) -> int:
    return int(trajectory.group.rpartition("/")[2])
