"""The original engine beside the native one, and our games as official files in ALFWorld's own environment."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.envs.alfworld import textworld_engine
from agentgym.envs.alfworld.builtin import games_of as builtin_games
from agentgym.envs.alfworld.data import Games, Logic, Record
from agentgym.envs.alfworld.engine import NativeEngine
from agentgym.envs.alfworld.env import AlfworldEnv
from agentgym.envs.alfworld.game import Game
from agentgym.envs.alfworld.generator import SPLITS
from agentgym.envs.alfworld.goal import TASK_TYPES
from agentgym.envs.alfworld.official_files import read_logic, write_game, write_generated
from agentgym.envs.alfworld.planner import plan
from agentgym.envs.shared_process import EngineError
from tests.envs.alfworld.house import EGG, ODD_HOUSES, TASK, house, place_goal
from tests.envs.alfworld.test_alfworld_data import DOMAIN, GRAMMAR, compact, line, official

HAS_TEXTWORLD = all(importlib.util.find_spec(name) for name in ("textworld", "fast_downward"))
needs_textworld = pytest.mark.skipif(not HAS_TEXTWORLD, reason="needs pip install 'agentgym[textworld]'")
needs_alfworld = pytest.mark.skipif(
    not (HAS_TEXTWORLD and importlib.util.find_spec("alfworld")), reason="needs pip install --no-deps alfworld"
)
LOGIC = Logic(DOMAIN, GRAMMAR)
"""Enough of one to be read and written."""


@pytest.fixture
def logic(request: pytest.FixtureRequest) -> Path | None:
    """Where a genuine domain and grammar are: None for those of the installed package alfworld."""
    if importlib.util.find_spec("alfworld") is not None:
        return None
    folder: Path = request.getfixturevalue("test_data") / "alfworld" / "logic"
    return folder if folder.is_dir() else pytest.skip("neither the package alfworld nor test data with its logic")


@pytest.fixture(scope="module", autouse=True)
def keeper() -> Iterator[None]:
    """Keeps the process of textworld between the tests: it takes seconds to start."""
    session = textworld_engine._Session()
    yield
    session.end()


def walk(arguments: dict[str, Any], task_type: str, turns: int = 14) -> None:
    """Play a game of this type in both engines, by random commands and then by the expert's, to the end."""
    ours, theirs = (
        AlfworldEnv(**arguments, engine=engine, list_help=True, state_key="state") for engine in ("native", "textworld")
    )
    seed = next(seed for seed in range(1000) if ours.reset(seed=seed)[1]["task_type"] == task_type)
    before = ours.reset(seed=seed)
    assert theirs.reset(seed=seed) == before
    rng, turn, info, over = random.Random(seed), 0, before[1], False
    while not over:
        command = rng.choice([*info["admissible_actions"], "xyzzy"]) if turn < turns else ours.expert()
        assert turn < turns or theirs.expert() == command
        step = ours.step(command)
        assert theirs.step(command) == step, command
        *_, terminated, truncated, info = step
        over, turn = terminated or truncated, turn + 1
    assert info["success"]
    theirs.close()


