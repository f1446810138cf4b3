"""A run whose signals learn (a critic, an implicit reward, ArCher's critic with its replay) survives a SIGKILL."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from agentgym.agents.run_files import list_checkpoints
from tests.small_model import SETTINGS

STEPS = 4
RUNS: dict[str, dict[str, Any]] = {
    "ppo": {"signals": {"critic": {"num_minibatches": 2, "learning_rate": 1e-2}}, "critic_warmup": 1},
    "istar": {"group_size": 6, "env_kwargs": {"map": ["SFFG"], "max_turns": 6}},
    "archer": {
        "policy_loss": "reinforce",
        "env_kwargs": {"map": ["SFFG"], "max_turns": 6},
        "signals": {"twin_critic": {"num_updates": 3, "batch_size": 7, "capacity": 60, "learning_rate": 1e-2}},
    },
}


def run(words: list[str]) -> None:
    from agentgym.train import main

    raise SystemExit(main(words))


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that have imported everything: a real kill, without seven seconds of imports for each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["agentgym.train", "agentgym.build", "agentgym.trainers.trainer"])
    return context


def state(run_dir: Path) -> dict[str, Any]:
    """All that a run has written that does not tell a time: the last checkpoint bit by bit, metrics, episodes."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    told: dict[str, Any] = {
        str(path.relative_to(run_dir)): _plain(torch.load(path)) if path.suffix == ".pt" else path.read_bytes()
        for folder in (list_checkpoints(run_dir)[-1], run_dir / "trajectories")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    told["metrics"] = [{k: v for k, v in line.items() if "time" not in k} for line in lines]
    return told


def _plain(value: Any) -> Any:
    """Tensors as bytes: which objects a pickle holds twice and which it names again is no part of a state."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.dtype, value.numpy().tobytes()
    if isinstance(value, dict):
        return [(key, _plain(each)) for key, each in value.items()]
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("credit", RUNS)
def test_a_killed_run_goes_on_bit_by_bit(cloned_model, processes, tmp_path, credit):
    settings = SETTINGS | {"model": str(cloned_model), "credit": credit, "max_steps": STEPS, "save_steps": 1}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(settings | RUNS[credit]))
    run_dir, whole = tmp_path / "run", tmp_path / "whole"

    def start(*words: str) -> Any:
        process = processes.Process(target=run, args=([str(config), "--output_dir", str(run_dir), *words],))
        process.start()
        return process

    uninterrupted = start()
    uninterrupted.join()
    run_dir.rename(whole)  # a checkpoint may name where it lies: both runs are made in one place
    victim = start()
    begun = run_dir / "trajectories" / "step-000002.process-0.jsonl.gz"
    deadline = time.monotonic() + 120
    while not begun.exists():
        assert victim.is_alive() and time.monotonic() < deadline
        time.sleep(0.002)
    victim.kill()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL and list_checkpoints(run_dir)[-1].name < f"step-{STEPS:06d}"
    resumed = start("--resume_from_checkpoint", "true")
    resumed.join()
    assert (resumed.exitcode, uninterrupted.exitcode) == (0, 0)
    expected, found = state(whole), state(run_dir)
    assert [line["step"] for line in expected["metrics"]] == list(range(1, STEPS + 1))
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
