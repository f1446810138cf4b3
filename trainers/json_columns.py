"""The signals in anybody's trajectories: columns of numbers and texts under keys without a meaning of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agentgym.trainers.arrays import IntArray

Row: TypeAlias = Mapping[str, Any]

_MAX_DEPTH = 20
"""Of objects in objects that are signals."""


class JsonColumns:
    """The columns of numbers and texts among the keys that have no meaning of their own."""

    def __init__(self, n_tokens_T: IntArray | None):
        self.n_tokens_T = n_tokens_T
        self.arrays: dict[str, NDArray[Any]] = {}
        self.gaps: dict[str, str] = {}
        """Why a signal that some rows have is no signal of the batch."""

    def read(
        self, rows: Sequence[Row], places: Sequence[str], axis: Literal["N", "T"], reserved: frozenset[str]
    ) -> None:
        """Add the signals in trajectories ("N") or in turns ("T"): all their keys but those `reserved`."""
        flat = [dict(_flatten(row, reserved, place)) for row, place in zip(rows, places, strict=True)]
        for key in dict.fromkeys(chain(*flat)):
            column = [row.get(key, _ABSENT) for row in flat]
            kinds = _kinds(column)
            if kinds != {"list"} and axis == "T":
                self.gaps[f"{key}_K"] = f"{places[0]} has no list of {key!r} with one for each token"
            if len(kinds) > 1:
                self.gaps |= dict.fromkeys((f"{key}_{axis}", f"{key}_K"), _disagreement(key, column, places))
            elif kinds == {"list"}:
                self.gaps[f"{key}_{axis}"] = f"{places[0]} has a list of {key!r}, not one"
                if axis == "T":
                    self._add_tokens(key, column, places)
            elif kinds == {"number"}:
                self.arrays[f"{key}_{axis}"] = _floats(column)
            elif kinds == {"text"}:
                self.arrays[f"{key}_{axis}"] = np.array(column, dtype=object)

    def _add_tokens(self, key: str, column: list[Any], places: Sequence[str]) -> None:
        if self.n_tokens_T is None:
            self.gaps[f"{key}_K"] = f"{places[0]} has {key!r} for each token but no 'tokens'"
            return
        for value, n_tokens, place in zip(column, self.n_tokens_T.tolist(), places, strict=True):
            if len(value) != n_tokens:
                raise ValueError(f"{place}: {key!r} has {len(value)} entries for {n_tokens} tokens")
        values = list(chain(*column))
        kinds = _kinds(values)
        if kinds <= {"number"}:
            self.arrays[f"{key}_K"] = _floats(values)
        elif kinds == {"text"}:
            self.arrays[f"{key}_K"] = np.array(values, dtype=object)
        else:
            self.gaps[f"{key}_K"] = f"the entries of {key!r} are neither all numbers nor all texts"


_ABSENT = object()


def _disagreement(key: str, column: list[Any], places: Sequence[str]) -> str:
    """In words, where a row has no such key, or one of another kind than the first."""
    kinds = [_kind(type(value)) for value in column]
    if "absent" in kinds:
        return f"{places[kinds.index('absent')]} has no {key!r}"
    other = next(place for place, kind in zip(places, kinds, strict=True) if kind != kinds[0])
    return f"{key!r} is of another kind in {other}"


def _kinds(values: Iterable[Any]) -> set[str]:
    """What there is among the values: "number" (null too), "text", "list", "absent" or what is no signal, "other"."""
    return {_kind(type_) for type_ in set(map(type, values))}


def _kind(type_: type) -> str:
    if type_ is type(None) or issubclass(type_, bool | int | float | np.number):
        return "number"
    if type_ is type(_ABSENT):
        return "absent"
    return "text" if issubclass(type_, str) else "list" if issubclass(type_, list | tuple) else "other"


def _floats(values: Iterable[Any]) -> NDArray[np.float64]:
    """Numbers as floats: NaN for null, infinity for an integer that is too large for a float."""
    numbers = [math.nan if value is None else value for value in values]
    try:
        return np.array(numbers, dtype=np.float64)
    except OverflowError:
        return np.array([as_float(value) for value in numbers])


def as_float(value: Any) -> float:
    """A number as a float: infinity for an integer that is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _flatten(row: Row, reserved: Iterable[str], place: str, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Keys and values, those of objects inside as "outer.inner"."""
    for key, value in row.items():
        if prefix or key not in reserved:
            if not isinstance(value, Mapping):
                yield f"{prefix}{key}", value
            elif prefix.count(".") < _MAX_DEPTH:
                yield from _flatten(value, (), place, f"{prefix}{key}.")
            else:
                raise ValueError(f"{place}: {prefix.partition('.')[0]!r} is nested too deeply")
