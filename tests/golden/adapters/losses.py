"""Losses: verl's policy losses, EPO, and the loss fields of folders whose other fields are credit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from agentgym.trainers.arrays import IntArray
from agentgym.trainers.batch_json import offsets_of
from agentgym.trainers.losses import Aggregation, PolicyTokens, get_loss, kl_to_reference, token_weights, weight_total
from agentgym.trainers.losses.critics import (
    archer_actor_loss,
    archer_baseline_losses,
    archer_critic_losses,
    clipped_value_loss,
    td_target,
)
from agentgym.trainers.losses.implicit_rewards import prime_cross_entropy, trajectory_dpo
from agentgym.trainers.losses.registry import Minibatch
from agentgym.trainers.losses.regularisers import EntropyTokens, epo_phase_weight
from agentgym.trainers.signals.entropy_history import past_mean

from ..compare import Report

_NAMES = {"ppo_vanilla": "dual_clip"}
_AGGREGATIONS: dict[str, Aggregation] = {
    "token-mean": "token-mean",
    "seq-mean-token-sum": "sequence-mean-token-sum",
    "seq-mean-token-mean": "sequence-mean",
    "seq-mean-token-sum-norm": "constant",
}


def check_verl_losses(case: dict[str, Any], report: Report) -> None:
    """Every loss, gradient and clip fraction of verl's policy losses; KL estimators; the clipped value loss."""
    given, params = case["input"], case["params"]
    mask = np.array(given["mask"], dtype=bool)
    row_K = np.repeat(np.arange(len(mask)), mask.sum(1))

    for name, expected in case["expected"].items():
        if name == "kl":
            logp, reference = _masked(given, "logprob", mask), _masked(given, "ref_logprob", mask)
            for estimator, value in expected.items():
                kl_K = kl_to_reference(logp, reference, estimator, clip=True)
                report.number(f"kl {estimator}", kl_K.mean().item(), value)
        elif name == "value_loss":
            arrays = [_masked(given, key, mask) for key in ("value_pred", "value_old", "returns")]
            loss_K, clipped_K = clipped_value_loss(*arrays, epsilon=params["cliprange_value"])
            report.number("value_loss", loss_K.mean().item(), expected["loss"])
            report.number("value_loss clipfrac", clipped_K.double().mean().item(), expected["clipfrac"])
        else:
            _check_policy_loss(name, given, params, mask, row_K, expected, report)


def _check_policy_loss(
    key: str,
    given: dict[str, Any],
    params: dict[str, Any],
    mask: np.ndarray[Any, Any],
    row_K: IntArray,
    expected: dict[str, Any],
    report: Report,
) -> None:
    name, _, mode = key.partition(":")
    loss = get_loss(_NAMES.get(name, name), "policy")
    names = {"epsilon": "clip_ratio_low", "epsilon_high": "clip_ratio_high", "dual_clip_c": "dual_clip_c"}
    names |= {"tau_pos": "sapo_tau_pos", "tau_neg": "sapo_tau_neg"}
    settings = loss.check_parameters(
        {ours: params[official] for ours, official in names.items() if ours in loss.parameters}
    )
    aggregation = _AGGREGATIONS[mode] if mode else loss.aggregation
    logprob_K = _masked(given, "logprob", mask).requires_grad_()
    old_logprob_K, advantage_K = _masked(given, "old_logprob", mask), _masked(given, "advantage", mask)
    minibatch = Minibatch(
        logprob_K=logprob_K.detach().numpy(),
        log_ratio_K=(logprob_K.detach() - old_logprob_K).numpy(),
        advantage_K=advantage_K.numpy(),
        unit_K=row_K,
        trained_K=np.ones(len(row_K), dtype=bool),
        clip_scale_K=np.ones(len(row_K)),
        rng=np.random.default_rng(0),
    )
    constants = loss.minibatch_constants(minibatch, loss.ratio, settings)
    tensors = {name: torch.from_numpy(values) for name, values in constants.items()}
    tokens = PolicyTokens(logprob_K, old_logprob_K, advantage_K, loss.ratio, constants=tensors)
    result = loss.function(tokens, **settings)

    weight_K = token_weights(row_K, aggregation, max_episode_tokens=mask.shape[1])
    # verl's row counts: rows without tokens count in GMPO's plain mean alone; the last mode does not average rows.
    rows = {"gmpo": len(mask)}.get(name, 1 if mode == "seq-mean-token-sum-norm" else int(mask.any(1).sum()))
    value = (torch.from_numpy(weight_K) * result.loss_K).sum() / weight_total(len(row_K), rows, aggregation)
    (gradient_K,) = torch.autograd.grad(value, logprob_K)
    gradient = np.zeros(mask.shape)
    gradient[mask] = gradient_K.numpy()
    report.number(f"{key} loss", value.item(), expected["loss"])
    report.number(f"{key} gradient", gradient, expected["grad_wrt_logprob"])

    clipped_K, bounded_K = result.clipped_K, result.bounded_K
    if name == "gmpo":  # verl tells the two sides apart by the sign of the advantage
        clipped_K, bounded_K = clipped_K & (advantage_K > 0), clipped_K & (advantage_K < 0)
    report.number(f"{key} clipfrac", clipped_K.double().mean().item(), expected["clipfrac"])
    lower = 0.0 if bounded_K is None else bounded_K.double().mean().item()
    report.number(f"{key} clipfrac_lower", lower, expected["clipfrac_lower"])


def _masked(given: dict[str, Any], key: str, mask: np.ndarray[Any, Any]) -> torch.Tensor:
    """The values at the tokens, row by row, in float64."""
    return torch.from_numpy(np.array(given[key], dtype=np.float64)[mask])


