"""Offline training: from a file of anybody's trajectories, by their rewards."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.agents.agent import RandomAgent
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.rollout import play
from agentgym.agents.trajectory import Trajectory, write_trajectories
from agentgym.envs import make
from tests.small_model import LAKE, make_trainer

CORRIDOR = {"map": ["SFFFG"], "max_turns": 6}
"""A random walk reaches the goal once in 25 episodes or so, and always through steps to the right."""
OREO = {"credit": "oreo", "credit_kwargs": {"temperature": 0.1}, "policy_loss": "reinforce", "beta": 0.01}
AWR = {
    "credit": "turn_ppo",
    "credit_kwargs": {"gamma": 0.9, "gae_lambda": 1.0},
    "policy_loss": "awr",
    "policy_loss_kwargs": {"temperature": 0.3},
}
OFFLINE: dict[str, Any] = {
    "trainer": "offline",
    "env_kwargs": CORRIDOR,
    "groups_per_step": 32,
    "max_steps": 30,
    "critic_warmup": 10,
    "save_steps": 100,
    "demonstration_workers": 0,
    "signals": {"critic": {"learning_rate": 1e-2}},
}


@pytest.fixture(scope="module")
def walks() -> list[Trajectory]:
    specs = [EpisodeSpec(LAKE, 0, group=str(i), sampling_seed=i) for i in range(256)]
    return play(RandomAgent(), partial(make, LAKE, **CORRIDOR), specs)


def success_rate(model: Path, run_dir: Path, file: Path, **settings: Any) -> float:
    """Of what the trained policy then plays itself."""
    trainer = make_trainer(model, run_dir, **OFFLINE | settings, demonstrations=str(file))
    list(trainer.train())
    judge = make_trainer(model, run_dir / "judge", env_kwargs=CORRIDOR, groups_per_step=1, group_size=64)
    judge.policy.load_adapter_state("default", trainer.policy.adapter_state("default"))
    return float(np.mean([t.success for t in judge.rollouts.next(0).played]))


@pytest.mark.parametrize("settings", [OREO, AWR], ids=["oreo", "awr"])
def test_what_was_played_at_random_teaches_by_its_rewards_alone(cloned_model, tmp_path, walks, settings) -> None:
    told, shuffled = tmp_path / "told.jsonl", tmp_path / "shuffled.jsonl"
    write_trajectories(told, walks)
    other = np.random.default_rng(0).permutation(len(walks))
    write_trajectories(shuffled, [with_return(walk, walks[i].total_reward) for walk, i in zip(walks, other, strict=True)])
    rates = [
        [success_rate(cloned_model, tmp_path / f"{file.stem}-{seed}", file, **settings, seed=seed) for seed in range(n)]
        for file, n in ((told, 5), (shuffled, 2))
    ]
    print(rates)


def with_return(walk: Trajectory, reward: float) -> Trajectory:
    rewards = [0.0] * (len(walk.turns) - 1) + [reward]
    return replace(walk, turns=[replace(turn, reward=r) for turn, r in zip(walk.turns, rewards, strict=True)])
