"""Policy losses: what the ratio of the new to the old policy and the advantage make of a token.

All are negated objectives, to be minimised, of shape (K,) and differentiable. ρ is the ratio at the level that the
loss is used with, A the advantage, c a turn's clip scale (1 unless the credit scheme gives one). The clip range
[1 − ε·c, 1 + ε_high·c] has ε_high = ε unless it is given.
"""

from __future__ import annotations

import torch

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.losses.ratios import anchored
from agentgym.trainers.losses.registry import Minibatch, PolicyTokens, TokenLosses, policy_loss
from agentgym.trainers.parameters import NonNegative, Positive


def _clip(tokens: PolicyTokens, epsilon: float, epsilon_high: float | None) -> TokenLosses:
    """-min(ρ A, clip(ρ) A)."""
    low, high = tokens.clip_range(epsilon, epsilon_high)
    ratio_K = tokens.ratio_K
    unclipped_K = ratio_K * tokens.advantage_K
    clipped_K = ratio_K.clamp(low, high) * tokens.advantage_K  # type: ignore[arg-type]  # both floats, or tensors
    return TokenLosses(-torch.minimum(unclipped_K, clipped_K), clipped_K < unclipped_K)


def _nowhere(tokens: PolicyTokens) -> torch.Tensor:
    return torch.zeros_like(tokens.advantage_K, dtype=torch.bool)


@policy_loss("reinforce", paper="doi:10.1007/BF00992696")
def reinforce(tokens: PolicyTokens) -> TokenLosses:
    """Plain policy gradient without a ratio (Williams 1992): L = -A log π.

    For a single step on each batch, or as the baseline that ignores how far the policy has moved. "gpg" in verl.

    Paper and code: no difference known.
    """
    return TokenLosses(-tokens.advantage_K * tokens.logprob_K, _nowhere(tokens))


@policy_loss("awr", paper="arXiv:1910.00177")
def awr(tokens: PolicyTokens, *, temperature: Positive = 1.0, max_weight: Positive = 20.0) -> TokenLosses:
    """Advantage-weighted regression: likelihood of what turned out well, whoever did it (arXiv:1910.00177).

        L = -min(exp(A / β), w_max) log π

    For offline data, and for IQL's policies (arXiv:2110.06169, eq. 7, where 1/β is called β). No ratio: nothing need
    be known of the policy that acted. `max_weight` w_max 20 is the paper's, `temperature` β 1 OfflineArcher's.

    Paper and code: OfflineArcher's weights have no bound; exp A overflows where rewards are far from 1.
    """
    weight_K = (tokens.advantage_K / temperature).exp().clamp(max=max_weight)
    return TokenLosses(-weight_K * tokens.logprob_K, _nowhere(tokens))


@policy_loss("opmd", paper="arXiv:2601.03715")
def opmd(tokens: PolicyTokens, *, tau: NonNegative = 1.0) -> TokenLosses:
    """OPMD as R³L has it: the policy gradient without a ratio, scaled down (arXiv:2601.03715).

        L = -A log π/(1 + τ)

    For what was not sampled from the present policy's own prompt, such as a distilled retry: there is no ratio to go
    wrong, and nothing holds the policy back but the learning rate. `tau` τ = 1: the official code's.

    Paper and code: the official code's is compared; what the paper says of τ could not be read. AdamW takes no notice
    of a factor on the whole loss, but the gradient's clip, a KL term and an entropy bonus do.
    """
    return TokenLosses(-tokens.advantage_K * tokens.logprob_K / (1 + tau), _nowhere(tokens))


