"""What is averaged over what: the weight of each token in the loss.

A loss is Σ weight·loss over the tokens divided by a total that all processes agree on, so that it does not
matter how the tokens are dealt out to processes and micro-batches.
"""

from __future__ import annotations

import numpy as np

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.choices import Aggregation


def token_weights(
    trajectory_K: IntArray, aggregation: Aggregation, *, max_episode_tokens: int, trained_K: BoolArray | None = None
) -> FloatArray:
    """The weight of each token in the loss, before division by `weight_total`: shape (K,), ≥ 0.

    `trajectory_K` numbers each token's trajectory; `trained_K` says which tokens the loss is taken over (all
    by default): the others weigh 0 and are counted nowhere.

    - "token-mean": every token counts alike (DAPO, arXiv:2503.14476, eq. 8).
    - "sequence-mean": every trajectory counts alike, its tokens share its weight (GRPO, arXiv:2402.03300, eq. 3).
    - "sequence-mean-token-sum": every token counts 1 and trajectories are averaged, so that long ones pull harder.
    - "constant": every token counts 1/`max_episode_tokens`, the most a trajectory can have, so that neither long nor
      short ones are favoured (Dr. GRPO, arXiv:2503.20783).

    The names in verl are token-mean, seq-mean-token-mean, seq-mean-token-sum and seq-mean-token-sum-norm; the
    last does not divide by the number of trajectories there.
    """
    trained = np.ones(len(trajectory_K)) if trained_K is None else trained_K.astype(np.float64)
    if aggregation == "sequence-mean":
        counts = np.bincount(trajectory_K, weights=trained)
        return trained / np.maximum(counts, 1)[trajectory_K]
    return trained / max_episode_tokens if aggregation == "constant" else trained


def weight_total(n_tokens: int, n_trajectories: int, aggregation: Aggregation) -> int:
    """What the weighted sum is divided by: tokens for the token mean, else trajectories."""
    return n_tokens if aggregation == "token-mean" else n_trajectories
