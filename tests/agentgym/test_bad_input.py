"""Every bad input gets one clear line and exit status 2, and nothing is written or lost."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import ByT5Tokenizer, LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from agentgym.cli import app
from tests.small_model import SETTINGS

GOLDEN = Path(__file__).parents[1] / "golden" / "gigpo" / "case_01.json"


def refused(*words: object) -> str:
    """The one line with which a command is refused."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert "Traceback" not in line
    return line.removeprefix("error: ")


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def train(tmp_path, cloned_model, monkeypatch):
    """Call `agentgym train` on a configuration with these settings; return its line of refusal."""
    monkeypatch.chdir(tmp_path)  # where runs/ would appear

    def call(settings: dict[str, Any] | None = None, *overrides: object) -> str:
        config = tmp_path / "run.yaml"
        config.write_text(yaml.safe_dump(SETTINGS | {"model": str(cloned_model), **(settings or {})}))
        before = files(tmp_path)
        line = refused("train", config, *overrides)
        assert files(tmp_path) == before
        return line

    return call


@pytest.fixture(scope="module")
def finished(cloned_model, tmp_path_factory) -> Path:
    """A run of one step, which the tests must not change."""
    directory = tmp_path_factory.mktemp("finished")
    config = directory / "run.yaml"
    config.write_text(yaml.safe_dump(SETTINGS | {"model": str(cloned_model), "max_steps": 1}))
    result = CliRunner().invoke(app, ["train", str(config), "--output_dir", str(directory / "run")])
    assert result.exit_code == 0, result.output
    return directory / "run"


@pytest.mark.parametrize(
    ("settings", "overrides", "words"),
    [
        ({"env_id": "agentgym/FrozenLke-v0"}, [], ["FrozenLke-v0", "did you mean agentgym/FrozenLake-v0?"]),
        ({"env_kwargs": {}}, ["--env_id", "CartPole-v1"], ["CartPole-v1"]),
        ({"credit": "gigpoo"}, [], ["unknown credit scheme 'gigpoo'", "did you mean 'gigpo'"]),
        ({"credit_kwargs": {"gama": 1}}, [], ["gama", "gamma"]),
        ({}, ["--credit_kwargs.gamma", "high"], ["gamma", "'high'"]),
        ({}, ["--credit_kwargs.gamma", "1.5"], ["gamma", "1.5"]),
        ({"learning_rat": 1}, [], ["run.yaml", "learning_rat", "did you mean learning_rate?"]),
        ({"max_steps": "many"}, [], ["run.yaml", "max_steps", "'many'"]),
        ({"group_size": 1}, [], ["group_size is 1", "gigpo", "at least 2"]),
        ({"groups_per_step": 0}, [], ["groups_per_step"]),
        ({"env_kwargs": {"sise": 3}}, [], ["takes no argument 'sise'"]),
        ({"env_kwargs": {"size": "large"}}, [], ["env_kwargs", "FrozenLake-v0"]),
        ({"env_kwargs": {"size": 1}}, [], ["size must be at least 3, not 1"]),
        ({"env_kwargs": {"split": "test"}}, [], ["split"]),
        ({"eval_episodes": 3, "eval_split": "validation"}, [], ["split", "validation"]),
        ({"report_to": ["tensorbord"]}, [], ["tensorbord", "did you mean 'tensorboard'?"]),
        ({"lora_target_modules": ["no_such_layer"]}, [], ["no_such_layer"]),
        ({}, ["--max_steps"], ["--max_steps needs a value"]),
        ({}, ["--resume_from_checkpoint", "true"], ["needs output_dir"]),
        (
            {},
            ["--resume_from_checkpoint", "true", "--output_dir", "elsewhere"],
            ["elsewhere has no checkpoint"],
        ),
        ({}, ["--resume_from_checkpoint", "no/such"], ["no/such is not a checkpoint"]),
    ],
)
def test_wrong_settings(train, settings, overrides, words):
    line = train(settings, *overrides)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--format", "tests.extension.test_format:Plan"], ["is a class", "Plan()"]),
        (
            ["--format", "json:loads"],
            ["response format 'json:loads'", "it has no name, instructions, reads, parse, write"],
        ),
        (["--group_filter", "json:JSONDecoder"], ["group filter 'json:JSONDecoder'", "a function"]),
        (["--group_filter", "json:loads"], ["group filter 'json:loads'", "a function", "not list"]),
        (["--task_sampler", "json:loads"], ["task sampler 'json:loads'", "trainers.tasks.Tasks"]),
        (["--task_sampler", "json:JSONDecoder"], ["task sampler 'json:JSONDecoder'", "trainers.tasks.Tasks"]),
        (["--task_sampler_kwargs", "{x: 1}"], ["uniform: unknown parameter 'x'"]),
        (["--task_sampler", "curriculum", "--task_sampler_kwargs.share", "2"], ["curriculum: share", "not 2"]),
        (["--task_sampler", "curriculum", "--task_sampler_kwargs.max_tasks", "8"], ["curriculum: warmup is 32"]),
        (["--success_replay_kwargs.per_task", "4"], ["success_replay is false: set it to true"]),
        (["--success_replay", "true", "--success_replay_kwargs.per_task", "0"], ["success_replay: per_task", "not 0"]),
        (["--success_replay", "true", "--success_replay_kwargs.per", "1"], ["success_replay: unknown parameter 'per'"]),
        (["--signals", '{"json:loads": {}}'], ["signal 'json:loads'", "trainers.signals.signal.Signal"]),
        (["--signals", '{"json:JSONDecoder": {}}'], ["signal 'json:JSONDecoder'", "`gives`"]),
    ],
)
def test_parts_of_the_wrong_kind(train, monkeypatch, overrides, words):
    """Answered before a model is loaded."""
    monkeypatch.setattr("agentgym.train.make_model", lambda *_: pytest.fail("a model was loaded"))
    line = train({}, *overrides)
    for word in words:
        assert word in line


