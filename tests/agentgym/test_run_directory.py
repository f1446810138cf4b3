"""A run directory: what is deleted of it, and that nothing else ever is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from agentgym.agents import run_files
from agentgym.config import RunConfig, load_config
from agentgym.overrides import ConfigError
from agentgym.run_directory import RunDirectory

NOTES = ["notes.txt", "trajectories/mine.txt", "checkpoints/step-000002-backup/kept", "src/step-000001.py"]
"""Files of the user's own in a run directory."""


def config(path: Path, **settings: object) -> RunConfig:
    return RunConfig.model_validate({"env_id": "agentgym/Sokoban-v0", "output_dir": str(path), **settings})


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, *names: str, text: str = "") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run of four steps in three processes, with files of the user's own among its."""
    path = tmp_path / "run"
    directory = RunDirectory(path)
    directory.begin(config(path), finished_steps=0)
    for step in range(4):
        directory.add_metrics({"step": step + 1})
        write(path, f"credit/step-{step:06d}.process-0.npz", f"trajectories/step-{step:06d}.process-2.jsonl.gz")
        write(path, *(f"trajectories/step-{step:06d}.process-{process}.jsonl" for process in range(2)))
        write(path, f"checkpoints/step-{step + 1:06d}/trainer_state.json")
    write(path, "checkpoints/.step-000005.17/half", "report.html", "agentgym/events.out.tfevents.1.host.2.3")
    results = [{"stage": "before", "step": 0}, {"stage": "after", "step": 4}]
    write(path, "eval.json", text=json.dumps({"results": results}))
    write(path, *NOTES)
    return path


def test_overwriting_deletes_the_files_of_the_run_and_nothing_else(run):
    with pytest.raises(ConfigError, match=r"already holds a run.*--overwrite_output_dir true"):
        RunDirectory.prepare(config(run), "name")
    again = config(run, overwrite_output_dir=True, seed=7)
    directory, checkpoint = RunDirectory.prepare(again, "name")
    assert checkpoint is None
    directory.begin(again, finished_steps=0)
    assert files(run) == {*NOTES, "config.yaml", "metrics.jsonl"}
    assert list(directory.metrics()) == []
    assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == 7


@pytest.mark.parametrize("model", ["", "checkpoints/step-000004"])
def test_a_run_is_not_overwritten_with_one_that_is_based_on_it(run, model):
    with pytest.raises(ConfigError, match="holds the model to train"):
        RunDirectory.prepare(config(run, overwrite_output_dir=True, model=str(run / model)), "name")


def test_the_configuration_of_a_run_stands_for_that_run(run):
    """Wherever it lies by now, and whatever the call that made it was allowed to do."""
    moved = run.rename(run.with_name("moved"))
    directory = RunDirectory(moved)
    directory.begin(config(run, overwrite_output_dir=True), finished_steps=4)
    kept = load_config(moved / "config.yaml")
    assert (kept.output_dir, kept.overwrite_output_dir) == (str(moved), False)
    resumed = load_config(moved / "config.yaml", ["--resume_from_checkpoint", "true"])
    assert RunDirectory.prepare(resumed, "name")[1] == moved / "checkpoints" / "step-000004"
    assert load_config(moved / "config.yaml", ["--output_dir", "other"]).output_dir == "other"


RECIPE = "env_id: agentgym/Sokoban-v0\n"


@pytest.mark.parametrize(
    "foreign",
    [
        {"config.yaml": "database: mysql\n"},
        {"config.yaml": RECIPE},  # a project that keeps its recipe under this name
        {"config.yaml": RECIPE, "metrics.jsonl": '{"accuracy": 1.0}\n'},
        {"config.yaml": "a: [\n", "metrics.jsonl": ""},
        {"config.yaml": "7\n", "metrics.jsonl": ""},
        {"metrics.jsonl": '{"step": 1}\n'},
        {"checkpoints/step-000001/model.bin": "weights"},
        {"report.html": "<html>"},
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_refused_whatever_the_flag(tmp_path, foreign, overwrite):
    for name, text in foreign.items():
        write(tmp_path, name, "main.py", text=text)
    with pytest.raises(ConfigError) as refusal:
        RunDirectory.prepare(config(tmp_path, overwrite_output_dir=overwrite), "name")
    (line,) = str(refusal.value).splitlines()
    assert str(tmp_path) in line and next(iter(foreign)).split("/")[0] in line and "choose another directory" in line
    assert "overwrite" not in line
    assert files(tmp_path) == {*foreign, "main.py"}


def test_a_folder_with_other_files_only_takes_a_run(tmp_path):
    write(tmp_path, "recipe.yaml", "nohup.out")
    directory, _ = RunDirectory.prepare(config(tmp_path), "name")
    directory.begin(config(tmp_path), finished_steps=0)
    assert files(tmp_path) == {"recipe.yaml", "nohup.out", "config.yaml", "metrics.jsonl"}


def test_after_a_resume_nothing_of_a_later_step_is_left(run):
    resumed = config(run, resume_from_checkpoint=str(run / "checkpoints" / "step-000002"))
    directory, checkpoint = RunDirectory.prepare(resumed, "name")
    assert checkpoint == run / "checkpoints" / "step-000002"
    directory.begin(resumed, finished_steps=2)
    played = {
        f"trajectories/step-{step:06d}.process-{p}" for step in range(2) for p in ("0.jsonl", "1.jsonl", "2.jsonl.gz")
    }
    assert files(run) == {
        *NOTES, *played, "config.yaml", "metrics.jsonl", "eval.json", "agentgym/events.out.tfevents.1.host.2.3",
        "credit/step-000000.process-0.npz", "credit/step-000001.process-0.npz",
        "checkpoints/step-000001/trainer_state.json", "checkpoints/step-000002/trainer_state.json",
    }  # fmt: skip
    assert [row["step"] for row in directory.metrics()] == [1, 2]
    assert [result["stage"] for result in directory.evaluations()] == ["before"]
    assert run_files.list_checkpoints(run)[-1].name == "step-000002"


def test_a_removal_that_is_cut_short_leaves_no_checkpoint_without_its_steps(run, monkeypatch):
    """The newest checkpoint goes first, and none is ever half a one under its name."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("agentgym.trainers.checkpoint.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        RunDirectory(run).begin(config(run), finished_steps=2)
    assert [len(paths) for paths in run_files.list_trajectories(run).values()] == [3, 3, 3, 3]
    assert all((path / "trainer_state.json").is_file() for path in run_files.list_checkpoints(run))


def test_checkpoints_sort_by_number(tmp_path):
    write(tmp_path, "checkpoints/step-1000000/x", "checkpoints/step-999999/x", "checkpoints/step-000003.bak/x")
    assert [path.name for path in run_files.list_checkpoints(tmp_path)] == ["step-999999", "step-1000000"]
