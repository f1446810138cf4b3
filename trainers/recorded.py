"""What a rollout records, as columns of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.agents.trajectory import Trajectory, Turn

TEXTS = ("role_K", "parts.", "subgoal_T", "seat_N")
"""How the names of columns of texts begin."""
OCCASIONAL = (*TEXTS, "reward_parts.", "switch_T", "pivot_N")
"""How the names of columns begin that a batch lacks if no turn of it happens to have them."""
TOLD_BY_ALL_OR_NONE = ("duration_T", "score_N", "greedy_return_N")
"""Columns that are there only where every turn or episode tells them."""


def recorded_columns(trajectories: Sequence[Trajectory], turns: Sequence[Turn]) -> dict[str, NDArray[Any]]:
    """The columns that a rollout records."""
    columns: dict[str, NDArray[Any]] = {"success_N": np.array([t.success for t in trajectories], dtype=np.bool_)}
    if trajectories and all(trajectory.score is not None for trajectory in trajectories):
        columns["score_N"] = np.array([trajectory.score for trajectory in trajectories], dtype=np.float64)
    if trajectories and all(trajectory.greedy_return is not None for trajectory in trajectories):
        columns["greedy_return_N"] = np.array([trajectory.greedy_return for trajectory in trajectories])
    if any(trajectory.pivot for trajectory in trajectories):
        columns["pivot_N"] = np.array([trajectory.pivot for trajectory in trajectories], np.int64)
    retold = {id(turn) for t in trajectories if t.retry == "distilled" for turn in t.turns if not turn.logprobs}
    logprobs = [[np.nan] * len(turn.response_ids) if id(turn) in retold else turn.logprobs for turn in turns]
    if any(logprobs) and all(len(of) == len(turn.response_ids) for of, turn in zip(logprobs, turns, strict=True)):
        columns["logprob_K"] = np.fromiter(chain(*logprobs), np.float64)
    for part in sorted({part for turn in turns for part in turn.reward_parts}):
        columns[f"reward_parts.{part}_T"] = np.array([turn.reward_parts.get(part, 0.0) for turn in turns])
    if turns and all(turn.duration is not None for turn in turns):
        columns["duration_T"] = np.array([turn.duration for turn in turns], dtype=np.float64)
    if any(trajectory.seat for trajectory in trajectories):
        columns["seat_N"] = np.array([trajectory.seat for trajectory in trajectories], dtype=object)
    columns["replayed_N"] = np.array([trajectory.replayed for trajectory in trajectories], dtype=np.bool_)
    columns["policy_step_T"] = np.array([turn.policy_step for turn in turns], dtype=np.int64)
    return columns | _recorded_parts(turns)


def _recorded_parts(turns: Sequence[Turn]) -> dict[str, NDArray[Any]]:
    """The columns of what the responses' format reads from them."""
    columns: dict[str, NDArray[Any]] = {}
    if any(turn.spans for turn in turns):
        columns["role_K"] = np.concatenate([_roles(turn) for turn in turns])
    for part in sorted({part for turn in turns for part in turn.parts}):
        said = [turn.parts.get(part, "") for turn in turns]
        columns[f"parts.{part}_T"] = np.array(said, dtype=object)
        if part == "subgoal":
            columns["subgoal_T"] = columns[f"parts.{part}_T"]
        if part == "switch":  # whatever is not KEEP: as HiPER's official code judges a malformed one
            columns["switch_T"] = np.array([word not in ("", "KEEP") for word in said])
    return columns


def _roles(turn: Turn) -> NDArray[np.object_]:
    """The part of the response that each of its tokens belongs to; of several the last that names it."""
    role_K = np.full(len(turn.response_ids), "", dtype=object)
    for part, (start, end) in turn.spans.items():
        role_K[start:end] = part
    return role_K
