"""Two processes on half the groups each do what one process does on all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from agentgym.agents.trajectory import read_trajectories
from agentgym.processes import run_processes
from agentgym.train import main
from tests.distributed_runs import RUNS, run_all
from tests.small_model import SETTINGS

# Sums of another order differ in their last bit; Adam divides by the gradient's own size, so that parameters with
# hardly any gradient move otherwise. How much differs with the scheme, the loss and the machine, and is seen where one
# process makes other micro-batches: that, and no more, several processes may do. A wrong weight would move all
# parameters: each of the updates is about 1e-2.
ALL = 1e-3
ROOT = Path(__file__).parents[2]


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, by_rounding: torch.Tensor) -> None:
    """As near as `by_rounding` is to `theirs`."""
    difference, rounding = (ours - theirs).abs(), (by_rounding - theirs).abs()
    assert difference.quantile(0.98) < 1e-6 + 10 * rounding.quantile(0.98)
    assert difference.max() < ALL


@pytest.fixture(scope="module")
def runs(cloned_model, tmp_path_factory):
    """The runs' results by one process, by two, and by one that makes other micro-batches."""
    alone, together, reordered = map(tmp_path_factory.mktemp, ("alone", "together", "reordered"))
    run_all(cloned_model, alone)
    run_all(cloned_model, reordered, max_tokens_per_micro_batch=48)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert run_processes(2, "tests.distributed_runs", [str(cloned_model), str(together)]) == 0
    return alone, together, reordered


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_give_the_parameters_of_one(runs, name):
    alone, together, reordered = (torch.load(out / f"{name}.pt") for out in runs)
    assert (alone["processes"], together["processes"]) == (1, 2)
    assert_same(together["parameters"], alone["parameters"], reordered["parameters"])
    one_pass, other = together["passes"]
    assert one_pass == other > 0  # however many tokens each has: what is collective inside a model always meets
    if not name.startswith("scheme"):
        assert alone["parameters"].abs().median() > 1e-2  # they have moved: half of them began as 0
    for one, two in zip(alone["metrics"], together["metrics"], strict=True):
        same = {key for key in one if "time" not in key}
        assert {k: two[k] for k in same} == pytest.approx({k: one[k] for k in same}, rel=1e-3, abs=1e-4)


def test_every_scheme_that_trains_is_among_the_runs():
    assert {"scheme gigpo", "scheme igpo", "scheme gdpo", "scheme empg", "scheme hgpo", "scheme archer"} <= RUNS.keys()
    assert len(RUNS) >= 8 + 22


def test_what_one_process_has_found_is_replayed_by_the_other(runs):
    def groups(step: int, process: int):
        path = runs[1] / "replay" / "trajectories" / f"step-{step:06d}.process-{process}.jsonl.gz"
        played = list(read_trajectories(path))
        return {t.episode for t in played if not t.replayed}, {t.episode for t in played if t.replayed}

    found_by_other = {
        name for process in (0, 1) for step in range(1, 3) for name in groups(step, process)[1]
        if any(name in groups(before, 1 - process)[0] for before in range(step))
    }  # fmt: skip
    assert found_by_other


def test_the_processes_had_different_shares(runs):
    tokens = [
        sum(
            len(t.turns)
            for t in read_trajectories(runs[1] / "gigpo" / "trajectories" / f"step-000000.process-{i}.jsonl.gz")
        )
        for i in range(2)
    ]
    assert tokens[0] != tokens[1]


def test_accelerate_launch_starts_two_processes_without_a_gpu(cloned_model, tmp_path):
    config = tmp_path / "config.yaml"
    settings = SETTINGS | {"max_steps": 2, "eval_episodes": 3, "groups_per_step": 3}
    config.write_text(yaml.safe_dump(settings | {"model": str(cloned_model)}))
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "2",
        "-m",
        "agentgym.train",
    ]
    done = subprocess.run(
        [*launch, str(config), "--output_dir", "two"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("before") == 1  # only one of them speaks
    assert main([str(config), "--output_dir", str(tmp_path / "one")]) == 0
    steps = ("step-000000", "step-000001")
    played = sorted(path.name for path in (tmp_path / "two" / "trajectories").iterdir())
    assert played == [f"{step}.process-{i}.jsonl.gz" for step in steps for i in (0, 1)]
    one, two = (json.loads((tmp_path / run / "eval.json").read_text())["results"] for run in ("one", "two"))
    assert [r["panel_hash"] for r in one] == [r["panel_hash"] for r in two]
    adapter = "checkpoints/step-000002/adapter_model.safetensors"
    one, two = (load_file(tmp_path / run / adapter) for run in ("one", "two"))
    one, two = (torch.cat([weight.flatten() for weight in weights.values()]) for weights in (one, two))
    assert_same(two, one, by_rounding=one)
