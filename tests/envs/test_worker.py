"""Environments in worker processes: what they give is the same; what hangs or dies is ended, told and replaced."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from gymnasium.error import ResetNeeded

from agentgym.envs import NoPlanError, check_text_env, make
from agentgym.envs.faults import place_in_others
from agentgym.envs.shared_process import EngineError
from agentgym.envs.told import look_at
from agentgym.envs.worker import WorkerEnv
from tests.envs.moody import Slow

PLENTY = 60.0
"""Seconds that nothing here takes."""


def sokoban(**kwargs: Any) -> WorkerEnv:
    return WorkerEnv(partial(make, "agentgym/Sokoban-v0", **kwargs), PLENTY)


def slow(timeout: float = PLENTY, **kwargs: Any) -> WorkerEnv:
    return WorkerEnv(partial(Slow, **kwargs), timeout)


def tell(env: WorkerEnv) -> list[str]:
    """The process id of the environment, whether torch is imported there, and its group's id."""
    return env.step("tell")[0].split()


def ends(*, group: int) -> bool:
    """Whether all processes of a group, of which this one need not be the parent, are gone soon."""
    deadline = time.monotonic() + 20
    while any(alive(process, group) for process in psutil.process_iter()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def test_every_promise() -> None:
    check_text_env(sokoban, second_process=True)


def test_what_the_environment_tells_of_itself_is_told() -> None:
    env, inside = slow(max_turns=3, split="test"), Slow(max_turns=3, split="test")
    for seed in range(2):
        assert env.reset(seed=seed) == inside.reset(seed=seed)
        assert env.instructions == inside.instructions, "of this very task"
        assert (env.max_turns, env.split, env.task_types, env.turn) == (3, "test", ("waiting",), 0)
    assert env.waits and tell(env)[1] == "False", "torch takes seconds and gigabytes"
    assert sokoban().action_space == make("agentgym/Sokoban-v0").action_space


def test_what_it_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="did you mean agentgym/Sokoban-v0"):
        WorkerEnv(partial(make, "agentgym/Sokobn-v0"), PLENTY)
    with pytest.raises(ValueError, match="takes no argument 'sise'"):
        sokoban(sise=3)
    env = slow(max_turns=1)
    with pytest.raises(ResetNeeded):
        env.step("wait")
    env.reset(seed=0)
    with pytest.raises(NoPlanError, match="too late"):
        env.expert()
    with pytest.raises(RuntimeError, match=r"^OwnError: own 1$") as caught:
        env.step("fail")
    assert re.search(r"tests/envs/moody.py, line \d+\)", place_in_others(caught.value))


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("fail", r"fails in its first turn:\n(.|\n)*moody.py(.|\n)*OwnError: own 1$"),
        ("crash", r"fails in its first turn: the worker process of Slow ended .* seed 0: exit status 7$"),
    ],
)
def test_a_world_that_fails_at_once_is_told_with_the_place_in_its_code(trouble: str, told: str) -> None:
    class AtOnce(WorkerEnv):
        def step(self, action: str) -> Any:
            return super().step(trouble)

    with pytest.raises(ValueError, match=told):
        look_at(AtOnce(partial(Slow, max_turns=9), PLENTY), "my/Slow-v0")


def test_only_what_another_process_can_import() -> None:
    for make_env in (lambda: Slow(), type("Local", (Slow,), {})):
        with pytest.raises(ValueError, match="cannot import what makes the environment"):
            WorkerEnv(make_env, PLENTY)


def test_a_module_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from agentgym.envs import register\nregister('mine/Slow-v0', 'tests.envs.moody:Slow', max_turns=2)\n"
    (tmp_path / "world_of_mine.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    env = WorkerEnv(partial(make, "world_of_mine:mine/Slow-v0"), PLENTY)
    assert env.reset(seed=0)[0] == "It is 0." and env.max_turns == 2
    assert "world_of_mine" not in sys.modules


def test_what_hangs_is_ended_with_what_it_started_and_replaced() -> None:
    env = slow(2)
    env.reset(seed=3)
    pid, _, group = tell(env)
    words = "the worker process of Slow took longer than 2 s to play turn 1 of seed 3, and was ended"
    with pytest.raises(TimeoutError, match=f"^{words}$"):
        env.step("hang")
    assert pid == group and ends(group=int(group))
    with pytest.raises(ResetNeeded, match="ended with its process"):
        env.step("wait")
    assert env.reset(seed=4) == Slow().reset(seed=4)
    assert tell(env)[0] != pid


@pytest.mark.parametrize("killed", [False, True])
def test_what_dies_is_told_and_replaced(killed: bool) -> None:
    env = slow()
    env.reset(seed=5)
    moment = env.snapshot()
    if killed:
        os.kill(int(tell(env)[0]), signal.SIGKILL)
        time.sleep(0.05)
    status = -9 if killed else 7
    turn = 1 if killed else 0
    words = f"the worker process of Slow ended when it was to play turn {turn} of seed 5: exit status {status}"
    with pytest.raises(EngineError, match=f"^{words}$"):
        env.step("crash")
    env.restore(moment)
    inside = Slow()
    inside.reset(seed=5)
    assert env.step("wait") == inside.step("wait")


def test_a_process_is_handed_on() -> None:
    first = slow()
    first.reset(seed=0)
    pid = tell(first)[0]
    first.close()
    second, third = slow(), slow()
    second.reset(seed=0)
    third.reset(seed=0)
    assert tell(second)[0] == pid != tell(third)[0]
    second.close()
    second.close()
    second.reset(seed=0)
    assert tell(second)[0] == pid, "closed, and used again"
    second.close()
    os.kill(int(pid), signal.SIGKILL)
    assert ends(group=int(pid))
    assert slow().reset(seed=0) == third.reset(seed=0), "what died while idle is not handed on"


@pytest.mark.parametrize("action", ["wait", "hang"])
def test_no_orphan(action: str) -> None:
    """Not even of a parent that is killed while it waits for a step."""
    program = (
        "from tests.envs.test_worker import slow, tell\n"
        f"env = slow()\nenv.reset(seed=0)\nprint(tell(env)[0], flush=True)\nenv.step({action!r})\ninput()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None and parent.stdin is not None
    pid = int(parent.stdout.readline())
    assert any(alive(process, pid) for process in psutil.process_iter())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    assert ends(group=pid)
