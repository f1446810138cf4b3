"""How a run is asked to stop: Ctrl-C, SIGTERM, or a launcher that is gone.

While a model is loaded or evaluated, either signal ends the run at once. While it trains, the step is finished and
saved; only a second Ctrl-C ends at once. SIGTERM may come several times, from a cluster's scheduler and from the
launcher that it also reached: that is one request.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from agentgym.trainers.trainer import Trainer

_SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM raise `KeyboardInterrupt`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling(interrupt):
        yield


@contextmanager
def stopping_after_the_step(trainer: Trainer, console: Console) -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM let the step end, which is then saved; a second Ctrl-C interrupts at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if trainer.stop_requested:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        trainer.stop_requested = True
        console.print("stopping after this step; Ctrl-C again to stop at once")

    with _handling(stop):
        yield
    if trainer.stop_requested:  # maybe by another process: this one's own SIGTERM may still be under way
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_when_gone(launcher: int | None) -> None:
    """From now on, send this process SIGTERM when its parent is not `launcher` any more.

    A launcher that is killed leaves its workers running, with nobody to end them. None: nobody launched this one.
    """
    if launcher is None:
        return

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="launcher-watch", daemon=True).start()
