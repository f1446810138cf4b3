"""Policy-gradient losses: one value a token, and the weights that make them one number.

Shapes: `_K` sampled tokens. Losses are per token and differentiable in `logp_K`; what is averaged over what
is an orthogonal choice (`token_weights`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Aggregation: TypeAlias = Literal["token-mean", "sequence-mean", "constant"]


def clipped_policy_loss(
    logp_K: torch.Tensor,
    old_logp_K: torch.Tensor,
    advantage_K: torch.Tensor,
    *,
    epsilon: float,
    epsilon_high: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """PPO's clipped surrogate (arXiv:1707.06347, eq. 7), negated, for each token.

    L = -min(ρ A, clip(ρ, 1-ε, 1+ε_high) A) with ρ = π/π_old; `epsilon_high` is ε unless given (DAPO,
    arXiv:2503.14476, eq. 10). Returns the losses and where the clip was active (both of shape (K,)).
    """
    high = epsilon if epsilon_high is None else epsilon_high
    ratio_K = (logp_K - old_logp_K).exp()
    unclipped_K = ratio_K * advantage_K
    clipped_K = ratio_K.clamp(1 - epsilon, 1 + high) * advantage_K
    return -torch.minimum(unclipped_K, clipped_K), clipped_K < unclipped_K


def kl_to_reference(logp_K: torch.Tensor, reference_logp_K: torch.Tensor) -> torch.Tensor:
    """The estimator k3 of KL(π ‖ π_ref) for each token: r - 1 - log r with r = π_ref/π.

    Unbiased and never negative (http://joschu.net/blog/kl-approx.html); the form GRPO uses
    (arXiv:2402.03300, eq. 4).
    """
    log_ratio_K = reference_logp_K - logp_K
    return log_ratio_K.exp() - 1 - log_ratio_K


def token_weights(trajectory_K: NDArray[np.int64], aggregation: Aggregation, *, max_tokens: int) -> NDArray[np.float64]:
    """The weight of each token in the loss, before division by `weight_total`.

    `trajectory_K` numbers each token's trajectory. "token-mean": every token counts alike (DAPO).
    "sequence-mean": every trajectory counts alike, its tokens share its weight (GRPO, arXiv:2402.03300,
    eq. 3). "constant": every token counts 1/`max_tokens`, the most a trajectory can have, so that neither
    long nor short ones are favoured (Dr. GRPO, arXiv:2503.20783).
    """
    if aggregation == "token-mean":
        return np.ones(len(trajectory_K))
    if aggregation == "sequence-mean":
        return 1.0 / np.bincount(trajectory_K)[trajectory_K]
    return np.full(len(trajectory_K), 1.0 / max_tokens)


def weight_total(n_tokens: int, n_trajectories: int, aggregation: Aggregation) -> int:
    """What the weighted sum is divided by: tokens for the token mean, else trajectories."""
    return n_tokens if aggregation == "token-mean" else n_trajectories
