"""G-RA: what is earned on the way counts only where the outcome is good enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.registry import Credit, compute, credit
from agentgym.trainers.segments import segment_sum


@credit("g_ra", paper="arXiv:2508.10548", needs=["reward_parts.*_T"], requires_groups=True)
def g_ra(batch: TurnBatch, *, outcome: str = "outcome", threshold: float = 1.0, base: str = "grpo") -> Credit:
    """G-RA: gated reward accumulation, then another scheme (arXiv:2508.10548).

        r̃_{i,t} = r^high_{i,t} + 1[R^high_i ≥ δ]·r^low_{i,t},   r^low = r − r^high,   R^high_i = Σ_t r^high_{i,t}

    The rewards on the way (format, tool use, the judgement of steps) are those that are not the outcome's: they
    are all counted where the outcome reaches the gate, and none of them elsewhere.

    - `outcome`: the component of the reward that is r^high: "outcome" for the signal `reward_parts.outcome_T`.
    - `threshold` δ: 1, the reward of success in the environments here. The paper chooses δ on its own scale, so
      that stepwise rewards count once a patch that is not empty was submitted. Below every outcome the gate is
      always open: the paper's direct accumulation (D-RA), which is the scheme `base` alone.
    - `base`: the scheme that turns the gated rewards into advantages, with its defaults. The paper leaves it
      open; "grpo" adds them up, "turn_loo" or "gigpo" keep what was earned on the way at its turns.

    What happens to groups of one, turns without tokens and trajectories without turns is `base`'s affair.

    Paper and code: no official code was found. What could be read of the paper has two levels with one gate, as
    here, and its abstract lets the outcome meet the threshold (≥); a port to another trainer asks for more (>).
    """
    parts_T = batch.components("reward_parts", "_T")
    if outcome not in parts_T:
        raise ValueError(f"g_ra: the reward has no component {outcome!r}: there is {', '.join(sorted(parts_T))}")
    high_T = parts_T[outcome]
    open_N = segment_sum(high_T, batch.trajectory_T, batch.n_trajectories) >= threshold
    gated_T = np.where(open_N[batch.trajectory_T], batch.reward_T, high_T)
    based = compute(base, replace(batch, reward_T=gated_T))
    return replace(based, parts={**based.parts, "gated_reward_T": gated_T})
