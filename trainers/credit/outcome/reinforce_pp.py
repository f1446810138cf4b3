"""REINFORCE++ and its variant with a group baseline: advantages whitened over all tokens of the batch."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import (
    Statistics,
    compare,
    counted_turns,
    discounted_returns,
    episode_scores,
    penalised,
    response_rewards,
    whiten,
)
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, UnitInterval


@credit("reinforce_pp", paper="arXiv:2501.03262", granularity="token", needs=["tokens"])
def reinforce_pp(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 1.0,
    horizon: Literal["episode", "turn"] = "episode",
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """REINFORCE++: the return from each token on, whitened over the whole batch (arXiv:2501.03262).

        G_{i,l} = Σ_{k≥l} γ^{k−l} r_{i,k}                over the response tokens of trajectory i
        A_{i,l} = (G_{i,l} − mean G)/√(var G + 1e-8)     over all response tokens of the batch, ddof 1

    A turn's reward is on its last token, unless `token_reward_K` gives each token one: the paper's −β·KL
    comes in that way.

    - `gamma`: 1, the paper's.
    - `horizon="episode"`: returns gather to the end of the trajectory, through later turns, whose tokens
      follow on as if nothing stood between them. "turn": they gather to the end of the token's own turn.
    - `invalid_action_penalty` c: subtracted from the returns of an invalid turn's tokens, and of no others,
      before the whitening. 0, none.

    Groups play no part. Turns without tokens pass their reward to the token before (`token_rewards`) and
    have no advantage; trajectories without turns are not counted. A single token gets 0.

    Paper and code: the paper has one turn; where the environment's tokens lie between turns, verl resets the
    return, so that a reward at the end reaches the last turn alone (`horizon="turn"`). The paper divides by
    the std and names no epsilon; verl's, 1e-8 inside the root, is used. verl raises for a single token.
    """
    offsets = batch.token_offsets_N if horizon == "episode" else batch.known_token_offsets()
    return_K = discounted_returns(response_rewards(batch, 0.0), offsets, gamma)
    penalty_T = penalised(np.zeros(batch.n_turns), batch, invalid_action_penalty)
    return Credit(advantage_K=whiten(return_K + penalty_T[batch.turn_K]), parts={"return_K": return_K})


@credit(
    "reinforce_pp_baseline", paper="arXiv:2501.03262", granularity="episode", needs=["tokens"], requires_groups=True
)
def reinforce_pp_baseline(
    batch: TurnBatch, *, statistics: Statistics = "trajectories", invalid_action_penalty: NonNegative = 0.0
) -> Credit:
    """REINFORCE++ with a group baseline: the return less its group's mean, then whitened (arXiv:2501.03262).

        A'_i = R_i − mean_g R
        A_i  = (A'_i − mean A')/√(var A' + 1e-8)     over all response tokens of the batch, ddof 1

    - `statistics="trajectories"` counts each trajectory once in the group's mean, as the paper has it;
      "turns" once a turn, the default of verl-agent. The whitening counts tokens in either case.
    - `invalid_action_penalty` c: subtracted from the score of an invalid turn alone, before the mean is taken.
      0, none; 0.1 in verl-agent.

    A group of one keeps its raw score until the whitening. Turns without tokens are not counted in the
    whitening and have no advantage; trajectories without turns are not counted at all.

    Paper and code: the paper whitens over the batch without saying whether of responses or of tokens; verl
    takes tokens, so that long trajectories weigh more, and so do we. verl's statistics of the group are over
    responses, verl-agent's by default over turns (`statistics="turns"`).
    """
    score_T = episode_scores(batch, invalid_action_penalty)
    centred_T = compare(score_T, batch.group_T, among=counted_turns(batch, statistics))
    parts = {"episode_score_T": score_T, "centred_T": centred_T}
    return Credit(advantage_K=whiten(centred_T[batch.turn_K]), parts=parts)
