"""One helper process behind many environments: `SharedProcess`.

Some worlds run in an engine of their own (ScienceWorld in Java, TextWorld in C). All environments of a Python
process share one such engine process. It starts when it is first needed and ends with the last environment;
a call that exceeds its time limit ends it too, and the next one begins with a fresh process. Environments
therefore keep their own state as a list of actions, and replay it where the process is not the one they knew.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

Answer = TypeVar("Answer")


class EngineError(Exception):
    """The engine behind an environment failed, and with it the episode. Nobody's action is to blame."""


def launch_python(
    module: str, *arguments: str, stderr: int | None = subprocess.DEVNULL, variables: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """`python -m module arguments`, which imports from where this process does, with pipes for input and output.

    `stderr` as in `subprocess.Popen`; `variables` are added to the environment.
    """
    path = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": path, **(variables or {})},
        process_group=0,  # Ctrl-C is for the parent
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process, and with it what it has started, which would be nobody's."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):  # it has ended in the meantime
            os.killpg(process.pid, signal.SIGKILL)


class SharedProcess(ABC):
    """The life of one engine process; a subclass says how it is launched and spoken to.

    Every request runs under a lock, so that threads take turns. The process ends when this one does, in
    whatever way: a subclass launches it so that it ends when its standard input closes, which the operating
    system does even after a SIGKILL. It leads a process group of its own.
    """

    name: str
    """For error messages: "the Java process of ScienceWorld"."""
    broken: ClassVar[tuple[type[Exception], ...]] = (OSError, EOFError)
    """Exceptions of a request that mean that the process is gone."""
    start_limit: ClassVar[float] = 120.0
    """Seconds within which the process must be ready."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        """How often a process was launched: a client that remembers another number has lost its state."""
        self._lock = threading.RLock()
        self._leases = 0
        os.register_at_fork(after_in_child=self._forget)

    @abstractmethod
    def launch(self) -> None:
        """Set `process` and wait until it is ready. Raises one of `broken`, or `EngineError`."""

    def disconnect(self) -> None:  # noqa: B027 - optional
        """Forget what was opened to speak to the process; it may be dead already, or not this one's (after a fork)."""

    def clean_up(self) -> None:  # noqa: B027 - optional
        """Remove what the process has left on the disk. It is dead."""

    def lease(self, owner: object) -> weakref.finalize[Any, Any]:
        """Count `owner` among the users until it is collected or the returned function is called."""
        with self._lock:
            self._leases += 1
        return weakref.finalize(owner, self._return_lease)

    def _return_lease(self) -> None:
        with self._lock:
            self._leases -= 1
            if self._leases <= 0:
                self.stop()

    def call(self, request: Callable[[], Answer], limit: float, what: str) -> Answer:
        """`request()`, carried out with a running process and within `limit` seconds.

        Raises `TimeoutError` after `limit` seconds and `EngineError` where the process ends by itself; `what`
        says in their messages what was asked for.
        """
        with self._lock:
            if self.process is None:
                self._within(self.start_limit, "start", self._launch)
            return self._within(limit, what, request)

    def _launch(self) -> None:
        self.starts += 1
        self.launch()

    def _within(self, limit: float, what: str, request: Callable[[], Answer]) -> Answer:
        expired = threading.Event()
        timer = threading.Timer(limit, self._expire, (expired,))
        timer.daemon = True
        timer.start()
        intact = False
        try:
            answer = request()
            intact = not expired.is_set()
            return answer
        except EngineError:
            intact = self.process is not None and self.process.poll() is None and not expired.is_set()
            raise
        except self.broken as error:
            if expired.is_set():
                raise TimeoutError(f"{self.name} took longer than {limit:g} s to {what}, and was ended") from None
            raise EngineError(f"{self.name} ended when it was to {what}: {_first_line(error)}") from None
        finally:
            timer.cancel()
            if not intact:  # also after Ctrl-C: an answer that nobody has read would be taken for the next one
                self.stop()

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        if self.process is not None:
            _kill(self.process)

    def stop(self) -> None:
        """End the process, if there is one, and wait until it is gone."""
        with self._lock:
            process, self.process = self.process, None
            if process is not None:
                _kill(process)
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        with suppress(OSError):  # what it was sent and has not read
                            pipe.close()
            self.clean_up()
            self.disconnect()

    def _forget(self) -> None:
        """In a forked child: the process is the parent's. It must not be kept alive from here, nor be ended."""
        process, self.process = self.process, None
        self._lock = threading.RLock()
        self.disconnect()
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    os.close(pipe.fileno())
            process.returncode = 0  # so that its destructor does not wait for it
            _inherited.append(process)


_inherited: list[object] = []
"""What a fork copied and nobody may close: its files' numbers are free again, and may be somebody else's."""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
