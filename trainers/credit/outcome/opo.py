"""OPO: the group's mean return, weighted by length."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import episode_scores
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative
from agentgym.trainers.segments import segment_sum


@credit("opo", paper="arXiv:2505.23585", granularity="episode", needs=["tokens"], requires_groups=True)
def opo(batch: TurnBatch, *, invalid_action_penalty: NonNegative = 0.0) -> Credit:
    """OPO: the return less the group's mean return, weighted by length (arXiv:2505.23585, §3).

        A_i = R_i − b_g,   b_g = Σ_{i∈g} L_i R_i / Σ_{i∈g} L_i,   L_i = number of response tokens

    The baseline of least variance, if the norm of a response's gradient grows with the number of its tokens.

    - `invalid_action_penalty` c: subtracted from the score of an invalid turn, which enters b_g with the
      number of that turn's tokens. 0, none.

    A group of one trajectory keeps its raw score, as in verl. Turns without tokens have no weight, unless the
    whole group has none (and trains nothing): then all weigh the same. Trajectories without turns are not counted.

    Paper and code: no difference known; the formula was compared with verl's, and verl has one turn.
    """
    score_T = episode_scores(batch, invalid_action_penalty)
    # Relative to a score of the group itself, so that equal scores give exactly 0.
    origin_g = np.zeros(batch.n_groups)
    origin_g[batch.group_T] = score_T
    relative_T = score_T - origin_g[batch.group_T]

    n_tokens_T = batch.n_tokens_T.astype(np.float64)
    length_g = segment_sum(n_tokens_T, batch.group_T, batch.n_groups)
    weight_T = np.where(length_g[batch.group_T] > 0, n_tokens_T, 1.0)
    weighted_g = segment_sum(weight_T * relative_T, batch.group_T, batch.n_groups)
    baseline_g = origin_g + weighted_g / np.maximum(segment_sum(weight_T, batch.group_T, batch.n_groups), 1)
    n_trajectories_g = np.bincount(batch.group_T[batch.turn_index_T == 0], minlength=batch.n_groups)
    baseline_g[n_trajectories_g == 1] = 0.0
    return Credit(advantage_T=score_T - baseline_g[batch.group_T], parts={"episode_score_T": score_T})
