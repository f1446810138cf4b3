"""Sotopia-RL: rewards of utterances in several dimensions, attributed by a judge."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare, penalised
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.parameters import NonNegative, Positive
from agentgym.trainers.segments import intersect

HIGHEST_ATTRIBUTION = 3.0


@credit("sotopia_rl", paper="arXiv:2508.03905", needs=["attribution.*_T", "score.*_N"], requires_groups=True)
def sotopia_rl(
    batch: TurnBatch,
    *,
    peers: Literal["task", "state"] = "task",
    epsilon: Positive = 1e-4,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """Sotopia-RL: utterance-level rewards in several dimensions (arXiv:2508.03905).

        r_{t,d} = −1                     if the judge calls the utterance invalid in dimension d: a_{t,d} = −1
        r_{t,d} = a_{t,d}/3 · score_d    otherwise: its share of the episode's score in that dimension
        r_t     = mean_d r_{t,d}
        A_t     = (r_t − mean r)/(std r + ε)    over the turns of the task, ddof 1

    a_{t,d} is `attribution.d_T`, −1 or in [0, 3], and score_d `score.d_N`; both must have the same dimensions.
    The rewards of the environment do not enter.

    - `peers`: the turns that a turn is compared with: all of its task, or with "state" those that began in the
      same state too (needs `state_key`); see below.
    - `epsilon` 1e-4: that of TRL's GRPO trainer, which the official code uses.
    - `invalid_action_penalty`: subtracted from r_t at a turn with an invalid action; official: none.

    A turn without peers gets 0. Raises `ValueError` for an attribution out of range or dimensions that differ.

    Paper and code: both train a reward model on r_t and then compare 16 single utterances that continue the
    same dialogue: `peers="state"` is that comparison, and leaves nothing where every turn has a state of its
    own, as in whole dialogues; hence the default. The official data script attributes the goal alone: with no
    other dimension among the signals, r_t is its reward.
    """
    reward_T = penalised(utterance_rewards(batch), batch, invalid_action_penalty)
    peers_T = batch.group_T
    if peers == "state":
        require(batch, "state_key", "sotopia_rl with peers='state'")
        assert batch.state_T is not None
        peers_T = intersect(batch.group_T, batch.state_T)
    advantage_T = compare(reward_T, peers_T, scale="std", singleton="zero", epsilon=epsilon)
    return Credit(advantage_T=advantage_T, parts={"utterance_reward_T": reward_T})


def utterance_rewards(batch: TurnBatch) -> FloatArray:
    """r_t: the mean over dimensions of a/3·score, or −1 where a = −1. Raises `ValueError` as in `sotopia_rl`."""
    attributions, scores = batch.components("attribution", "_T"), batch.components("score", "_N")
    if attributions.keys() != scores.keys():
        raise ValueError(
            f"sotopia_rl: attributions are of {', '.join(sorted(attributions))}, "
            f"scores of {', '.join(sorted(scores))}: give both for the same dimensions"
        )
    reward_T = np.zeros(batch.n_turns)
    for dimension, attribution_T in attributions.items():
        wrong = np.flatnonzero((attribution_T != -1) & ((attribution_T < 0) | (attribution_T > HIGHEST_ATTRIBUTION)))
        if wrong.size:
            raise ValueError(
                f"sotopia_rl: attribution.{dimension} of turn {batch.turn_index_T[wrong[0]]} of trajectory "
                f"{batch.trajectory_T[wrong[0]]} is {attribution_T[wrong[0]]:g}: it should be −1 or between 0 and 3"
            )
        share_T = attribution_T / HIGHEST_ATTRIBUTION * scores[dimension][batch.trajectory_T]
        reward_T += np.where(attribution_T == -1, -1.0, share_T)
    return reward_T / len(attributions)
