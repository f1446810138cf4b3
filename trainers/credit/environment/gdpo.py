"""GDPO: each component of the reward is compared within the group on its own."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, whiten
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.parameters import Positive
from agentgym.trainers.segments import segment_sum


@credit("gdpo", paper="arXiv:2601.05242", granularity="episode", needs=["reward_parts.*_T"], requires_groups=True)
def gdpo(
    batch: TurnBatch,
    *,
    weights: dict[str, float] | None = None,
    conditions: dict[str, str] | None = None,
    condition_threshold: float = 1.0,
    epsilon: Positive = 1e-6,
    normalise_over: Literal["trajectories", "tokens", "nothing"] = "trajectories",
) -> Credit:
    """GDPO: reward components normalised apart, summed, and normalised over the batch (arXiv:2601.05242, §3).

        A_{k,i} = (r_{k,i} − mean_g r_k)/(std_g r_k + ε)     for each component k    (eq. 4)
        A_i     = Σ_k w_k A_{k,i}                                                    (eq. 5, 7)
        Â_i     = (A_i − mean A)/(std A + ε)                 over the batch          (eq. 6)

    r_{k,i} is the sum of `reward_parts.k_T` over the turns of episode i; the reward itself is not looked at.

    - `weights` w: by the component's name; 1 where nothing is given.
    - `conditions`: {"length": "correct"} lets the component "length" of an episode count only where its
      "correct" is at least `condition_threshold` t, 1 by default, and makes it 0 elsewhere (eq. 8). None.
    - `epsilon` ε = 1e-6, verl's, added to stds with ddof 1.
    - `normalise_over="trajectories"`: eq. 6 as it stands. "tokens": over all response tokens of the batch with
      1e-8 added to the variance, which is the official verl version. "nothing": A_i as it is.

    A group of one keeps its raw components, as in verl; in eq. 6 a batch of one gets 0. Turns without tokens are
    not counted under "tokens"; trajectories without turns are not counted at all.

    Paper and code: the paper normalises over the batch's episodes, its verl version over tokens
    (`normalise_over="tokens"`). The paper has ε in eq. 6 alone, the code in eq. 4 too (1e-6).
    """
    first_T = batch.turn_index_T == 0
    part_N = {
        name: segment_sum(part_T, batch.trajectory_T, batch.n_trajectories)
        for name, part_T in batch.components("reward_parts", "_T").items()
    }
    weights, conditions = weights or {}, conditions or {}
    _check_names([*weights, *conditions, *conditions.values()], part_N)
    counted_N = dict(part_N)
    for name, required in conditions.items():
        counted_N[name] = part_N[name] * (part_N[required] >= condition_threshold)
    advantage_T = np.zeros(batch.n_turns)
    for name, value_N in counted_N.items():
        component_T = compare(value_N[batch.trajectory_T], batch.group_T, scale="std", among=first_T, epsilon=epsilon)
        advantage_T += weights.get(name, 1.0) * component_T

    parts = {**{f"reward_{name}_N": value_N for name, value_N in counted_N.items()}, "sum_T": advantage_T}
    if normalise_over == "tokens":
        require(batch, "tokens", 'gdpo with normalise_over="tokens"')
        return Credit(advantage_K=whiten(advantage_T[batch.turn_K]), parts=parts)
    if normalise_over == "trajectories":
        everything_T = np.zeros(batch.n_turns, dtype=np.int64)
        advantage_T = compare(advantage_T, everything_T, scale="std", singleton="zero", among=first_T, epsilon=epsilon)
    return Credit(advantage_T=advantage_T, parts=parts)


def _check_names(names: list[str], part_N: dict[str, FloatArray]) -> None:
    for name in names:
        if name not in part_N:
            raise ValueError(f"gdpo: the reward has no component {name!r}: there is {', '.join(sorted(part_N))}")
