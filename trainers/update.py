"""One optimizer step on a minibatch of trajectories, exact over micro-batches and processes.

The loss is a weighted sum over tokens divided by a total that all processes agree on. Every micro-batch and
every process adds its share of the gradient, and the shares are summed: how tokens are dealt out does not
matter, and every process takes part in the same collective operations however many turns it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.losses import clipped_policy_loss, kl_to_reference, token_weights
from agentgym.trainers.metrics import Sums
from agentgym.trainers.sequences import (
    SequenceBatch,
    TokenSequence,
    build_sequences,
    micro_batches,
    sampled_logits,
)


@dataclass(frozen=True)
class TokenData:
    """The sampled tokens of some trajectories, in their order, and what the loss needs of each."""

    batch: SequenceBatch
    advantage_K: NDArray[np.float64]
    weight_K: NDArray[np.float64]
    sampler_logp_K: NDArray[np.float64]
    """The engine's log-probabilities, from when the tokens were drawn."""
    n_trajectories: int
    """Trajectories that have tokens."""
    retokenized: int
    """Sampled tokens that would not be trained on as they were sampled. Must be 0."""
    old_logp_K: NDArray[np.float64] | None = None
    """What the ratios are taken to; None where the update is one step: then every ratio is 1."""
    reference_logp_K: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        trajectories: Sequence[Trajectory],
        advantage_K: NDArray[np.float64],
        config: TrainerConfig,
        max_tokens: int,
    ) -> TokenData:
        """Lay out `trajectories`; `advantage_K` and `max_tokens`: see `token_weights`."""
        batch = build_sequences(trajectories)
        trajectory_K = np.repeat(
            np.arange(len(trajectories)), [sum(len(u.response_ids) for u in t.turns) for t in trajectories]
        )
        turns = [turn for trajectory in trajectories for turn in trajectory.turns]
        return cls(
            batch,
            advantage_K,
            weight_K=token_weights(trajectory_K, config.loss_aggregation, max_tokens=max_tokens),
            sampler_logp_K=np.array([logp for turn in turns for logp in turn.logprobs]),
            n_trajectories=len(np.unique(trajectory_K)),
            retokenized=count_retokenized(batch, [i for turn in turns for i in turn.response_ids]),
        )


def count_retokenized(batch: SequenceBatch, sampled_ids: Sequence[int]) -> int:
    """How many sampled tokens are another token in the sequences to be trained on.

    Raises `RuntimeError` if one has no place or two.
    """
    if len(batch.token_K) != len(sampled_ids):
        raise RuntimeError(f"{len(sampled_ids)} tokens were sampled, {len(batch.token_K)} would be trained on")
    return int((batch.token_K != np.array(sampled_ids, np.int64)).sum())


@dataclass(frozen=True)
class _MicroBatch:
    """A few sequences, and the tokens that have their slots in them."""

    sequences: list[TokenSequence]
    index_K: NDArray[np.int64]
    """Which of the minibatch's tokens these are."""
    slot_K: NDArray[np.int64]
    """Each token's slot among the slots of `sequences`."""
    token_K: NDArray[np.int64]
    """Each token's id."""

    def drawn(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`slot_K` and `token_K` on the device of `like`: where in (slots, vocabulary) each token was drawn."""
        return torch.from_numpy(self.slot_K).to(like.device), torch.from_numpy(self.token_K).to(like.device)

    def pick(self, values_K: NDArray[np.float64], like: torch.Tensor) -> torch.Tensor:
        """The tokens' values as a tensor of `like`'s kind."""
        return torch.from_numpy(values_K[self.index_K]).to(like)


def _split(batch: SequenceBatch, max_tokens: int) -> Iterator[_MicroBatch]:
    offsets = batch.slot_offsets
    sequence_K = np.searchsorted(offsets, batch.slot_K, side="right") - 1
    for chosen in micro_batches(batch.sequences, max_tokens):
        starts = np.full(len(batch.sequences), -1)
        starts[chosen] = np.cumsum([0, *(len(batch.sequences[i].sampled) for i in chosen[:-1])])
        index_K = np.flatnonzero(starts[sequence_K] >= 0)
        of = sequence_K[index_K]
        slot_K = starts[of] + batch.slot_K[index_K] - offsets[of]
        yield _MicroBatch([batch.sequences[i] for i in chosen], index_K, slot_K, batch.token_K[index_K])


def log_probabilities(model: Any, batch: SequenceBatch, *, max_tokens: int, temperature: float) -> NDArray[np.float64]:
    """The log-probability of every sampled token under `model`, without gradient or dropout: shape (K,)."""
    logp_K = np.zeros(len(batch.slot_K))
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for micro in _split(batch, max_tokens):
            logits, _ = sampled_logits(model, micro.sequences, temperature=temperature)
            log_probs = torch.log_softmax(logits, dim=-1)
            logp_K[micro.index_K] = log_probs[micro.drawn(log_probs)].double().cpu().numpy()
    model.train(was_training)
    return logp_K


def accumulate_gradient(
    model: Any, data: TokenData, total: float, config: TrainerConfig, *, temperature: float
) -> Sums:
    """Add this process's share of the minibatch's gradient to the parameters; return sums for metrics.

    `total`: what the weighted sum of token losses is divided by, over all processes.
    """
    sums = Sums()
    sums["retokenized"] = data.retokenized
    for micro in _split(data.batch, config.max_tokens_per_micro_batch):
        logits, _ = sampled_logits(model, micro.sequences, temperature=temperature)
        log_probs = torch.log_softmax(logits, dim=-1)
        slot_K, token_K = micro.drawn(log_probs)
        logp_K = log_probs[slot_K, token_K]
        old_logp_K = logp_K.detach() if data.old_logp_K is None else micro.pick(data.old_logp_K, log_probs)
        loss_K, clipped_K = clipped_policy_loss(
            logp_K,
            old_logp_K,
            micro.pick(data.advantage_K, log_probs),
            epsilon=config.epsilon,
            epsilon_high=config.epsilon_high,
        )
        if data.reference_logp_K is not None:
            kl_K = kl_to_reference(logp_K, micro.pick(data.reference_logp_K, log_probs))
            loss_K = loss_K + config.beta * kl_K
            sums["kl"] += kl_K.sum().item()
        with torch.set_grad_enabled(config.entropy_coef > 0):
            entropy_K = -(log_probs.exp() * log_probs).sum(-1)[slot_K]
        loss_K = loss_K - config.entropy_coef * entropy_K

        loss = (micro.pick(data.weight_K, log_probs) * loss_K).sum() / total
        loss.backward()  # type: ignore[no-untyped-call]

        difference_K = (logp_K.detach() - micro.pick(data.sampler_logp_K, log_probs)).abs()
        sums["tokens"] += len(micro.index_K)
        sums["loss"] += loss.item()
        sums["entropy"] += entropy_K.sum().item()
        sums["clipped"] += int(clipped_K.sum())
        sums["compared"] += len(micro.index_K)
        sums["logp_difference"] += difference_K.sum().item()
        sums["logp_difference_max"] = max(sums["logp_difference_max"], difference_K.max().item())
    return sums


def sum_gradients(accelerator: Accelerator, parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes, in one collective operation."""
    if accelerator.num_processes == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="sum")
    for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter)