def check_epo(case: dict[str, Any], report: Report) -> None:
    """EPO's penalty of each token, the share of tokens inside the range, and the weights of the phases."""
    given, params, expected = case["input"], case["params"], case["expected"]
    entropy = torch.tensor(given["entropy"], dtype=torch.float64)
    turns = np.repeat(given["rollout_step"], entropy.shape[1])
    row_mean = entropy.mean(1, keepdim=True).expand_as(entropy)
    past_K = torch.from_numpy(past_mean([given["entropy_history_per_step"]], "padded")[turns])
    tokens = EntropyTokens(entropy.flatten(), row_mean.flatten(), past_K, int(turns.max()), step=0)
    loss = get_loss("epo", "regulariser")
    penalty_K = loss.function(tokens, **loss.check_parameters({**params, "phase_weight": False}))
    report.number("penalty_matrix", penalty_K.tolist(), expected["penalty_matrix"])
    if params["out_range_penalty"] > 0:
        report.number("in_range_fraction", (penalty_K == 0).double().mean().item(), expected["in_range_fraction"])
    weights = [epo_phase_weight(step, steps) for step, steps in given["epoch_pairs"]]
    report.number("epoch_weight", weights, expected["epoch_weight"])


def check_prime_loss(case: dict[str, Any], report: Report) -> None:
    """PRIME's cross-entropy: `prm_ce_loss`."""
    given = case["input"]
    sums = [sum(rewards[:length]) for rewards, length in zip(given["process_reward"], given["lengths"], strict=True)]
    loss = prime_cross_entropy(_tensor(sums), _tensor(given["acc"]), beta=case["params"]["beta"])
    report.number("prm_ce_loss", loss.item(), case["expected"]["prm_ce_loss"])


def check_istar_loss(case: dict[str, Any], report: Report) -> None:
    """iStar's DPO loss: `trajectory_dpo_loss`."""
    trajectories = case["input"]["trajectories"]
    names: dict[Any, int] = {}
    group_N = np.array([names.setdefault(t["group"], len(names)) for t in trajectories])
    loss = trajectory_dpo(
        case["params"]["beta"] * _tensor([q for t in trajectories for q in t["q_sum"]]),
        offsets_of(len(t["q_sum"]) for t in trajectories),
        group_N,
        _tensor([t["return"] for t in trajectories]) > 0,
    )
    report.number("trajectory_dpo_loss", loss.item(), case["expected"]["trajectory_dpo_loss"])


def check_archer_losses(case: dict[str, Any], report: Report) -> None:
    """ArCHer's critic losses and their gradients, the Q targets, and the actor's losses and gradients."""
    given, expected, gamma = case["input"], case["expected"], case["params"]["gamma"]
    values = {name: _tensor(given[name]).requires_grad_() for name in ("q1", "q2", "v1", "v2")}
    targets = {}
    for j in "12":
        next_value = _tensor(given[f"target_v{j}_next"])
        targets[f"q{j}"] = td_target(_tensor(given["reward"]), _tensor(given["done"]), next_value, gamma)
        targets[f"v{j}"] = _tensor(given[f"target_q{j}_on_policy_action"])
        report.number(f"q{j}_target", targets[f"q{j}"].tolist(), expected[f"q{j}_target"])
    losses = archer_critic_losses(values, targets)
    torch.stack(list(losses.values())).sum().backward()
    for name, loss in losses.items():
        report.number(f"{name}_loss", loss.item(), expected[f"{name}_loss"])
        gradient = values[name].grad
        assert gradient is not None
        report.number(f"grad_{name}", gradient.tolist(), expected[f"grad_{name}"])

    advantage = _tensor(expected["actor_advantage"])
    if "sequence_logprob" in given:
        logp = _tensor(given["sequence_logprob"]).requires_grad_()
        actor, baseline_value = archer_actor_loss(logp, advantage), torch.zeros(())
        actor.backward()
    else:
        logp, baseline = (_tensor(given[key]).requires_grad_() for key in ("token_logprob", "token_baseline"))
        actor, baseline_value = archer_baseline_losses(logp, baseline, _tensor(given["token_mask"]), advantage)
        (actor + baseline_value).backward()
        assert baseline.grad is not None
        report.number("grad_token_baseline", baseline.grad.tolist(), expected["grad_token_baseline"])
    assert logp.grad is not None
    report.number("actor_pg_loss", actor.item(), expected["actor_pg_loss"])
    report.number("baseline_value_loss", baseline_value.item(), expected["baseline_value_loss"])
    report.number("grad_logprob", logp.grad.tolist(), expected["grad_logprob"])


def check_ma_rlhf_losses(case: dict[str, Any], report: Report) -> None:
    """MA-RLHF's actor and critic losses, from the macro actions' expected advantages and returns."""
    given, params, expected = case["input"], case["params"], case["expected"]
    starts = expected["boundaries"]
    lengths = np.diff([*starts, len(given["logprob"])])
    advantage_K, return_K = (
        torch.from_numpy(np.repeat(np.array(expected[key]), lengths)) for key in ("macro_advantages", "macro_returns")
    )
    ppo = get_loss("ppo", "policy")
    tokens = PolicyTokens(_tensor(given["logprob"]), _tensor(given["old_logprob"]), advantage_K)
    actor_K = ppo.function(tokens, **ppo.check_parameters({"epsilon": params["cliprange"]})).loss_K
    critic_K, _ = clipped_value_loss(
        _tensor(given["new_values"]), _tensor(given["values"]), return_K, epsilon=params["cliprange_value"]
    )
    report.number("actor_loss", actor_K.mean().item(), expected["actor_loss"])
    report.number("critic_loss", critic_K.mean().item(), expected["critic_loss"])


def _tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)
