"""The inside of a worker process: `python -m agentgym.envs.worker_process`, which `worker_pool` starts.

It holds one environment and answers requests, pickled on standard input: the name of a method of `Host`, and its
arguments. An answer is pickled on standard output: what the method returned, what it raised, and what the
environment now tells of itself. The process ends when its standard input does, also in the middle of a step.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import time
from queue import SimpleQueue
from typing import IO, Any

from agentgym.envs.faults import keep_place
from agentgym.envs.text_env import TextEnv

logger = logging.getLogger(__name__)

_SECONDS_TO_CLOSE = 2.0
_MEANT_FOR_ALL = ("agentgym", "gymnasium", "builtins")
"""Packages whose exceptions are known in every process."""
_TOLD = (
    "action_space", "answer_form", "data_source", "instructions", "max_turns", "metadata", "observation_space",
    "render_mode", "split", "splits", "task_types",
)  # fmt: skip
"""Attributes of a `TextEnv` that are the same outside."""


class Host:
    """The environment, and what is done with it."""

    def __init__(self) -> None:
        self.env: TextEnv | None = None
        self._told: dict[str, bytes] = {}

    def answer(self, request: tuple[str, tuple[Any, ...]]) -> bytes:
        """Carry out a request; see the module."""
        method, arguments = request
        try:
            returned = getattr(self, method)(*arguments)
            return pickle.dumps((returned, None, self._news()))
        except Exception as error:
            keep_place(error, type(self.env).__module__)
            return pickle.dumps((None, _portable(error), {}))

    def make(self, factory: bytes) -> str:
        """Make the environment in place of the one that is there; return its name."""
        try:
            self.close()
        except Exception as error:
            logger.warning("closing an environment failed: %s: %s", type(error).__name__, error)
        self._told = {}
        try:
            make_env = pickle.loads(factory)
        except Exception as error:
            raise ValueError(f"a worker process cannot import what makes the environment: {error}") from None
        self.env = env = make_env()
        if not isinstance(env, TextEnv):
            raise TypeError(f"a worker process holds a TextEnv, not a {type(env).__name__}")
        return env.spec.id if env.spec is not None else type(env).__name__

    def call(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What a method of the environment returns."""
        return getattr(self.env, method)(*arguments, **named)

    def snapshot(self) -> bytes:
        """The environment's snapshot, which may be of a type that no other process knows."""
        assert self.env is not None
        return pickle.dumps(self.env.snapshot())

    def restore(self, snapshot: bytes) -> None:
        """Put the environment back."""
        assert self.env is not None
        self.env.restore(pickle.loads(snapshot))

    def close(self) -> None:
        """Close the environment and forget it."""
        env, self.env = self.env, None
        if env is not None:
            env.close()

    def _news(self) -> dict[str, Any]:
        """Those of `_TOLD` that have changed."""
        if self.env is None:
            return {}
        now = {name: pickle.dumps(getattr(self.env, name)) for name in _TOLD if hasattr(self.env, name)}
        news = {name: pickle.loads(value) for name, value in now.items() if self._told.get(name) != value}
        self._told = now
        return news


def _portable(error: Exception) -> Exception:
    """The error, or one in the same words where another process may not know its type."""
    known = type(error).__module__.partition(".")[0] in _MEANT_FOR_ALL
    try:
        if known and isinstance(pickle.loads(pickle.dumps(error)), Exception):
            return error
    except Exception as fault:  # its constructor takes something else than it keeps
        error.add_note(f"pickled: {fault}")
    in_words = RuntimeError(f"{type(error).__name__}: {error}")
    in_words.__dict__.update(error.__dict__)
    return in_words


def _read(requests: IO[bytes], inbox: SimpleQueue[Any]) -> None:
    """Hand on requests; at their end None, and some time for that to be heard."""
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            break
        inbox.put(request)
    inbox.put(None)
    time.sleep(_SECONDS_TO_CLOSE)
    os.killpg(os.getpid(), signal.SIGKILL)  # and what the environment has started


def main() -> None:
    """Answer requests until there are no more."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what an environment prints must not be taken for an answer
    sys.stdout = sys.stderr
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, inbox), daemon=True).start()
    host = Host()
    while (request := inbox.get()) is not None:
        answers.write(host.answer(request))
        answers.flush()
    host.close()


if __name__ == "__main__":
    from agentgym.envs import worker_process  # by its name, by which a traceback's frames are known as ours

    worker_process.main()
