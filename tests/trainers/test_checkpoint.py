"""Checkpoints: whole or not there, and refused where they are not this run's."""

from __future__ import annotations

import json
import os
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from agentgym.agents.models import load_model
from agentgym.agents.run_files import list_checkpoints
from agentgym.trainers import checkpoint as checkpoint_module
from agentgym.trainers.checkpoint import CheckpointError
from tests.small_model import make_trainer


@pytest.fixture(scope="module")
def finished(cloned_model, tmp_path_factory):
    """A trainer that has done two steps and written a checkpoint after each."""
    trainer = make_trainer(cloned_model, tmp_path_factory.mktemp("run"), max_steps=2, save_steps=1)
    list(trainer.train())
    return trainer


@pytest.fixture
def checkpoint(finished, tmp_path) -> Path:
    """A copy of the last checkpoint, to be damaged."""
    return Path(shutil.copytree(list_checkpoints(finished.records.run_dir)[-1], tmp_path / "step-000002"))


def test_a_checkpoint_is_a_plain_peft_directory(finished, checkpoint, cloned_model):
    base = AutoModelForCausalLM.from_pretrained(cloned_model)
    plain = PeftModel.from_pretrained(base, str(checkpoint)).eval()
    finished.policy.model.eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        trained = finished.policy.model(input_ids=ids).logits
        torch.testing.assert_close(plain(input_ids=ids).logits, trained)
        torch.testing.assert_close(load_model(finished.records.run_dir).model(input_ids=ids).logits, trained)
        with finished.policy.model.disable_adapter():
            assert not torch.allclose(finished.policy.model(input_ids=ids).logits, trained)


def test_saving_asks_nobody_on_the_network(finished, monkeypatch):
    def ask(*args, **kwargs):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", ask)
    monkeypatch.setitem(finished.policy.model.peft_config, "default", finished.policy.model.peft_config["default"])
    monkeypatch.setattr(finished.policy.model.peft_config["default"], "base_model_name_or_path", "tiny")
    finished.save()
    finished.resume(list_checkpoints(finished.records.run_dir)[-1])


def test_a_stop_that_the_other_processes_have_not_heard_of_is_for_the_next_step(cloned_model, tmp_path, monkeypatch):
    """Else one process would save and end, and the others wait for it for ever."""
    trainer = make_trainer(cloned_model, tmp_path, max_steps=5, save_steps=9)
    gather = trainer.processes.gather

    def gather_and_then_be_told(value):
        values = gather(value)
        trainer.stop_requested = trainer.stop_requested or value is False
        return values

    monkeypatch.setattr(trainer.processes, "gather", gather_and_then_be_told)
    assert [row["step"] for row in trainer.train()] == [1, 2]
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000002"]


def test_only_the_last_ones_are_kept(cloned_model, tmp_path):
    trainer = make_trainer(cloned_model, tmp_path, max_steps=3, save_steps=1, save_total_limit=2)
    list(trainer.train())
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000002", "step-000003"]


@pytest.mark.parametrize("function", ["rename", "fsync"])
def test_a_kill_while_saving_leaves_the_last_whole_one(cloned_model, tmp_path, monkeypatch, function):
    trainer = make_trainer(cloned_model, tmp_path, max_steps=2, save_steps=1)
    steps = trainer.train()
    next(steps)
    next(steps)  # the first step's checkpoint is written when the second is asked for

    def killed(*args):
        raise KeyboardInterrupt  # nothing catches it, as nothing catches a kill

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "rename") if function == "rename" else (os, "fsync")), killed)
        with pytest.raises(KeyboardInterrupt):
            trainer.save()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000001"]
    (left,) = (tmp_path / "checkpoints").glob(".step-000002.*")
    left.rename(left.with_suffix(".1"))  # as if another process had been killed
    again = make_trainer(cloned_model, tmp_path, max_steps=2, save_steps=1)
    again.resume(list_checkpoints(tmp_path)[-1])
    assert again.step == 1
    list(again.train())
    left = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert sorted(left) == ["step-000001", "step-000002"]  # and nothing of the unfinished one


