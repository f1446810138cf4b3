"""Optimizer steps on an experience, exact over passes and processes.

The loss is a weighted sum over tokens divided by a total that all processes agree on. Every pass and every process
adds its share of the gradient, and the shares are summed: how tokens are dealt out does not matter, and every process
takes part in the same collective operations however many turns it has. What a loss must know of tokens that lie
elsewhere, it is told as constants (`with_constants`) before the first gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from agentgym.agents.seeds import derived_seed
from agentgym.trainers.arrays import BoolArray, FloatArray
from agentgym.trainers.experience import Experience
from agentgym.trainers.loss_constants import CONSTANT, TURN_ENTROPY, with_constants
from agentgym.trainers.losses import PolicyTokens, kl_to_reference, token_weights, weight_total
from agentgym.trainers.losses.ratios import anchored
from agentgym.trainers.losses.regularisers import EntropyTokens
from agentgym.trainers.metrics import Sums, of_update
from agentgym.trainers.minibatches import deal
from agentgym.trainers.objective import Objective
from agentgym.trainers.parts import Learner
from agentgym.trainers.policy import Pass, Policy, entropy, logprob
from agentgym.trainers.progress import OnProgress, say_nothing


def update(
    policy: Policy,
    learner: Learner,
    objective: Objective,
    experience: Experience,
    *,
    seed: int = 0,
    on_progress: OnProgress = say_nothing,
) -> dict[str, float]:
    """Learn from an experience that has its credit (`Credit.columns`); return metrics over all processes.

    `seed` is the run's. Raises `NotFiniteError` before an optimizer step whose gradient is not finite.
    """
    torch.manual_seed(derived_seed(seed, experience.step, "dropout", policy.processes.index))
    sums = Sums()
    experience = _with_old_policy(experience, objective.is_one_step, policy)
    rounds = objective.num_iterations, objective.num_minibatches
    minibatches = list(deal(experience, policy.processes, *rounds, purpose=(seed, experience.step, "minibatches")))
    for number, minibatch in enumerate(minibatches):
        part = Sums()
        losses = minibatch_losses(
            policy, objective, minibatch, part, derived_seed(seed, experience.step, "loss", number)
        )
        if losses is None:
            continue
        norm = learner.step(losses)
        if sums["optimizer_steps"]:  # by now the policy is not the one that acted
            for name in ("compared", "logp_difference", "logp_difference_max"):
                part.pop(name, None)
        sums.add(part)
        sums["grad_norm"] += norm
        sums["optimizer_steps"] += 1
        on_progress("update", number + 1, len(minibatches))
    return of_update(policy.processes.gather(sums), with_kl=objective.beta > 0)


def _with_old_policy(experience: Experience, is_one_step: bool, policy: Policy) -> Experience:
    """The experience with `old_logprob_K`, of who has acted, to whom ratios are taken.

    Where each token is learned from once, a ratio to the present policy is 1 and needs none: NaN. Only what was
    replayed, which an earlier policy has sampled, has one then. Tokens that nobody has sampled after their prompt, such
    as those of a distilled retry, whose `logprob_K` is NaN, have that of the policy before its first step here.
    """
    batch = experience.batch
    if "logprob_K" not in batch.columns:
        return experience
    old_logprob_K = batch.columns["logprob_K"]
    unknown_K = np.isnan(old_logprob_K)
    replayed_K = _replayed_K(experience) & ~unknown_K
    counts = policy.processes.gather((int(replayed_K.sum()), int(unknown_K.sum())))
    n_replayed, n_unknown = map(sum, zip(*counts, strict=True))
    if is_one_step:
        if not n_replayed + n_unknown:
            return experience
        old_logprob_K = np.where(replayed_K, old_logprob_K, np.nan)
    elif n_unknown:
        before_K = policy.read(experience.layout, {"logprob": logprob})["logprob"]
        old_logprob_K = np.where(unknown_K, before_K, old_logprob_K)
    return experience.with_columns({"old_logprob_K": old_logprob_K})


def _replayed_K(experience: Experience) -> BoolArray:
    """Whether an earlier training step has sampled each token."""
    return experience.batch.flags("replayed_N")[experience.batch.trajectory_K]


@dataclass(frozen=True)
class Share:
    """What the tokens of a minibatch weigh, here and everywhere."""

    total: float
    """What the weighted sum of token losses is divided by, over all processes."""
    last_turn: int
    """The highest turn index in the minibatch, over all processes."""


def minibatch_losses(
    policy: Policy, objective: Objective, minibatch: Experience, sums: Sums, seed: int
) -> Iterator[torch.Tensor] | None:
    """The loss of each pass over a minibatch, adding to `sums`; None if no process has a token to train on."""
    batch = minibatch.batch
    trained_K = batch.columns.get("trained_K", np.ones(batch.n_tokens, np.bool_))
    own = (int(trained_K.sum()), len(np.unique(batch.trajectory_K[trained_K])), int(batch.turn_index_T.max(initial=-1)))
    n_tokens_P, n_trajectories_P, last_turn_P = zip(*policy.processes.gather(own), strict=True)
    if sum(n_tokens_P) == 0:
        return None
    weight_K = token_weights(
        batch.trajectory_K,
        objective.aggregation,
        max_episode_tokens=objective.max_episode_tokens,
        trained_K=trained_K,
    )
    minibatch = minibatch.with_columns({"trained_K": trained_K, "weight_K": weight_K, **_clip_scale(minibatch)})
    minibatch = with_constants(policy, objective, minibatch, seed)
    total = weight_total(sum(n_tokens_P), sum(n_trajectories_P), objective.aggregation)
    return _pass_losses(policy, objective, minibatch, Share(total, max(last_turn_P)), sums)


def _clip_scale(minibatch: Experience) -> Mapping[str, FloatArray]:
    """What each token's clip range is multiplied by, where the scheme says it."""
    columns = minibatch.batch.columns
    return {"clip_scale_K": columns["clip_scale_T"][minibatch.batch.turn_K]} if "clip_scale_T" in columns else {}


