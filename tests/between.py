"""Two processes of a run that answer for each other, one after the other, in one process: for tests of signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Between:
    """Stands in for the processes of a run: two that answer for each other."""

    def __init__(self, index: int, others: Iterator[Any] | None = None):
        self.index, self.others = index, others
        self.said: list[Any] = []

    def gather(self, value: Any) -> list[Any]:
        self.said.append(value)
        if self.others is None:
            return [value, value]
        other = next(self.others)
        return [value, other] if self.index == 0 else [other, value]


def in_two_processes(compute: Callable[[Any, int], T]) -> list[T]:
    """What `compute(processes, index)` gives in each of two processes, in whose place `processes` stands.

    Each is run once to hear what it says, with nobody to answer, and again with what the other says: what is said may
    not depend on what is heard.
    """
    said = []
    for index in range(2):
        compute(alone := Between(index), index)
        said.append(alone.said)
    return [compute(Between(index, iter(said[1 - index])), index) for index in range(2)]
