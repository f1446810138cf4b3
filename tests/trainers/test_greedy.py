"""ReMax's greedy episodes: played by themselves where somebody needs their return, counted, and not learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.rollout import play
from agentgym.agents.trajectory import Trajectory, read_trajectories
from agentgym.envs import register
from agentgym.envs.frozen_lake import FrozenLakeEnv
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.experience import Experience
from agentgym.trainers.signals.signal import Signal
from tests.small_model import make_trainer


def first_table(run_dir: Path) -> tuple[list[Trajectory], TurnBatch]:
    name = "step-000000.process-0"
    return list(read_trajectories(run_dir / "trajectories" / f"{name}.jsonl.gz")), TurnBatch.load(
        run_dir / "credit" / f"{name}.npz"
    )


def test_remax_compares_with_what_the_likeliest_tokens_earn(cloned_model: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"credit": "remax", "max_steps": 1, "groups_per_step": 8, "group_size": 2}
    trainer = make_trainer(cloned_model, tmp_path, **settings)
    rollouts = trainer.rollouts
    tasks = rollouts.tasks.draw(8, 0, 0)
    specs = [EpisodeSpec(rollouts.env_id, task.seed, f"0/{i}", i) for i, task in enumerate(tasks)]
    with rollouts.engine.serving(rollouts.model, 0):
        alone = play(rollouts.players.at(0.0), rollouts.make_env, specs)
    returns = {trajectory.group: trajectory.total_reward for trajectory in alone}
    assert len({*returns.values()}) == 2, "some of them arrive"

    (step,) = trainer.train()
    played, table = first_table(tmp_path)
    assert len(played) == step["episodes"] == 16
    assert [t.greedy_return for t in played] == [returns[t.group] for t in played]
    earned_N = table.episode_return_N - [returns[t.group] for t in played]
    last_T = table.turn_offsets_N[1:] - 1
    assert table.columns["advantage_T"][last_T].tolist() == earned_N.tolist()
    assert step["greedy/episodes"] == 8
    assert step["greedy/reward"] == np.mean([*returns.values()])
    assert step["greedy/tokens"] == sum(len(turn.response_ids) for t in alone for turn in t.turns)
    assert step["tokens/trained"] == step["tokens/sampled"] == table.n_tokens


class Fragile(FrozenLakeEnv):
    """Fails whoever comes after so many resets."""

    resets_left = 0

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        Fragile.resets_left -= 1
        if Fragile.resets_left < 0:
            raise OSError("worn out")
        return super()._start(rng, options)


def test_a_group_whose_greedy_episode_is_lost_is_not_learned_from(cloned_model: Path, tmp_path: Path) -> None:
    register("test/Threadbare-v0", Fragile)
    Fragile.resets_left = 1000
    settings: dict[str, Any] = {"env_id": "test/Threadbare-v0", "credit": "remax", "max_steps": 1, "num_envs": 1}
    trainer = make_trainer(cloned_model, tmp_path, **settings)
    Fragile.resets_left = 9  # two groups of four, and one of their greedy episodes
    (step,) = trainer.train()
    _, table = first_table(tmp_path)
    assert (step["episodes"], step["greedy/episodes"], table.n_trajectories, table.n_groups) == (8, 2, 4, 1)


class OwnBaseline(Signal):
    """A user's own greedy returns."""

    gives = ("greedy_return_N",)

    def compute(self, experience: Experience) -> dict[str, Any]:
        return {"greedy_return_N": np.full(experience.batch.n_trajectories, 0.25)}


@pytest.mark.parametrize("settings", [{}, {"credit": "remax", "signals": {f"{__name__}:OwnBaseline": {}}}])
def test_nothing_is_played_greedily_that_nobody_needs(cloned_model: Path, tmp_path: Path, settings: Any) -> None:
    trainer = make_trainer(cloned_model, tmp_path, **settings, max_steps=1)
    (step,) = trainer.train()
    assert not any(key.startswith(("greedy", "replay")) for key in step)
