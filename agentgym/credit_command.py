"""`agentgym credit`: the credit that schemes give to anybody's trajectories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.agents.rollout import GroupError, check_groups
from agentgym.agents.trajectory import SUFFIXES, Trajectory, read_trajectories
from agentgym.recorded import read_step
from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.batch_json import flag, number
from agentgym.trainers.credit import Credit, Scheme, compute, get_scheme

_LONGEST_FLOAT = 400
"""Digits of an integer that is surely larger than every float."""


@dataclass(frozen=True)
class TrajectoryFile:
    """What a file of trajectories holds."""

    params: dict[str, object]
    """Parameters for a scheme, as golden cases have them."""
    batch: TurnBatch
    """The trajectories that take part."""
    excluded: list[bool]
    """Whether a trajectory of the file takes no part, because it ended in a technical error or was played earlier."""


@dataclass(frozen=True)
class Comparison:
    """What several schemes give to each turn of the same trajectories."""

    batch: TurnBatch
    trajectory_N: list[int]
    """The number of each of the batch's trajectories in the file."""
    advantage_T: dict[str, FloatArray]
    """By the name of the scheme."""
    notes: list[str]
    """Why a scheme gives nothing, a line for each such scheme."""


def recorded_credit(run_dir: Path, step: int | None) -> dict[str, Any]:
    """The credit that training gave in a step of a run, as `credit_file` returns it."""
    recorded = read_step(run_dir, step)
    batch = recorded.batch
    return {
        "scheme": recorded.scheme,
        "turn_advantages": _with_gaps(batch.nest_turns(batch.columns["advantage_T"]), recorded.excluded),
        "token_advantages": _with_gaps(batch.nest_tokens(batch.columns["advantage_K"]), recorded.excluded),
    }


def credit_file(scheme: str, path: Path, params: Mapping[str, object], step: int | None = None) -> dict[str, Any]:
    """Compute the credit for the trajectories of a file, or of a step of a run.

    A directory is a run's, whose signals are those that training computed; `step` as in `read_step`. A file that
    ends in `.jsonl` or `.jsonl.gz` is one of our trajectory files. Any other is JSON:
    `{"params": {…}, "trajectories": [{"group": …, "turns": [{"obs": …, "reward": …, "valid": …}]}]}`, of
    which `params` may be missing; the golden cases' form, with `"input": {"trajectories": …}`, is read too.

    `params` come on top of the file's. A string among them that is JSON is taken for the value it spells, as
    in `--gamma 0.9`, `--similarity_threshold null`; both may use the official code's names where the scheme
    knows them. Returns `{"scheme", "turn_advantages": [[…]], "token_advantages": [[[…]]] | None}`: no token
    advantages where the file does not tell the tokens, and None for a trajectory that ended in a technical
    error, which takes no part. Raises `ValueError` in one line.
    """
    known = get_scheme(scheme)
    given = known.check_parameters(_from_texts(params))
    file = read_file(path, step)
    try:
        credit = _compute(scheme, file.batch, {**known.check_parameters(file.params), **given})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    turns = file.batch.nest_turns(credit.turn_advantages(file.batch))
    has_tokens = file.batch.token_offsets_T is not None
    tokens = file.batch.nest_tokens(credit.token_advantages(file.batch)) if has_tokens else None
    return {
        "scheme": scheme,
        "turn_advantages": _with_gaps(turns, file.excluded),
        "token_advantages": _with_gaps(tokens, file.excluded) if tokens is not None else None,
    }


def compare_file(
    schemes: Iterable[str], path: Path, params: Mapping[str, object], step: int | None = None
) -> Comparison:
    """Compute what each scheme gives to each turn of the trajectories of a file.

    A parameter, of the call or of the file, goes to every scheme that has it. A scheme that cannot be computed,
    because the trajectories lack what it needs or a value does not suit it, is left out with a note. Raises
    `ValueError` in one line for an unknown scheme, for a parameter of the call that none of the schemes has,
    for a file that cannot be read, and where nothing is left.
    """
    known = [get_scheme(scheme) for scheme in dict.fromkeys(schemes)]
    given = _from_texts(params)
    for name, value in given.items():
        if not any(_takes(scheme, name, value) for scheme in known):
            raise ValueError(f"unknown parameter {name!r}: none of {', '.join(s.name for s in known)} has it")
    file = read_file(path, step)
    advantage_T, notes = {}, []
    for scheme in known:
        try:
            own = [{n: v for n, v in some.items() if _takes(scheme, n, v)} for some in (file.params, given)]
            of_file, of_call = map(scheme.check_parameters, own)
            credit = _compute(scheme.name, file.batch, {**of_file, **of_call})
            advantage_T[scheme.name] = credit.turn_advantages(file.batch)
        except ValueError as error:
            notes.append(str(error))
    if not advantage_T:
        raise ValueError(f"{path}: {'; '.join(notes)}")
    kept = [number for number, out in enumerate(file.excluded) if not out]
    return Comparison(file.batch, kept, advantage_T, notes)


