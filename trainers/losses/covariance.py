"""Losses that keep the entropy up where a likely token gets a high advantage (arXiv:2505.22617).

The entropy falls with the covariance of log-probability and advantage over the N tokens of a minibatch, most of it
that of a few tokens:

    Cov(y_k) = (log π(y_k) − mean log π)·(A_k − mean A)

Both losses choose tokens by it: once for a minibatch, over all processes, before the first gradient. Log-probabilities
differ in their last digit with the tokens that are computed beside them. So that this stays a last digit in the result,
KL-Cov's choice by rank and its penalty's slope are continuous: tokens whose covariances are within `CLOSE` share a
place (`share_of_largest`). Clip-Cov draws by thresholds; a token on one may be drawn by one number of processes and
not by another, alone.
"""

from __future__ import annotations

import numpy as np
import torch

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.losses.policy import ppo
from agentgym.trainers.losses.ratios import anchored
from agentgym.trainers.losses.registry import Minibatch, PolicyTokens, TokenLosses, policy_loss
from agentgym.trainers.parameters import NonNegative, Positive, UnitInterval

CLOSE = 1e-3
"""Covariances within this are told apart by degrees."""

SAME = 1e-3
"""A log-ratio within this may be a difference of rounding between sampler and trainer: |log ρ| has no slope there."""


def token_covariances(minibatch: Minibatch) -> FloatArray:
    """Cov(y_k) of each token; -∞ of tokens that are not trained on. All means are over those that are."""
    trained = minibatch.trained_K
    covariance_K = np.full(len(trained), -np.inf)
    if trained.any():
        logp, advantage = minibatch.logprob_K[trained], minibatch.advantage_K[trained]
        covariance_K[trained] = (logp - logp.mean()) * (advantage - advantage.mean())
    return covariance_K


def _count(share: float, minibatch: Minibatch) -> int:
    """How many tokens a share of the trained ones is: rounded down, at least 1."""
    return max(int(share * minibatch.trained_K.sum()), 1)


def _choose_at_random(
    minibatch: Minibatch,
    *,
    clip_cov_ratio: float,
    clip_cov_lb: float,
    clip_cov_ub: float,
    epsilon: float,
    epsilon_high: float | None,
) -> dict[str, FloatArray]:
    covariance_K = token_covariances(minibatch)
    log_ratio_K, good = minibatch.unit_mean(minibatch.log_ratio_K), minibatch.advantage_K > 0
    high = epsilon if epsilon_high is None else epsilon_high
    ratio_K, bad = np.exp(log_ratio_K.clip(-20, 20)), minibatch.advantage_K < 0
    above_K = ratio_K > 1 + high * minibatch.clip_scale_K
    below_K = ratio_K < 1 - epsilon * minibatch.clip_scale_K
    clipped_K = (good & above_K) | (bad & below_K)
    candidates = np.flatnonzero((covariance_K > clip_cov_lb) & (covariance_K < clip_cov_ub) & ~clipped_K)
    lot_K = minibatch.rng.random(len(covariance_K))  # one for each token: no candidate changes another's
    chosen = candidates[np.argsort(lot_K[candidates])][: _count(clip_cov_ratio, minibatch)]
    detached_K = np.zeros(len(covariance_K))
    detached_K[chosen] = 1.0
    return {"detached_K": detached_K}


@policy_loss("clip_cov", paper="arXiv:2505.22617", constants=_choose_at_random)
def clip_cov(
    tokens: PolicyTokens,
    *,
    clip_cov_ratio: UnitInterval = 2e-4,
    clip_cov_lb: float = 1.0,
    clip_cov_ub: float = 5.0,
    epsilon: Positive = 0.2,
    epsilon_high: Positive | None = None,
) -> TokenLosses:
    """Clip-Cov: PPO without a few random tokens of high covariance (arXiv:2505.22617).

        L_k = 0 for ⌊r·N⌋ tokens (at least 1) drawn from those with ω_low < Cov(y_k) < ω_high, else L_ppo

    `clip_cov_ratio` r = 2e-4, `clip_cov_lb` ω_low = 1, `clip_cov_ub` ω_high = 5: the defaults of the authors' code
    in verl. Tokens that PPO has clipped are not drawn. The draw is seeded, and the same in all processes.
    `clipped_K` are the drawn tokens, as in verl.

    Paper and code: the authors' code takes means and draws in each micro-batch; here it is the minibatch (the
    paper's batch), so that the result does not depend on the memory at hand.
    """
    drawn_K = tokens.constants["detached_K"] > 0
    loss_K = ppo(tokens, epsilon=epsilon, epsilon_high=epsilon_high).loss_K
    return TokenLosses(torch.where(drawn_K, torch.zeros_like(loss_K), loss_K), drawn_K)


def share_of_largest(values: FloatArray, count: int) -> FloatArray:
    """How much each value belongs to the `count` largest: in [0, 1], together `count` (at most as many as are finite).

    min(max((v − τ)/CLOSE, 0), 1), with τ such that the sum is right: 1 for the largest and 0 for the others where
    there is a gap of `CLOSE`; equal values share what is left for them, and it is continuous in every value.
    """
    share = np.zeros(len(values))
    finite = np.flatnonzero(np.isfinite(values))
    if not count or len(finite) <= count:
        share[finite] = min(count, 1)
        return share
    low, high = values[finite].min() - CLOSE, values[finite].max()
    for _ in range(100):  # bisection to the last bit
        middle = (low + high) / 2
        share[finite] = ((values[finite] - middle) / CLOSE).clip(0, 1)
        low, high = (middle, high) if share.sum() > count else (low, middle)
    return share


def _choose_largest(minibatch: Minibatch, *, kl_cov_ratio: float, ppo_kl_coef: float) -> dict[str, FloatArray]:
    count = _count(kl_cov_ratio, minibatch) if kl_cov_ratio > 0 else 0
    return {"penalised_K": share_of_largest(token_covariances(minibatch), count)}


@policy_loss("kl_cov", paper="arXiv:2505.22617", constants=_choose_largest)
def kl_cov(tokens: PolicyTokens, *, kl_cov_ratio: UnitInterval = 2e-4, ppo_kl_coef: NonNegative = 1.0) -> TokenLosses:
    """KL-Cov: the unclipped surrogate, with a KL penalty on the tokens of highest covariance (arXiv:2505.22617).

        L_k = -ρ A + β |log ρ| for the ⌊k·N⌋ tokens (at least 1) of highest Cov(y_k), else -ρ A

    `kl_cov_ratio` k = 2e-4, `ppo_kl_coef` β = 1: the defaults of the authors' code in verl. `clipped_K` are the
    penalised tokens. Where |log ρ| ≤ 1e-3 the penalty has no gradient (before the first step it would be ±β by rounding
    alone); from there to twice that it comes in by degrees.

    Paper and code: the paper writes the KL divergence of π_old and π; the code, and we, take |log ρ| of the
    sampled token. The code ranks the tokens of each micro-batch, we rank those of the minibatch.
    """
    penalised_K, log_ratio_K = tokens.constants["penalised_K"], tokens.log_ratio_K
    distance_K = log_ratio_K.abs()
    slope_K = ((distance_K.detach() - SAME) / SAME).clamp(0, 1)
    penalty_K = anchored(distance_K.detach(), slope_K * distance_K)
    loss_K = -tokens.ratio_K * tokens.advantage_K + ppo_kl_coef * penalised_K * penalty_K
    return TokenLosses(loss_K, penalised_K)
