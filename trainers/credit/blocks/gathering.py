"""How earnings gather over time. Every function works on all segments at once, from their ends backwards."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.arrays import FloatArray, IntArray


def discounted_returns(reward: FloatArray, offsets: IntArray, gamma: float | FloatArray) -> FloatArray:
    """G_t = r_t + γ_t·G_{t+1} within each segment; `gamma` may differ by entry.

    With γ = 1 the plain sum from each entry on. Time grows with the length of the longest segment.
    """
    gamma = np.broadcast_to(gamma, reward.shape)
    gathered = reward.astype(np.float64)
    length = np.diff(offsets)
    longest_first = np.argsort(-length, kind="stable")
    end = offsets[1:][longest_first]
    # How many segments have at least 1, 2, … entries: those come first.
    at_least = np.searchsorted(-length[longest_first], -np.arange(1, int(length.max(initial=0)) + 1), side="right")
    for from_end, n_segments in enumerate(at_least[1:].tolist(), start=2):
        entry = end[:n_segments] - from_end
        gathered[entry] += gamma[entry] * gathered[entry + 1]
    return gathered


def successors(value: FloatArray, offsets: IntArray, end_value: float | FloatArray = 0.0) -> FloatArray:
    """V_{t+1} for each t: the value of the next entry of the segment, `end_value` after its last.

    `end_value`: one for all segments, or one for each.
    """
    following = np.append(value[1:], 0.0)[: len(value)]
    has_entries = offsets[:-1] < offsets[1:]
    following[offsets[1:][has_entries] - 1] = np.broadcast_to(end_value, has_entries.shape)[has_entries]
    return following


def gae(
    reward: FloatArray,
    value: FloatArray,
    offsets: IntArray,
    *,
    gamma: float | FloatArray,
    lam: float | FloatArray,
    end_value: float | FloatArray = 0.0,
) -> FloatArray:
    """Generalised advantage estimation (arXiv:1506.02438, eq. 16) within each segment.

        δ_t = r_t + γ_t·V_{t+1} − V_t,   A_t = δ_t + γ_t λ_t·A_{t+1}

    `gamma` and `lam` may differ by entry. `end_value` is V after a segment's last entry, one for all segments
    or one for each: 0 where the episode ended. A + V is what the critic is regressed on.
    """
    delta = reward + gamma * successors(value, offsets, end_value) - value
    return discounted_returns(delta, offsets, np.multiply(gamma, lam))


NEGLIGIBLE = 1e-3
"""A return of implicit rewards, in nats times β, that says nothing."""


def peak_normalised(reward: FloatArray, offsets: IntArray, epsilon: float = 1e-6) -> FloatArray:
    """The rewards over the largest size that a return of theirs has, max |Σ_{k≥t} r_k| + ε, in any segment.

    What PRIME and iStar call "batch_norm": no return is larger than 1 afterwards. Rewards stay as they are where no
    return reaches `NEGLIGIBLE`: a reward model that is still its reference gives noise, and the official codes make
    rewards between -1 and 1 of it.
    """
    largest = float(np.abs(discounted_returns(reward, offsets, 1.0)).max(initial=0.0))
    return reward if largest < NEGLIGIBLE else reward / (largest + epsilon)
