"""Losses: which **ratio** × which **surrogate** × which **aggregation**, and the terms added to them.

- `ratios`: the ratio of the new policy to the old, of a token, a turn or a trajectory;
- `policy`, `covariance`: what is made of ratio and advantage; `policy_loss` registers one, `losses()` lists all;
- `aggregation`: what is averaged over what;
- `regularisers`: KL estimators, entropy smoothing; `critics`, `implicit_rewards`, `progress`: losses of other models.

Shapes: `_K` sampled tokens, `_T` turns, `_N` trajectories.
"""

from agentgym.trainers.choices import Aggregation, KLEstimator, RatioLevel
from agentgym.trainers.losses import covariance, policy  # noqa: F401  (importing a module registers its losses)
from agentgym.trainers.losses.aggregation import token_weights, weight_total
from agentgym.trainers.losses.registry import (
    Loss,
    Minibatch,
    PolicyTokens,
    TokenLosses,
    get_loss,
    losses,
    policy_loss,
    regulariser,
)
from agentgym.trainers.losses.regularisers import kl_to_reference

__all__ = [
    "Aggregation",
    "KLEstimator",
    "Loss",
    "Minibatch",
    "PolicyTokens",
    "RatioLevel",
    "TokenLosses",
    "get_loss",
    "kl_to_reference",
    "losses",
    "policy_loss",
    "regulariser",
    "token_weights",
    "weight_total",
]