@needs_textworld
@pytest.mark.parametrize("number", range(len(TASK_TYPES)))
def test_both_engines_play_generated_games_alike(number: int, logic: Path | None) -> None:
    arguments = {"split": SPLITS[number % 3], "size": ("small", "full")[number // 3], "logic": logic}
    walk({"data": "builtin"} | arguments, TASK_TYPES[number])


@needs_textworld
@pytest.mark.parametrize("number", range(len(TASK_TYPES)))
def test_both_engines_play_genuine_games_alike(number: int, test_data: Path) -> None:
    if not (test_data / "alfworld").is_dir():
        pytest.skip(f"no games: {test_data / 'alfworld'}")
    split = ("valid_train", "valid_seen", "valid_unseen")[number % 3]
    walk({"data": test_data / "alfworld", "split": split}, TASK_TYPES[number])


@needs_textworld
def test_a_game_file_is_played_by_its_own_grammar(tmp_path: Path, logic: Path | None) -> None:
    found = read_logic(logic)
    changed = Logic(found.domain, found.grammar.replace("-= Welcome to TextWorld", "-= Hello from the file"))
    write_game(tmp_path, "train", Record("task/trial", TASK, house()), changed)
    env = AlfworldEnv(data=tmp_path, engine="textworld")
    assert env.reset(seed=0)[0].startswith("-= Hello from the file")
    with pytest.raises(EngineError, match=r"task/trial: textworld and the native engine disagree after \[\]"):
        env.expert()
    folder = folder_with(tmp_path / "logic", *found)
    env = AlfworldEnv(data=tmp_path, engine="textworld", logic=folder)
    assert env.reset(seed=0) == AlfworldEnv(data=tmp_path).reset(seed=0)


@needs_textworld
def test_copies_go_their_own_way(tmp_path: Path, logic: Path | None) -> None:
    compact(tmp_path / "train.jsonl", [line("a")])
    env = AlfworldEnv(data=tmp_path, engine="textworld", logic=logic)
    env.reset(seed=0)
    env.step("go to desk 1")
    snapshot = env.snapshot()
    env.step("take pan 1 from desk 1")
    env.restore(snapshot)
    assert env.step("inventory")[0] == "You are not carrying anything."
    env.restore(snapshot)
    assert env.step("take pan 1 from desk 1")[0] == "You pick up the pan 1 from the desk 1."


@needs_textworld
def test_beyond_the_time_limit_and_after_a_crash(tmp_path: Path, logic: Path | None) -> None:
    compact(tmp_path / "train.jsonl", [line("a")])
    hasty = AlfworldEnv(data=tmp_path, engine="textworld", logic=logic, time_limit=0.01)
    with pytest.raises(TimeoutError, match=r"the process of textworld took longer than 0\.01 s to begin a game"):
        hasty.reset(seed=0)
    env = AlfworldEnv(data=tmp_path, engine="textworld", logic=logic)
    first = env.reset(seed=0)
    assert first == AlfworldEnv(data=tmp_path).reset(seed=0)
    env.step("go to desk 1")
    assert textworld_engine._process.process is not None
    textworld_engine._process.process.kill()
    with pytest.raises(EngineError, match=r"^a: the process of textworld ended when it was to play a command"):
        env.step("take pan 1 from desk 1")
    assert (
        env.step("take pan 1 from desk 1")[0] == "You pick up the pan 1 from the desk 1."
    )  # played again from the start


@needs_textworld
@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (house(goal=place_goal("Knife", "Fridge")), "a: textworld failed: KeyError: "),  # its planner finds no plan
        (house(objects=[EGG]), "a: textworld failed: SystemExit: error: duplicate object"),
    ],
)
def test_games_that_only_textworld_cannot_play(problem: str, reason: str, tmp_path: Path, logic: Path | None) -> None:
    compact(tmp_path / "train.jsonl", [line("a", pddl_problem=problem)])
    env = AlfworldEnv(data=tmp_path, engine="textworld", logic=logic)
    with pytest.raises(EngineError, match=rf"\A{re.escape(reason)}.*\Z"):  # no `as`: it would keep the engine's process
        env.reset(seed=0)


