"""The command line: results on standard output, messages on standard error, and the contract's shapes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from agentgym.agents.evaluation import mean_interval
from agentgym.agents.trajectory import read_trajectories
from agentgym.build import told_by
from agentgym.cli import app
from agentgym.config import load_config
from agentgym.resolved import resolved
from tests.seated_games import TUG
from tests.small_model import LAKE, SETTINGS

GOLDEN = Path(__file__).parents[1] / "golden" / "gigpo" / "case_01.json"
RESULT_KEYS = {"env", "agent", "episodes", "success_rate", "ci95", "mean_turns", "mean_score", "by_task"}
METRICS = {
    "step", "episodes", "success_rate", "reward", "reward_std", "frac_reward_zero_std", "turns/mean",
    "invalid_action_rate", "loss", "grad_norm", "entropy", "kl", "clip_ratio", "learning_rate", "num_tokens",
    "tokens/sampled", "tokens/trained", "tokens/retokenized", "sampler_logp_difference/max",
    "time/rollout", "time/credit", "time/update", "step_time",
}  # fmt: skip


def run(*words: object, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    assert result.exit_code == 0, result.output
    return result


def test_envs():
    (lake,) = [row for row in json.loads(run("envs", "--json").stdout) if row["id"] == LAKE]
    assert set(lake) == {"id", "task_types", "splits", "max_turns", "data"}
    assert lake["splits"] == ["train", "valid", "test"]
    assert LAKE in run("envs").stdout


def test_schemes():
    rows = {row["name"]: row for row in json.loads(run("schemes", "--json").stdout)}
    assert {"grpo", "rloo", "reinforce", "gigpo"} <= set(rows)
    for row in rows.values():
        assert {"name", "paper", "granularity", "needs", "parameters"} <= set(row)
    assert rows["gigpo"]["parameters"]["gamma"]["default"] == 0.95
    assert rows["gigpo"]["needs"] == ["state_key"]
    assert "gigpo" in run("schemes").stdout


def test_eval_of_random_and_expert(tmp_path):
    results = {}
    for agent in ("random", "expert"):
        file = tmp_path / f"{agent}.json"
        shown = run("eval", "--env", LAKE, "--agent", agent, "--episodes", 30, "--seed", 5, "--json", file)
        assert "95 % interval" in shown.stdout
        (results[agent],) = json.loads(file.read_text())["results"]
    for agent, result in results.items():
        assert set(result) >= RESULT_KEYS
        assert (result["env"], result["agent"], result["episodes"]) == (LAKE, agent, 30)
        low, high = result["ci95"]
        assert 0 <= low <= result["success_rate"] <= high <= 1
        for by_type in result["by_task"].values():
            assert set(by_type) == {"episodes", "success_rate", "ci95"}
    assert results["expert"]["success_rate"] == 1.0
    assert results["random"]["success_rate"] < 0.5
    assert results["random"]["panel"] == results["expert"]["panel"]
    assert results["random"]["panel_hash"] == results["expert"]["panel_hash"]


def test_eval_in_a_game_names_seats_and_partners(tmp_path):
    file = tmp_path / "eval.json"
    words = ["eval", "--env", TUG, "--agent", "expert", "--agent", "random", "--episodes", 8, "--json", file]
    shown = run(*words, "--partner", "strong", "--partner", "{moody: 1, expert: 1}").stdout
    results = json.loads(file.read_text())["results"]
    cells = [(r["agent"], r["seat"], r["partner"]) for r in results]
    met = ("strong", "expert, moody")
    assert cells == [(agent, s, p) for agent in ("expert", "random") for p in met for s in ("west", "east")]
    assert len({r["panel_hash"] for r in results}) == 1
    drawn = [r["by_partner"]["moody"]["episodes"] for r in results if r["partner"] == met[1]]
    assert len(set(drawn[::2])) == len(set(drawn[1::2])) == 1, "every agent meets the same partner in a task"
    assert results[0]["mean_reward"] == 0 and results[0]["outcome"]["agreement"] == 1, "two that always pull"
    assert "reward per episode ± 95 %" in shown and "0.00 ± 0.00" in shown
    low, high = mean_interval(results[2]["rewards"])
    assert results[2]["reward_ci95"] == [low, high] and low < results[2]["mean_reward"] < high
    own = json.loads(run("envs", "--json").stdout)
    assert next(r for r in own if r["id"] == "tests/Tug-v0")["seats"] == ["west", "east"]


def test_play_in_a_game():
    by_hand = run("play", TUG, "--seat", "east", "--partner", "strong", stdin="right\nup\n").stdout
    assert "turn 1: right   reward -1\nturn 2: up   reward 0\n" in by_hand
    assert "terminated after 2 turns, return -1.00, against strong" in by_hand
    two = run("play", TUG, "--partner", "human", stdin="left\nup\nleft\nright\n").stdout
    assert "west: success after 2 turns, return 1.00" in two and "east: terminated after 2 turns, return -1.00" in two
    for words, fault in (
        (["play", TUG, "--seat", "north"], "--seat: the game has no seat 'north'"),
        (["play", TUG, "--partner", "strog"], "--partner: unknown partner 'strog': did you mean 'strong'?"),
        (["play", LAKE, "--partner", "strong"], "no game of several seats"),
        (["eval", "--env", TUG, "--agent", "random", "--seat", "west"], "--seat is given, but no --partner"),
        (["eval", "--env", TUG, "--agent", "random", "--partner", "pool"], "pool is a partner of a run in training"),
    ):
        refused = CliRunner().invoke(app, words)
        assert refused.exit_code == 2 and fault in refused.stderr, refused.output


def test_play():
    assert "success after" in run("play", LAKE, "--agent", "expert", "--seed", 3).stdout
    by_hand = run("play", LAKE, stdin="sideways\n" * 10)
    assert "max_turns after 10 turns" in by_hand.stdout
    assert CliRunner().invoke(app, ["play", LAKE], input="up\n").exit_code == 130  # end of input, as Ctrl-D


def test_play_with_arguments_and_without_a_server():
    seven_turns = run("play", LAKE, "--env-kwargs", "{max_turns: 7}", stdin="sideways\n" * 7)
    assert "max_turns after 7 turns" in seven_turns.stdout
    nobody = ["--agent", "expert", "--env-kwargs", '{retriever: "http://127.0.0.1:9", retries: 0}']
    failed = CliRunner().invoke(app, ["play", "agentgym/SearchQA-v0", *nobody])
    assert failed.exit_code == 1
    assert failed.stderr.startswith(
        "error: the environment failed: agentgym/SearchQA-v0, seed 0, turn 0: RetrieverError: http://127"
    )
    assert failed.stderr.count("\n") == 1


def test_credit_of_the_golden_case():
    case = json.loads(GOLDEN.read_text())
    result = json.loads(run("credit", "gigpo", GOLDEN).stdout)
    assert set(result) == {"scheme", "turn_advantages", "token_advantages"}
    for given, expected in zip(result["turn_advantages"], case["expected"]["advantage"], strict=True):
        assert given == pytest.approx(expected, rel=1e-5)


def test_help():
    assert "train" in run("--help").stdout
    assert "--learning_rate" in run("train", "--help").stdout
    wrong = CliRunner().invoke(app, ["train"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "Usage" in wrong.stderr


def test_train_end_to_end(cloned_model, tmp_path):
    config = tmp_path / "run.yaml"
    settings = {"max_steps": 2, "group_size": 2, "eval_episodes": 5, "beta": 0.01, "entropy_coef": 0.01}
    tracked = ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    config.write_text(yaml.safe_dump(SETTINGS | settings | {"model": str(cloned_model), "report_to": tracked}))
    run_dir = tmp_path / "run"
    done = run("train", config, "--output_dir", run_dir)
    assert "before" in done.stdout and "after" in done.stdout
    assert "report.html" in done.stderr and "report.html" not in done.stdout

    there = {path.name for path in run_dir.iterdir()}
    assert there >= {
        "config.yaml",
        "metrics.jsonl",
        "trajectories",
        "checkpoints",
        "report.html",
        "eval.json",
    }
    kept = load_config(run_dir / "config.yaml")
    given = load_config(config, ["--output_dir", str(run_dir)])
    assert kept == resolved(given, told_by(given))
    assert kept.max_turns == 6 and kept.epsilon == 0.2 and kept.credit_kwargs["gamma"] == 0.95
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        assert set(line) >= METRICS
        assert line["tokens/trained"] == line["tokens/sampled"]
        assert line["tokens/retokenized"] == 0
        assert line["sampler_logp_difference/max"] < 1e-4
    for file in (run_dir / "trajectories").iterdir():
        assert len(list(read_trajectories(file))) == 4
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["step-000002"]
    before, after = json.loads((run_dir / "eval.json").read_text())["results"]
    assert before["panel_hash"] == after["panel_hash"]
    assert set(after) >= RESULT_KEYS

    # What was trained is an agent like any other, and plays on the same panel as in the run.
    file = tmp_path / "eval.json"
    run("eval", "--env", LAKE, "--agent", run_dir, "--episodes", 5, "--json", file)
    (result,) = json.loads(file.read_text())["results"]
    assert (result["panel_hash"], result["success_rate"]) == (after["panel_hash"], after["success_rate"])


def test_the_tensorboard_tracker(cloned_model, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tmp_path / "run.yaml"
    settings = {"max_steps": 1, "model": str(cloned_model), "report_to": ["tensorboard"]}
    config.write_text(yaml.safe_dump(SETTINGS | settings))
    run("train", config, "--output_dir", tmp_path / "run")
    folders = {path.parent for path in (tmp_path / "run").rglob("events*")}
    tags = {tag for folder in folders for tag in EventAccumulator(str(folder)).Reload().Tags()["scalars"]}
    assert {"success_rate", "time/rollout"} <= tags


def test_train_without_an_output_directory_makes_one(cloned_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(yaml.safe_dump(SETTINGS | {"max_steps": 1, "model": str(cloned_model)}))
    run(
        "train",
        "mine.yaml",
        "--report_to",
        "[tensorboard]" if importlib.util.find_spec("tensorboard") else "[]",
    )
    (made,) = Path("runs").iterdir()
    assert made.name.startswith("mine-")
    assert (made / "report.html").exists()
