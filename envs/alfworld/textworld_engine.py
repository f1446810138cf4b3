"""The original engine: textworld's PDDL back end, which searches with Fast Downward, in a process of its own.

A process of its own because the planner is C code that nothing can interrupt: beyond its time limit the process
is ended, and the next request starts another. It also reads and overwrites `sys.argv`. The package `alfworld` is
not needed: what it adds to textworld's engine is the names of things, which are ours (`names`).
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import os
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from agentgym.envs.alfworld.data import Logic, Record, with_task
from agentgym.envs.alfworld.engine import NativeEngine
from agentgym.envs.alfworld.game import Game
from agentgym.envs.alfworld.state import State
from agentgym.envs.shared_process import EngineError, SharedProcess, launch_python

if TYPE_CHECKING:
    from agentgym.envs.alfworld.textworld_worker import Answer


class TextworldEngine:
    """Plays games as `NativeEngine` does, with textworld: about 1 s a reset and 0.05 s a step."""

    def __init__(self, record_of: Callable[[Game], Record], logic: Logic | None, time_limit: float):
        """An engine without a game: `start` comes first.

        Args:
            record_of: finds a game's text.
            logic: the domain and grammar. None: each game's record has its own.
            time_limit: seconds for a reset or a step. Beyond it `TimeoutError` is raised, and the game is over.

        Raises `ValueError` where textworld or its planner is not installed.
        """
        if any(importlib.util.find_spec(name) is None for name in ("textworld", "fast_downward")):
            raise ValueError("the engine needs textworld and its planner: pip install 'agentgym[textworld]'")
        if not time_limit > 0:
            raise ValueError(f"time_limit must be above 0 seconds, not {time_limit}")
        self._record_of, self._logic, self._time_limit = record_of, logic, time_limit
        self._session = _Session()
        self.won = False

    def start(self, game: Game) -> str:
        """Begin `game` anew; return the first observation. Raises as `step` does."""
        record = self._record_of(game)
        logic = record.logic
        if self._logic is not None:
            logic = Logic(self._logic.domain, with_task(self._logic.grammar, record.task))
        assert logic is not None  # whoever makes an engine for games without their own gives it
        self.game, self._pddl = game, (*logic, record.pddl_problem)
        return self._play(())

    def step(self, command: str) -> str:
        """Carry out a command; return the observation. One that is not admissible changes nothing.

        Raises `TimeoutError` beyond the time limit, and `EngineError` where textworld fails.
        """
        return self._play((*self._commands, command))

    def _play(self, commands: tuple[str, ...]) -> str:
        try:
            answer = _process.advance(self._session.number, self._pddl, commands, self._time_limit)
        except EngineError as error:
            raise EngineError(f"{self.game.id}: {error}") from None
        self._commands = commands
        self._text, self._admissible, self.won = answer
        return self._text

    def admits(self, command: str) -> bool:
        """The command is admissible now. Blanks around it do not matter; upper and lower case do."""
        return command.strip() in self._admissible

    @property
    def admissible_commands(self) -> list[str]:
        """The admissible commands, sorted."""
        return self._admissible.copy()

    @property
    def state(self) -> State:
        """The true state, as the native engine has it after the same commands.

        Raises `EngineError` if the two engines do not say the same of it.
        """
        native = NativeEngine()
        text = native.start(self.game)
        for command in self._commands:
            text = native.step(command)
        if (text, native.admissible_commands, native.won) != (self._text, self._admissible, self.won):
            raise EngineError(f"{self.game.id}: textworld and the native engine disagree after {list(self._commands)}")
        return native.state

    def close(self) -> None:
        """Give up the process; it ends with its last user."""
        self._session.end()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)  # every attribute is immutable or replaced as a whole


class _Session:
    """An engine's place in the process, shared with its copies: which commands were played there tells them apart."""

    _numbers = itertools.count()

    def __init__(self) -> None:
        self.number = next(self._numbers)
        self.end = _process.lease(self)

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()


class _Process(SharedProcess):
    """The process of `textworld_worker`, of all engines together."""

    name = "the process of textworld"
    broken = (OSError, EOFError, pickle.UnpicklingError)

    def launch(self) -> None:
        """See `SharedProcess.launch`."""
        self.process = launch_python("agentgym.envs.alfworld.textworld_worker", str(os.getpid()))
        self._answer()

    def advance(self, session: int, pddl: tuple[str, str, str], commands: tuple[str, ...], limit: float) -> Answer:
        """What `textworld_worker.Worker.advance` says, within `limit` seconds."""

        def ask() -> Answer:
            assert self.process is not None and self.process.stdin is not None
            pickle.dump((session, pddl, commands), self.process.stdin)
            self.process.stdin.flush()
            answer: Answer = self._answer()
            return answer

        return self.call(ask, limit, "play a command" if commands else "begin a game")

    def _answer(self) -> Any:
        assert self.process is not None and self.process.stdout is not None
        answer = pickle.load(self.process.stdout)
        if isinstance(answer, RuntimeError):
            raise EngineError(f"textworld failed: {answer}")
        return answer


_process = _Process()
