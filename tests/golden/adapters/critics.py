"""Critics and how they learn: verl's value loss, ArCHer's losses and updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from agentgym.trainers.credit.blocks import whiten
from agentgym.trainers.losses import Aggregation, PolicyTokens, get_loss, token_weights, weight_total
from agentgym.trainers.losses.critics import (
    archer_actor_loss,
    archer_critic_losses,
    clipped_value_loss,
    expectile_loss,
    polyak_average,
    td_target,
)
from agentgym.trainers.parts import Learner
from agentgym.trainers.processes import Processes

from ..compare import Report

Row = dict[str, Any]
_AGGREGATIONS: dict[str, Aggregation] = {
    "token-mean": "token-mean",
    "seq-mean-token-sum": "sequence-mean-token-sum",
    "seq-mean-token-mean": "sequence-mean",
}


def check_verl_critic(case: Row, report: Report) -> None:
    """The clipped value loss and its gradient under each aggregation, explained variance, whitened advantages."""
    given, expected, params = case["input"], case["expected"], case["params"]
    mask = np.array(given["mask"], dtype=bool)
    row_K = np.repeat(np.arange(len(mask)), mask.sum(1))
    old_K, return_K = (tensor(given[name])[mask] for name in ("old", "returns"))

    def check(name: str, weight_K: np.ndarray[Any, Any]) -> None:
        value = tensor(given["pred"]).requires_grad_()
        loss_K, clipped_K = clipped_value_loss(value[mask], old_K, return_K, epsilon=params["cliprange_value"])
        loss = (loss_K * tensor(weight_K)).sum()
        loss.backward()
        report.number(f"{name} loss", loss.item(), expected[name]["loss"])
        report.number(f"{name} grad_pred", gradient(value), expected[name]["grad_pred"])
        if "clipfrac" in expected[name]:
            report.number(f"{name} clipfrac", clipped_K.double().mean().item(), expected[name]["clipfrac"])

    for name, aggregation in _AGGREGATIONS.items():
        weight_K = token_weights(row_K, aggregation, max_episode_tokens=mask.shape[1])
        check(name, weight_K / weight_total(len(row_K), int(mask.any(1).sum()), aggregation))
    micro_K = row_K // params["micro_batch_rows"]  # the mean of means, which we do not do
    check("token-mean over micro-batches", 1 / np.bincount(micro_K)[micro_K] / (micro_K.max() + 1))

    error_K, spread = (return_K - old_K).numpy(), return_K.numpy()
    variance = 1 - error_K.var(ddof=1) / (spread.var(ddof=1) + 1e-5)
    report.number("explained_variance_of_old", variance, expected["explained_variance_of_old"])
    whitened = np.zeros(mask.shape)
    whitened[mask] = whiten(error_K)
    report.number("advantage_whitened", whitened, expected["advantage_whitened"])


def check_archer_training(case: Row, report: Report) -> None:
    """One iteration of updates, the losses with their gradients, or a target critic that follows."""
    {"update": _check_update, "losses": _check_losses, "polyak": _check_polyak}[case["params"]["kind"]](case, report)


def _check_losses(case: Row, report: Report) -> None:
    given, expected, params = case["input"], case["expected"], case["params"]
    names = ("q1", "q2", "v1", "v2")
    targets = {
        f"q{j}": td_target(
            tensor(given["reward"]), tensor(given["done"]), tensor(given[f"target_v{j}_next"]), params["gamma"]
        )
        for j in (1, 2)
    }
    for j in (1, 2):
        report.number(f"q_target_{j}", targets[f"q{j}"].tolist(), expected[f"q_target_{j}"])

    values = {name: tensor(given[name]).requires_grad_() for name in names}
    online = targets | {f"v{j}": tensor(given[f"target_q{j}_policy_action"]) for j in (1, 2)}
    _check_critic("td", values, archer_critic_losses(values, online), expected["td"], report)

    values = {name: tensor(given[name]).requires_grad_() for name in names}
    losses = archer_critic_losses({name: values[name] for name in targets}, targets) | {
        f"v{j}": expectile_loss(values[f"v{j}"], tensor(given[f"target_q{j}"]), expectile=params["expectile"])
        for j in (1, 2)
    }
    _check_critic("iql", values, losses, expected["iql"], report)
    report.number("iql total", sum(loss.item() for loss in losses.values()), expected["iql"]["total"])

    q1, q2, v1, v2 = (tensor(given[name]) for name in names)
    advantage = torch.minimum(q1, q2) - torch.minimum(v1, v2)
    logprob = tensor(given["sequence_logprob"]).requires_grad_()
    awr = get_loss("awr", "policy")
    settings = awr.check_parameters({"temperature": 1 / params["inv_temp"], "max_weight": 1e9})  # none in the code
    loss = awr.function(PolicyTokens(logprob, logprob.detach(), advantage), **settings).loss_K.mean()
    loss.backward()
    report.number("awr advantage", advantage.tolist(), expected["awr"]["advantage"])
    report.number("awr loss", loss.item(), expected["awr"]["loss"])
    report.number("awr grad_logprob", gradient(logprob), expected["awr"]["grad_logprob"])


def _check_critic(kind: str, values: Row, losses: dict[str, torch.Tensor], expected: Row, report: Report) -> None:
    torch.stack([losses[name] for name in values]).sum().backward()
    for name, value in values.items():
        report.number(f"{kind} {name}_loss", losses[name].item(), expected[f"{name}_loss"])
        report.number(f"{kind} grad {name}", gradient(value), expected["grad"][name])


def _check_polyak(case: Row, report: Report) -> None:
    target, after = tensor(case["input"]["target"]), []
    for online in case["input"]["online"]:
        target = polyak_average(target, tensor(online), case["params"]["tau"])
        after.append(target.tolist())
    report.number("target_after_each", after, case["expected"]["target_after_each"])


class _Tables:
    """ArCHer's four functions as linear ones of a state's features, and of an action's."""

    def __init__(self, given: Row, weights: dict[str, torch.Tensor]):
        self.given, self.weights = given, weights

    def value(self, name: str, states: list[str], actions: list[str]) -> torch.Tensor:
        features = [
            self.given["state_features"][state] + (self.given["action_features"][action] if name[0] == "q" else [])
            for state, action in zip(states, actions, strict=True)
        ]
        return tensor(features) @ self.weights[name]

    def advantage(self, states: list[str], actions: list[str]) -> torch.Tensor:
        q1, q2, v1, v2 = (self.value(name, states, actions).detach() for name in ("q1", "q2", "v1", "v2"))
        return torch.minimum(q1, q2) - torch.minimum(v1, v2)


