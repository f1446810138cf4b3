"""The processes of `WorkerEnv`: started once, and handed on from one environment to the next.

Starting Python and importing what a world needs takes longer than making the world.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any, TypeAlias

from agentgym.envs.shared_process import SharedProcess, launch_python

Answer: TypeAlias = tuple[Any, Exception | None, dict[str, Any]]
"""What was returned; what was raised; and which attributes of the environment have changed to what."""


class Worker(SharedProcess):
    """A process that holds one environment at a time."""

    broken = (OSError, EOFError, pickle.UnpicklingError)

    def __init__(self) -> None:
        super().__init__()
        self.name = "a worker process"
        self._surroundings: object = None

    def launch(self) -> None:
        """See `SharedProcess.launch`."""
        self._surroundings = _surroundings()
        self.process = launch_python("agentgym.envs.worker_process", stderr=None)

    def ask(self, method: str, *arguments: Any, limit: float, what: str) -> Answer:
        """What `worker_process.Host` answers; `what` as in `SharedProcess.call`."""
        request = pickle.dumps((method, arguments))

        def exchange() -> Any:
            assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
            try:
                self.process.stdin.write(request)
                self.process.stdin.flush()
                return pickle.load(self.process.stdout)
            except (OSError, EOFError):
                raise EOFError(f"exit status {self.process.wait()}") from None

        answer: Answer = self.call(exchange, limit, what)
        return answer

    def renew(self) -> None:
        """End the process if one started now would differ, or if it has ended itself."""
        has_ended = self.process is not None and self.process.poll() is not None
        if has_ended or self._surroundings != _surroundings():
            self.stop()


_idle: list[Worker] = []
"""Processes without an environment, or with one that nobody will play any more."""


def _surroundings() -> tuple[str, list[str], dict[str, str]]:
    """What a process takes over when it is started."""
    return os.getcwd(), list(sys.path), dict(os.environ)  # noqa: PTH109


def take() -> Worker:
    """A process that differs in nothing from one that is started now, for one environment alone."""
    try:
        worker = _idle.pop()
    except IndexError:
        return Worker()
    worker.renew()
    return worker


def give_back(worker: Worker) -> None:
    """Hand a process on: to the next environment that takes one."""
    _idle.append(worker)