def test_a_tracker_that_is_not_installed(train, monkeypatch):
    """Accelerate would leave it out: the run would be told to nobody."""
    monkeypatch.setattr("agentgym.trackers.get_available_trackers", list)
    line = train({"report_to": ["tensorboard"]})
    assert line == "report_to: tensorboard is not installed: pip install 'agentgym[tensorboard]'"


def test_configuration_files(tmp_path):
    assert "missing.yaml: No such file" in refused("train", tmp_path / "missing.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\nb: 2")
    assert "bad.yaml, line 2 is not YAML" in refused("train", tmp_path / "bad.yaml")


def test_a_directory_without_a_model(train, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty} holds no model" in train({"model": str(empty)})
    assert f"{empty} holds no model" in refused("eval", "--env", SETTINGS["env_id"], "--agent", empty)
    (empty / "config.json").write_text("{")
    assert "cannot load the model" in train({"model": str(empty)})


def test_a_run_is_not_overwritten_unawares(train, finished):
    before = files(finished)
    assert "already holds a run" in train({}, "--output_dir", finished)
    # Nor when it may be overwritten, but by nothing that could run.
    assert "unknown credit" in train({"credit": "x"}, "--output_dir", finished, "--overwrite_output_dir", "true")
    assert files(finished) == before


@pytest.mark.parametrize("content", ["database: mysql\nport: 3306\n", "a: [1\nb: 2\n", "- 1\n", "when: 2025-13-45\n"])
def test_a_run_s_configuration_that_is_none(train, finished, tmp_path, content):
    run = Path(shutil.copytree(finished, tmp_path / "copy"))
    (run / "config.yaml").write_text(content)
    before = files(run)
    assert f"{run / 'config.yaml'}" in train({}, "--output_dir", run, "--resume_from_checkpoint", "true")
    for agent in (run, run / "checkpoints" / "step-000001"):
        assert f"{run / 'config.yaml'}" in refused("eval", "--env", SETTINGS["env_id"], "--agent", agent)
    assert files(run) == before


def test_output_directories_that_cannot_be(train, tmp_path):
    (tmp_path / "file").write_text("")
    assert f"{tmp_path / 'file'} is not a directory" in train({}, "--output_dir", tmp_path / "file" / "run")


def test_level_files(train, tmp_path):
    levels = tmp_path / "levels.txt"
    levels.write_text("; 0\n#####\n#@$.#\n#####\n\n; 1\n#####\n#@?.#\n#####\n")
    sokoban = {"env_id": "agentgym/Sokoban-v0", "env_kwargs": {"data": str(levels)}}
    line = train(sokoban)
    assert f"{levels}, line 7" in line and "?" in line
    assert "no such file" in train({**sokoban, "env_kwargs": {"data": "missing.txt"}})


@pytest.mark.parametrize("missing", ["adapter_model.safetensors", "trainer_state.pt", "trainer_state.json"])
def test_resume_from_an_incomplete_checkpoint(train, finished, tmp_path, missing):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "checkpoints" / "step-000001" / missing).unlink()
    line = train({}, "--output_dir", run, "--resume_from_checkpoint", "true")
    assert "step-000001" in line and missing in line


