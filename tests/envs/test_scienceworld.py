"""ScienceWorld: the promises of TextEnv, one Java process for all, no orphans, and the simulator's solutions."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from agentgym.envs import check_text_env
from agentgym.envs.hostile import HOSTILE_ACTIONS, random_actions
from agentgym.envs.scienceworld.env import TASKS, ScienceWorldEnv

constants = pytest.importorskip("scienceworld.constants", reason="needs pip install 'agentgym[scienceworld]'")
try:
    from agentgym.envs.scienceworld import simulator

    simulator.find_java()
except ValueError as error:
    pytest.skip(str(error), allow_module_level=True)

quick = partial(ScienceWorldEnv, task=["find-animal", "power-component"], max_turns=25)


@pytest.fixture(scope="module")
def keeper() -> Iterator[ScienceWorldEnv]:
    """Keeps the Java process alive between the tests that do not count processes."""
    env = quick()
    yield env
    env.close()


def java_children(pid: int) -> list[int]:
    """The Java processes that were started by `pid` and are not ended."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, name, state, parent = path.read_text().replace(") ", " ").replace("(", "").split()[:4]
        except OSError:
            continue  # ended meanwhile
        if int(parent) == pid and name == "java" and state != "Z":
            children.append(int(number))
    return children


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def await_end(pid: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def test_one_process_for_all_that_ends_with_the_last() -> None:
    assert java_children(os.getpid()) == []
    first, second = quick(), quick()
    assert java_children(os.getpid()) == [], "nothing starts before the first reset"
    first.reset(seed=0)
    second.reset(seed=1)
    assert len(java_children(os.getpid())) == 1
    first.close()
    assert len(java_children(os.getpid())) == 1
    del second
    assert java_children(os.getpid()) == []


_CHILD = """
import sys, time
from agentgym.envs.scienceworld.env import ScienceWorldEnv
from agentgym.envs.scienceworld import simulator
env = ScienceWorldEnv(task="find-animal")
env.reset(seed=0)
print(simulator.java.process.pid, flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("end", "sent"),
    [
        ("pass", None),
        ("import os; os._exit(3)", None),
        ("time.sleep(60)", signal.SIGINT),
        ("time.sleep(60)", signal.SIGTERM),
        ("import threading; threading.Timer(1, lambda: None)\nwhile True: env.step('wait')", signal.SIGKILL),
    ],
)
def test_no_orphan(end: str, sent: signal.Signals | None) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(end=end)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    java = int(child.stdout.readline())
    if sent is not None:
        assert is_running(java)
        child.send_signal(sent)
    child.wait(timeout=30)
    child.stdout.close()
    assert await_end(java)


def test_a_forked_child_has_a_process_of_its_own(keeper: ScienceWorldEnv) -> None:
    keeper.reset(seed=0)
    here = keeper.step("look around")[0]
    mine = java_children(os.getpid())
    read, write = os.pipe()
    if (pid := os.fork()) == 0:  # pragma: no cover - runs in the child
        try:
            keeper.reset(seed=0)
            os.write(write, keeper.step("look around")[0].encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        assert answer.read().decode() == here
    os.waitpid(pid, 0)
    assert java_children(os.getpid()) == mine
    assert keeper.step("inventory")[4]["is_action_valid"]


def test_a_call_that_takes_too_long_is_an_error_and_the_next_episode_is_not(keeper: ScienceWorldEnv) -> None:
    beside = quick()
    beside.reset(seed=3)
    expected = beside.step("look around")[0]
    env = quick()
    env.reset(seed=0)
    old = java_children(os.getpid())
    env.time_limit = 1e-4
    with pytest.raises(TimeoutError, match=r"took longer than 0\.0001 s"):
        env.step("wait")
    env.time_limit = 60.0
    observation, info = env.reset(seed=0)
    assert (observation, info["task_id"]) == (quick().reset(seed=0)[0], info["task_id"])
    assert java_children(os.getpid()) != old
    assert beside.step("look around")[0] == expected, "a neighbour plays on where it was"


def test_a_process_that_dies_between_two_steps(keeper: ScienceWorldEnv) -> None:
    keeper.reset(seed=0)
    os.kill(java_children(os.getpid())[0], signal.SIGKILL)
    with pytest.raises(simulator.EngineError, match="the Java process of ScienceWorld ended"):
        keeper.step("look around")
    keeper.reset(seed=0)


def test_every_promise(keeper: ScienceWorldEnv) -> None:
    check_text_env(quick, seeds=range(2), script_turns=6, tasks_per_split=2, second_process=True)


def test_games_played_in_turns_are_as_if_alone(keeper: ScienceWorldEnv) -> None:
    """The bees' flight is random, their names follow hash codes, and teleporting is a simplification."""
    actions = ["teleport to greenhouse", "open bee hive", *["wait", "look around"] * 3, "teleport to outside"]
    actions += ["look around", "wait", "look around"]

    def played(tasks: list[str]) -> list[list[str]]:
        envs = [ScienceWorldEnv(task=task, simplifications="easy") for task in tasks]
        first = [env.reset(seed=5)[0] for env in envs]
        later = [[env.step(action)[0] for env in envs] for action in actions]
        return [list(texts) for texts in zip(first, *later, strict=True)]

    tasks = ["find-animal", "boil", "grow-fruit"]
    assert played(tasks) == [played([task])[0] for task in tasks]


def test_listed_actions(keeper: ScienceWorldEnv) -> None:
    env = quick(list_actions=True)
    _, info = env.reset(seed=0)
    actions = info["admissible_actions"]
    assert len(actions) > 50 and actions == sorted(actions)
    assert env.step(next(action for action in actions if action.startswith("open door")))[4]["is_action_valid"]


def test_the_expert_does_not_depend_on_what_was_solved_before(keeper: ScienceWorldEnv) -> None:
    keeper.reset(seed=0)
    game = simulator.Game("find-plant", 200, "")
    first = simulator.gold_path(game, 600.0)
    simulator.gold_path(simulator.Game("find-animal", 210, ""), 600.0)
    simulator.gold_path.cache_clear()
    assert simulator.gold_path(game, 600.0) == first


def test_random_strings(keeper: ScienceWorldEnv) -> None:
    env = quick()
    env.reset(seed=0)
    words = ("open door to kitchen", "move orange to agent", "focus on agent", "wait1", "0", "reset task")
    over = False
    for action in (*HOSTILE_ACTIONS, *random_actions(random.Random(20261121), 300, words)):
        if over:
            env.reset()
        observation, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        assert observation.encode() and (terminated or not info["success"]), action


def test_tasks_are_the_simulators() -> None:
    assert set(TASKS) == set(constants.ID2TASK.values())


def test_splits_are_the_simulators(keeper: ScienceWorldEnv) -> None:
    keeper.reset(seed=0)
    by_split = {split: simulator.variations("boil", split, 60.0) for split in ("train", "valid", "test")}
    assert [len(by_split[split]) for split in by_split] == [14, 7, 9]
    assert sorted(number for numbers in by_split.values() for number in numbers) == list(range(30))


@pytest.mark.parametrize("task", ["find-living-thing", "chemistry-mix", "power-component"])
def test_expert_and_rewards(keeper: ScienceWorldEnv, task: str) -> None:
    for reward, total in (("score", 1.0), ("success", 10.0)):
        env = ScienceWorldEnv(task=task, split="valid", reward=reward)  # type: ignore[arg-type]
        _, info = env.reset(seed=0)
        already = info["score"] if reward == "score" else 0.0
        env.step("no such action")
        gained, over = 0.0, False
        while not over:
            _, earned, terminated, truncated, info = env.step(env.expert())
            gained, over = gained + earned, terminated or truncated
        assert info["success"] and terminated and info["score"] == 1
        assert gained == pytest.approx(total - already)


def test_leaving_the_solution_and_failing(keeper: ScienceWorldEnv) -> None:
    env = ScienceWorldEnv(task="find-animal")
    env.reset(seed=0)
    env.expert()
    env.step("wait1")
    with pytest.raises(RuntimeError, match="left the simulator's only solution"):
        env.expert()
    _, reward, terminated, _, info = env.step("focus on agent")
    assert (reward, terminated, info["score"], info["success"]) == (-1.0, True, 0.0, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "cooking"}, "task must be 'all' or of boil, .*, not 'cooking'"),
        ({"task": []}, "not 'nothing'"),
        ({"simplifications": "easy,hard"}, "simplifications must be of easy, .*, not 'hard'"),
        ({"reward": "dense"}, "reward must be 'score' or 'success', not 'dense'"),
        ({"time_limit": 0}, "time_limit must be above 0 seconds, not 0"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScienceWorldEnv(**arguments)  # type: ignore[arg-type]


def test_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ValueError, match=r"needs Java \(no 'java' on the PATH\): apt-get install"):
        ScienceWorldEnv()
