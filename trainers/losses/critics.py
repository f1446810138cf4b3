"""Losses of critics, for given targets: pure functions of tensors, each differentiable in its first argument(s)."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def clipped_value_loss(
    value_K: torch.Tensor, old_value_K: torch.Tensor, return_K: torch.Tensor, *, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """PPO's clipped value loss of each entry, and where the clip was active: both of shape (K,).

        L = ½ max((V − R)², (clip(V, V_old − ε, V_old + ε) − R)²)

    As in OpenAI's baselines, TRL and verl (0.5 included; HiPER's copy of verl is without); not in the PPO paper.
    Average it as wanted.
    """
    clipped_value_K = torch.minimum(torch.maximum(value_K, old_value_K - epsilon), old_value_K + epsilon)
    unclipped_K = (value_K - return_K).square()
    clipped_K = (clipped_value_K - return_K).square()
    return 0.5 * torch.maximum(unclipped_K, clipped_K), clipped_K > unclipped_K


def td_target(reward_T: torch.Tensor, done_T: torch.Tensor, next_value_T: torch.Tensor, gamma: float) -> torch.Tensor:
    """r + γ (1 − done) V̄(s'): what ArCHer's Q_j is regressed on, V̄ being the target critic's V_j (shape (T,))."""
    return reward_T + gamma * (1 - done_T) * next_value_T


def expectile_loss(value_T: torch.Tensor, target_T: torch.Tensor, *, expectile: float) -> torch.Tensor:
    """The loss whose minimum is an expectile of the targets (IQL, arXiv:2110.06169, eq. 5): shape (T,).

        L = |κ − 1[d ≤ 0]|·d²,  d = target − V

    `expectile` κ in (0, 1): 0.5 is half the squared error, and the nearer to 1, the nearer is V to the largest target.
    """
    difference_T = target_T - value_T
    weight_T = (expectile - (difference_T <= 0).to(difference_T)).abs()
    return weight_T * difference_T.square()


def archer_critic_losses(
    values: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor], *, expectile: float | None = None
) -> dict[str, torch.Tensor]:
    """ArCHer's critic losses (arXiv:2402.19446, eqs. 1 and 2): the mean squared error of each of Q1, Q2, V1, V2.

    `values` and `targets` have the same names. Q_j's target is `td_target` with the target critic's V_j, V_j's is the
    target critic's Q_j of an action that the present policy samples. Critic j learns from target critic j; there is
    no minimum over the two. The losses are summed for one optimizer step. `expectile`: V1 and V2 have the
    `expectile_loss` instead, for targets that are the target critic's Q_j of the actions taken.
    """
    if values.keys() != targets.keys():
        raise ValueError(f"values of {', '.join(values)}, but targets of {', '.join(targets)}")

    def loss_T(name: str, value_T: torch.Tensor) -> torch.Tensor:
        if expectile is not None and name.startswith("v"):
            return expectile_loss(value_T, targets[name], expectile=expectile)
        return (value_T - targets[name]).square()

    return {name: loss_T(name, value_T).mean() for name, value_T in values.items()}


def archer_actor_loss(logp_T: torch.Tensor, advantage_T: torch.Tensor) -> torch.Tensor:
    """ArCHer's actor loss, -mean_T A·Σ_l log π(a_l): `logp_T` is the sum of the turn's log-probabilities.

    Arguments of shape (T,). The mean is over turns; a turn's tokens are summed, there is neither ratio nor clip.
    """
    return -(advantage_T.detach() * logp_T).mean()


def archer_baseline_losses(
    logp_TL: torch.Tensor, baseline_TL: torch.Tensor, mask_TL: torch.Tensor, advantage_T: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """ArCHer's actor loss with a baseline b for each token, and the loss of that baseline.

        L_actor    = -mean_T Σ_l (A − sg[b_l]) log π(a_l)
        L_baseline = mean over all T·L cells of (A − b_l)²·mask

    `mask_TL`: 1 where a turn has a token. The official code divides the baseline's loss by all cells, masked or not.
    """
    deviation_TL = (advantage_T.detach()[:, None] - baseline_TL) * mask_TL
    actor = -(deviation_TL.detach() * logp_TL).sum(-1).mean()
    return actor, deviation_TL.square().mean()
