"""A²TGPO: information gains compared at the same turn index, and a clip range for each turn."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.answers.igpo import InfoGainType, final_turns, information_gains, normalise
from agentgym.trainers.credit.blocks import counted_turns, discounted_returns
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive, UnitInterval
from agentgym.trainers.segments import intersect


@credit("a2tgpo", paper="arXiv:2605.06200", needs=["answer_logprob_T"], requires_groups=True)
def a2tgpo(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 1.0,
    alpha: NonNegative = 0.3,
    beta: UnitInterval = 0.3,
    info_gain_type: InfoGainType = "prob_diff",
    epsilon: Positive = 1e-6,
) -> Credit:
    """A²TGPO: information gains compared at the same turn index, and a clip range for each turn (arXiv:2605.06200).

        z_{i,t} = (IG_{i,t} − mean IG)/(std IG + ε)     over the turns t of the task, for t < T
        o_i     = (R_i − mean_g R)/(std_g R + ε)
        A_{i,t} = α·Σ_{t≤j<T} γ^{j−t} z_{i,j}/√(T − t) + o_i,   A_{i,T} = o_i
        c_{i,t} = 1 + β·(2σ(z_{i,t}) − 1),                      c_{i,T} = 1

    The clip range of turn t is [1 − ε_low·c, 1 + ε_high·c]; the paper's ratio is the turn's geometric mean. IG is
    the gain of `igpo`; std = √(variance + 1e-8) with ddof 0.

    - `alpha` α = 0.3, `beta` β = 0.3, `gamma` 1, `epsilon` 1e-6: the official code's.
    - `info_gain_type`: the difference of probabilities, as in the paper, or of mean log-probabilities.

    A turn that no other of the task has reached gets z = 0 and c = 1; an outcome alone in its group o = 0. Tokens
    do not matter; trajectories without turns are not counted.

    Paper and code: no difference known. The official code could be read in part only, in excerpts that others
    quote; it offers three other ways to normalise (joint, separate, turn-group without the rescaling), which are
    its ablations.
    """
    gain_T = information_gains(batch, info_gain_type)
    search = np.flatnonzero(~final_turns(batch))
    peers_T = intersect(batch.group_T, batch.turn_index_T)
    normalised_T = np.zeros(batch.n_turns)
    normalised_T[search] = normalise(gain_T[search], peers_T[search], scale="std", epsilon=epsilon)
    once_T = counted_turns(batch, "trajectories")
    return_T = batch.episode_return_N[batch.trajectory_T]
    outcome_T = normalise(return_T, batch.group_T, scale="std", epsilon=epsilon, among=once_T)

    n_gains_T = batch.n_turns_N[batch.trajectory_T] - 1 - batch.turn_index_T
    gathered_T = discounted_returns(normalised_T, batch.turn_offsets_N, gamma)
    return Credit(
        advantage_T=alpha * gathered_T / np.sqrt(np.maximum(n_gains_T, 1)) + outcome_T,
        clip_scale_T=1 + beta * np.tanh(normalised_T / 2),  # 2σ(z) − 1 = tanh(z/2), which does not overflow
        parts={"info_gain_T": gain_T, "normalised_info_gain_T": normalised_T, "outcome_advantage_T": outcome_T},
    )
