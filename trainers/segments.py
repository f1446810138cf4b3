"""Which unit is judged: segmentations, and sums over their segments.

A *segmentation* gives each entry the number of its segment; entries of a segment may lie anywhere.
*Offsets* delimit consecutive segments: segment s is `[offsets[s], offsets[s + 1])`.
"""

from __future__ import annotations

import numpy as np

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray


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


def offsets_at(starts: BoolArray, within: IntArray) -> IntArray:
    """Offsets of the segments that begin wherever `starts` is true, and wherever one of the offsets `within` does.

    `offsets_at(switch_T, batch.turn_offsets_N)` cuts trajectories where a new sub-goal begins. No segment is
    empty.
    """
    begins = starts.copy()
    begins[within[:-1][within[:-1] < within[1:]]] = True
    return np.append(np.flatnonzero(begins), len(starts)).astype(np.int64)


def segment_of(offsets: IntArray) -> IntArray:
    """The number of the segment of each entry."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def last_entries(offsets: IntArray) -> IntArray:
    """The index of the last entry of each segment that has any."""
    return offsets[1:][offsets[:-1] < offsets[1:]] - 1


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


def entries(offsets: IntArray, chosen: IntArray) -> IntArray:
    """The indices of the entries of the chosen segments, segment by segment in the order of `chosen`."""
    length = np.diff(offsets)[chosen]
    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    indices: IntArray = np.repeat(offsets[:-1][chosen], length) + within
    return indices
