"""EMPG: advantages scaled by how certain the policy was, and a bonus for a certain next turn."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import successors
from agentgym.trainers.credit.outcome.grpo import grpo
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive
from agentgym.trainers.segments import segment_mean


@credit("empg", paper="arXiv:2509.09265", needs=["tokens", "entropy_K"], requires_groups=True)
def empg(
    batch: TurnBatch,
    *,
    k: NonNegative = 1.0,
    k_f: NonNegative = 1.0,
    zeta: NonNegative = 0.1,
    center: bool = True,
    base: Literal["grpo", "return"] = "grpo",
    epsilon: Positive = 1e-8,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """EMPG: advantages scaled by a turn's certainty, and a bonus for a certain next one (arXiv:2509.09265, eq. 10–12).

        H_t  = mean entropy of the turn's tokens,   Ĥ = (H − min H)/(max H − min H + ε)
        g_t  = exp(−k·Ĥ_t)/(mean exp(−k·Ĥ) + ε),    f_t = exp(−k_f·Ĥ_t)
        A'_t = A_i·g_t + ζ·f_{t+1},                 A_t = A'_t − mean A'

    min, max and means are over all turns of the batch, whatever their groups. The last turn of a trajectory gets
    no bonus.

    - `base`: A_i is that of `grpo`, or the plain "return", to modulate advantages that come from elsewhere.
    - `k` = 1, `k_f` = 1 (the paper's k′), `zeta` ζ = 0.1, `epsilon` 1e-8: the authors' pseudocode.
    - `center=False`: without the mean's subtraction.
    - `invalid_action_penalty`: subtracted from the invalid turn's score in `grpo`, before it is modulated.

    In a group of one A_i is the raw return. Turns without tokens have no entropy: they are passed over, as if
    they did not exist, and get 0. Trajectories without turns are not counted.

    Paper and code: no official code was found; this is the authors' published pseudocode. ARLArena's port
    modulates all advantages anew in every step of a loop, and is not followed. The paper calls the last line
    "final advantage normalisation (e.g. zero mean)"; the mean is taken over turns, not weighted by tokens.
    """
    step = np.flatnonzero(batch.n_tokens_T)
    offsets = np.searchsorted(step, batch.turn_offsets_N)
    entropy = segment_mean(batch.signal("entropy_K"), batch.turn_K, batch.n_turns)[step]
    lowest, highest = entropy.min(initial=np.inf), entropy.max(initial=-np.inf)
    normalised = (entropy - lowest) / (highest - lowest + epsilon)
    certainty = np.exp(-k * normalised)
    scale_g = certainty / (_mean(certainty) + epsilon)
    bonus_f = np.exp(-k_f * normalised)

    if base == "grpo":
        base_T = grpo(batch, invalid_action_penalty=invalid_action_penalty).advantage_T
        assert base_T is not None
    else:
        base_T = batch.episode_return_N[batch.trajectory_T]
    modulated = base_T[step] * scale_g + zeta * successors(bonus_f, offsets)
    parts = {"step_entropy_normalised_T": normalised, "scale_g_T": scale_g, "bonus_f_T": bonus_f}
    parts["modulated_T"] = modulated
    advantage = modulated - _mean(modulated) if center else modulated

    def on_turns(value: FloatArray) -> FloatArray:
        value_T = np.zeros(batch.n_turns)
        value_T[step] = value
        return value_T

    return Credit(advantage_T=on_turns(advantage), parts={name: on_turns(value) for name, value in parts.items()})


def _mean(value: FloatArray) -> float:
    """The mean; 0 of nothing."""
    return float(value.sum()) / max(len(value), 1)
