"""Which tasks a training step plays: a sampler, and what it learns of their outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentgym.agents.seeds import derived_seed
from agentgym.envs.names import named


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


TASK_SAMPLERS = {"uniform": Tasks}


def get_task_sampler(name: str) -> type[Tasks]:
    """The task sampler of this name, or of one's own as "module:Class".

    Raises `ValueError` in one line: with the nearest names, or for what is no task sampler.
    """
    found: type[Tasks] = named("task sampler", name, TASK_SAMPLERS)
    if not isinstance(found, type) or not issubclass(found, Tasks):
        raise ValueError(f"the task sampler {name!r} is none: a subclass of agentgym.trainers.tasks.Tasks is expected")
    return found
