"""Duration-aware gradients: a slow action weighs as much more as it is rarer."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.registry import Credit, compute, credit


@credit("duration_weighted", paper="arXiv:2509.01684", needs=["duration_T"], requires_groups=True)
def duration_weighted(
    batch: TurnBatch, *, normalise: Literal["batch_mean", "nothing"] = "batch_mean", base: str = "grpo"
) -> Credit:
    """Duration-aware gradient: another scheme's advantages, weighted by what the action took (arXiv:2509.01684).

        ∇J = E[Σ_t Δt_t ∇log π(a_t|s_t) Â_t],   so   A_t = Δt_t/mean(Δt)·Â_t

    Where episodes run at once and learning takes what is ready, an action that takes twice as long comes half as
    often. The weight makes up for it.

    - `normalise="batch_mean"`: Δt is divided by its mean over the turns of the batch, as the paper does in
      practice, so that the size of the step stays. "nothing": seconds. If no action took any time, all weights
      are 1 under "batch_mean".
    - `base`: the scheme that gives Â, with its defaults: one over turns or one over tokens. The paper's is PPO's
      ("ppo", which needs values); "grpo" needs rollouts alone.

    Durations are `duration_T`, in seconds, and not negative. What happens to groups of one, turns without tokens
    and trajectories without turns is `base`'s affair. The weights look at the whole batch.

    Paper and code: what could be read of the paper was not compared with its code.
    """
    duration_T = batch.signal("duration_T")
    if (duration_T < 0).any():
        raise ValueError(f"duration_weighted: duration_T has {duration_T.min():g} s; durations are not negative")
    mean = duration_T.mean() if batch.n_turns else 0.0
    weight_T = duration_T if normalise == "nothing" else duration_T / mean if mean > 0 else np.ones(batch.n_turns)
    based = compute(base, batch)
    parts = {**based.parts, "weight_T": weight_T}
    if based.advantage_T is not None:
        return replace(based, advantage_T=weight_T * based.advantage_T, parts=parts)
    return replace(based, advantage_K=weight_T[batch.turn_K] * based.token_advantages(batch), parts=parts)
