"""Random batches of trajectories, with the signals that a scheme needs, for hypothesis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from agentgym.trainers.batch import TurnBatch

quick = settings(max_examples=30, deadline=None)
"""No deadline: the machine may be busy with something else."""

quarters = st.integers(-40, 40).map(lambda n: n / 4)
"""Numbers that add up exactly, so that equal sums are equal and a shift shifts exactly."""

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "logprob": st.floats(-5, 0),
    "reference_logprob": st.floats(-5, 0),
    "entropy": st.floats(0, 3),
    "sum_pi_squared": st.floats(0.01, 1),
    "perplexity": st.floats(1, 9),
    "planning": st.booleans(),
    "role": st.sampled_from(["switch", "subgoal", "action", ""]),
    "success": st.booleans(),
    "duration": st.floats(0.01, 60),
    "stratum": st.sampled_from(["no search", "one search", "two"]),
    "answer_logprob": st.floats(-8, 0),
    "final_answer_logprob": st.floats(-8, 0),
    "switch": st.booleans(),
    "subgoal": st.sampled_from(["find", "take", "place"]),
    "executable": st.booleans(),
    "attribution": st.integers(-1, 3),
    "wrong_votes": st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    "stage": st.sampled_from(["plan", "search", "write"]),
}
"""What the values of a signal may be; quarters for all others."""

ROOMS = st.sampled_from(["hall", "kitchen", "cellar", "attic"])

PARTS = ("outcome", "format")
"""The names that stand for the star in a signal such as `reward_parts.*_T`."""


@st.composite
def batches(
    draw: st.DrawFn,
    signals: Iterable[str] = (),
    *,
    min_turns: int = 0,
    min_tokens: int = 0,
    max_trajectories: int = 9,
    rewards: st.SearchStrategy[float] = quarters,
    values: Mapping[str, st.SearchStrategy[Any]] | None = None,
) -> list[dict[str, Any]]:
    """Trajectories as `TurnBatch.from_dicts` takes them: up to 3 groups, 5 turns, 3 tokens a turn.

    `signals`: names as in a scheme's `needs` ("value_T", "reward_parts.*_T"); others ("tokens", "state_key",
    "final_state_N") are always there. `values`: strategies for the values of a signal, by its name without the axis.
    """
    strategies = {**VALUES, **(values or {})}
    keys = [_key(name) for name in signals if is_column(name)]

    def value(key: str, n_tokens: int, axis: str) -> Any:
        strategy = strategies.get(key.removesuffix(".*"), quarters)
        if key.endswith(".*"):
            return {part: draw(strategy) for part in PARTS}
        return [draw(strategy) for _ in range(n_tokens)] if axis == "_K" else draw(strategy)

    def turn() -> dict[str, Any]:
        tokens = draw(st.lists(st.integers(0, 2), min_size=min_tokens, max_size=3))
        own = {key: value(key, len(tokens), axis) for key, axis in keys if axis != "_N"}
        return {
            "obs": draw(ROOMS),
            "reward": draw(rewards),
            "valid": draw(st.booleans()),
            "tokens": tokens,
            **_nested(own),
        }

    def trajectory() -> dict[str, Any]:
        own = {key: value(key, 0, axis) for key, axis in keys if axis == "_N"}
        turns = [turn() for _ in range(draw(st.integers(min_turns, 5)))]
        if ("position", "_K") in keys:
            _number_positions(turns, [draw(st.integers(0, 2)) for _ in turns])
        group, truncated = draw(st.sampled_from("abc")), draw(st.booleans())
        return {"group": group, "truncated": truncated, "final_obs": draw(ROOMS), "turns": turns, **_nested(own)}

    return [trajectory() for _ in range(draw(st.integers(0, max_trajectories)))]


def _number_positions(turns: list[dict[str, Any]], gaps: list[int]) -> None:
    """`position_K` counts all tokens of a trajectory, also `gaps` of them that others wrote before each turn."""
    place = 0
    for turn, gap in zip(turns, gaps, strict=True):
        turn["position"] = list(range(place + gap, place + gap + len(turn["tokens"])))
        place += gap + len(turn["tokens"])


def batch_of(trajectories: list[dict[str, Any]], signals: Iterable[str] = ()) -> TurnBatch:
    """The batch of `trajectories`, also of none or of none with turns: then the signals are empty."""
    batch = TurnBatch.from_dicts(trajectories)
    missing = {}
    for name in filter(is_column, signals):
        key, axis = _key(name)
        for part in PARTS if key.endswith(".*") else ("",):
            full = f"{key.removesuffix('*')}{part}{axis}" if key.endswith(".*") else name
            length = {"_N": batch.n_trajectories, "_T": batch.n_turns, "_K": batch.n_tokens}.get(axis)
            if length == 0 and full not in batch.columns:
                missing[full] = np.empty(0)
    fields = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
    return TurnBatch(**{**fields, "columns": {**batch.columns, **missing}})


def is_column(need: str) -> bool:
    """Whether a need is one of `TurnBatch.columns`; the others are fields of their own."""
    return need[-2:] in ("_N", "_T", "_K") and need != "final_state_N"


def _key(name: str) -> tuple[str, str]:
    return name[:-2], name[-2:]


def _nested(own: dict[str, Any]) -> dict[str, Any]:
    return {key.removesuffix(".*"): value for key, value in own.items()}
