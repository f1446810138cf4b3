"""Success replay: a group that failed as a whole learns from a success that its task has seen before.

ARPO's (arXiv:2505.16282, §3.3): without it such a group, whose returns do not differ, teaches nothing.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, pstdev
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from pydantic import Field

from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.parameters import NonNegative, UnitInterval
from agentgym.trainers.processes import Processes

Count: TypeAlias = Annotated[int, Field(ge=1, description="≥ 1")]


class SuccessReplay:
    """A bounded memory of successes, and the gate through which they come into groups that failed. A part of the run.

    A group is let in whose outcomes differ by less than `std_below` (population standard deviation) and are below
    `mean_below` on average: the first of its trajectories is replaced by one drawn uniformly from the successes of its
    task. An outcome is the episode's score in [0, 1], where the environment tells one, else 1 for a success.

    A success is kept as it was sampled, tokens and log-probabilities; its ratio is taken to the policy that sampled it,
    and clipped. (The official code recomputes the old log-probabilities after the replacement: every ratio is 1 then,
    whatever policy the success is of.) All processes have the same memory, whoever has played: the next group of a
    task may be another process's.
    """

    per_process = False

    def __init__(
        self,
        env_id: str,
        seed: int,
        processes: Processes,
        *,
        per_task: Count = 8,
        max_trajectories: Count = 1024,
        store_above: UnitInterval = 0.1,
        std_below: NonNegative = 0.05,
        mean_below: UnitInterval = 0.2,
    ):
        """`seed`: of the run. Kept are trajectories with an outcome over `store_above`, the last `per_task` of each
        task and the last `max_trajectories` of all. The defaults but for that bound are ARPO's.
        """
        self.env_id, self.seed, self.processes = env_id, seed, processes
        self.per_task, self.max_trajectories = per_task, max_trajectories
        self.store_above, self.std_below, self.mean_below = store_above, std_below, mean_below
        self._kept: dict[int, tuple[str, bytes]] = {}
        """By a serial number, oldest first: the task's key and the trajectory, compressed."""
        self._of_task: dict[str, deque[int]] = defaultdict(deque)
        self._serial = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Trajectory]:
        """What is kept, oldest first."""
        return (_unpacked(packed) for _, packed in self._kept.values())

    def fill(self, group: Sequence[Trajectory]) -> list[Trajectory]:
        """The group, with a replayed trajectory in place of the first one of each seat that failed as a whole.

        Episodes that the environment failed say nothing and stay what they are.
        """
        filled = list(group)
        for seat in {trajectory.seat: None for trajectory in group}:
            places = [i for i, trajectory in enumerate(group) if trajectory.seat == seat and trajectory.counts]
            if places and group[places[0]].turns and self._has_failed([group[i] for i in places]):
                first = group[places[0]]
                if kept := self._of_task.get(_key(first)):
                    _, packed = self._kept[kept[self._choose(len(kept), first)]]
                    filled[places[0]] = replace(_unpacked(packed), group=first.group, replayed=True)
        return filled

    def remember(self, played: Sequence[Trajectory]) -> None:
        """Keep the successes of what was played, by all processes, in the order of its groups. Called by all."""
        kept: dict[str, deque[tuple[int, bytes]]] = defaultdict(lambda: deque(maxlen=self.per_task))
        for trajectory in played:
            if trajectory.counts and trajectory.turns and outcome(trajectory) > self.store_above:
                number = int(trajectory.group.rpartition("/")[2])
                kept[_key(trajectory)].append((number, _packed(trajectory)))
        own = [(number, key, packed) for key, of_task in kept.items() for number, packed in of_task]
        everyone = [each for of_process in self.processes.gather(own) for each in of_process]
        for _, key, packed in sorted(everyone, key=lambda each: each[0]):
            self._keep(key, packed)

    def _has_failed(self, peers: Sequence[Trajectory]) -> bool:
        outcomes = [outcome(trajectory) for trajectory in peers]
        return pstdev(outcomes) < self.std_below and fmean(outcomes) < self.mean_below

    def _choose(self, count: int, replaced: Trajectory) -> int:
        """Which of so many successes, oldest first, comes in place of a trajectory."""
        drawn = derived_seed(self.seed, "replay", replaced.group, replaced.seat)
        return int(np.random.default_rng(drawn).integers(count))

    def _keep(self, key: str, packed: bytes) -> None:
        self._kept[self._serial] = key, packed
        self._of_task[key].append(self._serial)
        self._serial += 1
        if len(self._of_task[key]) > self.per_task:
            del self._kept[self._of_task[key].popleft()]
        if len(self._kept) > self.max_trajectories:
            oldest = next(iter(self._kept))
            of_task = self._of_task[self._kept.pop(oldest)[0]]
            of_task.popleft()
        if not self._of_task[key]:
            del self._of_task[key]

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        packed = [each for _, each in self._kept.values()]
        return {
            "env_id": self.env_id,
            "keys": [key for key, _ in self._kept.values()],
            "sizes": [len(each) for each in packed],
            "trajectories": torch.from_numpy(np.frombuffer(b"".join(packed), np.uint8).copy()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`. Raises `ValueError` in one line for a memory of another environment."""
        if state["env_id"] != self.env_id:
            raise ValueError(f"the replay buffer is of {state['env_id']}, and env_id is {self.env_id}")
        packed, place = state["trajectories"].numpy().tobytes(), 0
        self._kept, self._of_task, self._serial = {}, defaultdict(deque), 0
        for key, size in zip(state["keys"], state["sizes"], strict=True):
            self._keep(key, packed[place : place + size])
            place += size


def outcome(trajectory: Trajectory) -> float:
    """The score of an episode, where the environment tells one, else 1 for a success and 0 for none."""
    return float(trajectory.success) if trajectory.score is None else trajectory.score


def _packed(trajectory: Trajectory) -> bytes:
    return zlib.compress(trajectory.to_json().encode("utf-8", "backslashreplace"))


def _unpacked(packed: bytes) -> Trajectory:
    return Trajectory.from_json(zlib.decompress(packed))


def _key(trajectory: Trajectory) -> str:
    """Tells the task, the seat, who is met and the first situation, as far as an agent can know it, from all others."""
    first = trajectory.turns[0]
    situation = [trajectory.task_id, trajectory.seat, trajectory.partner, first.state_key, first.observation]
    return hashlib.blake2b(json.dumps(situation).encode(), digest_size=16).hexdigest()
