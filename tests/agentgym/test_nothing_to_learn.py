"""A run from which nothing can be learned says so in words, and stops where nothing is left or nothing is finite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from agentgym.advice import Advice
from agentgym.agents.run_files import list_checkpoints
from agentgym.envs import TextEnv, register
from agentgym.train import main
from agentgym.trainers import parts
from tests.small_model import SETTINGS


class Shaky(TextEnv):
    """A world of which so many resets fail."""

    instructions = ""
    task_types = ("shaky",)

    def __init__(self, split: str = "train", failing: float = 0.0, rewarding: bool = True):
        super().__init__(split=split, max_turns=2)
        self.failing, self.rewarding, self.resets = failing, rewarding, np.random.default_rng(7)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        if self.seen >= 1 and self.resets.random() < self.failing:
            raise OSError("the connection was lost")
        Shaky.seen += 1
        return "?"

    seen = 0
    """Resets that went well in all worlds: the first is that of the check at the start."""

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        return "?", float(self.rewarding and len(action) > 2), False, True

    def _situation(self) -> dict[str, Any]:
        return {"success": False, "task_id": "0", "task_type": "shaky", "state_key": "0"}


def train(cloned_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], **settings: Any) -> tuple[int, str]:
    Shaky.seen = 0
    register("test/Shaky-v0", Shaky)
    config = tmp_path / "run.yaml"
    config.write_text(
        yaml.safe_dump(SETTINGS | {"model": str(cloned_model), "env_id": "test/Shaky-v0", "env_kwargs": {}} | settings)
    )
    status = main([str(config), "--output_dir", str(tmp_path / "run")])
    return status, capsys.readouterr().err


def test_no_difference_of_reward_is_said(cloned_model, tmp_path, capsys):
    status, said = train(cloned_model, tmp_path, capsys, env_kwargs={"rewarding": False})
    assert status == 0, said
    assert said.count("100% of the groups have no difference of reward") == 1
    assert "in 3 of 3 steps groups/without_spread was above a half" in said
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["groups/without_spread"] == 1 for line in lines)


def test_lost_episodes_are_said_and_a_step_without_any_ends_the_run_in_one_line(cloned_model, tmp_path, capsys):
    status, said = train(cloned_model, tmp_path, capsys, env_kwargs={"failing": 1.0})
    assert status == 1, said
    assert "error: step 1: the environment failed all 8 episodes: " in said and "the connection was lost" in said
    assert "Traceback" not in said


def test_a_filter_that_keeps_nothing_ends_the_run_in_one_line(cloned_model, tmp_path, capsys):
    settings = {"env_kwargs": {"rewarding": False}, "group_filter": "spread"}
    status, said = train(cloned_model, tmp_path, capsys, **settings)
    assert status == 1, said
    assert "error: step 1: the group filter kept none of 20 groups in 10 rounds: there is nothing to learn from" in said


def test_a_share_above_a_half_is_said_once_and_at_the_end():
    said: list[str] = []
    advice = Advice(said.append, group_size=2)
    for step, lost in enumerate((0.1, 0.6, 0.7, 0.2, 0.8), start=1):
        advice.hear({"step": step, "groups/without_spread": 0.0, "episodes/lost": lost})
    advice.conclude()
    assert [line.partition(":")[0] for line in said] == [
        "step 2",
        "in 3 of 5 steps episodes/lost was above a half",
    ]


@pytest.mark.parametrize("what", ["gradient", "adapter"])
def test_what_is_not_finite_stops_the_run_and_is_never_saved(cloned_model, tmp_path, capsys, monkeypatch, what):
    """In the second step, after a checkpoint of the first."""
    calls = []
    clip = torch.nn.utils.clip_grad_norm_

    def spoilt(parameters, max_norm):
        calls.append(1)
        if len(calls) == 2:
            (parameters[0].grad if what == "gradient" else parameters[0].data)[0, 0] = float("nan")
        return clip(parameters, max_norm)

    monkeypatch.setattr(parts.torch.nn.utils, "clip_grad_norm_", spoilt)
    status, said = train(cloned_model, tmp_path, capsys, save_steps=1)
    assert status == 1, said
    (kept,) = list_checkpoints(tmp_path / "run")
    assert kept.name == "step-000001"
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert str(kept) in line
    if what == "gradient":
        assert "error: step 2: the gradient's norm is nan; nothing was changed by it" in line
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_groups_of_one_have_no_spread_and_it_is_not_said() -> None:
    said: list[str] = []
    advice = Advice(said.append, group_size=1)
    for step in (1, 2):
        advice.hear({"step": step, "groups/without_spread": 1.0, "episodes/lost": 0.0})
    advice.conclude()
    assert not said
