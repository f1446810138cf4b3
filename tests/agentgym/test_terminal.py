"""Text that is not ours is shown as it is, and a command whose output is no terminal says how far it has come."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

import agentgym
from agentgym.cli import app
from agentgym.envs import TextEnv, registration
from agentgym.progress import Lines, progress_on
from agentgym.tables import evaluation_tables
from agentgym.terminal import plain_console
from tests.small_model import LAKE, SETTINGS

ODD = ("nq [/INST] a", "pick [red] :bug: b")


class OddEnv(TextEnv):
    """Everything that it says has marks of rich's."""

    instructions = "[/INST] say [red]up"
    task_types = ODD
    data_source = "pip install 'agentgym[scienceworld]'"

    def __init__(self, split="train", max_turns=2, render_mode=None, broken=False):
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.broken = broken

    def _start(self, rng, options):
        if self.broken:
            raise RuntimeError("broken [/INST] [red] thing")
        self.number = int(rng.integers(10**6))
        return "[/INST] [bold]start[/bold]"

    def _act(self, action):
        return f"[/x] :bug: {action}", 0.5, False, True

    def _situation(self):
        number = self.number
        return {"success": False, "task_id": f"[/{number}]", "task_type": ODD[number % 2], "state_key": str(number)}


@pytest.fixture
def odd_env(monkeypatch) -> str:
    monkeypatch.setattr(registration, "_ours", set(registration._ours))
    monkeypatch.setenv("COLUMNS", "200")
    agentgym.register("odd/Odd-v0", OddEnv)
    return "odd/Odd-v0"


def output(*words: object, exit_code: int = 0, stdin: str = "") -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_texts_of_an_environment(odd_env):
    shown = output("eval", "--env", odd_env, "--agent", "random", "--episodes", 8)
    assert all(f" {task} " in shown for task in ODD)
    kwargs = ["--env-kwargs", "{broken: true}"]
    failed = output("eval", "--env", odd_env, "--agent", "random", "--episodes", 2, *kwargs, exit_code=2)
    assert "broken [/INST] [red] thing" in failed
    shown = output("play", odd_env, stdin="up\nup\n")
    assert "[/INST] [bold]start[/bold]" in shown and "[/x] :bug: up" in shown
    shown = output("envs")
    assert "pip install 'agentgym[scienceworld]'" in shown and ", ".join(ODD) in shown


def test_help_and_wrong_calls_show_brackets():
    assert "[--key.sub value …]" in output("--help")
    assert "'[red]'" in output("play", LAKE, "--agent", "[red]", exit_code=2)


def test_a_run_whose_names_have_brackets(cloned_model, tmp_path):
    model = tmp_path / "model [b]"
    model.symlink_to(cloned_model)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(SETTINGS | {"model": str(model), "max_steps": 2, "eval_episodes": 3}))
    run = tmp_path / "run [" / "red] a:bug:b"
    shown = output("train", config, "--output_dir", run)
    report = (run / "report.html").read_text(encoding="utf-8")
    assert run.name in report
    # What is no terminal gets the place first, then a line a step.
    lines = [line for line in shown.splitlines() if line]
    assert lines[0] == f"run directory: {run}"
    assert lines[1].startswith("evaluate before: success ")
    steps = [line for line in lines if line.startswith("training, ")]
    assert [line.split(":")[0] for line in steps] == ["training, step 1/2", "training, step 2/2"]
    assert all(word in steps[0] for word in ("success ", "reward ", " s, ", " left"))


def test_lines_are_a_minute_apart_unless_each_matters():
    said: list[str] = []
    now = [0.0]
    lines = Lines(said.append, clock=lambda: now[0])
    episodes, steps = lines.count("evaluate", 200, unit="episode"), lines.count("training", 4, unit="step", each=True)
    for done in range(1, 101):
        now[0] += 1
        episodes.reach(done)
    assert said == ["evaluate, episode 60/200: 0:02:20 left"]
    said.clear()
    steps.within("rollout", 3, 8)
    steps.reach(1, "success [1]")
    episodes.end("success 5%")
    assert said == [
        "training, step 1/4: rollout 3/8",
        "training, step 1/4: success [1], 100.0 s, 0:05:00 left",
        "evaluate: success 5%, 0:01:40 in all",
    ]


def test_bars_show_notes_as_they_are():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=150)
    with progress_on(console) as progress:
        counter = progress.count("[/INST] eval", 2, unit="episode")
        counter.within("roll[red]out", 1, 3)
        counter.reach(1, "[/red] :bug: note")
    assert all(text in screen.getvalue() for text in ("[/INST] eval", "roll[red]out", "[/red] :bug: note"))


def test_tables_show_labels_as_they_are():
    rate = {"episodes": 1, "success_rate": 1.0, "ci95": [0.2, 1.0]}
    means = {"mean_turns": 1.0, "mean_reward": 1.0, "invalid_action_rate": 0.0}
    label = {"agent": "runs/br[gigpo]1", "env": "[/x] env", "split": "[red]", "seed": 0, "panel_hash": "ab"}
    console = plain_console()
    with console.capture() as captured:
        console.print(
            *evaluation_tables([{**rate, **means, **label, "by_task": {ODD[0]: rate, ODD[1]: rate}}], label="agent")
        )
    assert all(text in captured.get() for text in ("runs/br[gigpo]1", "[/x] env", "[red] from seed 0", *ODD))


def test_rich_is_only_asked_where_it_takes_text_as_text():
    """Consoles, handlers and text columns are made in two modules, which switch its markup off."""
    root = Path(__file__).parents[2]
    makers = {"Console", "RichHandler", "TextColumn", "Progress", "RichProgress"}
    found = {
        path.relative_to(root).as_posix()
        for folder in ("agentgym", "agents", "envs", "trainers")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers
    }
    assert found == {"agentgym/progress.py", "agentgym/terminal.py"}


def test_comparisons_show_groups_as_they_are(tmp_path):
    turn = {"obs": "[/INST] [bold]x[/bold]", "reward": 0, "valid": True}
    file = tmp_path / "odd.json"
    file.write_text(json.dumps({"trajectories": [{"group": "[red]g[/x]", "turns": [turn]} for _ in range(2)]}))
    assert turn["obs"] in output("credit", "--compare", "grpo", "rloo", file)
