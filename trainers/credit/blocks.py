"""The pieces that credit schemes are made of: segment operations on flat arrays.

A segmentation gives each entry the number of its segment (its task, its task and state, its trajectory, …);
`np.bincount` does the sums, so that nothing here loops over turns.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from agentgym.trainers.batch import BoolArray, FloatArray, IntArray, TurnBatch

Scale: TypeAlias = Literal["none", "std", "leave_one_out"]
Statistics: TypeAlias = Literal["turns", "trajectories"]


def intersect(*segmentations: IntArray) -> IntArray:
    """The segmentation by all of these at once, numbered from 0 in the order of first appearance.

    `intersect(group_T, state_T)` puts two turns together that share their group and their state.
    """
    key = segmentations[0]
    for other in segmentations[1:]:
        key = np.unique(key, return_inverse=True)[1] * (int(other.max(initial=0)) + 1) + other
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def segment_sum(value: FloatArray, segment: IntArray, n_segments: int) -> FloatArray:
    """The sum of the values of each segment, 0 for one without entries."""
    return np.bincount(segment, weights=value, minlength=n_segments).astype(np.float64)  # int64 when empty


def segment_mean(value: FloatArray, segment: IntArray, n_segments: int) -> FloatArray:
    """The mean of the values of each segment, 0 for one without entries."""
    count = np.bincount(segment, minlength=n_segments)
    return segment_sum(value, segment, n_segments) / np.maximum(count, 1)


def segment_std(value: FloatArray, segment: IntArray, n_segments: int, ddof: int = 1) -> FloatArray:
    """The standard deviation of each segment's values, 0 for one with no more than `ddof` entries."""
    count = np.bincount(segment, minlength=n_segments)
    deviation = value - segment_mean(value, segment, n_segments)[segment]
    return np.sqrt(segment_sum(deviation**2, segment, n_segments) / np.maximum(count - ddof, 1))


def compare(
    value: FloatArray,
    segment: IntArray,
    *,
    scale: Scale = "none",
    singleton: Literal["raw", "zero"] = "raw",
    among: BoolArray | None = None,
    ddof: int = 1,
    epsilon: float = 1e-6,
) -> FloatArray:
    """Each value against the mean μ of its segment: the shape of nearly every critic-free advantage.

    - `scale="none"`: x − μ; `"std"`: (x − μ)/(σ + epsilon), with σ over n − ddof;
      `"leave_one_out"`: n/(n − 1)·(x − μ), which is x minus the mean of the n − 1 others.
    - `singleton`: a segment of one entry keeps its value ("raw": μ = 0) or gets nothing ("zero": μ = x); in
      both cases σ = 1 and nothing is scaled.
    - `among`: the entries that μ, σ and n are taken from (all by default); a segment without any counts as
      a singleton of value 0.

    A segment of several equal values gets exactly 0, whatever the values.
    """
    n_segments = int(segment.max(initial=-1)) + 1
    counted = np.ones(len(value), dtype=np.bool_) if among is None else among
    entry, entry_segment = value[counted], segment[counted]
    count = np.bincount(entry_segment, minlength=n_segments)
    alone = count <= 1

    # Everything is taken relative to one of the segment's own entries: rounding in a mean of equal values
    # would otherwise be blown up by a division by σ + epsilon ≈ epsilon.
    origin = np.zeros(n_segments)
    origin[entry_segment] = entry
    mean = segment_mean(entry - origin[entry_segment], entry_segment, n_segments)
    if singleton == "raw":
        origin[alone] = 0.0
    deviation = value - origin[segment] - mean[segment]

    if scale == "std":
        std = segment_std(entry - origin[entry_segment], entry_segment, n_segments, ddof)
        return deviation / (np.where(alone, 1.0, std) + epsilon)[segment]
    if scale == "leave_one_out":
        return deviation * np.where(alone, 1.0, count / np.maximum(count - 1, 1))[segment]
    return deviation


def discounted_returns(reward_T: FloatArray, offsets: IntArray, gamma: float | FloatArray) -> FloatArray:
    """G_t = r_t + γ·G_{t+1} within each trajectory; `gamma` may differ by turn (γ_T).

    The recursion runs from the last turn to the first, over all trajectories at once.
    """
    gamma_T = np.broadcast_to(gamma, reward_T.shape)
    return_T = reward_T.copy()
    length_N, end_N = np.diff(offsets), offsets[1:]
    for from_end in range(2, int(length_N.max(initial=0)) + 1):
        turn = end_N[length_N >= from_end] - from_end
        return_T[turn] += gamma_T[turn] * return_T[turn + 1]
    return return_T


def penalised(value_T: FloatArray, batch: TurnBatch, penalty: float) -> FloatArray:
    """The values less `penalty` at the turns whose action was not valid; no other turn is affected."""
    return value_T - penalty * ~batch.valid_T


def counted_turns(batch: TurnBatch, statistics: Statistics) -> BoolArray:
    """Which turns enter a group's statistics: all, or the first of each trajectory to stand for it."""
    return np.ones(batch.n_turns, dtype=np.bool_) if statistics == "turns" else batch.turn_index_T == 0
