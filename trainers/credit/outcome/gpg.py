"""GPG: the group's mean as baseline, and a correction for groups that teach nothing."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, counted_turns, episode_scores
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive


@credit("gpg", paper="arXiv:2504.02546", granularity="episode", requires_groups=True)
def gpg(
    batch: TurnBatch,
    *,
    gradient_estimation: Literal["accurate", "nonzero_scores", "plain"] = "accurate",
    f_norm: Positive = 1.0,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """GPG: the return less its group's mean, scaled up for the groups that teach nothing (arXiv:2504.02546, §2.2).

        A_i = α·(R_i − mean_g R)/F_norm,   α = B/(B − M)                  (eq. 7)

    of B episodes in the batch, M in groups whose returns are all equal: their gradient is 0 and would dilute the
    mean over the batch.

    - `gradient_estimation="accurate"`: this α. "nonzero_scores": α = B over the number of returns that are not
      0, as in verl. "plain": α = 1. With nothing left to divide by, α = B.
    - `f_norm` F_norm: 1, the paper's.
    - `invalid_action_penalty` c: subtracted from R_i at an invalid turn, and at no other. 0, none.

    A group of one keeps its raw score, as in verl, and counts among the M only if that is 0. Tokens play no
    part; trajectories without turns are not counted. α looks at the whole batch, so groups are not independent.

    Paper and code: the paper's α leaves out the groups with equal returns, verl's the episodes with a return of
    0 (`gradient_estimation="nonzero_scores"`). The paper's threshold on M, below which more episodes are
    sampled, is the trainer's business.
    """
    score_T = episode_scores(batch, invalid_action_penalty)
    first_T = counted_turns(batch, "trajectories")
    centred_T = compare(score_T, batch.group_T, among=first_T)
    n_episodes = int(np.count_nonzero(first_T))

    left = n_episodes
    if gradient_estimation == "accurate":
        teaches_g = np.zeros(batch.n_groups, dtype=np.bool_)
        teaches_g[batch.group_T[centred_T != 0]] = True
        left = int(np.count_nonzero(teaches_g[batch.group_T[first_T]]))
    elif gradient_estimation == "nonzero_scores":
        left = int(np.count_nonzero(score_T[first_T]))
    alpha = n_episodes / max(left, 1)
    return Credit(advantage_T=alpha * centred_T / f_norm, parts={"episode_score_T": score_T, "centred_T": centred_T})
