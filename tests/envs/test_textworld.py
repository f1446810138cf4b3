"""TextWorld: the promises of TextEnv, its generators and game files, bad files, and a worker that dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from agentgym.envs import check_text_env
from agentgym.envs.hostile import HOSTILE_ACTIONS, random_actions
from agentgym.envs.shared_process import EngineError
from agentgym.envs.text_world.env import TextWorldEnv
from agentgym.envs.text_world.process import worker
from agentgym.envs.text_world.source import BadGameError, read_games

pytest.importorskip("textworld", reason="needs pip install 'agentgym[textworld]'")

quick = partial(TextWorldEnv, game="treasure_hunter", level=2, max_turns=20)


@pytest.fixture(scope="module", autouse=True)
def keeper() -> Iterator[TextWorldEnv]:
    """Keeps the worker process, and the games that it has made, between the tests."""
    env = quick()
    yield env
    env.close()


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory, keeper: TextWorldEnv) -> Path:
    """A directory with a generated game: treasure.z8 and treasure.json."""
    task = keeper.reset(seed=0)[1]["task_id"].removeprefix("textworld:")
    assert worker._directory is not None
    made = Path(worker._directory, f"{task}.z8")  # others may lie there, of whoever uses the worker too
    folder = tmp_path_factory.mktemp("games")
    for suffix in (".z8", ".json"):
        shutil.copy(made.with_suffix(suffix), folder / f"treasure{suffix}")
    return folder


def test_every_promise() -> None:
    check_text_env(quick, seeds=range(2), tasks_per_split=2, second_process=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"game": "coin_collector", "level": 3},
        {"game": "treasure_hunter", "level": 12},
        {"game": "cooking", "settings": {"recipe": 2, "take": 2}},
    ],
)
def test_expert_and_rewards(arguments: dict[str, object]) -> None:
    env = TextWorldEnv(split="train", **arguments)  # type: ignore[arg-type]
    observation, info = env.reset(seed=0)
    assert "$$" not in observation
    gained, over = 0.0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(env.expert())
        assert info["is_action_valid"]
        gained, over = gained + reward, terminated or truncated
    assert info["success"] and info["score"] == 1 and gained == pytest.approx(1)


def test_random_strings() -> None:
    env = quick()
    _, info = env.reset(seed=0)
    words = (*info["admissible_actions"], "save", "quit", "restore", "restart", "undo", "take all", "again")
    over = False
    for number, action in enumerate((*HOSTILE_ACTIONS, *random_actions(random.Random(20261121), 300, words))):
        if over:
            env.reset(seed=number % 2)
        observation, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        assert observation.encode() and (terminated or not info["success"]), action


def test_no_command_leaves_the_game() -> None:
    env = quick()
    env.reset(seed=0)
    for command in ("quit", "save", "look. save", "tw-trace-actions", "RESTART"):
        observation, *_, info = env.step(command)
        assert (observation, info["is_action_valid"]) == ("That is no command in this game.", False)
    assert env.step("look")[4]["is_action_valid"]


def test_files_play_like_the_generated_game(games: Path, tmp_path: Path, keeper: TextWorldEnv) -> None:
    expected = keeper.reset(seed=0)[0]
    shutil.copy(games / "treasure.json", tmp_path / "alone.json")
    for data in (games / "treasure.z8", games, tmp_path / "alone.json"):
        splits = [split for split, found in read_games(data).items() if found]
        env = TextWorldEnv(data=data, split=splits[0])
        observation, info = env.reset(seed=0)
        assert observation == expected and info["admissible_actions"], data
        while not info["success"]:
            *_, info = env.step(env.expert())


def test_a_game_without_its_json(games: Path, tmp_path: Path) -> None:
    shutil.copy(games / "treasure.z8", tmp_path / "bare.z8")
    env = TextWorldEnv(data=tmp_path / "bare.z8")
    _, info = env.reset(seed=0)
    assert "admissible_actions" not in info
    assert not env.step("fly to the moon")[4]["is_action_valid"] and env.step("look")[4]["is_action_valid"]
    with pytest.raises(NotImplementedError, match=r"has no \.json"):
        env.expert()


def test_folders_are_splits(games: Path, tmp_path: Path) -> None:
    shutil.copytree(games, tmp_path / "valid")
    TextWorldEnv(data=tmp_path, split="valid").reset(seed=0)
    with pytest.raises(ValueError, match="has no game of the split 'test'"):
        TextWorldEnv(data=tmp_path, split="test")
    with pytest.raises(ValueError, match="split must be one of train"):
        TextWorldEnv(data=tmp_path / "valid" / "treasure.z8", split="valid")


def test_bad_files(games: Path, tmp_path: Path) -> None:
    story = (games / "treasure.z8").read_bytes()
    bad = {
        "cut.z8": (story[:50_000], "truncated: 50,000 of "),
        "flipped.z8": (story[:-600] + b"\x55" * 500 + story[-100:], "checksum is wrong"),
        "text.z8": (b"once upon a time" * 10, "no Z-machine story of version 8"),
        "old.ulx": (b"Glul", r"plays no \.ulx since 1\.7"),
        "cut.json": (b'{"world": [', "no JSON: "),
        "other.json": (b"[1, 2]", "no game of TextWorld's: it has no 'world'"),
        "readme.md": (b"# Games", r"not a \.z1 to \.z8"),
    }
    for name, (content, reason) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadGameError, match=rf"{name}: .*{reason}" if name != "old.ulx" else reason):
            TextWorldEnv(data=tmp_path / name)
    with pytest.raises(BadGameError, match="nowhere: no such file or directory"):
        TextWorldEnv(data=tmp_path / "nowhere")
    with pytest.raises(BadGameError, match="has no game that can be played"):
        TextWorldEnv(data=tmp_path)
    shutil.copytree(games, tmp_path / "train")
    with pytest.warns(UserWarning, match="games cannot be played and are left out"):
        env = TextWorldEnv(data=tmp_path)
    for _ in range(5):
        assert env.reset()[1]["task_id"]


def test_a_json_that_is_no_game_inside(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text(json.dumps({"world": [], "quests": [], "infos": []}))
    before = worker._leases
    env = TextWorldEnv(data=tmp_path / "empty.json")
    with pytest.raises(BadGameError, match=r"empty\.json: TextWorld cannot make a game of it: \w+"):
        env.reset(seed=0)
    del env
    assert worker._leases == before, "the error holds the environment, and it the process"


def test_a_step_that_takes_too_long_and_a_worker_that_dies(keeper: TextWorldEnv) -> None:
    expected = keeper.reset(seed=0)[0]
    assert worker.process is not None
    os.kill(worker.process.pid, signal.SIGSTOP)
    keeper.time_limit = 0.2
    with pytest.raises(TimeoutError, match="the TextWorld process took longer than 2 s to play a game"):
        keeper.step("look")
    keeper.time_limit = 60.0
    assert keeper.reset(seed=0)[0] == expected
    os.kill(worker.process.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="the TextWorld process ended"):
        keeper.step("look")
    keeper.reset(seed=0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_leaves_the_games_to_its_parent(keeper: TextWorldEnv) -> None:
    expected = keeper.reset(seed=0)[0]
    child = multiprocessing.get_context("fork").Process(target=worker.stop)
    child.start()
    child.join()
    assert child.exitcode == 0 and keeper.reset(seed=0)[0] == expected


def test_nothing_is_left_behind() -> None:
    script = (
        "from agentgym.envs.text_world.env import TextWorldEnv; from agentgym.envs.text_world.process import worker\n"
        "import time\n"
        "env = TextWorldEnv(level=1); env.reset(seed=0)\n"
        "print(worker.process.pid, worker._directory, flush=True); time.sleep(60 * {wait})"
    )
    for wait in (0, 1):
        child = subprocess.Popen([sys.executable, "-c", script.format(wait=wait)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        pid, directory = child.stdout.readline().decode().split()
        assert Path(directory).parent == Path(tempfile.gettempdir())
        if wait:
            child.kill()
        child.wait(timeout=30)
        child.stdout.close()
        deadline = time.monotonic() + 20
        while (Path(directory).exists() or Path(f"/proc/{pid}").exists()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(directory).exists() and not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"game": "zork"}, "game must be cooking, .*, not 'zork'"),
        ({"game": "treasure_hunter", "level": 31}, "level must be in 1 to 30 for treasure_hunter, not 31"),
        ({"level": 199}, "level 199 of coin_collector has 198 rooms"),
        ({"game": "cooking", "level": 1}, "cooking has no level"),
        ({"game": "cooking", "settings": {"go": 2}}, "go must be 1, 6, 9 or 12 rooms, not 2"),
        ({"game": "cooking", "settings": {"bake": True}}, "settings of cooking are recipe, .*, not 'bake'"),
        ({"game": "cooking", "settings": {"take": 2}}, "recipe must be 1 to 5 and take at most that, not 1, 2"),
        ({"settings": {"go": 6}}, "coin_collector takes no settings"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextWorldEnv(**arguments)  # type: ignore[arg-type]
