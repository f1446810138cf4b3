"""Success replay: what is kept and let in, that it teaches, and that nothing of it is lost."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.rollout import play
from agentgym.agents.run_files import list_checkpoints
from agentgym.agents.trajectory import StopReason, Trajectory, Turn, read_trajectories
from agentgym.recorded import places_of
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.processes import Processes
from agentgym.trainers.replay import SuccessReplay
from agentgym.trainers.trainer import Trainer
from tests.small_model import make_trainer

LONG_WAY: dict[str, Any] = {
    "env_kwargs": {"map": ["SFFFFFFFG"], "max_turns": 11},
    "max_new_tokens": 1,
    "credit": "grpo",
    "success_replay": True,
    "save_steps": 1000,
}
"""A corridor that the small model walks to its end in one of a hundred episodes."""


def lived(outcome: float, group: str = "0/0", task: str = "a", state: str = "s", **more: Any) -> Trajectory:
    reason = StopReason.SUCCESS if outcome == 1 else StopReason.TERMINATED
    turn = Turn("seen", state, "go", outcome, response_ids=[1], prompt_ids=[2], logprobs=[-0.5])
    named = {"episode": f"{group}/{outcome}", **more}
    return Trajectory("world", 0, group, task, "", [turn], reason, score=outcome, **named)


def memory(**params: Any) -> SuccessReplay:
    return SuccessReplay("world", 0, Processes(), **params)


# What is kept and let in --------------------------------------------------------------------------------------


def test_a_success_comes_into_a_group_of_its_task_that_failed_as_a_whole() -> None:
    replay = memory()
    replay.remember([lived(1.0, episode="kept"), lived(0.1, "0/1")])  # the second is no more than `store_above`
    assert [trajectory.episode for trajectory in replay] == ["kept"]
    failed = [lived(0.0, "5/3"), lived(0.0, "5/3"), lived(0.0, "5/3")]
    first, *others = replay.fill(failed)
    assert first == replace(lived(1.0, episode="kept"), group="5/3", replayed=True)
    assert others == failed[1:]

    def is_let_in(*group: Trajectory) -> bool:
        return any(trajectory.replayed for trajectory in replay.fill(group))

    assert not is_let_in(lived(0.0), lived(0.3))  # they differ
    assert not is_let_in(lived(0.2), lived(0.2))  # not bad enough
    assert is_let_in(lived(0.19), lived(0.19))
    assert not is_let_in(lived(0.0, task="b"), lived(0.0, task="b"))
    assert not is_let_in(lived(0.0, state="other"), lived(0.0, state="other"))
    lost = replace(lived(0.0), stop_reason=StopReason.ENV_ERROR)
    assert not is_let_in(lost, lost)
    assert [t.replayed for t in replay.fill([lost, lived(0.0)])] == [False, True]
    seats = [lived(0.0, seat="buyer"), lived(0.0, seat="buyer")]
    assert not is_let_in(*seats), "what another seat did is no success of this one"


def test_the_memory_is_bounded_first_in_first_out_and_is_saved_whole() -> None:
    replay = memory(per_task=2, max_trajectories=3)
    for number, task in enumerate("aaabc"):
        replay.remember([lived(1.0, f"{number}/0", task)])
        assert len(replay) <= 3
    assert [(t.task_id, t.group) for t in replay] == [("a", "2/0"), ("b", "3/0"), ("c", "4/0")]
    again = memory(per_task=2, max_trajectories=3)
    again.load_state_dict(torch.load(_saved(replay.state_dict()), weights_only=True))
    for each in (replay, again):
        each.remember([lived(1.0, "5/1", "b"), lived(1.0, "5/0", "b")])
        assert [(t.task_id, t.group) for t in each] == [("c", "4/0"), ("b", "5/0"), ("b", "5/1")]
        assert each.fill([lived(0.0, task="a")])[0].replayed is False
    with pytest.raises(ValueError, match=r"^the replay buffer is of world, and env_id is elsewhere$"):
        SuccessReplay("elsewhere", 0, Processes()).load_state_dict(replay.state_dict())


def _saved(state: dict[str, Any]) -> io.BytesIO:
    torch.save(state, file := io.BytesIO())
    file.seek(0)
    return file


# It teaches ---------------------------------------------------------------------------------------------------


@cache
def lucky_and_unlucky(model_dir: Path, run_dir: Path) -> tuple[list[Trajectory], list[Trajectory]]:
    """Of 512 episodes of the untrained policy those that arrived, and as many that did not."""
    rollouts = make_trainer(model_dir, run_dir, **LONG_WAY).rollouts
    specs = [EpisodeSpec(rollouts.env_id, 0, "0/0", i) for i in range(512)]
    with rollouts.engine.serving(rollouts.model, 0):
        played = play(rollouts.players, rollouts.make_env, specs, num_envs=512)
    arrived = [trajectory for trajectory in played if trajectory.success]
    assert 1 <= len(arrived) <= 12
    return arrived, [replace(t, score=1.0) for t in played if not t.success][: len(arrived)]


@pytest.mark.parametrize("seed", range(5))
def test_where_success_is_rare_replay_learns_and_not_by_foreign_trajectories(
    cloned_model: Path, tmp_path: Path, seed: int
) -> None:
    """The same few successes in the memory; the same with failures in their place; the gate closed."""
    arrived, others = lucky_and_unlucky(cloned_model, tmp_path / "luck")

    def success_rate(kept: list[Trajectory], mean_below: float = 0.2) -> tuple[float, float]:
        settings = {"seed": seed, "max_steps": 16, "success_replay_kwargs": {"mean_below": mean_below}}
        trainer = make_trainer(cloned_model, tmp_path / f"{len(list(tmp_path.iterdir()))}", **LONG_WAY, **settings)
        trainer.rollouts.replay.remember(kept)
        steps = list(trainer.train())
        return fmean(step["success_rate"] for step in steps[8:]), sum(step["replay/episodes"] for step in steps)

    (taught, let_in), (foreign, let_in_too), (closed, none) = (
        success_rate(arrived), success_rate(others), success_rate(arrived, mean_below=0.0)
    )  # fmt: skip
    assert none == 0 and let_in > 5 and let_in_too > 5
    assert taught > max(foreign, closed) + 0.1
    assert foreign < closed + 0.1


def test_the_ratio_of_what_is_replayed_is_to_the_policy_that_sampled_it(cloned_model: Path, tmp_path: Path) -> None:
    """Far likelier now than then, with a positive advantage: clipped, each token of it and no other."""
    arrived, _ = lucky_and_unlucky(cloned_model, tmp_path / "luck")
    unlikely = [replace(turn, logprobs=[p - 10 for p in turn.logprobs]) for turn in arrived[0].turns]
    trainer = make_trainer(cloned_model, tmp_path / "run", **LONG_WAY, max_steps=1)
    trainer.rollouts.replay.remember([replace(arrived[0], turns=unlikely)])
    (step,) = trainer.train()
    assert step["replay/episodes"] > 0
    assert step["clip_ratio"] == pytest.approx(step["replay/tokens"] / step["tokens/trained"])
    assert step["sampler_logp_difference/max"] < 1e-3, "what another policy has sampled is not compared"


# Beside a filter, a curriculum and greedy episodes -----------------------------------------------------------------

TOGETHER: dict[str, Any] = {
    "credit": "remax",
    "success_replay": True,
    "group_filter": "spread",
    "task_sampler": "curriculum",
    "task_sampler_kwargs": {"warmup": 4},
    "max_steps": 8,
    "save_steps": 4,
    "groups_per_step": 3,
    "group_size": 3,
}


def numbers(steps: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in step.items() if "time" not in k} for step in steps]


def plain(state: dict[str, Any]) -> Any:
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in state.items()}


def test_all_together_are_resumed_exactly_and_written_down(cloned_model: Path, tmp_path: Path) -> None:
    whole = make_trainer(cloned_model, tmp_path / "whole", **TOGETHER)
    steps = list(whole.train())
    assert sum(step["replay/episodes"] for step in steps) > 0, "let in before the filter asks for spread"
    assert max(step["groups/drawn"] for step in steps) > 3

    resumed = make_trainer(cloned_model, tmp_path / "resumed", **TOGETHER)
    resumed.resume(list_checkpoints(tmp_path / "whole")[0])
    assert numbers(list(resumed.train())) == numbers(steps[4:])
    ours, theirs = resumed.rollouts.state_dict(), whole.rollouts.state_dict()
    assert ours["tasks"] == theirs["tasks"] and plain(ours["replay"]) == plain(theirs["replay"])
    assert all(map(torch.equal, resumed.policy.parameters, whole.policy.parameters))

    for number, step in enumerate(steps):
        check_step(whole, number, step)


def check_step(trainer: Trainer, number: int, step: dict[str, float]) -> None:
    """What is on the disk of a step: all that was played, and what was replayed, once."""
    name = f"step-{number:06d}.process-0"
    path = trainer.records.run_dir / "trajectories" / f"{name}.jsonl.gz"
    written = list(read_trajectories(path))
    replayed = [trajectory for trajectory in written if trajectory.replayed]
    assert len(replayed) == step["replay/episodes"] and len(written) == step["episodes"] + len(replayed)
    table = TurnBatch.load(trainer.records.run_dir / "credit" / f"{name}.npz")
    learned = [written[place] for place in places_of(table, path, len(written))]
    assert [t.total_reward for t in learned] == table.episode_return_N.tolist()
    assert [t.greedy_return for t in learned] == table.columns["greedy_return_N"].tolist()
    assert [t.replayed for t in learned] == table.flags("replayed_N").tolist()
    assert all(t.replayed == (t.turns[0].policy_step < number) for t in learned)
    assert all(math.isfinite(step[key]) for key in step)