@policy_loss("ppo", paper="arXiv:1707.06347")
def ppo(tokens: PolicyTokens, *, epsilon: Positive = 0.2, epsilon_high: Positive | None = None) -> TokenLosses:
    """PPO's clipped surrogate (arXiv:1707.06347, eq. 7).

        L = -min(ρ A, clip(ρ, 1 − ε·c, 1 + ε_high·c) A)

    `epsilon` 0.2: the paper's; `epsilon_high`: DAPO's (arXiv:2503.14476, eq. 10; 0.28 there).

    Paper and code: verl's "vanilla" also clips from below where A < 0, which is `dual_clip` here. log ρ is
    clamped to ±20 as in verl; the paper does not.
    """
    return _clip(tokens, epsilon, epsilon_high)


@policy_loss("dual_clip", paper="arXiv:1912.09729")
def dual_clip(
    tokens: PolicyTokens,
    *,
    epsilon: Positive = 0.2,
    epsilon_high: Positive | None = None,
    dual_clip_c: Positive = 3.0,
) -> TokenLosses:
    """PPO's surrogate, bounded where a bad token has become much likelier (arXiv:1912.09729).

        L = L_ppo                  where A ≥ 0
        L = min(L_ppo, -c_dual A)  where A < 0

    `dual_clip_c` 3: the paper's and verl's; it should be greater than 1 + ε_high.

    Paper and code: no difference known between the paper and verl's "vanilla" loss, which this is.
    """
    if dual_clip_c <= 1:
        raise ValueError(f"dual_clip: dual_clip_c should be greater than 1, not {dual_clip_c:g}")
    loss_K, clipped_K, _ = _clip(tokens, epsilon, epsilon_high)
    bound_K = -dual_clip_c * tokens.advantage_K
    bounded_K = (tokens.advantage_K < 0) & (loss_K > bound_K)
    return TokenLosses(torch.where(bounded_K, bound_K, loss_K), clipped_K, bounded_K)


@policy_loss("gspo", paper="arXiv:2507.18071", ratio="sequence", aggregation="sequence-mean")
def gspo(tokens: PolicyTokens, *, epsilon: Positive = 3e-4, epsilon_high: Positive | None = 4e-4) -> TokenLosses:
    """GSPO: PPO's clip of the trajectory's ratio (arXiv:2507.18071, eqs. 5 and 7).

        s = (π(y)/π_old(y))^(1/|y|),   L = -min(s A, clip(s, 1 − ε·c, 1 + ε_high·c) A)

    Averaged over the tokens of a trajectory, then over trajectories. `epsilon` 3e-4 and `epsilon_high` 4e-4: the
    paper's (§5.1). With an advantage for each token it is the paper's GSPO-token (eqs. 13 and 14).

    Paper and code: the paper's y is one response; in a dialogue of several turns we take all sampled tokens of the
    trajectory. log s is clamped to at most 10 as in verl.
    """
    return _clip(tokens, epsilon, epsilon_high)


@policy_loss("turn_clip", paper="arXiv:2605.06200", ratio="turn")
def turn_clip(tokens: PolicyTokens, *, epsilon: Positive = 0.2, epsilon_high: Positive | None = None) -> TokenLosses:
    """PPO's clip of each turn's ratio, the geometric mean over the turn's tokens (A2TGPO, arXiv:2605.06200).

        s_t = (π(y_t)/π_old(y_t))^(1/|y_t|),   L = -min(s_t A, clip(s_t, 1 − ε·c_t, 1 + ε_high·c_t) A)

    What A2TGPO's clip scales c_t were made for. `epsilon` 0.2 is PPO's: the paper's value could not be established.

    Paper and code: the definition is known from a description of the paper only; no official code was compared.
    """
    return _clip(tokens, epsilon, epsilon_high)


