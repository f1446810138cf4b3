"""One optimizer step on a minibatch of trajectories, exact over micro-batches and processes.

The loss is a weighted sum over tokens divided by a total that all processes agree on. Every micro-batch and
every process adds its share of the gradient, and the shares are summed: how tokens are dealt out does not
matter, and every process takes part in the same collective operations however many turns it has. What a loss must
know of tokens that lie elsewhere, it is told as constants (`with_constants`) before the first gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from agentgym.trainers.batch import FloatArray
from agentgym.trainers.losses import Minibatch, PolicyTokens, kl_to_reference
from agentgym.trainers.losses.ratios import anchored, unit_mean
from agentgym.trainers.losses.regularisers import EntropyHistory, EntropyTokens
from agentgym.trainers.metrics import Sums
from agentgym.trainers.objective import Objective
from agentgym.trainers.scoring import MicroBatch, logprob_of_token, read_tokens, sampled_logits, split
from agentgym.trainers.signals.entropy import entropy
from agentgym.trainers.token_data import TokenData

TURN_ENTROPY = "turn_entropy_K"
"""The statistic that entropy smoothing over turns needs: the mean entropy of the token's turn."""


def with_constants(
    model: Any,
    data: TokenData,
    objective: Objective,
    *,
    max_tokens: int,
    temperature: float,
    seed: int,
    accelerator: Accelerator | None = None,
) -> TokenData:
    """`data` with what the objective must know of the whole minibatch under the present policy.

    One pass without gradient, if anything is to be known; not even that where every ratio is 1. To be called by all
    processes, before the first gradient of the minibatch. `seed`: for losses that draw tokens, the same in all.
    `accelerator`: of the processes that share the minibatch; none if there is one.
    """
    if not objective.needs_present_policy:
        return data
    readings = {} if data.old_logprob_K is None else {"logp": logprob_of_token}
    readings |= {"entropy": entropy} if objective.needs_turn_entropy else {}
    read: dict[str, FloatArray] = {}
    if readings:
        read = read_tokens(model, data.batch, readings, max_tokens=max_tokens, temperature=temperature)
    logprob_K = read.get("logp", data.sampler_logprob_K)
    log_ratio_K = np.zeros(len(logprob_K)) if data.old_logprob_K is None else logprob_K - data.old_logprob_K
    rng = np.random.default_rng(seed)
    constants = _policy_constants(data, objective, logprob_K, log_ratio_K, rng, accelerator)
    if "entropy" in read:
        constants[TURN_ENTROPY] = unit_mean(read["entropy"], data.turn_K, data.credit.trained_K)
    return replace(data, constants=constants)


def _policy_constants(
    data: TokenData,
    objective: Objective,
    logprob_K: FloatArray,
    log_ratio_K: FloatArray,
    rng: np.random.Generator,
    accelerator: Accelerator | None,
) -> dict[str, FloatArray]:
    """The policy loss's constants of this process's tokens, from those of all processes in the order of groups."""
    loss, level = objective.policy_loss, objective.ratio_level
    if not loss.needs_constants(level):
        return {}
    unit_K = {"token": np.arange(len(logprob_K)), "turn": data.turn_K, "sequence": data.trajectory_K}[level]
    credit = data.credit
    scale_K = np.ones(len(logprob_K)) if credit.clip_scale_K is None else credit.clip_scale_K
    own = (data.group_K, unit_K, logprob_K, log_ratio_K, credit.advantage_K, credit.trained_K, scale_K)
    parts, process = ([own], 0) if accelerator is None else (gather_object([own]), accelerator.process_index)

    group_K, _, logp, log_ratio, advantage, trained, scale = map(np.concatenate, zip(*parts, strict=True))
    first_units = np.cumsum([0, *(int(part[1].max(initial=-1)) + 1 for part in parts)])
    unit = np.concatenate([part[1] + first for part, first in zip(parts, first_units[:-1], strict=True)])
    order = np.argsort(group_K, kind="stable")
    minibatch = Minibatch(
        logp[order], log_ratio[order], advantage[order], unit[order], trained[order], scale[order], rng
    )
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    first = sum(len(part[0]) for part in parts[:process])
    mine = place[first : first + len(logprob_K)]
    found = loss.minibatch_constants(minibatch, level, objective.policy_params)
    return {name: values[mine] for name, values in found.items()}


