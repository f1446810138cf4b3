"""The TextWorld worker, seen from the environments."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from agentgym.envs.shared_process import EngineError, SharedProcess, launch_python
from agentgym.envs.text_world.source import BadGameError, Source


class TextWorldProcess(SharedProcess):
    """The worker process of `agentgym.envs.text_world.worker`."""

    name = "the TextWorld process"
    broken = (OSError, EOFError, pickle.UnpicklingError)

    def __init__(self) -> None:
        super().__init__()
        self._directory: str | None = None
        self._sessions = itertools.count()

    def new_session(self) -> int:
        """A number that no other environment of this process has."""
        return next(self._sessions)

    def launch(self) -> None:
        """See `SharedProcess.launch`."""
        self._directory = tempfile.mkdtemp(prefix="agentgym-textworld-")
        self.process = launch_python(
            "agentgym.envs.text_world.worker",
            self._directory,
            str(os.getpid()),
            # Sets of strings are walked through in the order of their hashes: the games depend on it.
            variables={"PYTHONHASHSEED": "0"},
        )
        self._answer()

    def disconnect(self) -> None:
        """See `SharedProcess.disconnect`."""
        self._directory = None

    def clean_up(self) -> None:
        """See `SharedProcess.clean_up`."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def advance(self, session: int, source: Source, actions: Sequence[str], limit: float) -> dict[str, Any]:
        """The situation of a game after `actions`; see `worker.Session.situation`.

        Raises `TimeoutError` after `limit` seconds, `EngineError` where TextWorld fails, and `BadGameError`.
        """
        request = pickle.dumps((session, source, list(actions)))

        def ask() -> Any:
            assert self.process is not None and self.process.stdin is not None
            self.process.stdin.write(request)
            self.process.stdin.flush()
            return self._answer()

        answer = self.call(ask, limit, "make and play a game" if not actions else "play a game")
        if isinstance(answer, BadGameError):
            # Not `answer` itself: it and this frame would hold one another, and with them the environment.
            raise BadGameError(*answer.args)
        situation: dict[str, Any] = answer
        return situation

    def _answer(self) -> Any:
        assert self.process is not None and self.process.stdout is not None
        answer = pickle.load(self.process.stdout)
        if isinstance(answer, RuntimeError):
            raise EngineError(f"TextWorld failed: {answer}")
        return answer


worker = TextWorldProcess()
