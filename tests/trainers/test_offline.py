"""Offline training: from a file of anybody's trajectories, by their rewards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from agentgym.agents.trajectory import Trajectory, write_trajectories
from agentgym.trainers.demonstrations import RecordedGroups, Share
from tests.small_model import make_trainer

CORRIDOR = {"env_kwargs": {"map": ["SFFFG"], "max_turns": 6}, "max_new_tokens": 1}
"""The model that has not been trained reaches the goal in one episode of sixteen."""
OREO = {"credit": "oreo", "credit_kwargs": {"temperature": 0.1}, "policy_loss": "reinforce"}
AWR = {
    "credit": "turn_ppo",
    "credit_kwargs": {"gamma": 0.9, "gae_lambda": 1.0},
    "policy_loss": "awr",
    "policy_loss_kwargs": {"temperature": 0.3},
}
OFFLINE: dict[str, Any] = {
    **CORRIDOR,
    "trainer": "offline",
    "groups_per_step": 64,
    "num_minibatches": 2,
    "max_steps": 20,
    "critic_warmup": 8,
    "learning_rate": 5e-3,
    "save_steps": 100,
    "demonstration_workers": 0,
    "signals": {"critic": {"learning_rate": 5e-3}},
}


@pytest.fixture(scope="module")
def walks(cloned_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Trajectory]:
    """What the model has played before it learned anything."""
    settings = {"groups_per_step": 512, "group_size": 1, "credit": "reinforce"}
    return make_trainer(cloned_model, tmp_path_factory.mktemp("walks"), **CORRIDOR, **settings).rollouts.next(0).played


def success_rate(model: Path, run_dir: Path, file: Path, **settings: Any) -> float:
    """Of what the trained policy then plays itself."""
    trainer = make_trainer(model, run_dir, **OFFLINE | settings, demonstrations=str(file))
    list(trainer.train())
    judge = make_trainer(model, run_dir / "judge", **CORRIDOR, groups_per_step=1, group_size=256)
    judge.policy.load_adapter_state("default", trainer.policy.adapter_state("default"))
    return fmean(t.success for t in judge.rollouts.next(0).played)


@pytest.mark.parametrize("settings", [OREO, AWR], ids=["oreo", "awr"])
@pytest.mark.parametrize(("seed", "is_told"), [*((seed, True) for seed in range(5)), (0, False), (1, False)])
def test_what_was_played_teaches_by_its_rewards(cloned_model, tmp_path, walks, settings, seed, is_told) -> None:
    """And not by those of other episodes, shuffled among them."""
    file, others = tmp_path / "walks.jsonl", np.random.default_rng(0).permutation(len(walks))
    shuffled = [with_return(walk, walks[i].total_reward) for walk, i in zip(walks, others, strict=True)]
    write_trajectories(file, walks if is_told else shuffled)
    before = fmean(walk.success for walk in walks)
    assert (success_rate(cloned_model, tmp_path, file, **settings, seed=seed) > before + 0.1) is is_told


def with_return(walk: Trajectory, reward: float) -> Trajectory:
    rewards = [0.0] * (len(walk.turns) - 1) + [reward]
    return replace(walk, turns=[replace(turn, reward=r) for turn, r in zip(walk.turns, rewards, strict=True)])


def test_two_processes_learn_from_the_groups_of_one(walks) -> None:
    pairs = [replace(walk, group=str(i // 2), seed=i // 2) for i, walk in enumerate(walks[:20])]
    shares = [Share(3, 0, index, count) for index, count in ((0, 1), (0, 2), (1, 2))]
    one, first, second = (RecordedGroups.of(pairs, share, seed=3) for share in shares)
    drawn = []
    for step in range(10):
        together = sorted(first[step] + second[step], key=lambda t: t.group)
        assert together == one[step] and [t.group for t in together] == [f"{step}/{n // 2}" for n in range(6)]
        drawn += [trajectory.seed for trajectory in together]
    assert {seed: drawn.count(seed) for seed in drawn} == dict.fromkeys(range(10), 6)  # three times ten groups of two


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"demonstrations": "expert"}, "trainer is offline: name a trajectory file or a run as demonstrations"),
        ({"credit": "grpo"}, "has one episode of each task, but grpo compares the episodes of a group"),
        (
            {"credit": "remax", "credit_kwargs": {}},
            "does not tell the returns of greedy episodes, which remax needs and nobody plays offline",
        ),
        ({"show_admissible_actions": True}, "files do not tell admissible actions"),
        (
            {"env_id": "agentgym/Sokoban-v0", "env_kwargs": {}},
            "is of agentgym/FrozenLake-v0, and env_id is agentgym/Sok",
        ),
        ({"demonstrations": "nowhere.jsonl"}, "nowhere.jsonl is no file and no directory"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(cloned_model, tmp_path, walks, settings, message) -> None:
    write_trajectories(tmp_path / "walks.jsonl", walks[:4])
    given = OFFLINE | OREO | {"demonstrations": str(tmp_path / "walks.jsonl")} | settings
    with pytest.raises(ValueError, match=message):
        make_trainer(cloned_model, tmp_path, **{**given, **({"signals": {}} if "credit" in settings else {})})
