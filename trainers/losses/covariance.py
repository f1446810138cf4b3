"""Losses that keep the entropy up where a likely token gets a high advantage (arXiv:2505.22617).

The entropy falls with the covariance of log-probability and advantage over the N tokens of a minibatch, most of it
that of a few tokens:

    Cov(y_k) = (log π(y_k) − mean log π)·(A_k − mean A)

Both losses choose tokens by it: once for a minibatch, over all processes, before the first gradient.
"""

from __future__ import annotations

import numpy as np
import torch

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.losses.policy import ppo
from agentgym.trainers.losses.registry import Minibatch, PolicyTokens, TokenLosses, policy_loss
from agentgym.trainers.parameters import NonNegative, Positive, UnitInterval

DECIMALS = 4
"""Covariances are rounded, so that equal tokens stay equal however their log-probabilities were batched."""

SAME = 1e-3
"""A log-ratio within this is a difference of rounding between sampler and trainer: |log ρ| has no slope there."""


def token_covariances(minibatch: Minibatch) -> FloatArray:
    """Cov(y_k) of each token; -∞ of tokens that are not trained on. All means are over those that are."""
    trained = minibatch.trained_K
    covariance_K = np.full(len(trained), -np.inf)
    if trained.any():
        logp, advantage = minibatch.logprob_K[trained], minibatch.advantage_K[trained]
        covariance_K[trained] = np.round((logp - logp.mean()) * (advantage - advantage.mean()), DECIMALS)
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
    chosen = minibatch.rng.permutation(candidates)[: _count(clip_cov_ratio, minibatch)]
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


def _choose_largest(minibatch: Minibatch, *, kl_cov_ratio: float, ppo_kl_coef: float) -> dict[str, FloatArray]:
    covariance_K = token_covariances(minibatch)
    penalised_K = np.zeros(len(covariance_K))
    if kl_cov_ratio > 0 and minibatch.trained_K.any():
        largest = np.argsort(-covariance_K, kind="stable")[: _count(kl_cov_ratio, minibatch)]
        penalised_K[largest] = 1.0
    return {"penalised_K": penalised_K}


@policy_loss("kl_cov", paper="arXiv:2505.22617", constants=_choose_largest)
def kl_cov(tokens: PolicyTokens, *, kl_cov_ratio: UnitInterval = 2e-4, ppo_kl_coef: NonNegative = 1.0) -> TokenLosses:
    """KL-Cov: the unclipped surrogate, with a KL penalty on the tokens of highest covariance (arXiv:2505.22617).

        L_k = -ρ A + β |log ρ| for the ⌊k·N⌋ tokens (at least 1) of highest Cov(y_k), else -ρ A

    `kl_cov_ratio` k = 2e-4, `ppo_kl_coef` β = 1: the defaults of the authors' code in verl. `clipped_K` are the
    penalised tokens. Where |log ρ| ≤ 1e-3 there is no penalty: before the first step its slope would be ±β by
    rounding alone.

    Paper and code: the paper writes the KL divergence of π_old and π; the code, and we, take |log ρ| of the
    sampled token. The code ranks the tokens of each micro-batch, we rank those of the minibatch.
    """
    penalised_K = tokens.constants["penalised_K"] > 0
    surrogate_K = -tokens.ratio_K * tokens.advantage_K
    has_moved_K = tokens.log_ratio_K.abs() > SAME
    penalty_K = ppo_kl_coef * tokens.log_ratio_K.abs()
    return TokenLosses(torch.where(penalised_K & has_moved_K, surrogate_K + penalty_K, surrogate_K), penalised_K)
