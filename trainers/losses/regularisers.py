"""Terms that are added to a policy loss: the divergence from a reference policy, and EPO's entropy smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch

from agentgym.trainers.choices import KLEstimator
from agentgym.trainers.losses.registry import regulariser
from agentgym.trainers.parameters import NonNegative

HistoryMean: TypeAlias = Literal["padded", "per_turn"]


def kl_to_reference(
    logprob_K: torch.Tensor,
    reference_logprob_K: torch.Tensor,
    estimator: KLEstimator = "k3",
    *,
    clip: bool = False,
) -> torch.Tensor:
    """An estimate of KL(π ‖ π_ref) for each token, differentiable: shape (K,).

    With Δ = log π − log π_ref (http://joschu.net/blog/kl-approx.html):

    - "k1": Δ. Unbiased, of either sign. Its gradient is that of log π, which does not pull towards π_ref.
    - "k2": Δ²/2. Biased, never negative; its expected gradient is that of the divergence.
    - "k3": exp(−Δ) + Δ − 1. Unbiased and never negative; the form GRPO uses (arXiv:2402.03300, eq. 4).
    - "abs": |Δ|.

    `clip`: what verl does to k3 against overflow: Δ is clamped to ±20 and the estimate to ±10, where its gradient
    ends.
    """
    difference_K = logprob_K - reference_logprob_K
    if estimator == "k1":
        return difference_K
    if estimator == "k2":
        return 0.5 * difference_K.square()
    if estimator == "abs":
        return difference_K.abs()
    log_ratio_K = reference_logprob_K - logprob_K
    if clip:
        log_ratio_K = log_ratio_K.clamp(-20, 20)
    estimate_K = log_ratio_K.exp() - 1 - log_ratio_K
    return estimate_K.clamp(-10, 10) if clip else estimate_K


@dataclass(frozen=True)
class EntropyTokens:
    """What entropy smoothing is computed from: some tokens of a minibatch."""

    entropy_K: torch.Tensor
    """The entropy of the distribution that each token was drawn from, in nats, differentiable."""
    turn_entropy_K: torch.Tensor
    """The mean of that over the token's turn, differentiable; looked at in mode "seq" alone."""
    past_entropy_K: torch.Tensor
    """H̄ of the token's turn index, a mean over the training steps so far as `history` says."""
    last_turn: int
    """The highest turn index in the minibatch."""
    step: int
    """Finished training steps."""


@regulariser("epo", paper="arXiv:2509.22576")
def epo(
    tokens: EntropyTokens,
    *,
    penalty: Literal["step", "hinge"] = "step",
    mask_mode: Literal["token", "seq"] = "token",
    min_ratio: NonNegative = 0.0,
    max_ratio: NonNegative = 2.0,
    out_range_penalty: NonNegative = 0.1,
    smooth_coef: NonNegative = 1.0,
    history: HistoryMean = "padded",
    start_turn: int = 0,
    phase_weight: bool = True,
    phase_steps: int = 150,
) -> torch.Tensor:
    """EPO's entropy smoothing: a penalty on entropies that leave the range of the past (arXiv:2509.22576).

        L   = L_policy − c_H·(H − λ·w·P),   averaged as the policy loss is
        P_k = 0 where κ_l·H̄ < H_k < κ_r·H̄, else α        ("step")
        P_k = max(κ_l·H̄ − H_k, 0) + max(H_k − κ_r·H̄, 0)  ("hinge")

    Returns λ·w·P_k, shape (K,). H̄ is what the mean entropy of turns of the token's turn index was over the training
    steps so far, the present one included. In nats.

    - `mask_mode`: H_k is the token's entropy ("token", the published runs') or the mean of its turn's ("seq").
    - `penalty`: "step" is the official code's; a constant, so that it changes the loss's value and no gradient.
      "hinge" has one: it pulls entropies back into the range.
    - `min_ratio` κ_l = 0, `max_ratio` κ_r = 2, `out_range_penalty` α = 0.1, `phase_weight` on: the published runs'
      (ALFWorld; 0.05 for ScienceWorld). The function's own defaults in the code are 0.8, 1.2, 0.1.
    - `smooth_coef` λ; c_H is the trainer's `entropy_coef`, 0.001 in the published runs.
    - `history`: how steps of different length are averaged. "padded" (official): shorter ones get zeros in front,
      so that their turns count for later ones; "per_turn": over the steps that had such a turn.
    - `start_turn`: no penalty in a minibatch without a turn of at least this index. The official code asks it of
      each micro-batch, with max_steps/2 (25 whatever the environment, for a misread key).
    - `phase_weight`, `phase_steps`: w of `epo_phase_weight`, of which the official code fixes E = 150.

    Paper and code: the code's penalty has no gradient; the authors write it with a hinge in their response to
    reviewers, which is "hinge" here. Which of the two the paper's equation means could not be established. The
    paper's κ_l > 0 was not used in the published runs.
    """
    entropy_K = tokens.entropy_K if mask_mode == "token" else tokens.turn_entropy_K
    if tokens.last_turn < start_turn:
        return torch.zeros_like(entropy_K)
    low_K, high_K = min_ratio * tokens.past_entropy_K, max_ratio * tokens.past_entropy_K
    if penalty == "hinge":
        penalty_K = (low_K - entropy_K).clamp(min=0) + (entropy_K - high_K).clamp(min=0)
    else:
        inside_K = (entropy_K > low_K) & (entropy_K < high_K)
        penalty_K = torch.where(inside_K, 0.0, out_range_penalty).to(entropy_K)
    return smooth_coef * (epo_phase_weight(tokens.step, phase_steps) if phase_weight else 1.0) * penalty_K


def epo_phase_weight(step: int, steps: int) -> float:
    """w, the weight of EPO's penalty in training step `step` of `steps` (arXiv:2509.22576).

        w = 1 − 0.2·(1 − exp(−2·e/(E/2)))     for e ≤ E/2
        w = 0.8·exp(−3·(e − E/2)/(E − E/2))   after that, and at its value for e = E from there on

    E/2 is rounded down. The official code's; it jumps from 0.827 to 0.8 at E/2.
    """
    half = steps // 2
    if step <= half:
        return float(1 - 0.2 * (1 - np.exp(-2 * step / half))) if half else 1.0
    progress = min((step - half) / (steps - half), 1.0)
    return float(0.8 * np.exp(-3 * progress))
