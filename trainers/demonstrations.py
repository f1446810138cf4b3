"""Demonstrations in place of rollouts: what cloning and offline training learn from.

Cloning's loss is REINFORCE with an advantage of 1: the mean negative log-likelihood of what was demonstrated. Offline
training gives recorded trajectories the credit of any scheme. Everything else, policy, parts, checkpoints, metrics, is
the trainer's.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from agentgym.agents.demonstrator import Demonstrator
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.evaluation import NothingPlayedError
from agentgym.agents.rollout import MakeEnv, play
from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit
from agentgym.trainers.processes import Processes
from agentgym.trainers.progress import OnProgress, say_nothing
from agentgym.trainers.rollouts import Collected


def imitation(batch: TurnBatch) -> Credit:
    """The credit of demonstrations: 1 for every turn, whatever came of it."""
    return Credit(advantage_T=np.ones(batch.n_turns))


@dataclass(frozen=True)
class Share:
    """Which demonstrations of a step are this process's."""

    groups_per_step: int
    group_size: int
    index: int
    count: int

    @classmethod
    def of(cls, groups_per_step: int, group_size: int, processes: Processes) -> Share:
        """This process's share."""
        return cls(groups_per_step, group_size, processes.index, processes.count)

    def places(self) -> list[tuple[int, int]]:
        """Group and member of each demonstration."""
        groups = range(self.index, self.groups_per_step, self.count)
        return [(group, member) for group in groups for member in range(self.group_size)]


@dataclass(frozen=True)
class ExpertEpisodes(Dataset[list[Trajectory]]):
    """What the expert plays in each training step: item k is step k's, on tasks that follow from the seed alone."""

    demonstrator: Demonstrator
    make_env: MakeEnv
    env_id: str
    share: Share
    seed: int
    num_envs: int
    seats: tuple[str, ...] = ("",)
    """The seats that are learned in. The expert plays the others too."""

    def __getitem__(self, step: int) -> list[Trajectory]:
        specs = [
            EpisodeSpec(
                self.env_id,
                seed=derived_seed(self.seed, step, "demonstration", group) >> 32,
                group=f"{step}/{group}",
                sampling_seed=derived_seed(self.seed, step, "demonstrator", group, member),
            )
            for group, member in self.share.places()
        ]
        played = play(self.demonstrator, self.make_env, specs, num_envs=self.num_envs)
        return [trajectory for trajectory in played if trajectory.seat in self.seats or not trajectory.counts]


@dataclass(frozen=True)
class RecordedEpisodes(Dataset[list[Trajectory]]):
    """Trajectories that somebody has played, in an order drawn anew whenever all were seen."""

    trajectories: Sequence[Trajectory]
    share: Share
    seed: int

    def __getitem__(self, step: int) -> list[Trajectory]:
        chosen = []
        for group, member in self.share.places():
            place = (step * self.share.groups_per_step + group) * self.share.group_size + member
            epoch, i = divmod(place, len(self.trajectories))
            order = np.random.default_rng(derived_seed(self.seed, "epoch", epoch)).permutation(len(self.trajectories))
            chosen.append(replace(self.trajectories[order[i]], group=f"{step}/{group}"))
        return chosen


@dataclass(frozen=True)
class RecordedGroups(Dataset[list[Trajectory]]):
    """Whole groups that somebody has played, in an order drawn anew whenever all were seen."""

    groups: Sequence[Sequence[Trajectory]]
    share: Share
    seed: int

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory], share: Share, seed: int) -> RecordedGroups:
        """The groups of trajectories, in the order of their first."""
        groups: dict[tuple[str, int], list[Trajectory]] = {}
        for trajectory in trajectories:
            groups.setdefault((trajectory.group, trajectory.seed), []).append(trajectory)
        return cls(list(groups.values()), share, seed)

    def __getitem__(self, step: int) -> list[Trajectory]:
        chosen: list[Trajectory] = []
        for number in range(self.share.index, self.share.groups_per_step, self.share.count):
            epoch, i = divmod(step * self.share.groups_per_step + number, len(self.groups))
            order = np.random.default_rng(derived_seed(self.seed, "epoch", epoch)).permutation(len(self.groups))
            chosen += [replace(trajectory, group=f"{step}/{number}") for trajectory in self.groups[order[i]]]
        return chosen


def _leave_signals_to_parent(worker: int) -> None:
    """A forked worker has the trainer's way to take signals: Ctrl-C is the trainer's, SIGTERM ends the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Demonstrations:
    """Rollouts that nobody samples. They follow from step and seed, so that there is no state to save."""

    per_process = False

    def __init__(self, episodes: Dataset[list[Trajectory]], processes: Processes, *, workers: int, max_steps: int):
        """`workers`: processes that play ahead, so that a GPU does not wait; 0 plays in this one."""
        self.episodes, self.processes, self.workers, self.max_steps = episodes, processes, workers, max_steps
        self._next_step = -1
        self._ahead: Iterator[list[Trajectory]] = iter(())

    def next(self, step: int, on_progress: OnProgress = say_nothing) -> Collected:
        """The demonstrations of a step. Raises `NothingPlayedError` in one line where none could be played."""
        if step != self._next_step:  # the first step, or the first after a resume
            steps = range(step, self.max_steps)
            loader = DataLoader(
                self.episodes,
                batch_size=None,
                sampler=steps,
                num_workers=min(self.workers, os.cpu_count() or 1),
                worker_init_fn=_leave_signals_to_parent,
            )
            self._ahead = iter(loader)
        played = next(self._ahead)
        self._next_step = step + 1
        on_progress("demonstrations", len(played), len(played))
        learned = [trajectory for trajectory in played if trajectory.counts and trajectory.turns]
        if not sum(self.processes.gather(len(learned))):
            failures = self.processes.gather(next((t.error for t in played if t.error), None))
            reason = next(filter(None, failures), "no turn fits into the model's context")
            raise NothingPlayedError(f"step {step + 1}: there is no demonstration to learn from: {reason}")
        return Collected(played, learned)

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
