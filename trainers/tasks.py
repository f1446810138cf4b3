"""Which tasks a training step plays: a sampler, and what it learns of their outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from statistics import fmean
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from agentgym.agents.seeds import derived_seed
from agentgym.envs.names import named
from agentgym.trainers.parameters import UnitInterval


@dataclass(frozen=True)
class Task:
    """A task: the environment's `reset(seed)` gives it."""

    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of a group of episodes of one task."""

    task: Task
    task_id: str
    task_type: str
    rewards: Sequence[float]
    """The episodes' undiscounted returns; none where the environment failed them all."""
    successes: Sequence[bool]


class Tasks:
    """The task sampler, uniform over the training split: each draw is a fresh seed.

    One of your own is a subclass, named in a configuration as `task_sampler: "my_module:MyTasks"`. Every process has
    one and is told the same, so what it draws must follow from its state and its arguments alone.
    """

    per_process = False

    def __init__(self, seed: int):
        """`seed`: of the run."""
        self.seed = seed

    def draw(self, count: int, step: int, first: int) -> list[Task]:
        """The tasks of the step's draws number `first` to `first + count - 1`."""
        return [Task(derived_seed(self.seed, step, "task", number) >> 32) for number in range(first, first + count)]

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Learn what became of the tasks that were drawn last, in their order."""

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""


@dataclass
class _Known:
    """What is known of a task."""

    seed: int
    """One that gives it."""
    success: float
    """The share of successes, later groups weighing more."""
    seen: int
    """The number of the observation that was its last."""

    @property
    def learnability(self) -> float:
        return self.success * (1 - self.success)


class Curriculum(Tasks):
    """Draws tasks more often that are solved about half of the time.

    A share of the draws goes to known tasks, in proportion to their learnability p(1 − p), where p is the success rate
    (Rutherford et al., "No Regrets", arXiv:2408.15099, which takes the tasks of the highest); the others are fresh
    seeds, so that a task that was never solved, or always, is met again where tasks are few, and new ones are found
    where they are endless (the mixture is prioritized level replay's, arXiv:2010.03934). p is the success rate of a
    task's first group, and moves by `rate` of the way to that of each later one. Tasks are told apart by their
    `task_id`, not by their seed. Until `warmup` tasks are known all draws are fresh.
    """

    def __init__(
        self,
        seed: int,
        *,
        share: UnitInterval = 0.5,
        rate: UnitInterval = 0.5,
        warmup: Annotated[int, Field(ge=1, description="≥ 1")] = 32,
        max_tasks: Annotated[int, Field(ge=1, description="≥ 1")] = 4096,
    ):
        """`max_tasks` are remembered; the least learnable are forgotten first, of these the one not seen for longest.

        Raises `ValueError` if so many are never known that the warm-up ends.
        """
        super().__init__(seed)
        if warmup > max_tasks:
            raise ValueError(f"curriculum: warmup is {warmup}, and of max_tasks {max_tasks} it would never end")
        self.share, self.rate, self.warmup, self.max_tasks = share, rate, warmup, max_tasks
        self._known: dict[str, _Known] = {}
        self._observed = 0

    def draw(self, count: int, step: int, first: int) -> list[Task]:
        """See `Tasks.draw`. No known task is drawn twice at once."""
        tasks = super().draw(count, step, first)
        known = list(self._known.values())
        weight = np.array([each.learnability for each in known])
        if len(known) < self.warmup or not weight.any():
            return tasks
        rng = np.random.default_rng(derived_seed(self.seed, step, "curriculum", first))
        places = np.flatnonzero(rng.random(count) < self.share)[: np.count_nonzero(weight)]
        drawn = rng.choice(len(known), len(places), replace=False, p=weight / weight.sum())
        for place, i in zip(places.tolist(), drawn.tolist(), strict=True):
            tasks[place] = Task(known[i].seed)
        return tasks

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """See `Tasks.observe`."""
        for outcome in outcomes:
            if not outcome.successes:
                continue
            rate, self._observed = fmean(outcome.successes), self._observed + 1
            if known := self._known.get(outcome.task_id):
                known.success += self.rate * (rate - known.success)
                known.seen = self._observed
            else:
                self._known[outcome.task_id] = _Known(outcome.task.seed, rate, self._observed)
        while len(self._known) > self.max_tasks:
            del self._known[min(self._known, key=lambda task: (self._known[task].learnability, self._known[task].seen))]

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {"observed": self._observed, "known": {task: astuple(known) for task, known in self._known.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        self._observed = state["observed"]
        self._known = {task: _Known(*known) for task, known in state["known"].items()}


TASK_SAMPLERS = {"uniform": Tasks, "curriculum": Curriculum}


def get_task_sampler(name: str) -> type[Tasks]:
    """The task sampler of this name, or of one's own as "module:Class".

    Raises `ValueError` in one line: with the nearest names, or for what is no task sampler.
    """
    found: type[Tasks] = named("task sampler", name, TASK_SAMPLERS)
    if not isinstance(found, type) or not issubclass(found, Tasks):
        raise ValueError(f"the task sampler {name!r} is none: a subclass of agentgym.trainers.tasks.Tasks is expected")
    return found
