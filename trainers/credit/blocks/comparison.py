"""Whom a unit is compared with, and how the comparison is scaled."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.segments import segment_mean, segment_std, segment_sum

Scale: TypeAlias = Literal["none", "std", "leave_one_out"]
Statistics: TypeAlias = Literal["turns", "trajectories"]


def compare(
    value: FloatArray,
    segment: IntArray,
    *,
    scale: Scale = "none",
    singleton: Literal["raw", "zero"] = "raw",
    among: BoolArray | None = None,
    ddof: int = 1,
    epsilon: float = 1e-6,
    variance_epsilon: float = 0.0,
    variance_floor: float = 0.0,
) -> FloatArray:
    """Each value against the mean μ of its segment: the shape of nearly every critic-free advantage.

    - `scale="none"`: x − μ; `"std"`: (x − μ)/(√(σ² + variance_epsilon) + epsilon), with σ over n − ddof;
      `"leave_one_out"`: n/(n − 1)·(x − μ), which is x minus the mean of the n − 1 others.
    - `singleton`: a segment of one entry keeps its value ("raw": μ = 0) or gets nothing ("zero": μ = x); in
      both cases the root is 1.
    - `variance_floor`: σ² is at least this.
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
        std = np.maximum(std, np.sqrt(variance_floor))
        spread = np.where(alone, 1.0, np.sqrt(std**2 + variance_epsilon) if variance_epsilon else std)
        return deviation / (spread + epsilon)[segment]
    if scale == "leave_one_out":
        return deviation * np.where(alone, 1.0, count / np.maximum(count - 1, 1))[segment]
    return deviation


def whiten(value: FloatArray, among: BoolArray | None = None) -> FloatArray:
    """(x − μ)/√(σ² + 1e-8) over the whole batch, σ with ddof 1: the whitening of TRL and verl.

    `among`: the entries that μ and σ are taken from (all by default). A single entry gets 0; verl raises.
    """
    return _over_the_batch(value, among, ddof=1, epsilon=0.0, variance_epsilon=1e-8)


def standardise(value: FloatArray, among: BoolArray | None = None) -> FloatArray:
    """(x − μ)/(σ + 1e-8) over the whole batch, σ with ddof 0.

    `among`: the entries that μ and σ are taken from (all by default). A single entry gets 0.
    """
    return _over_the_batch(value, among, ddof=0, epsilon=1e-8, variance_epsilon=0.0)


def _over_the_batch(
    value: FloatArray, among: BoolArray | None, *, ddof: int, epsilon: float, variance_epsilon: float
) -> FloatArray:
    """`compare` with one segment and scale "std", in a tenth of the time: batches of tokens are long."""
    entry = value if among is None else value[among]
    if not len(entry):
        return value.copy()
    deviation = value - entry[0]  # as in `compare`: equal values give exactly 0
    relative = deviation if among is None else deviation[among]
    centred: FloatArray = deviation - relative.mean()
    if len(entry) == 1:
        return centred
    return centred / float(np.sqrt(relative.var(ddof=ddof) + variance_epsilon) + epsilon)


def counted_turns(batch: TurnBatch, statistics: Statistics) -> BoolArray:
    """Which turns enter a group's statistics: all, or the first of each trajectory to stand for it."""
    return np.ones(batch.n_turns, dtype=np.bool_) if statistics == "turns" else batch.turn_index_T == 0


def rate_of_others(amount: FloatArray, weight: FloatArray | IntArray | BoolArray, segment: IntArray) -> FloatArray:
    """Σ_{j≠i} amount_j / Σ_{j≠i} weight_j over the other entries j of i's segment, 0 where those weigh nothing.

    With the weight 1 for entries that count, and 0 for those that do not and have no amount, it is a mean.
    """
    n_segments = int(segment.max(initial=-1)) + 1
    others_amount = segment_sum(amount, segment, n_segments)[segment] - amount
    others_weight = segment_sum(weight.astype(np.float64), segment, n_segments)[segment] - weight
    return np.where(others_weight > 0, others_amount, 0.0) / np.where(others_weight > 0, others_weight, 1.0)
