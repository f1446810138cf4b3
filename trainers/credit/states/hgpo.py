"""HGPO: turns in equal states are compared, and more so the longer the history that they share."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from agentgym.trainers.arrays import IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import Scale, compare, discounted_returns, episode_scores, penalised
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive, UnitInterval
from agentgym.trainers.segments import intersect


@credit("hgpo", paper="arXiv:2602.22817", needs=["state_key"], requires_groups=True)
def hgpo(
    batch: TurnBatch,
    *,
    history_length: Annotated[int, Field(ge=0, description="≥ 0")] = 2,
    gamma: UnitInterval = 0.95,
    mode: Literal["mean_norm", "mean_std_norm"] = "mean_std_norm",
    length_weight_alpha: NonNegative = 1.0,
    level_weights: Literal["official", "paper"] = "official",
    drop_zero_items: bool = True,
    base_group: bool = False,
    epsilon: Positive = 1e-6,
    invalid_action_penalty: NonNegative = 0.1,
) -> Credit:
    """HGPO: advantages among turns that share their last 1, 2, … K + 1 observations (arXiv:2602.22817).

        G_{i,t} = Σ_{j≥t} γ^{j−t} r_{i,j} − c·[invalid]
        A_k     = (G_{i,t} − mean_k G)/F   over the turns of the task with the same state and k states before it
        A_{i,t} = Σ_k w_k A_k/(Σ_k w_k + ε),   w_k = (k + 2)^α,   k = 0 … K

    - `history_length` K = 2: the number of earlier states looked at, 2 or 4 in the paper; the agent's window.
    - `mode`: F = std + ε with ddof 0 ("mean_std_norm", the official scripts' mode) or F = 1 ("mean_norm").
    - `length_weight_alpha` α = 1: how much more a long common history weighs; 0 weighs all levels alike.
    - `gamma` 0.95 and `epsilon` 1e-6: the official scripts'.
    - `base_group`: joins GiGPO's episode advantage (over all turns of the task, ddof 1) with the weight 1.
    - `invalid_action_penalty` c = 0.1: verl-agent's, from the return (and score) of the invalid turn alone.

    Levels at which a turn has no company are left out of its sums, and so are those that reach back before the
    first turn; a turn without any gets 0. In a group of one only turns of that trajectory in equal states are
    compared. Tokens do not matter; trajectories without turns are not counted.

    Paper and code: the paper weighs level k with (k + 1)^α, the official code with (k + 2)^α: choose with
    `level_weights`. The code leaves lonely levels out of the weights' sum, where the paper sums over all levels.
    One version of the official recipe, and most copies of it, also drop levels whose A_k is exactly 0
    (`drop_zero_items`), another keeps them; the paper does not mention it. The invalid-action penalty and
    `base_group` are the code's alone.
    """
    scale: Scale = "std" if mode == "mean_std_norm" else "none"
    return_T = discounted_returns(batch.reward_T, batch.turn_offsets_N, gamma)
    penalised_return_T = penalised(return_T, batch, invalid_action_penalty)

    items = []  # of each level: its weight's base, the turns that have company, their advantages
    if base_group:
        base_T = compare(episode_scores(batch, invalid_action_penalty), batch.group_T, scale=scale, epsilon=epsilon)
        items.append((1, np.arange(batch.n_turns), base_T))
    for base, group_T in enumerate(
        history_groups(batch, history_length), start=2 if level_weights == "official" else 1
    ):
        turns = in_company(group_T)
        item = compare(penalised_return_T[turns], group_T[turns], scale=scale, ddof=0, epsilon=epsilon)
        items.append((base, turns, item))

    sum_T, weight_T = np.zeros(batch.n_turns), np.zeros(batch.n_turns)
    for base, turns, item in items:
        weight = base**length_weight_alpha * (np.not_equal(item, 0) if drop_zero_items else np.ones(len(item)))
        sum_T[turns] += weight * item
        weight_T[turns] += weight
    return Credit(
        advantage_T=sum_T / (weight_T + epsilon),
        parts={"step_return_T": return_T, "step_return_penalised_T": penalised_return_T, "weight_T": weight_T},
    )


def history_groups(batch: TurnBatch, history_length: int) -> list[IntArray]:
    """For k = 0 … `history_length`: the turns of one task with the same state and the same k states before it.

    Groups are numbered from 0 in the order of first appearance; turns with fewer than k before them have −1.
    """
    assert batch.state_T is not None
    groups = [intersect(batch.group_T, batch.state_T)]
    longest = int(batch.n_turns_N.max(initial=1))
    for k in range(1, min(history_length, longest - 1) + 1):
        late = np.flatnonzero(batch.turn_index_T >= k)
        group_T = np.full(batch.n_turns, -1, dtype=np.int64)
        group_T[late] = intersect(groups[-1][late - 1], batch.state_T[late])
        groups.append(group_T)
    return groups


def in_company(group_T: IntArray) -> IntArray:
    """The turns whose group has others too; a negative number is no group."""
    size = np.bincount(group_T[group_T >= 0], minlength=1)
    return np.flatnonzero((group_T >= 0) & (size[group_T] > 1))
