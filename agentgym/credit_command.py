"""`agentgym credit SCHEME FILE`: the credit that a scheme gives to anybody's trajectories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentgym.agents.trajectory import StopReason, read_trajectories
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute, get_scheme


def credit_file(scheme: str, path: Path, params: Mapping[str, object]) -> dict[str, Any]:
    """Compute the credit for the trajectories of a file.

    A file that ends in `.jsonl` is one of our trajectory files. Any other is JSON:
    `{"params": {…}, "trajectories": [{"group": …, "turns": [{"obs": …, "reward": …, "valid": …}]}]}`, of
    which `params` may be missing; the golden cases' form, with `"input": {"trajectories": …}`, is read too.

    `params` come on top of the file's. A string among them that is JSON is taken for the value it spells, as
    in `--gamma 0.9`, `--similarity_threshold null`; both may use the official code's names where the scheme
    knows them. Returns `{"scheme", "turn_advantages": [[…]], "token_advantages": [[[…]]] | None}`: no token
    advantages where the file does not tell the tokens, and None for a trajectory that ended in a technical
    error, which takes no part. Raises `ValueError` in one line.
    """
    known = get_scheme(scheme)
    given = known.check_parameters({name: _from_text(value) for name, value in params.items()})
    try:
        file_params, batch, excluded = _read(path)
        file_params = known.check_parameters(file_params)
        credit = compute(scheme, batch, **{**file_params, **given})
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        names_the_file = str(error).startswith(f"{path}, line")
        raise ValueError(str(error) if names_the_file else f"{path}: {error}") from None
    turns = batch.nest_turns(credit.turn_advantages(batch))
    has_tokens = batch.token_offsets_T is not None
    tokens = batch.nest_tokens(credit.token_advantages(batch)) if has_tokens else None
    return {
        "scheme": scheme,
        "turn_advantages": _with_gaps(turns, excluded),
        "token_advantages": _with_gaps(tokens, excluded) if tokens is not None else None,
    }


def _read(path: Path) -> tuple[dict[str, object], TurnBatch, list[bool]]:
    """The parameters and trajectories of a file, and which of its trajectories are excluded."""
    if path.suffix == ".jsonl":
        trajectories = list(read_trajectories(path))
        excluded = [trajectory.stop_reason is StopReason.ENV_ERROR for trajectory in trajectories]
        kept = [trajectory for trajectory, out in zip(trajectories, excluded, strict=True) if not out]
        return {}, TurnBatch.from_trajectories(kept), excluded
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error} (the name of a trajectory file ends in .jsonl)") from None
    source = data.get("input", data) if isinstance(data, dict) else data
    if not isinstance(source, dict) or "trajectories" not in source:
        raise ValueError('expected an object with the key "trajectories"')
    file_params = data.get("params", {})
    if not isinstance(file_params, dict):
        raise ValueError(f'"params" must be an object, not {file_params!r:.80}')
    batch = TurnBatch.from_dicts(source["trajectories"])
    return file_params, batch, [False] * batch.n_trajectories


def _from_text(value: object) -> object:
    """A command line's value: the JSON that a string spells, else the string."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


def _with_gaps(values: list[Any], excluded: list[bool]) -> list[Any]:
    """The values in order, with None for each trajectory that was excluded."""
    remaining = iter(values)
    return [None if out else next(remaining) for out in excluded]
