"""`env_timeout`: environments live in worker processes, and all else is as it was."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from agentgym.build import make_env
from agentgym.cli import app
from agentgym.config import RunConfig
from agentgym.envs.worker import WorkerEnv
from tests.small_model import LAKE, SETTINGS, make_trainer


def test_training_is_the_same(cloned_model: Path, tmp_path: Path) -> None:
    assert isinstance(make_env(RunConfig(env_id=LAKE, env_timeout=60), "train"), WorkerEnv)
    seen = []
    for env_timeout in (None, 60):
        run = tmp_path / str(env_timeout)
        trainer = make_trainer(cloned_model, run, env_timeout=env_timeout, max_steps=1)
        (metrics,) = trainer.train()
        seen.append({name: value for name, value in metrics.items() if "time" not in name})
    assert seen[0] == seen[1] and seen[0]["episodes"] == SETTINGS["groups_per_step"] * SETTINGS["group_size"]


def test_an_evaluation_goes_on_without_what_hangs(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    words = ["eval", "--env", "tests.envs.moody:tests/Slow-v0", "--agent", "random", "--episodes", "4"]
    words += ["--env-kwargs", "{trouble: {1: hang}}", "--env-timeout", "2", "--json", str(file)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    (told,) = json.loads(file.read_text())["results"]
    assert (told["episodes"], told["env_errors"]) == (3, 1)
