"""Games of several seats through the ordinary run: who plays, who learns, what is told apart, and what is refused."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from agentgym.agents.rollout import GroupError, check_groups
from agentgym.agents.run_files import list_trajectories
from agentgym.agents.trajectory import StopReason, Trajectory, read_trajectories
from agentgym.train import main
from tests.seated_games import PULLS, TUG, broken
from tests.small_model import SETTINGS, make_trainer

GAME: dict[str, Any] = SETTINGS | {"env_id": TUG, "env_kwargs": {}, "max_new_tokens": 1}


@pytest.fixture
def config(cloned_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(GAME | {"model": str(cloned_model), "dtype": "float32"}))
    return path


def run(config: Path, run_dir: Path, **settings: Any) -> int:
    words = [word for key, value in settings.items() for word in (f"--{key}", json.dumps(value))]
    return main([str(config), "--output_dir", str(run_dir), *words])


def metrics(run_dir: Path) -> list[dict[str, float]]:
    """All but the times."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/") and k != "step_time"} for line in lines]


def played(run_dir: Path) -> list[Trajectory]:
    paths = [path for of_step in list_trajectories(run_dir).values() for path in of_step]
    return [trajectory for path in paths for trajectory in read_trajectories(path)]


def pulls(trajectories: list[Trajectory], seat: str) -> float:
    turns = [turn for trajectory in trajectories if trajectory.seat == seat for turn in trajectory.turns]
    return sum(turn.action == PULLS[seat] for turn in turns) / len(turns)


@pytest.mark.parametrize("credit", ["spiral", "grpo"])
def test_a_learner_in_all_seats_learns_each(tmp_path: Path, credit: str) -> None:
    """What both earn sums to 0 whatever happens: only peers of one seat can tell good from bad."""
    settings = {"players": "self-play", "credit": credit, "groups_per_step": 4, "max_steps": 16, "learning_rate": 6e-3}
    trainer = make_trainer(Path("tiny"), tmp_path, **GAME | settings)
    steps = list(trainer.train())
    assert all(step["reward"] == pytest.approx(0) for step in steps)
    last = steps[-1]
    assert last["reward/seat=west"] == -last["reward/seat=east"]
    told = {"success_rate/seat=west", "groups/without_spread/seat=east", "outcome/payoff", "outcome/agreement"}
    assert told <= set(last)
    assert last["episodes"] == 4 * 4 * 2, "an episode counts once for each seat that learns"
    everything = played(tmp_path)
    first, late = everything[:32], everything[-32:]
    for seat in PULLS:
        assert pulls(late, seat) > pulls(first, seat) + 0.2
    assert {(t.player, t.partner) for t in everything} == {("learner", "learner")}


@pytest.mark.parametrize("credit", ["gigpo", "igpo", "gdpo", "ppo", "istar", "remax", "archer", "spa", "empg"])
def test_schemes_and_their_signals_work_in_self_play(cloned_model: Path, tmp_path: Path, credit: str) -> None:
    updates = {"archer": {"twin_critic": {"num_updates": 2, "batch_size": 8}}}
    settings = {"players": "self-play", "credit": credit, "max_steps": 1, "signals": updates.get(credit, {})}
    (step,) = make_trainer(cloned_model, tmp_path, **GAME | settings).train()
    assert step["tokens/trained"] == 2 * 4 * 2 * 2


def test_partners_are_drawn_for_a_task_and_their_turns_are_not_learned_from(cloned_model: Path, tmp_path: Path) -> None:
    players = {"west": "learner", "east": {"mixture": 2, "start": 1, "pool": 1}}
    settings = {"players": players, "pool_steps": 1, "groups_per_step": 6, "max_steps": 4, "credit": "grpo"}
    steps = list(make_trainer(cloned_model, tmp_path, **GAME | settings).train())
    assert all(step["tokens/trained"] == 6 * 4 * 2 for step in steps)
    assert all(step["sampler_logp_difference/max"] < 1e-4 for step in steps), "partners leave the learner as it is"
    everything = played(tmp_path)
    of_group: dict[str, set[str]] = defaultdict(set)
    for trajectory in everything:
        of_group[trajectory.group].add(trajectory.partner if trajectory.seat == "west" else trajectory.player)
        assert (trajectory.player == "learner") is (trajectory.seat == "west")
    assert all(len(partners) == 1 for partners in of_group.values())
    met = set.union(*of_group.values())
    assert {"strong", "moody", "start"} < met and any(name.startswith("pool: step ") for name in met)
    late = [int(name.split()[-1]) for group, (name,) in of_group.items() if name.startswith("pool") and group[0] == "3"]
    assert all(step <= 3 for step in late)
    moody = defaultdict(list)
    for trajectory in everything:
        if trajectory.player == "moody":
            moody[trajectory.group].append([turn.action for turn in trajectory.turns])
    assert all(actions == siblings[0] for siblings in moody.values() for actions in siblings), "siblings meet one mood"