@contextmanager
def files_no_longer_than(n_bytes: int):
    """Every longer write fails as it does on a full disk, by the operating system itself."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [2_000, 20_000, 45_000])
def test_a_full_disk_is_one_line_and_costs_nothing(finished, room):
    before = {path: path.read_bytes() for path in finished.records.run_dir.rglob("*") if path.is_file()}
    with files_no_longer_than(room), pytest.raises(CheckpointError) as failure:
        finished.step = 3
        try:
            finished.save()
        finally:
            finished.step = 2
    assert "\n" not in str(failure.value)
    assert "step-000003" in str(failure.value)
    assert str(failure.value).endswith(f"(the last whole one is {list_checkpoints(finished.records.run_dir)[-1]})")
    assert {path: path.read_bytes() for path in finished.records.run_dir.rglob("*") if path.is_file()} == before


def refuse(trainer, checkpoint: Path) -> str:
    """The message with which `checkpoint` is refused; the trainer must be as it was before."""
    before = [parameter.clone() for parameter in trainer.policy.parameters]
    step = trainer.step
    with pytest.raises(CheckpointError) as failure:
        trainer.resume(checkpoint)
    assert "\n" not in str(failure.value)
    assert str(checkpoint) in str(failure.value)
    assert trainer.step == step
    assert all(map(torch.equal, trainer.policy.parameters, before))
    return str(failure.value)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "trainer_state.pt", "trainer_state.json"])
def test_incomplete_and_damaged_ones_are_refused(finished, checkpoint, name):
    data = (checkpoint / name).read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"\xff" * 100):
        (checkpoint / name).write_bytes(damaged)
        refuse(finished, checkpoint)
    (checkpoint / name).unlink()
    assert name in refuse(finished, checkpoint)


def test_states_without_what_they_should_have_are_refused(finished, checkpoint):
    torch.save({"something": "else"}, checkpoint / "trainer_state.pt")
    refuse(finished, checkpoint)
    (checkpoint / "trainer_state.json").write_text(json.dumps([1]))
    refuse(finished, checkpoint)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 1e-3}, "learning_rate was 0.01 there and is 0.001 here"),
        ({"credit": "rloo"}, "credit was 'gigpo' there and is 'rloo' here"),
        ({"credit_kwargs": {"gamma": 0.5}}, "credit_kwargs.gamma was None there and is 0.5 here"),
        ({"env_kwargs": {"size": 4}}, "env_kwargs.size was 3 there and is 4 here"),
        ({"lora_alpha": 16}, "lora_alpha was 8"),
        ({"temperature": 0.5}, "temperature was 1.0"),
        ({"seed": 1}, "seed was 0"),
    ],
)
def test_a_foreign_one_is_refused_and_the_difference_named(cloned_model, checkpoint, tmp_path, settings, words):
    other = make_trainer(cloned_model, tmp_path, max_steps=2, **settings)
    assert words in refuse(other, checkpoint)


def test_an_adapter_of_other_shapes_is_refused(cloned_model, checkpoint, tmp_path, monkeypatch):
    other = make_trainer(cloned_model, tmp_path, max_steps=2, lora_r=2)
    monkeypatch.setattr(checkpoint_module, "_check_same", lambda *args: None)
    assert "the adapter does not fit the model: " in refuse(other, checkpoint)


def test_what_does_not_matter_may_change(cloned_model, checkpoint, tmp_path):
    free = {
        "max_steps": 5,
        "save_steps": 3,
        "save_total_limit": 7,
        "eval_episodes": 3,
        "report_to": ["tensorboard"],
    }
    other = make_trainer(cloned_model, tmp_path, **free)
    other.resume(checkpoint)
    assert other.step == 2
