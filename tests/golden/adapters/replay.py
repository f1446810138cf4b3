"""ARPO's replay of successes into failed groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentgym.agents.trajectory import Trajectory, Turn
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from agentgym.trainers.processes import Processes
from agentgym.trainers.replay import SuccessReplay

from ..compare import Report


class Picking(SuccessReplay):
    """Draws what the case has drawn."""

    picks: Iterator[int]

    def _choose(self, count: int, replaced: Trajectory) -> int:
        return next(self.picks)


def check_arpo(case: dict[str, Any], report: Report) -> None:
    """Which groups are let in, what of, the advantages that come of it, and what is kept afterwards."""
    params = case["params"]
    known = {name: params[name] for name in ("store_above", "std_below", "mean_below")}
    replay = Picking("golden", 0, Processes(), per_task=params["buffer_size"], **known)
    assert params["std_ddof"] == 1  # our GRPO's only one
    for step, (given, expected) in enumerate(
        zip(case["input"]["iterations"], case["expected"]["iterations"], strict=True)
    ):
        replay.picks = iter(given["picks"])
        groups = [
            [_trajectory(f"{step}/{number}", group["task"], params["format_weight"], **each) for each in members]
            for number, group in enumerate(given["groups"])
            for members in [group["trajectories"]]
        ]
        filled = [replay.fill(group) for group in groups]
        replay.remember([trajectory for group in groups for trajectory in group])
        batch = TurnBatch.from_trajectories([trajectory for group in filled for trajectory in group])
        credit = compute("grpo", batch, epsilon=params["epsilon"])
        report.same("replaced", [group[0].replayed for group in filled], expected["replaced"])
        report.same("trajectories", [[t.episode for t in group] for group in filled], expected["trajectories"])
        report.number("reward", batch.episode_return_N, expected["reward"])
        report.number("grpo_advantage", credit.turn_advantages(batch), expected["grpo_advantage"])
        kept: dict[str, list[str]] = {}
        for trajectory in replay:
            kept.setdefault(trajectory.task_id, []).append(trajectory.episode)
        report.same("buffer_after", kept, expected["buffer_after"])
    report.same("picks left", [*replay.picks], [])


def _trajectory(group: str, task: str, weight: float, *, trajectory: str, eval: float, format: float) -> Trajectory:
    """An episode of one turn, whose reward is its evaluation and, with a weight, its format's."""
    turn = Turn("", task, "", reward=eval + weight * format)
    return Trajectory("golden", 0, group, task, "", [turn], score=eval, episode=trajectory)