def test_a_run_with_a_pool_resumes_exactly(config: Path, tmp_path: Path) -> None:
    """From a checkpoint in the middle, with the files of later steps there, as after a kill."""
    players = {"west": "learner", "east": {"pool": 3, "start": 1}}
    settings: dict[str, Any] = {
        "players": players,
        "pool_steps": 2,
        "credit": "spiral",
        "max_steps": 7,
        "save_steps": 3,
    }
    settings |= {"groups_per_step": 3, "save_total_limit": 3, "eval_episodes": 2}
    run_dir = tmp_path / "run"
    assert run(config, run_dir, **settings) == 0
    expected, trajectories = metrics(run_dir), played(run_dir)
    weights = load_file(run_dir / "checkpoints" / "step-000007" / "adapter_model.safetensors")
    pool = {path.name: path.read_bytes() for path in (run_dir / "pool").iterdir()}
    assert pool.keys() == {f"step-00000{n}.safetensors" for n in (2, 4, 6)}
    assert len(set(pool.values())) == 3
    assert any(t.player.startswith("pool: step ") and t.group[0] in "3456" for t in trajectories)
    checkpoint = run_dir / "checkpoints" / "step-000003"
    assert run(config, run_dir, **settings, resume_from_checkpoint=str(checkpoint)) == 0
    assert metrics(run_dir) == expected and played(run_dir) == trajectories
    assert {path.name: path.read_bytes() for path in (run_dir / "pool").iterdir()} == pool
    again = load_file(run_dir / "checkpoints" / "step-000007" / "adapter_model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_each_seat_is_evaluated_against_partners_that_stay_the_same(config: Path, tmp_path: Path, capsys: Any) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(config, first, players="self-play", max_steps=2, eval_episodes=6, learning_rate=1e-7) == 0
    results = json.loads((first / "eval.json").read_text())["results"]
    assert [(r["stage"], r["seat"]) for r in results] == [(s, seat) for s in ("before", "after") for seat in PULLS]
    for result in results:
        assert result["partner"] == "moody, strong" and set(result["by_partner"]) == {"moody", "strong"}
        assert result["episodes"] == 6 == sum(rate["episodes"] for rate in result["by_partner"].values())
        assert result["panel_hash"] == results[0]["panel_hash"]
    assert results[0]["mean_reward"] == results[2]["mean_reward"], "nothing was learned, and the partners are the same"

    # Another run's adapter on the same weights is a partner, as what it was when this run began.
    players = {"west": {str(first): 1}, "east": "learner"}
    assert run(config, second, players=players, max_steps=1, eval_episodes=4, eval_partner=str(first)) == 0
    checkpoint = str(first / "checkpoints" / "step-000002")
    kept = yaml.safe_load((second / "config.yaml").read_text())
    assert kept["players"] == {"west": {checkpoint: 1}, "east": "learner"} and kept["eval_partner"] == checkpoint
    before, _ = json.loads((second / "eval.json").read_text())["results"]
    assert (before["seat"], before["partner"]) == ("east", checkpoint)


@pytest.mark.parametrize("partner", ["broken", "mute"])
def test_a_partner_that_fails_is_no_silence_and_no_score(
    cloned_model: Path, tmp_path: Path, partner: str, caplog: Any
) -> None:
    players = {"west": "learner", "east": {partner: 1, "strong": 1}}
    settings = {"players": players, "groups_per_step": 6, "max_steps": 1, "credit": "grpo"}
    (step,) = make_trainer(cloned_model, tmp_path, **GAME | settings).train()
    failed = [t for t in played(tmp_path) if t.stop_reason is StopReason.ENV_ERROR]
    assert step["stop_reason/env_error"] == len(failed) and 0 < len(failed) < 24
    assert step["episodes"] == 24 and step["episodes/lost"] == pytest.approx(len(failed) / 24)
    reason = "ConnectionError: the partner has gone" if partner == "broken" else "answers None, which is no str"
    assert all(reason in str(t.error) for t in failed)
    assert {t.partner for t in played(tmp_path) if t.counts and t.seat == "west"} == {"strong"}


def test_a_group_of_several_companies_is_none() -> None:
    siblings = [Trajectory("env", 0, "0/0", "task", "", seat="west", partner=name, episode=name) for name in ("a", "b")]
    with pytest.raises(GroupError, match="group '0/0' mixes the partners a, b: siblings meet the same"):
        check_groups(siblings, 2)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"players": "selfplay"}, "players: 'selfplay' is no seating: say self-play, or who holds each seat, by seat"),
    ({"players": {"wst": "learner"}}, "players: the game has no seat 'wst': did you mean 'west'?"),
    ({"players": {"west": "strong"}}, "players: nobody learns: give at least one of the seats west, east to learner"),
    (
        {"players": {"west": "learner", "east": "srong"}},
        "players: east: unknown partner 'srong': did you mean 'strong'?",
    ),
    ({"players": {"west": "learner", "east": {"learner": 1}}}, "players: east: learner is no partner that is drawn"),
    ({"players": {"west": "learner", "east": {"pool": 0}}}, "players: east: partners need weights above 0"),
    ({"players": {"west": "learner", "east": "server:there"}}, "players: east: 'server:there' names no server"),
    ({"players": {"west": "learner", "east": "RUN"}}, "is this run itself, which has no checkpoint yet: take pool"),
    ({"players": "self-play", "env_id": "agentgym/FrozenLake-v0"}, "players are given, but agentgym/FrozenLake-v0 has"),
    (
        {"players": "self-play", "eval_partner": "mixtur"},
        "eval_partner: unknown partner 'mixtur': did you mean 'mixture'?",
    ),
    ({"eval_partner": "strong"}, "eval_partner is given, but no players"),
    ({"players": "self-play", "retry": "policy"}, "retry is for worlds of which one seat is played"),
    ({"players": "self-play", "env_timeout": 1}, "env_timeout is for worlds of which one seat is played"),
    (
        {"players": {"west": "learner", "east": f"{broken.__module__}:brokn"}},
        "there is no 'brokn' in tests.seated_games",
    ),
]


@pytest.mark.parametrize(("settings", "expected"), BAD)
def test_bad_input_is_one_line(
    config: Path, tmp_path: Path, capfd: Any, settings: dict[str, Any], expected: str
) -> None:
    run_dir = tmp_path / "run"
    settings = json.loads(json.dumps(settings).replace("RUN", str(run_dir)))
    assert run(config, run_dir, **settings) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "left out" not in line]
    assert expected in line and re.match("error: ", line)
    assert not run_dir.exists()
