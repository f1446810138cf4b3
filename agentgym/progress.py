"""How far a command has come: bars on a terminal; elsewhere (nohup, SLURM, CI) a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

SILENCE = 60.0
"""The longest time without a line where there are no bars, in seconds, as long as something happens."""


class Counter(Protocol):
    """One thing that is counted up to its end."""

    def reach(self, done: int, note: str = "") -> None:
        """`done` are finished; `note` says what came of the last."""

    def within(self, phase: str, done: int, of: int) -> None:
        """The present one has come so far in one of its phases."""

    def end(self, note: str) -> None:
        """All are finished; `note` says what came of them."""


class Progress(Protocol):
    """What is counted at present."""

    def count(self, name: str, total: int, *, unit: str, done: int = 0, each: bool = False) -> Counter:
        """Begin to count. `each`: every single one is worth a line, where there are lines."""


@contextmanager
def progress_on(console: Console, *, transient: bool = False) -> Iterator[Progress]:
    """Bars where they can move, else lines. `transient`: bars vanish at the end."""
    if not console.is_interactive:
        yield Lines(lambda line: console.print(line, soft_wrap=True))
        return
    columns = (
        TextColumn("{task.description:<16}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with RichProgress(*columns, console=console, transient=transient) as bars:
        yield Bars(bars)


class Bars:
    """Progress on a terminal."""

    def __init__(self, bars: RichProgress):
        self._bars = bars

    def count(self, name: str, total: int, *, unit: str, done: int = 0, each: bool = False) -> Counter:
        """See `Progress.count`."""
        return _Bar(self._bars, self._bars.add_task(name, total=total, completed=done, note=""))


class _Bar:
    def __init__(self, bars: RichProgress, task: TaskID):
        self._bars = bars
        self._task = task
        self._phase: TaskID | None = None

    def reach(self, done: int, note: str = "") -> None:
        self._bars.update(self._task, completed=done, note=note)

    def within(self, phase: str, done: int, of: int) -> None:
        if self._phase is None:
            self._phase = self._bars.add_task("", total=None, note="")
        self._bars.update(self._phase, description=f"  {phase}", completed=done, total=of)

    def end(self, note: str) -> None:
        if self._phase is not None:
            self._bars.remove_task(self._phase)
        self._bars.update(self._task, note=note)


class Lines:
    """Progress where nothing can be overwritten."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        self._write = write
        self._clock = clock

    def count(self, name: str, total: int, *, unit: str, done: int = 0, each: bool = False) -> Counter:
        """See `Progress.count`."""
        return _Line(self._write, self._clock, name, unit, total, done, each)


class _Line:
    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float],
        name: str,
        unit: str,
        total: int,
        done: int,
        each: bool,
    ):
        self._write = write
        self._clock = clock
        self._name = name
        self._unit = unit
        self._total = total
        self._first = self._done = done
        self._each = each
        self._begun = self._reached = self._said = clock()

    def reach(self, done: int, note: str = "") -> None:
        now = self._clock()
        if self._each or self._is_due:
            took = f"{(now - self._reached) / max(1, done - self._done):.1f} s" if self._each else ""
            left = (now - self._begun) / max(1, done - self._first) * (self._total - done)
            self._say(self._place(done), note, took, f"{_as_time(left)} left")
        self._done, self._reached = done, now

    def within(self, phase: str, done: int, of: int) -> None:
        if self._is_due:
            self._say(self._place(self._done + 1), f"{phase} {done}/{of}")

    def end(self, note: str) -> None:
        self._say(self._name, note, f"{_as_time(self._clock() - self._begun)} in all")

    def _place(self, number: int) -> str:
        return f"{self._name}, {self._unit} {number}/{self._total}"

    @property
    def _is_due(self) -> bool:
        return self._clock() - self._said >= SILENCE

    def _say(self, what: str, *facts: str) -> None:
        self._said = self._clock()
        self._write(f"{what}: {', '.join(fact for fact in facts if fact)}")


def _as_time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