def _check_update(case: Row, report: Report) -> None:
    """ArCHer's iteration with our losses and optimizer: critic steps, each followed by its target, then the actor's."""
    given, expected, params = case["input"], case["expected"], case["params"]
    critic = _Tables(given, {name: parameter(weights) for name, weights in given["init"].items()})
    target = _Tables(given, {name: tensor(weights) for name, weights in given["init"].items()})
    logits = parameter(given["policy_logits"])
    common = {"num_steps": 1, "max_grad_norm": params["max_grad_norm"]}
    critic_learner = Learner(list(critic.weights.values()), Processes(), learning_rate=params["critic_lr"], **common)
    actor_learner = Learner([logits], Processes(), learning_rate=params["actor_lr"], **common)
    drawn = iter(given["sample_order"])
    sums: dict[str, list[float]] = {}

    def micro_batches() -> Any:
        for _ in range(params["grad_accum_steps"]):
            yield [given["transitions"][next(drawn)] for _ in range(params["batch_size"])]

    def critic_losses() -> Any:
        for batch in micro_batches():
            states, actions = [row["observation"] for row in batch], [row["action"] for row in batch]
            sampled = [given["policy_action"][state] for state in states]
            after = [row["next_observation"] for row in batch]
            reward, done = (tensor([float(row[key]) for row in batch]) for key in ("reward", "done"))
            values = {name: critic.value(name, states, actions) for name in critic.weights}
            targets = {
                f"q{j}": td_target(reward, done, target.value(f"v{j}", after, sampled), params["gamma"]) for j in (1, 2)
            } | {f"v{j}": target.value(f"q{j}", states, sampled) for j in (1, 2)}
            losses = archer_critic_losses(values, targets)
            for name, loss in losses.items():
                sums.setdefault(f"{name}.loss", []).append(loss.item())
            yield torch.stack(list(losses.values())).sum()

    def actor_losses() -> Any:
        for batch in micro_batches():
            states = [row["observation"] for row in batch]
            sampled = [given["policy_action"][state] for state in states]
            rows = [given["policy_states"].index(state) for state in states]
            columns = [given["actions"].index(action) for action in sampled]
            logprob = torch.log_softmax(logits, -1)[rows, columns]
            loss = archer_actor_loss(logprob, critic.advantage(states, sampled))
            sums.setdefault("pg.loss", []).append(loss.item())
            yield loss

    for _ in range(params["critic_epochs"]):
        critic_learner.step(critic_losses())
        for name, weights in critic.weights.items():
            target.weights[name] = polyak_average(target.weights[name], weights.detach(), params["tau"])
    for _ in range(params["actor_epochs"]):
        actor_learner.step(actor_losses())

    for name in given["init"]:
        report.number(f"critic {name}", critic.weights[name].tolist(), expected["critic"][name])
        report.number(f"target {name}", target.weights[name].tolist(), expected["target_critic"][name])
    # The official code clips over stale gradients of the other network too; we do not.
    logits_after = expected.get("actor_logits_if_clipped_alone", expected.get("actor_logits"))
    if logits_after is not None:
        report.number("actor_logits", logits.tolist(), logits_after)
    for name, mean in expected["mean_over_micro_batches"].items():
        report.number(name, float(np.mean(sums[name])), mean)


def tensor(values: Any) -> torch.Tensor:
    """Numbers in float64."""
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def parameter(values: Any) -> torch.nn.Parameter:
    """Numbers in float64 that are learned."""
    return torch.nn.Parameter(tensor(values))


def gradient(values: torch.Tensor) -> list[Any]:
    """The gradient with respect to these."""
    assert values.grad is not None
    numbers: list[Any] = values.grad.tolist()
    return numbers
