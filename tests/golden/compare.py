"""One golden case, and how far what we compute is from what it expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

ATOL, RTOL = 1e-5, 1e-4


class Report:
    """The largest absolute error of a case, and every value that is off by more than its tolerance."""

    def __init__(self) -> None:
        self.error, self.worst = 0.0, ""
        self.mismatches: list[str] = []

    def number(self, name: str, got: ArrayLike, expected: Sequence[Any] | float, rtol: ArrayLike = RTOL) -> None:
        """Compare numbers, in nested lists or flat; `rtol` is one for all of them or one for each."""
        wanted = np.array(list(flat(expected)), dtype=np.float64)
        have = np.array(list(flat(got)), dtype=np.float64)
        if have.shape != wanted.shape:
            self.differs(f"{name} has {have.size} values, expected {wanted.size}")
            return
        error = np.abs(have - wanted)
        off = ~(error <= ATOL + np.asarray(rtol) * np.abs(wanted))  # so that a NaN is off
        if error.size and not error.max() <= self.error:
            self.error, self.worst = float(error.max()), name
        if off.any():
            at = int(np.flatnonzero(off)[0])
            values = f"value {at} is {have[at]:.9g}, expected {wanted[at]:.9g}"
            self.mismatches.append(f"{name}: {off.sum()} of {off.size} values are off; {values}")

    def same(self, name: str, got: object, expected: object) -> None:
        """Compare anything that must be equal."""
        if got != expected:
            self.differs(f"{name} is {got!r}, expected {expected!r}")

    def differs(self, what: str) -> None:
        """Note a difference that is not one of numbers."""
        self.error = np.inf
        self.mismatches.append(what)


@dataclass(frozen=True)
class Case:
    """A golden case that has been read and not yet been checked."""

    name: str
    check: Callable[[Report], None]


def flat(values: Any) -> Iterator[Any]:
    """The numbers in nested lists, in order."""
    if isinstance(values, list | tuple | np.ndarray):
        for value in values:
            yield from flat(value)
    else:
        yield values