def test_a_run_that_was_killed_before_its_first_checkpoint(train, finished, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    line = train({}, "--output_dir", run, "--resume_from_checkpoint", "true")
    assert "has no checkpoint; begin it again with --overwrite_output_dir true" in line


def test_a_finished_run_whose_rate_depends_on_the_end_cannot_be_made_longer(train, finished, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    checkpoint = run / "checkpoints" / "step-000001"
    facts = json.loads((checkpoint / "trainer_state.json").read_text())
    facts["fingerprint"] |= {"lr_scheduler_type": "linear", "max_steps": 1}
    (checkpoint / "trainer_state.json").write_text(json.dumps(facts))
    line = train({"max_steps": 3, "lr_scheduler_type": "linear"}, "--resume_from_checkpoint", checkpoint)
    assert "max_steps was 1 there and is 3 here; " in line
    assert f"--model {checkpoint} and another --output_dir" in line and "constant from the start" in line


def test_resume_from_a_foreign_checkpoint(train, finished):
    before = files(finished)
    checkpoint = finished / "checkpoints" / "step-000001"
    assert "learning_rate was 0.01" in train({"learning_rate": 0.5}, "--resume_from_checkpoint", checkpoint)
    assert "temperature was 1.0" in train({"temperature": 2.0}, "--resume_from_checkpoint", checkpoint)
    assert "is not in output_dir" in train({}, "--output_dir", "x", "--resume_from_checkpoint", checkpoint)
    assert files(finished) == before


def test_a_full_disk_costs_nothing(finished, cloned_model, tmp_path, monkeypatch, capsys):
    """A failure, and no wrong call: exit status 1."""
    from agentgym.train import main
    from agentgym.trainers import checkpoint

    def full(*args):
        raise OSError(28, "No space left on device")

    run = Path(shutil.copytree(finished, tmp_path / "run"))
    config = run.parent / "run.yaml"
    config.write_text(yaml.safe_dump(SETTINGS | {"model": str(cloned_model)}))
    before = files(run / "checkpoints")
    monkeypatch.setattr(checkpoint.torch, "save", full)
    assert main([str(config), "--output_dir", str(run), "--resume_from_checkpoint", "true"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "No space left on device" in line
    assert f"the last whole one is {run / 'checkpoints' / 'step-000001'}" in line
    assert files(run / "checkpoints") == before


def test_a_context_too_short_for_any_prompt(train, cloned_model, tmp_path):
    """Each episode would end before its first turn: a success rate of 0 that nobody earned."""
    needs = r"no episode of agentgym/FrozenLake-v0 can begin: its first prompt needs \d+ tokens"
    assert re.match(
        f"{needs} and a response up to 250 .*, and the model's context has 256", train({"max_new_tokens": 250})
    )
    shutil.copytree(cloned_model, tmp_path / "short")
    config = json.loads((tmp_path / "short" / "config.json").read_text())
    (tmp_path / "short" / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 64}))
    line = refused("eval", "--env", "agentgym/FrozenLake-v0", "--agent", tmp_path / "short")
    assert re.match(f"{needs} .*, and the model's context has 64", line)


def test_answers_need_a_tokenizer_that_tells_its_characters(train, tmp_path):
    tokenizer = ByT5Tokenizer(extra_ids=0)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=1, max_position_embeddings=9999)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "slow")
    tokenizer.save_pretrained(tmp_path / "slow")
    settings = {"model": str(tmp_path / "slow"), "env_id": "agentgym/SearchQA-v0", "env_kwargs": {}, "credit": "igpo"}
    assert "needs to know which tokens are the answer's" in train(settings)


def test_other_commands(tmp_path):
    lake = SETTINGS["env_id"]
    assert "did you mean agentgym/FrozenLake-v0?" in refused("eval", "--env", "FrozenLke", "--agent", "random")
    assert "split" in refused("eval", "--env", lake, "--agent", "random", "--split", "x")
    assert "env-kwargs" in refused("eval", "--env", lake, "--agent", "random", "--env-kwargs", "[1]")
    assert "env_kwargs" in refused("eval", "--env", lake, "--agent", "random", "--env-kwargs", "{size: x}")
    assert "no_dir" in refused("eval", "--env", lake, "--agent", "random", "--json", tmp_path / "no_dir" / "x.json")
    assert "did you mean agentgym/FrozenLake-v0?" in refused("play", "agentgym/FrozenLake-v1")
    assert "did you mean 'gigpo'" in refused("credit", "gigp", GOLDEN)
    assert "gama" in refused("credit", "gigpo", GOLDEN, "--gama", "0.9")
    assert "No such file" in refused("credit", "gigpo", tmp_path / "missing.json")
    (tmp_path / "bad.json").write_text(json.dumps({"trajectories": [{"turns": []}]}))
    assert "trajectory 0: the key 'group' is missing" in refused("credit", "gigpo", tmp_path / "bad.json")