def _pass_losses(
    policy: Policy, objective: Objective, minibatch: Experience, share: Share, sums: Sums
) -> Iterator[torch.Tensor]:
    columns = minibatch.batch.columns
    sums["retokenized"] += minibatch.n_retokenized
    for each in policy.passes(minibatch.layout):
        with torch.set_grad_enabled(objective.entropy_coef > 0):
            entropy_K = entropy(each)
        loss_K, terms = _token_losses(each, minibatch, objective, entropy_K, share)
        loss = (each.pick(columns["weight_K"]) * loss_K).sum() / share.total
        yield loss
        _count(each, minibatch, {"entropy": entropy_K, **terms}, loss, sums)


def _count(
    each: Pass,
    minibatch: Experience,
    terms: Mapping[str, torch.Tensor],
    loss: torch.Tensor,
    sums: Sums,
) -> None:
    """Add what a pass shows to the sums for the metrics."""
    columns = minibatch.batch.columns
    trained_K = torch.from_numpy(columns["trained_K"][each.index_K]).to(each.logits.device)
    for name, value_K in terms.items():
        sums[name] += (value_K.detach() * trained_K).sum().item()
    sums["tokens"] += int(trained_K.sum())
    sums["loss"] += loss.item()
    if "logprob_K" not in columns:
        return
    sampler_K = np.where(_replayed_K(minibatch), np.nan, columns["logprob_K"])  # there it is the policies that differ
    difference_K = (each.logprob_K.detach() - each.pick(sampler_K)).abs()
    difference_K = difference_K[~difference_K.isnan()]
    if len(difference_K):
        sums["compared"] += len(difference_K)
        sums["logp_difference"] += difference_K.sum().item()
        sums["logp_difference_max"] = max(sums["logp_difference_max"], difference_K.max().item())


def _token_losses(
    each: Pass, minibatch: Experience, objective: Objective, entropy_K: torch.Tensor, share: Share
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss of each token of a pass, and what of it is reported: shapes (K,)."""
    columns, logprob_K = minibatch.batch.columns, each.logprob_K
    old_logprob_K = logprob_K.detach()
    if "old_logprob_K" in columns:
        recorded_K = each.pick(columns["old_logprob_K"])
        old_logprob_K = torch.where(recorded_K.isnan(), old_logprob_K, recorded_K)
    tokens = PolicyTokens(
        logprob_K,
        old_logprob_K=old_logprob_K,
        advantage_K=each.pick(columns["advantage_K"]),
        level=objective.ratio_level,
        clip_scale_K=each.pick(columns["clip_scale_K"]) if "clip_scale_K" in columns else 1.0,
        constants={
            name.removeprefix(CONSTANT): each.pick(values_K)
            for name, values_K in columns.items()
            if name.startswith(CONSTANT)
        },
    )
    loss_K, clipped_K, bounded_K = objective.policy_loss.function(tokens, **objective.policy_params)
    terms = {"clipped": clipped_K} if bounded_K is None else {"clipped": clipped_K, "bounded": bounded_K}
    if objective.beta > 0:
        reference_K = each.pick(columns["reference_logprob_K"])
        terms["kl"] = kl_to_reference(logprob_K, reference_K, objective.kl_estimator)
        loss_K = loss_K + objective.beta * terms["kl"]
    if objective.smoothing is None or objective.past_entropy is None:
        return loss_K - objective.entropy_coef * entropy_K, terms
    smoothed = EntropyTokens(
        entropy_K,
        anchored(tokens.constants.get(TURN_ENTROPY, entropy_K.detach()), entropy_K),
        each.pick(columns[objective.past_entropy][minibatch.batch.turn_K]),
        share.last_turn,
        minibatch.step,
    )
    terms["entropy_penalty"] = objective.smoothing.function(smoothed, **objective.smoothing_params)
    return loss_K - objective.entropy_coef * (entropy_K - terms["entropy_penalty"]), terms
