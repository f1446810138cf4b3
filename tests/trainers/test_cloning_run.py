"""Cloning as a trainer: demonstrations in the model's own tokens, resumed exactly, then something to begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from agentgym.agents.run_files import list_checkpoints, trajectory_path
from agentgym.agents.trajectory import read_trajectories, write_trajectories
from agentgym.envs import TextEnv, make
from agentgym.train import main
from tests.small_model import LAKE, SETTINGS, make_trainer

# A lake of one row: "right" is always right.
CORRIDOR: dict[str, Any] = {"env_kwargs": {"map": ["SFFG"]}, "max_turns": 6}
CLONING: dict[str, Any] = {
    "trainer": "cloning",
    "groups_per_step": 8,
    "group_size": 1,
    "max_steps": 12,
    "learning_rate": 1e-2,
    "save_steps": 6,
    "demonstration_workers": 0,
}


def run(tmp_path: Path, name: str, model: Path, **settings: Any) -> Path:
    config = tmp_path / f"{name}.yaml"
    config.write_text(yaml.safe_dump(SETTINGS | {"model": str(model), **settings}))
    assert main([str(config), "--output_dir", str(tmp_path / name)]) == 0
    return tmp_path / name


def metrics(run_dir: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "time" not in k} for line in lines]


def test_cloning_teaches_and_what_was_cloned_is_trained_on(cloned_model, tmp_path):
    """With a worker that plays ahead, evaluation, checkpoints and a report, as in any run."""
    evaluation = {**CORRIDOR, "eval_episodes": 40, "eval_split": "train"}
    cloned = run(tmp_path, "cloned", cloned_model, **CLONING | evaluation | {"demonstration_workers": 1})
    before, after = (r["success_rate"] for r in json.loads((cloned / "eval.json").read_text())["results"])
    assert after > before + 0.2
    losses = [step["loss"] for step in metrics(cloned)]
    assert losses[-1] < losses[0] / 2
    assert (cloned / "report.html").exists()
    further = run(tmp_path, "further", cloned, **evaluation, max_steps=1, group_size=2, learning_rate=1e-6)
    begun, _ = json.loads((further / "eval.json").read_text())["results"]
    assert begun["success_rate"] == after  # the clone is the policy that reinforcement learning begins with


@pytest.mark.parametrize("window", [0, None])
def test_the_loss_is_that_of_the_demonstrators_own_tokens(cloned_model, tmp_path, window):
    trainer = make_trainer(cloned_model, tmp_path, **CLONING, window=window, demonstration_noise=0.5)
    played = trainer.rollouts.next(0).learned
    agent = trainer.rollouts.episodes.demonstrator.scribe
    for trajectory in played:
        env = make(LAKE, size=3)
        env.reset(seed=trajectory.seed)
        for turn in trajectory.turns:
            assert agent.tokenizer.decode(turn.response_ids[:-1]) == turn.action
            assert turn.response_ids[-1] == agent.tokenizer.eos_token_id
            env.step(turn.action)
    losses = []
    with torch.no_grad():
        for trajectory in played:
            for prompt, turn in zip(trajectory.prompts(), trajectory.turns, strict=True):
                ids = prompt + turn.response_ids
                log_probs = torch.log_softmax(trainer.policy.model(input_ids=torch.tensor([ids])).logits[0].float(), -1)
                losses += [-log_probs[i - 1, ids[i]].item() for i in range(len(prompt), len(ids))]
    trainer.max_steps = 1
    (step,) = trainer.train()
    assert step["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert step["tokens/trained"] == len(losses)
    assert "sampler_logp_difference/max" not in step  # nobody has sampled


def test_cloning_is_resumed_exactly(cloned_model, tmp_path):
    whole = make_trainer(cloned_model, tmp_path / "whole", **CLONING)
    steps = list(whole.train())
    resumed = make_trainer(cloned_model, tmp_path / "resumed", **CLONING)
    resumed.resume(list_checkpoints(tmp_path / "whole")[0])
    again = list(resumed.train())
    assert [step["loss"] for step in again] == [step["loss"] for step in steps[6:]]
    assert all(map(torch.equal, resumed.policy.parameters, whole.policy.parameters))


@pytest.mark.parametrize("source", ["run", "file"])
@pytest.mark.parametrize("window", [0, None])
def test_successes_of_a_run_and_trajectories_of_a_file_are_cloned(cloned_model, tmp_path, source, window):
    """Also in another context and by another tokenizer than they were played with."""
    played_by = run(tmp_path, "played", cloned_model, **CORRIDOR, max_steps=2)
    successes = [t for step in (0, 1) for t in read_trajectories(trajectory_path(played_by, step, 0)) if t.success]
    assert successes
    write_trajectories(tmp_path / "good.jsonl", successes)
    demonstrations = played_by if source == "run" else tmp_path / "good.jsonl"
    settings = CLONING | CORRIDOR | {"demonstrations": str(demonstrations), "window": window}
    steps = list(make_trainer(cloned_model, tmp_path / "clone", **settings).train())
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert all(step["success_rate"] == 1 for step in steps)


def test_demonstrations_stay_what_they_were(cloned_model, tmp_path, capsys):
    played = run(tmp_path, "played", cloned_model, **CORRIDOR, max_steps=2)
    settings = CLONING | CORRIDOR | {"demonstrations": str(played), "max_steps": 2, "save_steps": 1}
    cloned = run(tmp_path, "cloned", cloned_model, **settings)
    again = [str(cloned / "config.yaml"), "--resume_from_checkpoint", str(cloned / "checkpoints" / "step-000001")]
    assert main(again) == 0
    trajectory_path(played, 1, 0).unlink()  # as if the run had gone back and on
    assert main(again) == 2
    assert f"demonstrations: {played} has changed since the run began" in capsys.readouterr().err


def test_demonstrations_of_another_world_are_refused(cloned_model, tmp_path):
    played = run(tmp_path, "played", cloned_model, **CORRIDOR, max_steps=1)
    settings = CLONING | {"env_id": "agentgym/Sokoban-v0", "env_kwargs": {}, "demonstrations": str(played)}
    with pytest.raises(ValueError, match="is of agentgym/FrozenLake-v0, and env_id is agentgym/Sokoban-v0"):
        make_trainer(cloned_model, tmp_path / "clone", **settings)


def test_the_format_is_the_agents(cloned_model, tmp_path):
    trainer = make_trainer(cloned_model, tmp_path, **CLONING, format="think", max_new_tokens=64)
    (trajectory, *_) = trainer.rollouts.next(0).learned
    assert all(turn.response.endswith(f"<action>{turn.action}</action>") for turn in trajectory.turns)
    assert all(turn.is_action_valid for turn in trajectory.turns)


class Aimless(TextEnv):
    """A world whose expert nobody has written."""

    instructions = ""
    task_types = ("none",)

    def __init__(self, split: str = "train"):
        super().__init__(split=split, max_turns=2)

    def _start(self, rng, options):
        return "?"

    def _act(self, action):
        return "?", 0.0, False, True

    def _situation(self):
        return {"success": False, "task_id": "0", "task_type": "none", "state_key": "0"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env_id": f"{__name__}:test/Aimless-v0", "env_kwargs": {}}, "has no expert: name a trajectory file or a run"),
        ({"demonstrations": "nowhere.jsonl"}, "nowhere.jsonl is no file and no directory"),
        ({"demonstrations": "."}, "there is no success in ."),
    ],
)
def test_what_cannot_be_cloned_is_refused_in_one_line(cloned_model, tmp_path, monkeypatch, settings, message):
    from agentgym.envs import register

    register("test/Aimless-v0", Aimless)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as failure:
        make_trainer(cloned_model, tmp_path, **CLONING | settings)
    assert "\n" not in str(failure.value)
