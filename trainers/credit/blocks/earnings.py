"""What a unit earned: scores of episodes, rewards on tokens, gains of a potential, the min-form."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.segments import last_entries, segment_of, segment_sum


def penalised(value_T: FloatArray, batch: TurnBatch, penalty: float) -> FloatArray:
    """The values less `penalty` at the turns whose action was not valid; no other turn is affected."""
    return value_T - penalty * ~batch.valid_T


def episode_scores(batch: TurnBatch, invalid_action_penalty: float) -> FloatArray:
    """score_T: R_i, less the penalty at invalid turns."""
    return penalised(batch.episode_return_N[batch.trajectory_T], batch, invalid_action_penalty)


def token_rewards(batch: TurnBatch, reward_T: FloatArray) -> FloatArray:
    """reward_K: each turn's reward on its last token.

    A turn without tokens passes its reward on to the token before it, that of an earlier turn. Before the
    first token of a trajectory nothing was decided: rewards there reach no token.
    """
    reward_K = np.zeros(batch.n_tokens)
    last_T = batch.known_token_offsets()[1:] - 1
    has_token_T = last_T >= batch.token_offsets_N[:-1][batch.trajectory_T]
    np.add.at(reward_K, last_T[has_token_T], reward_T[has_token_T])
    return reward_K


def response_rewards(batch: TurnBatch, invalid_action_penalty: float) -> FloatArray:
    """reward_K: `token_reward_K` where the batch has it, else each turn's reward on its last token.

    In both cases less the penalty on the last token of a turn whose action was not valid.
    """
    given = "token_reward_K" in batch.columns
    reward_T = np.zeros(batch.n_turns) if given else batch.reward_T
    reward_K = token_rewards(batch, penalised(reward_T, batch, invalid_action_penalty))
    return reward_K + batch.signal("token_reward_K") if given else reward_K


def gains(potential: FloatArray, offsets: IntArray) -> FloatArray:
    """Φ_{t+1} − Φ_t within each segment, 0 at its last entry. Their sum telescopes to Φ_end − Φ_0."""
    gain = np.append(np.diff(potential), 0.0)[: len(potential)]
    gain[last_entries(offsets)] = 0.0
    return gain


def min_form_weights(score: FloatArray, offsets: IntArray, temperature: float) -> FloatArray:
    """w = softmax(−score/T) within each segment (PURE, arXiv:2504.15275): Σ w·score → min score for T → 0."""
    segment = segment_of(offsets)
    lowest = np.full(len(offsets) - 1, np.inf)
    np.minimum.at(lowest, segment, score)
    weight = np.exp((lowest[segment] - score) / temperature)
    return weight / segment_sum(weight, segment, len(lowest))[segment]
