"""OREO: a policy and a critic that satisfy the soft Bellman equation on trajectories of anybody's."""

from __future__ import annotations

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import discounted_returns, response_rewards
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import Positive


@credit(
    "oreo",
    paper="arXiv:2412.16145",
    needs=["tokens", "value_K", "policy_logprob_K", "reference_logprob_K"],
    granularity="token",
)
def oreo(batch: TurnBatch, *, temperature: Positive = 0.03) -> Credit:
    """OREO: the residual of the soft Bellman equation at each token (arXiv:2412.16145).

        d_k = log π_k − log π_ref,k
        target of V_k = G_k − β·Σ_{j≥k} d_j
        A_k = 2β·(target of V_k − V_k)

    G_k is the undiscounted reward from token k on, V_k the critic's value before the token. With the policy loss
    `reinforce`, A_k gives the gradient of (V_k − target of V_k)² with respect to log π_k alone, the other terms held:
    the paper's policy loss. Where the residual is 0 everywhere, π ∝ π_ref·exp(Q/β).

    - `temperature` β = 0.03: the official script's.

    For offline data (`trainer: offline`), with `policy_loss: reinforce` and `loss_aggregation: sequence-mean`, as in
    the official code, whose regularisation α·KL(π ‖ π_ref), α = 0.01, is the run's `beta`. No groups are compared.

    Paper and code: this is the token-level agent with the code's "dro" loss, in which only the token's own log-ratio
    has a gradient ("step_level"); with rewards at the end of the episode alone G_k is the code's R. The code's KL is
    that of whole distributions, `beta` weighs an estimate on the tokens.
    """
    log_ratio_K = batch.signal("policy_logprob_K") - batch.signal("reference_logprob_K")
    soft_reward_K = response_rewards(batch, 0.0) - temperature * log_ratio_K
    target_K = discounted_returns(soft_reward_K, batch.token_offsets_N, 1.0)
    residual_K = target_K - batch.signal("value_K")
    return Credit(
        advantage_K=2 * temperature * residual_K,
        targets={"value_K": target_K},
        parts={"log_ratio_K": log_ratio_K, "residual_K": residual_K},
    )
