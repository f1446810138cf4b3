"""A group filter and a task sampler of one's own: drop what teaches nothing, prefer what is half mastered.

In a configuration: `group_filter: my_module:differs` and `task_sampler: my_module:Middling`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import Trajectory, read_trajectories
from agentgym.trainers.checkpoint import list_checkpoints
from agentgym.trainers.tasks import Outcome, Task, Tasks
from tests.small_model import make_trainer


def differs(group: Sequence[Trajectory]) -> bool:
    """Keeps groups whose episodes do not all end alike."""
    return len({trajectory.success for trajectory in group}) > 1


class Middling(Tasks):
    """Draws from a fixed set of tasks, and more often those that are solved about half of the time."""

    def __init__(self, seed: int, *, count: int = 20, rate: float = 0.5):
        super().__init__(seed)
        self.seeds = [derived_seed(seed, "middling", i) >> 32 for i in range(count)]
        self.rate = rate
        self.success = dict.fromkeys(self.seeds, 0.5)

    def draw(self, count: int, step: int, first: int) -> list[Task]:
        rng = np.random.default_rng(derived_seed(self.seed, step, "draw", first))
        weight = np.array([0.05 + rate * (1 - rate) for rate in self.success.values()])
        return [Task(self.seeds[i]) for i in rng.choice(len(self.seeds), count, p=weight / weight.sum())]

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.successes:
                before = self.success[outcome.task.seed]
                self.success[outcome.task.seed] = before + self.rate * (np.mean(outcome.successes).item() - before)

    def state_dict(self) -> dict[str, Any]:
        return {"success": self.success}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.success = dict(state["success"])


SETTINGS: dict[str, Any] = {
    "group_filter": f"{__name__}:differs",
    "task_sampler": f"{__name__}:Middling",
    "task_sampler_kwargs": {"count": 12},
    "groups_per_step": 3,
    "max_steps": 6,
    "save_steps": 3,
}


def test_groups_without_spread_are_drawn_anew_and_the_run_is_resumed_exactly(
    cloned_model: Path, tmp_path: Path
) -> None:
    whole = make_trainer(cloned_model, tmp_path / "whole", **SETTINGS)
    steps = list(whole.train())
    assert max(step["groups/drawn"] for step in steps) > 3  # some were dropped, and others drawn in their place
    tasks = whole.rollouts.tasks
    assert isinstance(tasks, Middling) and len({*tasks.success.values()}) > 2

    resumed = make_trainer(cloned_model, tmp_path / "resumed", **SETTINGS)
    resumed.resume(list_checkpoints(tmp_path / "whole")[0])
    again = list(resumed.train())
    without_times = [[{k: v for k, v in step.items() if "time" not in k} for step in run] for run in (steps[3:], again)]
    assert without_times[0] == without_times[1]
    assert resumed.rollouts.state_dict() == whole.rollouts.state_dict()
    assert all(map(torch.equal, resumed.policy.parameters, whole.policy.parameters))


def test_only_what_was_kept_is_learned_from_and_all_is_on_the_disk(cloned_model: Path, tmp_path: Path) -> None:
    trainer = make_trainer(cloned_model, tmp_path, **{**SETTINGS, "max_steps": 1})
    (step,) = trainer.train()
    (file,) = (tmp_path / "trajectories").iterdir()
    played = list(read_trajectories(file))
    groups = {t.group: [other for other in played if other.group == t.group] for t in played}
    assert step["groups/drawn"] == len(groups)
    kept = [group for group in groups.values() if differs(group)]
    assert step["tokens/trained"] == sum(len(turn.response_ids) for group in kept for t in group for turn in t.turns)
