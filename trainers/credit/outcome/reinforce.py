"""REINFORCE: the return from each turn on, less one baseline for the whole batch."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, counted_turns, discounted_returns, penalised
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, UnitInterval


@credit("reinforce", paper="doi:10.1007/BF00992696")
def reinforce(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 1.0,
    baseline: Literal["batch", "none"] = "batch",
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """REINFORCE: the return from each turn on, less a baseline (Williams 1992).

        A_{i,t} = G_{i,t} − b,   G_{i,t} = Σ_{k≥t} γ^{k−t} r_{i,k} − c·[invalid],   b = mean_i G_{i,0}

    - `gamma`: 1, the undiscounted return of the paper's episodic form.
    - `baseline="batch"`: the mean over all trajectories of the batch, whatever their groups, of the return
      from their first turn. A batch of one trajectory has the baseline 0. The paper leaves the baseline free.
    - `invalid_action_penalty` c: subtracted from the return of an invalid turn, and of no other. 0, none.

    Groups and tokens play no part. A trajectory without turns is not counted in the baseline.

    Paper and code: the paper has no official code.
    """
    return_T = discounted_returns(batch.reward_T, batch.turn_offsets_N, gamma)
    return_T = penalised(return_T, batch, invalid_action_penalty)
    if baseline == "none":
        return Credit(advantage_T=return_T, parts={"return_T": return_T})
    whole_batch_T = np.zeros(batch.n_turns, dtype=np.int64)
    advantage_T = compare(return_T, whole_batch_T, among=counted_turns(batch, "trajectories"))
    return Credit(advantage_T=advantage_T, parts={"return_T": return_T})
