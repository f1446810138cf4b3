"""Launchers: their options are followed or refused, and workers end when they are gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from agentgym.agents.run_files import list_checkpoints, trajectory_path
from agentgym.processes import check_launcher
from tests.small_model import SETTINGS

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]


def launch(tmp_path: Path, model: Path, *options: str, **settings: object) -> subprocess.Popen[str]:
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(SETTINGS | {"model": str(model), **settings}))
    words = [*LAUNCH, *options, "-m", "agentgym.train", str(config), "--output_dir", "run"]
    return subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("victim", ["the launcher", "the process that it started"])
def test_workers_whose_launcher_is_gone_save_and_end(cloned_model, tmp_path, victim):
    process = launch(tmp_path, cloned_model, "--num_processes", "2", max_steps=10_000, save_steps=10_000)
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 120
        while not trajectory_path(tmp_path / "run", 3, 1).exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) == 3  # what accelerate started, and the two that train
        if victim == "the launcher":
            process.send_signal(signal.SIGTERM)
        else:
            family[0].kill()
        _, alive = psutil.wait_procs(family, timeout=60)
        assert alive == []
    finally:  # whatever went wrong, nothing trains on
        for left in [process, *family]:
            if left.is_running() if isinstance(left, psutil.Process) else left.poll() is None:
                left.kill()
    _, said = process.communicate()
    assert alive == [], said
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == [f"step-{steps[-1]:06d}"]
    command = "accelerate launch --num_processes 2 -m agentgym.train run/config.yaml --resume_from_checkpoint true"
    assert f"stopped after step {steps[-1]}; go on with: {command}" in said


@pytest.mark.parametrize(
    "options", [["--gradient_accumulation_steps", "4"], ["--num_processes", "2", "--mixed_precision", "bf16"]]
)
def test_options_of_the_launcher_that_would_be_ignored_are_refused(tmp_path, options):
    process = launch(tmp_path, Path("tiny"), *options)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert f"accelerate launch was given {' '.join(options[-2:])}, which agentgym does not follow" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "--mixed_precision fp16"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "--dynamo_backend inductor"),
        ("ACCELERATE_USE_FSDP", "true", "--use_fsdp"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "--use_deepspeed"),
    ],
)
def test_what_the_launcher_passes_on_is_refused(monkeypatch, name, value, option):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
    check_launcher()
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"accelerate launch was given {option}, which agentgym does not follow: "):
        check_launcher()
