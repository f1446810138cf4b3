"""ArCHer's updates, with tables in place of networks, and its losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from agentgym.trainers.credit import compute
from agentgym.trainers.losses import PolicyTokens, get_loss
from agentgym.trainers.losses.critics import archer_actor_loss, archer_critic_losses
from agentgym.trainers.parts import Lagged, Learner
from agentgym.trainers.processes import Processes
from agentgym.trainers.signals.twin_critic import replayed_batch

from ..compare import Report

NAMES = ("q1", "q2", "v1", "v2")


def check_archer_training(case: dict[str, Any], report: Report) -> None:
    """One of three kinds of cases."""
    {"update": _update, "losses": _losses, "polyak": _polyak}[case["params"]["kind"]](case, report)


class Tables:
    """A critic that is linear in given features, and a policy that is a table of logits."""

    def __init__(self, given: dict[str, Any], params: dict[str, Any]):
        self.given, self.params = given, params
        self.critic = {name: torch.nn.Parameter(_tensor(given["init"][name])) for name in NAMES}
        self.logits = torch.nn.Parameter(_tensor(given["policy_logits"]))
        self.lagged = Lagged(list(self.critic.values()))
        settings = {"num_steps": 1000, "max_grad_norm": params["max_grad_norm"]}
        self.critic_learner, self.actor_learner = (
            Learner(parameters, Processes(), learning_rate=rate, **settings)
            for parameters, rate in (
                (list(self.critic.values()), params["critic_lr"]),
                ([self.logits], params["actor_lr"]),
            )
        )
        self.order = iter(given["sample_order"])

    def draw(self) -> list[list[dict[str, Any]]]:
        """An update's micro-batches."""
        sizes = [self.params["batch_size"]] * self.params["grad_accum_steps"]
        return [[self.given["transitions"][next(self.order)] for _ in range(size)] for size in sizes]

    def values(self, states: list[str], actions: list[str]) -> dict[str, torch.Tensor]:
        state = _tensor([self.given["state_features"][each] for each in states]).reshape(-1, 2)
        action = _tensor([self.given["action_features"][each] for each in actions]).reshape(-1, 2)
        both = torch.cat([state, action], dim=1)
        return {name: (both if name.startswith("q") else state) @ weight for name, weight in self.critic.items()}

    def targets(self, drawn: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        states = [each["observation"] for each in drawn]
        after = [each["next_observation"] for each in drawn if not each["done"]]
        with torch.no_grad(), self.lagged.acting():
            lagged = self.values(states, self.answers(states))
            lagged_after = self.values(after, self.answers(after))
        batch = replayed_batch(
            np.array([each["reward"] for each in drawn]),
            np.array([not each["done"] for each in drawn]),
            target_q={f"target_q{j}_policy_T": lagged[f"q{j}"].numpy() for j in "12"},
            target_v={f"target_v{j}_T": lagged_after[f"v{j}"].numpy() for j in "12"},
        )
        targets = compute("archer", batch, gamma=self.params["gamma"]).targets
        return {name: torch.from_numpy(targets[f"{name}_T"][batch.turn_offsets_N[:-1]]) for name in NAMES}

    def answers(self, states: list[str]) -> list[str]:
        return [self.given["policy_action"][state] for state in states]


def _update(case: dict[str, Any], report: Report) -> None:
    """The official code sums the gradients of micro-batches, as a `Learner` does."""
    params, expected = case["params"], case["expected"]
    tables, losses, actor_losses = Tables(case["input"], params), [], []
    for _ in range(params["critic_epochs"]):
        parts = []
        for drawn in tables.draw():
            values = tables.values([each["observation"] for each in drawn], [each["action"] for each in drawn])
            parts.append(archer_critic_losses(values, tables.targets(drawn)))
        losses += [{name: loss.item() for name, loss in part.items()} for part in parts]
        tables.critic_learner.step(sum(part.values()) for part in parts)
        tables.lagged.follow(params["tau"])
    for _ in range(params["actor_epochs"]):
        parts = []
        for drawn in tables.draw():
            states = [each["observation"] for each in drawn]
            answers = tables.answers(states)
            with torch.no_grad():
                of = tables.values(states, answers)
            advantage = torch.minimum(of["q1"], of["q2"]) - torch.minimum(of["v1"], of["v2"])
            rows = [case["input"]["policy_states"].index(state) for state in states]
            columns = [case["input"]["actions"].index(answer) for answer in answers]
            logp = torch.log_softmax(tables.logits, dim=1)[rows, columns]
            parts.append(archer_actor_loss(logp, advantage))
        actor_losses += [part.item() for part in parts]
        tables.actor_learner.step(parts)
    critic = [tables.critic[name].tolist() for name in NAMES]
    report.number("critic", critic, [expected["critic"][name] for name in NAMES])
    copies = [copy.tolist() for copy in tables.lagged.copies]
    report.number("target_critic", copies, [expected["target_critic"][name] for name in NAMES])
    clipped_alone = expected.get("actor_logits_if_clipped_alone", expected["actor_logits"])
    report.number("actor_logits", tables.logits.tolist(), clipped_alone)
    means = expected["mean_over_micro_batches"]
    for name in NAMES:
        report.number(f"{name}.loss", float(np.mean([loss[name] for loss in losses])), means[f"{name}.loss"])
    if actor_losses:
        report.number("pg.loss", float(np.mean(actor_losses)), means["pg.loss"])


def _losses(case: dict[str, Any], report: Report) -> None:
    """Of both variants, and AWR's without the bound of the weights, which these do not reach."""
    given, params, expected = case["input"], case["params"], case["expected"]
    goes_on = ~np.array(given["done"])
    for variant, kind, answered in (("td", "_policy", "_policy_action"), ("iql", "", "")):
        values = {name: _tensor(given[name]).requires_grad_() for name in NAMES}
        batch = replayed_batch(
            np.array(given["reward"]),
            goes_on,
            target_q={f"target_q{j}{kind}_T": np.array(given[f"target_q{j}{answered}"]) for j in "12"},
            target_v={f"target_v{j}_T": np.array(given[f"target_v{j}_next"])[goes_on] for j in "12"},
        )
        targets = compute("archer", batch, gamma=params["gamma"], critic_targets=variant).targets
        first = {name: torch.from_numpy(targets[f"{name}_T"][batch.turn_offsets_N[:-1]]) for name in NAMES}
        for j in "12":
            report.number(f"q_target_{j}", first[f"q{j}"].tolist(), expected[f"q_target_{j}"])
        losses = archer_critic_losses(values, first, expectile=params["expectile"] if variant == "iql" else None)
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        for name in NAMES:
            report.number(f"{variant} {name}_loss", losses[name].item(), expected[variant][f"{name}_loss"])
            report.number(f"{variant} {name} gradient", values[name].grad.tolist(), expected[variant]["grad"][name])
        if "total" in expected[variant]:
            report.number(f"{variant} total", total.item(), expected[variant]["total"])

    q, v = (np.minimum(given[f"{name}1"], given[f"{name}2"]) for name in "qv")
    report.number("advantage", q - v, expected["awr"]["advantage"])
    logprob = _tensor(given["sequence_logprob"]).requires_grad_()
    awr = get_loss("awr", "policy")
    temperature = awr.check_parameters({"temperature": 1 / params["inv_temp"]})
    loss = awr.function(PolicyTokens(logprob, logprob.detach(), torch.from_numpy(q - v)), **temperature).loss_K.mean()
    loss.backward()
    report.number("awr", loss.item(), expected["awr"]["loss"])
    report.number("awr gradient", logprob.grad.tolist(), expected["awr"]["grad_logprob"])


def _polyak(case: dict[str, Any], report: Report) -> None:
    parameter = torch.nn.Parameter(_tensor(case["input"]["target"]))
    lagged = Lagged([parameter])
    for online, expected in zip(case["input"]["online"], case["expected"]["target_after_each"], strict=True):
        parameter.data = _tensor(online)
        lagged.follow(case["params"]["tau"])
        report.number("target", lagged.copies[0].tolist(), expected)


def _tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)