@needs_textworld
def test_a_game_that_changed_on_disk(tmp_path: Path, logic: Path | None) -> None:
    folder = official(tmp_path / "train" / "task" / "trial")
    env = AlfworldEnv(data=tmp_path, engine="textworld", logic=logic)
    (folder / "game.tw-pddl").write_text(json.dumps({"solvable": False}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"game\.tw-pddl: changed since task/trial was read from it"):
        env.reset(seed=0)


@needs_textworld
def test_bad_arguments(logic: Path | None) -> None:
    with pytest.raises(ValueError, match="engine must be one of native, textworld, not 'tw'"):
        AlfworldEnv(engine="tw")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="time_limit must be above 0 seconds, not 0"):
        AlfworldEnv(data="builtin", engine="textworld", logic=logic, time_limit=0)


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"no domain and grammar of ALFWorld: give logic=.*pip install") as caught:
        AlfworldEnv(data="builtin", engine="textworld")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"needs textworld and its planner: pip install 'agentgym\[textworld\]'"):
        textworld_engine.TextworldEngine(lambda game: Record("", "", ""), LOGIC, 1.0)


# Official files -------------------------------------------------------------------------------------------


def folder_with(path: Path, domain: str, grammar: str) -> Path:
    path.mkdir()
    (path / "domain.pddl").write_text(domain, encoding="utf-8")
    (path / "grammar.twl2").write_text(grammar, encoding="utf-8")
    return path


