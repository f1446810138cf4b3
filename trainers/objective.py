"""What an update minimises: a policy loss with its ratio and aggregation, and the terms added to it.

    L_k = surrogate(ρ, A) + β·KL(π ‖ π_ref) − c_H·(H − smoothing)

`Objective.of(config)` resolves what the configuration leaves to the policy loss, and checks all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.losses import Aggregation, KLEstimator, Loss, RatioLevel, get_loss


@dataclass(frozen=True)
class Objective:
    """A checked choice of losses."""

    policy_loss: Loss
    policy_params: Mapping[str, Any]
    ratio_level: RatioLevel
    aggregation: Aggregation
    beta: float
    kl_estimator: KLEstimator
    entropy_coef: float
    smoothing: Loss | None
    """A regulariser of the entropy."""
    smoothing_params: Mapping[str, Any]
    num_iterations: int
    """Passes over an experience."""
    num_minibatches: int
    """Optimizer steps a pass."""
    starts_at: int
    """The training step that first moves the policy, from 0; signals learn before."""
    max_episode_tokens: int
    """The most tokens that an episode can sample, which "constant" aggregation divides by."""

    @classmethod
    def of(cls, config: TrainerConfig, max_episode_tokens: int) -> Objective:
        """The objective of a configuration.

        Raises `ValueError` in one line for losses and parameters that do not exist or do not fit together.
        """
        loss = get_loss(config.policy_loss, "policy")
        smoothing = get_loss(config.entropy_smoothing, "regulariser") if config.entropy_smoothing else None
        if smoothing is None and config.entropy_smoothing_kwargs:
            raise ValueError("entropy_smoothing_kwargs are given, but entropy_smoothing is null: set it to epo")
        if smoothing and config.entropy_coef == 0:
            raise ValueError(
                f"entropy_smoothing is {smoothing.name}, but entropy_coef is 0, which it is weighted by: "
                "set entropy_coef, to 0.001 for instance"
            )
        return cls(
            policy_loss=loss,
            policy_params=loss.check_parameters(_policy_params(config)),
            ratio_level=config.ratio_level or loss.ratio,
            aggregation=config.loss_aggregation or loss.aggregation,
            beta=config.beta,
            kl_estimator=config.kl_estimator,
            entropy_coef=config.entropy_coef,
            smoothing=smoothing,
            smoothing_params=smoothing.check_parameters(config.entropy_smoothing_kwargs) if smoothing else {},
            num_iterations=config.num_iterations,
            num_minibatches=config.num_minibatches,
            starts_at=config.critic_warmup,
            max_episode_tokens=max_episode_tokens,
        )

    @classmethod
    def of_cloning(cls, config: TrainerConfig, max_episode_tokens: int) -> Objective:
        """The objective of cloning: the mean negative log-likelihood, whatever the configuration says of losses."""
        fields = {"num_minibatches": config.num_minibatches, "loss_aggregation": config.loss_aggregation}
        return cls.of(TrainerConfig(policy_loss="reinforce", **fields), max_episode_tokens)

    @property
    def needs(self) -> tuple[str, ...]:
        """The signals that the loss takes as given."""
        return (*(("reference_logprob_K",) if self.beta > 0 else ()), *filter(None, [self.past_entropy]))

    @property
    def past_entropy(self) -> str | None:
        """The signal that entropies are compared with; None without smoothing."""
        return f"past_entropy.{self.smoothing_params['history']}_T" if self.smoothing else None

    @property
    def is_one_step(self) -> bool:
        """Whether an experience is learned from in one optimizer step, in which every ratio is 1."""
        return self.num_iterations * self.num_minibatches == 1

    @property
    def needs_present_policy(self) -> bool:
        """Whether the whole minibatch must be read under the present policy before its first gradient."""
        return self.policy_loss.needs_constants(self.ratio_level) or self.needs_turn_entropy

    @property
    def needs_turn_entropy(self) -> bool:
        """Whether entropies are averaged over turns, whose tokens may lie in several micro-batches."""
        return self.smoothing is not None and self.smoothing_params["mask_mode"] == "seq"


def _policy_params(config: TrainerConfig) -> dict[str, object]:
    """`policy_loss_kwargs` with `epsilon` and `epsilon_high`, which may be given in either place."""
    given = {"epsilon": config.epsilon, "epsilon_high": config.epsilon_high}
    given = {name: value for name, value in given.items() if value is not None}
    if twice := given.keys() & config.policy_loss_kwargs.keys():
        raise ValueError(f"{' and '.join(sorted(twice))} given twice: on its own and in policy_loss_kwargs")
    params: dict[str, object] = {**config.policy_loss_kwargs, **given}
    if "epsilon" in params:  # the upper half is the lower one unless it is given, whatever the loss's own is
        params.setdefault("epsilon_high", None)
    return params