@policy_loss("cispo", paper="arXiv:2506.13585")
def cispo(tokens: PolicyTokens, *, epsilon: Positive = 0.2, epsilon_high: Positive | None = None) -> TokenLosses:
    """CISPO: REINFORCE weighted by the clipped ratio, so that no token loses its gradient (arXiv:2506.13585, eq. 4).

        L = -sg[clip(ρ, 1 − ε·c, 1 + ε_high·c)] A log π

    Paper and code: the paper has no lower bound (any `epsilon` ≥ 1 here) and does not tell its ε_high; the
    defaults are verl's. No official code was found.
    """
    low, high = tokens.clip_range(epsilon, epsilon_high)
    ratio_K = tokens.ratio_K.detach()
    weight_K = ratio_K.clamp(low, high)  # type: ignore[arg-type]  # both floats, or tensors
    return TokenLosses(-weight_K * tokens.advantage_K * tokens.logprob_K, weight_K != ratio_K)


@policy_loss("sapo", paper="arXiv:2511.20347", aggregation="sequence-mean")
def sapo(tokens: PolicyTokens, *, tau_pos: Positive = 1.0, tau_neg: Positive = 1.05) -> TokenLosses:
    """SAPO: a soft gate instead of a clip (arXiv:2511.20347, eqs. 5 and 6).

        L = -4/τ·σ(τ (ρ − 1)) A,   τ = τ_pos where A > 0, else τ_neg

    `tau_pos` 1 and `tau_neg` 1.05: the paper's and verl's.

    Paper and code: no difference known between the paper and verl.
    """
    positive = torch.full_like(tokens.advantage_K, tau_pos)
    tau_K = torch.where(tokens.advantage_K > 0, positive, torch.full_like(positive, tau_neg))
    gate_K = torch.sigmoid(tau_K * (tokens.ratio_K - 1)) * (4 / tau_K)
    return TokenLosses(-gate_K * tokens.advantage_K, _nowhere(tokens))


def _geometric_means(minibatch: Minibatch, *, epsilon: float, epsilon_high: float | None) -> dict[str, FloatArray]:
    high = epsilon if epsilon_high is None else epsilon_high
    scale_K = minibatch.clip_scale_K
    log_ratio_K = minibatch.log_ratio_K
    clamped_K = log_ratio_K.clip(-epsilon * scale_K, high * scale_K)
    good, bad = minibatch.advantage_K > 0, minibatch.advantage_K < 0
    held_K = good * log_ratio_K.clip(max=clamped_K) + bad * log_ratio_K.clip(min=clamped_K)
    return {
        "clipped_log_ratio_K": minibatch.unit_mean(held_K),
        "unit_advantage_K": minibatch.unit_mean(minibatch.advantage_K),
    }


@policy_loss(
    "gmpo", paper="arXiv:2507.20673", ratio="sequence", aggregation="sequence-mean", constants=_geometric_means
)
def gmpo(tokens: PolicyTokens, *, epsilon: Positive = 0.4, epsilon_high: Positive | None = None) -> TokenLosses:
    """GMPO: the geometric mean of a trajectory's clipped token ratios (arXiv:2507.20673).

        m_k = sign(A)·min(sign(A) log ρ_k, sign(A) clip(log ρ_k, -ε·c, ε_high·c))
        L   = -mean(A)·exp(mean m_k)

    The means are over the trajectory's tokens; `epsilon` 0.4, in log ρ: the paper's range (e^-0.4, e^0.4).

    Paper and code: no difference known. Both expect one advantage for a trajectory; with others their mean is
    taken, as in verl.
    """
    high = epsilon if epsilon_high is None else epsilon_high
    log_ratio_K, advantage_K = tokens.token_log_ratio_K, tokens.advantage_K
    low_K, high_K = -epsilon * tokens.clip_scale_K, high * tokens.clip_scale_K
    clamped_K = log_ratio_K.clamp(low_K, high_K)  # type: ignore[arg-type]  # both floats, or tensors
    sign_K = advantage_K.sign()
    held_K = sign_K * torch.minimum(sign_K * log_ratio_K, sign_K * clamped_K)
    mean_K = anchored(tokens.constants["clipped_log_ratio_K"], held_K)
    return TokenLosses(-tokens.constants["unit_advantage_K"] * mean_K.exp(), clamped_K != log_ratio_K)