def test_where_the_domain_and_grammar_are_found(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "logic", DOMAIN, GRAMMAR)
    assert read_logic(folder) == LOGIC
    file = official(tmp_path / "task" / "trial") / "game.tw-pddl"
    assert read_logic(file) == LOGIC
    (tmp_path / "cut").write_text(file.read_text()[:50])
    for path, reason in (
        (tmp_path, "there is neither domain.pddl with grammar.twl2 in it nor alfred.pddl with alfred.twl2"),
        (tmp_path / "cut", "no ALFWorld game file: JSONDecodeError: "),
        (tmp_path / "missing", "cannot be read: No such file or directory"),
        (folder_with(tmp_path / "1", "(define (domain blocks))", GRAMMAR), "the game's PDDL domain is not 'alfred'"),
        (folder_with(tmp_path / "2", DOMAIN, GRAMMAR.replace("move", "put")), "the game's grammar has no 'move"),
        (folder_with(tmp_path / "3", DOMAIN, "move {o} to {r}"), "the game's grammar does not say what the task is"),
    ):
        with pytest.raises(ValueError) as caught:
            read_logic(path)
        assert str(caught.value).startswith(f"{path}: {reason}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("split", SPLITS)
def test_written_games_are_read_back(tmp_path: Path, split: str) -> None:
    files = write_generated(tmp_path, split, count=8, seed=1, logic=LOGIC)
    assert len(set(files)) == 8
    games, drawn = Games(tmp_path, split), builtin_games(split, "full")
    rng = np.random.default_rng(1)
    expected = {game.id.removeprefix("builtin/"): game for game in (drawn.draw(rng) for _ in range(8))}
    for number in range(8):
        game = games._load(number)
        assert game is not None
        twin, content = expected.pop(game.id), json.loads(files[0].read_text(encoding="utf-8"))
        assert (game.task, game.first_state, game.objects) == (twin.task, twin.first_state, twin.objects)
    assert not expected and content.keys() == {"pddl_domain", "grammar", "pddl_problem", "solvable", "walkthrough"}


def test_what_stands_beside_a_game(tmp_path: Path) -> None:
    task = 'put "a" {thing} \\ there.'
    file = write_game(tmp_path, "train", Record("a", task, house()), LOGIC)
    assert file == tmp_path / "json_2.1.1" / "train" / "pick_heat_then_place_in_recep" / "a" / "game.tw-pddl"
    assert Games(file, "train").draw(np.random.default_rng(0)).task == task
    assert json.loads((file.parent / "traj_data.json").read_text(encoding="utf-8")) == {
        "task_id": "a",
        "task_type": "pick_heat_then_place_in_recep",
        "pddl_params": {
            "object_target": "Egg",
            "parent_target": "SinkBasin",
            "toggle_target": "",
            "mrecep_target": "",
            "object_sliced": False,
        },
    }
    look = write_game(tmp_path, "train", Record("look/b", TASK, ODD_HOUSES["look goal"]), LOGIC)
    parameters = json.loads((look.parent / "traj_data.json").read_text(encoding="utf-8"))["pddl_params"]
    assert (parameters["parent_target"], parameters["toggle_target"]) == ("", "DeskLamp")


@pytest.mark.parametrize(
    ("name", "problem", "reason"),
    [
        ("a/..", house(), "a game's files need an id that can name folders, not 'a/..'"),
        ("a/b:c", house(), "a game's files need an id that can name folders, not 'a/b:c'"),
        ("a/Sliced", house(), "a/Sliced: ALFWorld skips games with 'movable' or 'Sliced' in their names"),
        (
            "a/b",
            house(goal=place_goal("Knife", "Fridge")),
            "a/b: cannot be solved, and ALFWorld plays only what can be",
        ),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, problem: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        write_game(tmp_path, "train", Record(name, TASK, problem), LOGIC)
    assert str(caught.value) == reason
    assert not list(tmp_path.rglob("*.tw-pddl"))


OFFICIAL_PLAYER = """
    import json, os, sys
    from pathlib import Path

    def play(data, commands):
        from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv
        config = {
            "env": {"goal_desc_human_anns_prob": 0, "task_types": [1, 2, 3, 4, 5, 6], "domain_randomization": False,
                    "expert_type": "planner"},
            "dataset": {"data_path": f"{data}/json_2.1.1/train", "num_train_games": -1},
            "general": {"training_method": "dqn"},
            "rl": {"training": {"max_nb_steps_per_episode": 50}},
        }
        environment = AlfredTWEnv(config)
        env = environment.init_env(batch_size=1)
        traces = {}
        for _ in environment.game_files:
            texts, infos = env.reset()
            name = "/".join(Path(infos["extra.gamefile"][0]).parts[-3:-1])
            traces[name] = [[texts[0], infos["admissible_commands"][0], 0, False]]
            for command in commands[name]:
                texts, scores, dones, infos = env.step([command])
                traces[name].append([texts[0], infos["admissible_commands"][0], scores[0], dones[0]])
        env.close()
        return traces

    if __name__ == "__main__":
        request = json.load(sys.stdin)
        traces = play(**request)
        Path(request["data"], "traces.json").write_text(json.dumps(traces))
"""


def native_trace(game: Game) -> tuple[list[str], list[Any]]:
    """Ten random commands and the plan from there on; what the native engine says to them."""
    engine, rng = NativeEngine(), random.Random(game.id)
    trace: list[Any] = [[engine.start(game), engine.admissible_commands, 0, False]]
    commands: list[str] = []
    while not engine.won:
        steps = plan(game, engine.state) if len(commands) >= 10 else None
        commands.append(steps[0][1] if steps else rng.choice(engine.admissible_commands))
        trace.append([engine.step(commands[-1]), engine.admissible_commands, int(engine.won), engine.won])
    return commands, trace


@needs_alfworld
def test_the_official_environment_plays_written_games_alike(tmp_path: Path) -> None:
    write_generated(tmp_path, "train", count=2, seed=3, logic=read_logic())
    write_generated(tmp_path, "train", count=2, seed=4, logic=read_logic(), size="small")
    games = Games(tmp_path, "train")
    played = {game.id: native_trace(game) for game in map(games._load, range(len(games))) if game is not None}
    script = tmp_path / "player.py"
    script.write_text(textwrap.dedent(OFFICIAL_PLAYER), encoding="utf-8")
    subprocess.run(
        [sys.executable, str(script)],
        input=json.dumps(
            {"data": str(tmp_path), "commands": {name: commands for name, (commands, _) in played.items()}}
        ),
        env={**os.environ, "ALFWORLD_DATA": str(tmp_path)},
        text=True,
        check=True,
        capture_output=True,
    )
    theirs = json.loads((tmp_path / "traces.json").read_text(encoding="utf-8"))
    assert len(theirs) == 4
    assert theirs == {name: trace for name, (_, trace) in played.items()}