def read_file(path: Path, step: int | None = None) -> TrajectoryFile:
    """The trajectories of a file or run; see `credit_file`. Raises `ValueError` in one line."""
    if path.is_dir():
        recorded = read_step(path, step)
        return TrajectoryFile({}, recorded.batch, recorded.excluded)
    if step is not None:
        raise ValueError(f"--step is for a run, and {path} is no directory")
    try:
        if path.is_file() and not path.stat().st_size:
            raise ValueError("the file is empty")
        return _read_trajectory_file(path) if path.name.endswith(SUFFIXES) else _read_json(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise ValueError(f"{path}: a value is nested too deeply") from None
    except MemoryError:
        raise ValueError(f"{path}: there is not enough memory for it") from None
    except ValueError as error:
        names_the_file = str(error).startswith(f"{path}, line")
        raise ValueError(str(error) if names_the_file else f"{path}: {error}") from None


def _read_trajectory_file(path: Path) -> TrajectoryFile:
    trajectories = list(read_trajectories(path))
    for i, trajectory in enumerate(trajectories):
        _check_turns(trajectory, f"trajectory {i}")
    excluded = [not (trajectory.counts and trajectory.is_own_play) for trajectory in trajectories]
    kept = [trajectory for trajectory, out in zip(trajectories, excluded, strict=True) if not out]
    try:
        check_groups(kept, group_size=None)
        return TrajectoryFile({}, TurnBatch.from_trajectories(kept), excluded)
    except GroupError as error:
        raise ValueError(f"{error}; where the file holds several runs, give each run's by itself") from None
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"these are not the trajectories of a run: {error}") from None


def _check_turns(trajectory: Trajectory, place: str) -> None:
    """Raise `ValueError` for a reward that is no number. What a run wrote is right; the file may be another's."""
    for t, turn in enumerate(trajectory.turns):
        number(turn.reward, f"{place}, turn {t}: reward")
        flag(turn.is_action_valid, f"{place}, turn {t}: is_action_valid")


def _read_json(path: Path) -> TrajectoryFile:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), parse_int=_integer)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: the byte at {error.start} is {error.object[error.start]:#04x}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error} (the name of a trajectory file ends in .jsonl or .jsonl.gz)") from None
    source = data.get("input", data) if isinstance(data, dict) else data
    if not isinstance(source, dict) or "trajectories" not in source:
        raise ValueError('expected an object with the key "trajectories"')
    params = data.get("params", {})
    if not isinstance(params, dict):
        raise ValueError(f'"params" must be an object, not {params!r:.80}')
    batch = TurnBatch.from_dicts(source["trajectories"])
    return TrajectoryFile(params, batch, [False] * batch.n_trajectories)


def _integer(digits: str) -> int | float:
    """An integer; infinity for one that no float holds, which Python would refuse without saying where it is."""
    return int(digits) if len(digits) < _LONGEST_FLOAT else float(digits)


def _compute(scheme: str, batch: TurnBatch, params: Mapping[str, object]) -> Credit:
    """`compute` without NumPy's warnings: what overflows is not finite, and that is an error with a name."""
    with np.errstate(all="ignore"):
        return compute(scheme, batch, **params)


def _takes(scheme: Scheme, name: str, value: object) -> bool:
    """Whether the scheme has a parameter of this name, or of this name in its official code."""
    ours = scheme.aliases({name: value}) if scheme.aliases else {name: value}
    return ours.keys() <= scheme.parameters.keys()


def _from_texts(params: Mapping[str, object]) -> dict[str, object]:
    """A command line's values: the JSON that a string spells, else the string."""
    values = dict(params)
    for name, value in params.items():
        with suppress(ValueError, RecursionError):
            values[name] = json.loads(value) if isinstance(value, str) else value
    return values


def _with_gaps(values: list[Any], excluded: list[bool]) -> list[Any]:
    """The values in order, with None for each trajectory that was excluded."""
    remaining = iter(values)
    return [None if out else next(remaining) for out in excluded]