@dataclass(frozen=True)
class Past:
    """What entropy smoothing compares a minibatch with."""

    history: EntropyHistory
    step: int
    """Finished training steps."""
    last_turn: int
    """The highest turn index in the minibatch, over all processes."""


def accumulate_gradient(
    model: Any,
    data: TokenData,
    total: float,
    objective: Objective,
    *,
    max_tokens: int,
    temperature: float,
    past: Past | None = None,
) -> Sums:
    """Add this process's share of the minibatch's gradient to the parameters; return sums for metrics.

    `total`: what the weighted sum of token losses is divided by, over all processes. `max_tokens`: in a micro-batch,
    padding counted. `past`: needed for entropy smoothing.
    """
    sums = Sums()
    sums["retokenized"] = data.retokenized
    for micro in split(data.batch, max_tokens):
        logits, _ = sampled_logits(model, micro.sequences, temperature=temperature)
        log_probs = torch.log_softmax(logits, dim=-1)
        drawn = micro.drawn(log_probs)
        logprob_K = logprob_of_token(log_probs, *drawn)
        with torch.set_grad_enabled(objective.entropy_coef > 0):
            entropy_K = entropy(log_probs, *drawn)
        loss_K, terms = _token_losses(micro, data, objective, logprob_K, entropy_K, past)

        loss = (micro.pick(data.weight_K, log_probs) * loss_K).sum() / total
        loss.backward()  # type: ignore[no-untyped-call]

        trained_K = torch.from_numpy(data.credit.trained_K[micro.index_K]).to(log_probs.device)
        for name, value_K in {"entropy": entropy_K, **terms}.items():
            sums[name] += (value_K.detach() * trained_K).sum().item()
        difference_K = (logprob_K.detach() - micro.pick(data.sampler_logprob_K, log_probs)).abs()
        sums["tokens"] += int(trained_K.sum())
        sums["loss"] += loss.item()
        sums["compared"] += len(micro.index_K)
        sums["logp_difference"] += difference_K.sum().item()
        sums["logp_difference_max"] = max(sums["logp_difference_max"], difference_K.max().item())
    return sums


def _token_losses(
    micro: MicroBatch,
    data: TokenData,
    objective: Objective,
    logprob_K: torch.Tensor,
    entropy_K: torch.Tensor,
    past: Past | None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss of each token of a micro-batch, and what of it is reported: shapes (K,)."""
    scale_K = data.credit.clip_scale_K
    tokens = PolicyTokens(
        logprob_K,
        old_logprob_K=logprob_K.detach() if data.old_logprob_K is None else micro.pick(data.old_logprob_K, logprob_K),
        advantage_K=micro.pick(data.credit.advantage_K, logprob_K),
        level=objective.ratio_level,
        clip_scale_K=1.0 if scale_K is None else micro.pick(scale_K, logprob_K),
        constants={name: micro.pick(values_K, logprob_K) for name, values_K in data.constants.items()},
    )
    loss_K, clipped_K, bounded_K = objective.policy_loss.function(tokens, **objective.policy_params)
    terms = {"clipped": clipped_K}
    if bounded_K is not None:
        terms["bounded"] = bounded_K
    if data.reference_logprob_K is not None:
        reference_K = micro.pick(data.reference_logprob_K, logprob_K)
        terms["kl"] = kl_to_reference(logprob_K, reference_K, objective.kl_estimator)
        loss_K = loss_K + objective.beta * terms["kl"]
    if objective.smoothing is None:
        return loss_K - objective.entropy_coef * entropy_K, terms
    assert past is not None
    turn_entropy_K = anchored(tokens.constants.get(TURN_ENTROPY, entropy_K.detach()), entropy_K)
    smoothed = EntropyTokens(
        entropy_K, turn_entropy_K, data.turn_index_K[micro.index_K], past.last_turn, past.history, past.step
    )
    terms["entropy_penalty"] = objective.smoothing.function(smoothed, **objective.smoothing_params)
    return loss_K - objective.entropy_coef * (entropy_K - terms["entropy_penalty"]), terms


def sum_gradients(accelerator: Accelerator, parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes, in one collective operation."""
    if accelerator.num_processes == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="sum")
    for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter)
