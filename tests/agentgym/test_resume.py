"""A run that was killed or interrupted goes on as if nothing had happened."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from agentgym.agents.model_names import ModelError
from agentgym.agents.models import load_model
from agentgym.agents.run_files import list_checkpoints, list_trajectories
from agentgym.train import main
from tests.small_model import SETTINGS

STEPS = 12
# Dropout, a schedule, several passes, replay and a curriculum: whatever has a state that could be lost.
RUN = SETTINGS | {
    "max_steps": STEPS,
    "save_steps": 2,
    "num_iterations": 2,
    "lr_scheduler_type": "linear",
    "warmup_steps": 3,
    "lora_dropout": 0.1,
    "eval_episodes": 4,
    "success_replay": True,
    "success_replay_kwargs": {"std_below": 0.6, "mean_below": 0.6},
    "task_sampler": "curriculum",
    "task_sampler_kwargs": {"warmup": 2},
}


@pytest.fixture(scope="module")
def config(cloned_model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(yaml.safe_dump(RUN | {"model": str(cloned_model)}))
    return path


@pytest.fixture(scope="module")
def uninterrupted(config, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    assert main([str(config), "--output_dir", str(run_dir)]) == 0
    return run_dir


def stop_a_run(config: Path, run_dir: Path, number: signal.Signals) -> tuple[int, str]:
    """Start a run, send it a signal while it is in a step after its second checkpoint.

    Returns its exit status and what it said on standard error.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "agentgym.train", str(config), "--output_dir", str(run_dir)],
        stderr=subprocess.PIPE,
        text=True,
    )
    begun = run_dir / "trajectories" / "step-000005.process-0.jsonl.gz"
    deadline = time.monotonic() + 120
    while not begun.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert not (run_dir / "checkpoints" / f"step-{STEPS:06d}").exists()
    return process.returncode, said


def metrics(run_dir: Path) -> list[dict[str, float]]:
    """All but the times."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/") and k != "step_time"} for line in lines]


def assert_same_run(run_dir: Path, expected: Path) -> None:
    assert [line["step"] for line in metrics(expected)] == list(range(1, STEPS + 1))
    assert metrics(run_dir) == metrics(expected)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        path = Path("checkpoints") / f"step-{STEPS:06d}" / name
        assert (run_dir / path).read_bytes() == (expected / path).read_bytes()
    for path in (expected / "trajectories").iterdir():
        assert (run_dir / "trajectories" / path.name).read_bytes() == path.read_bytes()
    before, after = json.loads((run_dir / "eval.json").read_text())["results"]
    assert (before["stage"], after["stage"]) == ("before", "after")


def test_kill_and_resume(config, uninterrupted, tmp_path):
    run_dir = tmp_path / "killed"
    assert stop_a_run(config, run_dir, signal.SIGKILL)[0] == -signal.SIGKILL
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "rew')  # as a kill in the middle of a line leaves it
    assert main([str(config), "--output_dir", str(run_dir), "--resume_from_checkpoint", "true"]) == 0
    assert_same_run(run_dir, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_saves_and_says_how_to_go_on(config, uninterrupted, tmp_path, number):
    run_dir = tmp_path / "a run"
    status, said = stop_a_run(config, run_dir, number)
    assert status == 130
    saved = max(path.name for path in (run_dir / "checkpoints").iterdir())
    assert saved == f"step-{len(metrics(run_dir)):06d}"
    assert (run_dir / "report.html").exists()
    (hint,) = [line for line in said.splitlines() if "go on with: " in line]
    command = shlex.split(hint.partition("go on with: ")[2])
    assert command[:2] == ["agentgym", "train"]
    assert main(command[2:]) == 0
    assert_same_run(run_dir, uninterrupted)


def test_a_finished_run_can_be_continued_where_the_rate_does_not_depend_on_the_end(config, tmp_path):
    run_dir = str(tmp_path / "run")
    constant = [
        str(config),
        "--output_dir",
        run_dir,
        "--lr_scheduler_type",
        "constant",
        "--eval_episodes",
        "0",
    ]
    assert main([*constant, "--max_steps", "1"]) == 0
    assert main([*constant, "--max_steps", "2", "--resume_from_checkpoint", "true"]) == 0
    assert [line["step"] for line in metrics(Path(run_dir))] == [1, 2]


def test_going_on_from_an_earlier_checkpoint_forgets_what_came_after(config, tmp_path):
    """The abandoned branch, another number of processes before, and TensorBoard."""
    run_dir = tmp_path / "run"
    words = [str(config), "--output_dir", str(run_dir), "--lr_scheduler_type", "constant", "--eval_episodes", "0"]
    tracked = "[tensorboard]" if importlib.util.find_spec("tensorboard") else "[]"
    words += ["--save_steps", "1", "--report_to", tracked]
    assert main([*words, "--max_steps", "3", "--save_total_limit", "3"]) == 0
    first = metrics(run_dir)
    abandoned = run_dir / "trajectories" / "step-000001.process-1.jsonl"
    abandoned.write_text("of a process that is no more")
    checkpoint = run_dir / "checkpoints" / "step-000001"
    assert main([*words, "--max_steps", "2", "--resume_from_checkpoint", str(checkpoint)]) == 0
    assert metrics(run_dir) == first[:2]
    assert not abandoned.exists()
    assert [path.name for path in list_checkpoints(run_dir)] == ["step-000001", "step-000002"]
    assert list(list_trajectories(run_dir)) == [0, 1]

    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run_dir / "agentgym")).Reload()
    assert [event.step for event in events.Scalars("reward")] == [1, 2]


def test_a_run_on_a_run_stays_on_the_checkpoint_that_it_began_from(config, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    common = [str(config), "--lr_scheduler_type", "constant", "--eval_episodes", "0", "--save_steps", "1"]
    base = [*common, "--output_dir", "base"]
    derived = [*common, "--model", "base", "--output_dir", "derived", "--seed", "1"]
    assert main([*base, "--max_steps", "1"]) == 0
    assert main([*derived, "--max_steps", "2"]) == 0
    expected = metrics(tmp_path / "derived")
    first = ["--resume_from_checkpoint", "derived/checkpoints/step-000001", "--max_steps", "2"]

    assert main([*base, "--max_steps", "2", "--resume_from_checkpoint", "true"]) == 0
    assert main([*derived, *first]) == 0
    assert metrics(tmp_path / "derived") == expected
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # the base was named relative to where the run began
    load_model("../derived")

    began_from = tmp_path / "base" / "checkpoints" / "step-000001"
    adapter = began_from / "adapter_model.safetensors"
    whole = adapter.read_bytes()
    adapter.write_bytes(whole[:-4] + b"\0\0\0\1")
    with pytest.raises(ModelError, match=rf"was trained on {began_from}, whose adapter has changed since"):
        load_model("../derived")
    shutil.rmtree(began_from)
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    assert main([*derived, *first]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"error: derived/checkpoints/step-000001 was trained on {began_from}, which is gone"
