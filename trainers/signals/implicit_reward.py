"""Implicit rewards: a second language model whose log-ratio to a reference is the reward of what was written.

    q_l = log π_φ(a_l | ·) − log π_ref(a_l | ·)

π_φ is trained on outcomes alone (arXiv:2412.01981): where its loss is smallest, the reward β·Σ q tells how the
outcome's odds changed with each token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import discounted_returns
from agentgym.trainers.experience import Experience
from agentgym.trainers.losses.implicit_rewards import (
    mean_step_rewards,
    preference_margins,
    prime_cross_entropy,
    prime_token_rewards,
    trajectory_dpo,
)
from agentgym.trainers.metrics import Sums
from agentgym.trainers.minibatches import deal
from agentgym.trainers.parameters import Positive
from agentgym.trainers.parts import Learner
from agentgym.trainers.policy import logprob
from agentgym.trainers.segments import segment_sum
from agentgym.trainers.signals.second_model import SecondModel
from agentgym.trainers.signals.signal import Resources, Signal

Count = Annotated[int, Field(ge=1, description="≥ 1")]
ReferenceName: TypeAlias = Literal["policy", "base"]
Order: TypeAlias = Literal["before", "after"]


class ImplicitReward(Signal):
    """What iStar's and PRIME's reward models have in common. A subclass has the loss and the columns.

    The loss compares whole trajectories, whose turns may lie in several passes. Its gradient is exact all the same: the
    weights ∂L/∂q_l come of a reading without gradient, and each pass differentiates Σ (∂L/∂q_l)·log π_φ(a_l).
    """

    own_reference: ClassVar[ReferenceName]
    """The method's, where the configuration names no other."""
    own_order: ClassVar[Order]
    """The method's, likewise."""

    def __init__(
        self,
        resources: Resources,
        wanted: frozenset[str],
        *,
        beta: Positive = 0.05,
        reference: ReferenceName | None = None,
        order: Order | None = None,
        model: str | None = None,
        lora_r: Count | None = None,
        learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None,
        num_minibatches: Count = 1,
        max_grad_norm: Positive = 10.0,
    ):
        """`model`: π_φ's, by default the policy's base; `lora_r`: its adapter's rank, by default that of the policy's.

        `reference`: π_ref is the policy that acts, or the base that π_φ adapts, `model` where it has one of its own.
        `order`: whether a step is learned from before it is scored, or after. For both each method has its own.
        `beta` 0.05 and `max_grad_norm` 10: the official codes'. `learning_rate`: by default twice the policy's, as
        theirs is. A reward model that is slower than the policy falls behind it, and with the policy as its reference
        its rewards are then against whatever the policy has just learned (`reward_model/accuracy` falls below ½).
        `num_minibatches`: optimizer steps a training step. Raises `ValueError` in one line for a
        `model` that cannot be loaded or has another tokenizer.
        """
        super().__init__(resources, wanted)
        self.fits = order or self.own_order
        self.reference_column = self._reference_column({"reference": reference, "model": model})
        self.beta, self.num_minibatches = beta, num_minibatches
        self.model = SecondModel(resources, "reward", model=model, lora_r=lora_r)
        self.learner = Learner(
            self.model.parameters,
            resources.processes,
            learning_rate=learning_rate or 2 * resources.learning_rate,
            num_steps=resources.max_steps * num_minibatches,
            max_grad_norm=max_grad_norm,
        )

    @classmethod
    def needs_of(cls, params: Mapping[str, Any]) -> tuple[str, ...]:
        """See `Signal.needs_of`."""
        column = cls._reference_column(params)
        return cls.needs if column is None else (column, *cls.needs)

    @classmethod
    def _reference_column(cls, params: Mapping[str, Any]) -> str | None:
        """The column with log π_ref; None where it is that of a base that the policy does not share."""
        if (params.get("reference") or cls.own_reference) == "policy":
            return "policy_logprob_K"
        return "reference_logprob_K" if params.get("model") is None else None

    def log_ratio(self, experience: Experience) -> FloatArray:
        """q, in nats: shape (K,)."""
        logprob_K = self.model.read(experience.layout, {"logprob": logprob})["logprob"]
        if self.reference_column is None:
            return logprob_K - self.model.read_base(experience.layout, {"logprob": logprob})["logprob"]
        return logprob_K - experience.batch.signal(self.reference_column)

    def loss(self, q_K: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
        """The mean loss of `n_terms(batch)` terms: a scalar, differentiable in q."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def n_terms(self, batch: TurnBatch) -> int:
        """How many terms the loss is the mean of."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def accuracy(self, q_K: FloatArray, batch: TurnBatch) -> float:
        """How many of the terms, on average, the rewards are on the right side of: a sum."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def largest(self, q_K: FloatArray, batch: TurnBatch) -> float:
        """The largest size of what the scheme divides the rewards by."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def fit(self, experience: Experience, targets: Mapping[str, FloatArray]) -> dict[str, float]:
        """Learn from the outcomes of a step. A minibatch without a term, in any process, changes nothing."""
        processes, sums, largest = self.resources.processes, Sums(), 0.0
        purpose = (self.resources.seed, experience.step, "reward")
        sums.add(_outcomes(experience.batch))
        for minibatch in deal(experience, processes, 1, self.num_minibatches, purpose):
            own = self.n_terms(minibatch.batch)
            total = sum(processes.gather(own))
            q_K = torch.from_numpy(self.log_ratio(minibatch)).requires_grad_()
            loss = self.loss(q_K, minibatch.batch) * (own / max(total, 1))
            (weight_K,) = torch.autograd.grad(loss, q_K)
            if total:
                sums["grad_norm"] += self.learner.step(self._losses(minibatch, weight_K.numpy()))
                sums["steps"] += 1
            sums["loss"] += loss.item() * total
            sums["right"] += self.accuracy(q_K.detach().numpy(), minibatch.batch)
            sums["terms"] += own
            largest = max(largest, self.largest(q_K.detach().numpy(), minibatch.batch))
        return self._metrics(sums, largest)

    def _losses(self, minibatch: Experience, weight_K: FloatArray) -> Iterator[torch.Tensor]:
        for each in self.model.passes(minibatch.layout):
            yield (each.pick(weight_K) * each.logprob_K).sum()

    def _metrics(self, own: Sums, largest: float) -> dict[str, float]:
        """Over all processes; but for the gradient's norm, each minibatch's before it was learned from."""
        gathered, sums = self.resources.processes.gather((own, largest)), Sums()
        for part, _ in gathered:
            sums.add(part)
        terms = max(sums["terms"], 1)
        return {
            "reward_model/loss": sums["loss"] / terms,
            "reward_model/accuracy": sums["right"] / terms,
            "reward_model/terms": sums["terms"],
            "reward_model/groups_with_pairs": sums["groups_with_pairs"] / max(sums["groups"], 1),
            "reward_model/largest": max(largest for _, largest in gathered),
            "reward_model/grad_norm": own["grad_norm"] / max(own["steps"], 1),
        }

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {"adapter": self.model.state_dict(), "learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        self.model.load_state_dict(state["adapter"])
        self.learner.load_state_dict(state["learner"])


def _outcomes(batch: TurnBatch) -> dict[str, float]:
    """How many groups there are, and in how many both a success and a failure."""
    won_N = batch.flags("success_N")
    with_pairs = np.intersect1d(batch.group_N[won_N], batch.group_N[~won_N])
    return {"groups": len(np.unique(batch.group_N)), "groups_with_pairs": len(with_pairs)}


class ImplicitStepReward(ImplicitReward):
    """iStar's reward model (arXiv:2509.19199): preferences between trajectories of a task; the reference moves.

    `implicit_reward_T` = β·Σ q over the turn's tokens. The reference is the policy that acts, as in the official code.
    Each step is scored by the model that earlier steps have trained, and then learned from: `trajectory_dpo` on all
    pairs of a success and a failure of a group. In the released code that loss is detached from the model, which never
    learns; here it is not.
    """

    gives = ("implicit_reward_T",)
    needs = ("success_N",)
    own_reference = "policy"
    own_order = "after"

    def compute(self, experience: Experience) -> Mapping[str, NDArray[Any]]:
        """Shape (T,), in nats times β."""
        batch = experience.batch
        return {"implicit_reward_T": self.beta * segment_sum(self.log_ratio(experience), batch.turn_K, batch.n_turns)}

    def loss(self, q_K: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
        """See `losses.implicit_rewards.trajectory_dpo`."""
        success_N = torch.from_numpy(batch.flags("success_N"))
        return trajectory_dpo(self._step_rewards(q_K, batch), batch.turn_offsets_N, batch.group_N, success_N)

    def n_terms(self, batch: TurnBatch) -> int:
        """The pairs."""
        return len(self._margins(torch.zeros(batch.n_tokens), batch))

    def accuracy(self, q_K: FloatArray, batch: TurnBatch) -> float:
        """The pairs in which the success has the higher reward; half of those with equal ones."""
        margin_P = self._margins(torch.from_numpy(q_K), batch)
        return float((margin_P > 0).sum() + 0.5 * (margin_P == 0).sum())

    def largest(self, q_K: FloatArray, batch: TurnBatch) -> float:
        """Of a turn's reward."""
        return float(self.beta * np.abs(segment_sum(q_K, batch.turn_K, batch.n_turns)).max(initial=0.0))

    def _step_rewards(self, q_K: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
        return q_K.new_zeros(batch.n_turns).index_add(0, torch.from_numpy(batch.turn_K), self.beta * q_K)

    def _margins(self, q_K: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
        """By how much the success of each pair has the higher mean reward: shape (pairs,)."""
        mean_N = mean_step_rewards(self._step_rewards(q_K, batch), batch.turn_offsets_N)
        has_turns_N = batch.n_turns_N > 0
        won_N = torch.from_numpy(batch.flags("success_N"))[has_turns_N]
        return preference_margins(mean_N[has_turns_N], batch.group_N[has_turns_N], won_N)


class ImplicitTokenReward(ImplicitReward):
    """PRIME's reward model (arXiv:2502.01456): cross-entropy of the outcome, against the model before training.

    `implicit_reward_K` = β·q, 0 on the last token of each trajectory, as in the official recipe. Each step is learned
    from before it is scored, which is the recipe's order ("before").
    """

    gives = ("implicit_reward_K",)
    needs = ("success_N",)
    own_reference = "base"
    own_order = "before"

    def compute(self, experience: Experience) -> Mapping[str, NDArray[Any]]:
        """Shape (K,), in nats times β."""
        q_K = torch.from_numpy(self.log_ratio(experience))
        return {"implicit_reward_K": prime_token_rewards(q_K, experience.batch.token_offsets_N, beta=self.beta).numpy()}

    def loss(self, q_K: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
        """See `losses.implicit_rewards.prime_cross_entropy`."""
        q_N = q_K.new_zeros(batch.n_trajectories).index_add(0, torch.from_numpy(batch.trajectory_K), q_K)
        outcome_N = torch.from_numpy(batch.signal("success_N"))
        return prime_cross_entropy(q_N, outcome_N, beta=self.beta) if len(q_N) else q_K.sum() * 0.0

    def n_terms(self, batch: TurnBatch) -> int:
        """The trajectories."""
        return batch.n_trajectories

    def accuracy(self, q_K: FloatArray, batch: TurnBatch) -> float:
        """The trajectories whose reward has the sign of their outcome; half of those without reward."""
        q_N = segment_sum(q_K, batch.trajectory_K, batch.n_trajectories)
        sign_N = np.where(batch.flags("success_N"), q_N, -q_N)
        return float((sign_N > 0).sum() + 0.5 * (sign_N == 0).sum())

    def largest(self, q_K: FloatArray, batch: TurnBatch) -> float:
        """Of the rewards from some token to the end of its trajectory."""
        reward_K = prime_token_rewards(torch.from_numpy(q_K), batch.token_offsets_N, beta=self.beta).numpy()
        return float(np.abs(discounted_returns(reward_K, batch.token_offsets_N, 1.0)).max(initial=0.0))
