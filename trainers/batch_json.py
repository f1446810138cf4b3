"""Anybody's trajectories, as JSON values, to the arrays of a `TurnBatch`.

    {"group": …, "turns": [{"obs": …, "reward": …, "valid": …, "tokens": …, "value": …}], "truncated": …}

Every error is a `ValueError` in one line that names trajectory, turn and key.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np

from agentgym.trainers.arrays import IntArray
from agentgym.trainers.json_columns import JsonColumns, Row, as_float

_TRAJECTORY_KEYS = frozenset({"group", "turns", "truncated", "final_obs", "final_state_key"})
_TURN_KEYS = frozenset({"obs", "reward", "valid", "state_key", "tokens"})
_MAX_TOKENS = 10_000_000
"""Of one turn: a number is quickly mistyped, and arrays of its length are made."""


def read_dicts(trajectories: Any) -> dict[str, Any]:
    """The fields of the `TurnBatch` of `trajectories`; see `TurnBatch.from_dicts`."""
    rows: list[Row] = []
    turns_N: list[list[Row]] = []
    for i, trajectory in enumerate(_sequence(trajectories, "trajectories")):
        place = f"trajectory {i}"
        turns = _sequence(_get(trajectory, "turns", place), f"{place}: turns")
        rows.append(trajectory)
        turns_N.append([_mapping(turn, f"{place}, turn {t}") for t, turn in enumerate(turns)])
    turns = list(chain(*turns_N))
    places = [f"trajectory {i}, turn {t}" for i, of_i in enumerate(turns_N) for t in range(len(of_i))]
    observations = [_get(turn, "obs", place) for turn, place in zip(turns, places, strict=True)]
    states = [turn.get("state_key", obs) for turn, obs in zip(turns, observations, strict=True)]
    rewards = [number(_get(turn, "reward", p), f"{p}: reward") for turn, p in zip(turns, places, strict=True)]
    valid = [flag(_get(turn, "valid", p), f"{p}: valid") for turn, p in zip(turns, places, strict=True)]
    trajectory_places = [f"trajectory {i}" for i in range(len(rows))]
    groups = [_get(row, "group", place) for row, place in zip(rows, trajectory_places, strict=True)]
    truncated = [
        flag(row.get("truncated", False), f"{p}: truncated") for row, p in zip(rows, trajectory_places, strict=True)
    ]
    token_K, token_offsets_T = _read_tokens(turns, places)
    columns = JsonColumns(None if token_offsets_T is None else np.diff(token_offsets_T))
    columns.read(turns, places, "T", _TURN_KEYS)
    columns.read(rows, trajectory_places, "N", _TRAJECTORY_KEYS)
    final_states, gaps = _read_final_states(rows, trajectory_places, any("state_key" in turn for turn in turns))
    state_X = distinct(chain(_keys(states, places), _keys(final_states, trajectory_places[: len(final_states)])))
    return {
        "group_N": distinct(_keys(groups, [f"{place}: group" for place in trajectory_places])),
        "turn_offsets_N": offsets_of(map(len, turns_N)),
        "reward_T": np.array(rewards, dtype=np.float64),
        "valid_T": np.array(valid, dtype=np.bool_),
        "truncated_N": np.array(truncated, dtype=np.bool_),
        "state_T": state_X[: len(turns)],
        "final_state_N": None if gaps else state_X[len(turns) :],
        "observation_T": observations if all(isinstance(o, str) for o in observations) else None,
        "token_offsets_T": token_offsets_T,
        "token_K": token_K,
        "columns": columns.arrays,
        "gaps": columns.gaps | gaps,
    }


def _read_final_states(rows: Sequence[Row], places: Sequence[str], keyed: bool) -> tuple[list[Any], dict[str, str]]:
    """The states after the last actions, or none, and the gap that this is. `keyed`: states have keys of their own."""
    keys = ("final_state_key",) if keyed else ("final_state_key", "final_obs")
    told = [[row[key] for key in keys if key in row] for row in rows]
    if [] in told:
        return [], {"final_state_N": f"{places[told.index([])]} has no {' or '.join(map(repr, keys))}"}
    return [values[0] for values in told], {}


def _read_tokens(turns: Sequence[Row], places: Sequence[str]) -> tuple[IntArray | None, IntArray | None]:
    """`token_K` where the tokens are told, and `token_offsets_T` where at least their number is."""
    having = ["tokens" in turn for turn in turns]
    if turns and not any(having):
        return None, None
    if not all(having):
        raise ValueError(f"{places[having.index(False)]}: 'tokens' is missing, which others have")
    tokens = [turn["tokens"] for turn in turns]
    offsets = offsets_of([_count(t, f"{p}: tokens") for t, p in zip(tokens, places, strict=True)])
    told = all(isinstance(t, list | tuple) for t in tokens)
    return (distinct(chain(*_keys(tokens, places))) if told else None), offsets


def distinct(keys: Iterable[Hashable]) -> IntArray:
    """Number the distinct keys from 0 in the order of first appearance; return each entry's number."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def offsets_of(lengths: Iterable[int]) -> IntArray:
    """Where segments of these lengths begin, and where the last one ends."""
    return np.array([0, *accumulate(lengths)], dtype=np.int64)


# Checked values; each raises ValueError naming the place ---------------------------------------------------


def _mapping(value: Any, place: str) -> Row:
    if not isinstance(value, Mapping):
        raise ValueError(f"{place} must be an object, not {value!r:.80}")
    return value


def _get(mapping: Any, key: str, place: str) -> Any:
    if key not in _mapping(mapping, place):
        raise ValueError(f"{place}: the key {key!r} is missing")
    return mapping[key]


def _sequence(value: Any, place: str) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{place} must be a list, not {value!r:.80}")
    return value


def number(value: Any, place: str) -> float:
    """The value, which must be a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{place} must be a number, not {value!r:.80}")
    if not math.isfinite(as_float(value)):
        raise ValueError(f"{place} must be a finite number, not {as_float(value)}")
    return float(value)


def flag(value: Any, place: str) -> bool:
    """The value, which must be true or false, or 1 or 0, which are equal to them."""
    if value not in (True, False):
        raise ValueError(f"{place} must be true or false, not {value!r:.80}")
    return bool(value)


def _count(value: Any, place: str) -> int:
    """The number of tokens, which may be given as a number or as the tokens themselves."""
    count = len(value) if isinstance(value, list | tuple) else value
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"{place} must be a list of tokens or their number, not {value!r:.80}")
    if count > _MAX_TOKENS:
        raise ValueError(f"{place}: there are more than {_MAX_TOKENS:,} of them")
    return count


def _keys(values: Sequence[Any], places: Sequence[str]) -> list[Any]:
    """JSON values as keys. Raises `ValueError` for one that is nested too deeply, with its place."""
    keys = []
    for value, place in zip(values, places, strict=True):
        try:
            keys.append(_hashable(value))
        except RecursionError:
            raise ValueError(f"{place}: a value is nested too deeply") from None
    return keys


def _hashable(value: Any) -> Hashable:
    """A JSON value as a key: lists as tuples, objects as tuples of their sorted items."""
    if isinstance(value, list | tuple):
        plain = set(map(type, value)) <= {str, int, float, bool, type(None)}
        return tuple(value) if plain else tuple(map(_hashable, value))
    if isinstance(value, Mapping):
        return tuple((key, _hashable(value[key])) for key in sorted(value))
    hashed: Hashable = value
    return hashed
