"""Slow environments side by side: the same results whatever the number of workers and wherever they live."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from agentgym.agents.agent import Agent, ExpertAgent, RandomAgent
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.rollout import play
from agentgym.agents.trajectory import StopReason, Trajectory
from agentgym.envs import TextEnv, make
from agentgym.envs.worker import WorkerEnv
from tests.envs.moody import Slow


def played(make_env: Callable[[], TextEnv], workers: int = 1, agent: Agent | None = None) -> list[Trajectory]:
    specs = [EpisodeSpec("a world", seed, f"g{seed // 2}", sampling_seed=seed) for seed in range(8)]
    return play(agent or RandomAgent(), make_env, specs, num_envs=4, workers=workers)


@pytest.mark.parametrize(
    ("world", "agent"),
    [
        (partial(make, "agentgym/Sokoban-v0", max_turns=5), ExpertAgent(noise=0.5)),
        (partial(Slow, nap=0.001, max_turns=9), RandomAgent()),
    ],
    ids=["sokoban", "slow"],
)
def test_the_same_results_whatever_the_number_of_workers(world: Callable[[], TextEnv], agent: Agent) -> None:
    one_by_one = played(world, agent=agent)
    assert len({len(trajectory.turns) for trajectory in one_by_one}) > 1
    for make_env in (world, partial(WorkerEnv, world, 60)):
        for workers in (1, 4):
            assert played(make_env, workers, agent) == one_by_one


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (
            "hang",
            "TimeoutError: the worker process of Slow took longer than 2 s to play turn 1 of seed 5, and was ended",
        ),
        ("crash", "EngineError: the worker process of Slow ended when it was to play turn 1 of seed 5: exit status 7"),
    ],
)
def test_what_hangs_or_dies_is_tried_again_then_excluded_and_counted(
    trouble: str, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 2 if trouble == "hang" else 60
    told = told.format("the worker process of Slow")
    once = partial(Slow, trouble={5: trouble}, mark=str(tmp_path / "mark"))
    expected = played(Slow)
    assert played(partial(WorkerEnv, once, limit), 4) == expected
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"a world, seed 5, turn 1: {told}; trying again afresh"
    ]
    result = played(partial(WorkerEnv, partial(Slow, trouble={5: trouble}), limit), 4)
    failed = result.pop(5)
    assert (failed.stop_reason, failed.error) == (StopReason.ENV_ERROR, f"a world, seed 5, turn 1: {told}")
    assert result == expected[:5] + expected[6:]
