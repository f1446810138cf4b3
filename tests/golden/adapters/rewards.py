"""Reward models that learn: iStar's and PRIME's implicit rewards, SPA's progress, Sotopia-RL's targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from agentgym.trainers.arrays import IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.batch_json import distinct, offsets_of
from agentgym.trainers.credit import compute
from agentgym.trainers.credit.process.sotopia_rl import utterance_rewards
from agentgym.trainers.losses.implicit_rewards import (
    mean_step_rewards,
    pairwise_accuracy,
    preference_margins,
    prime_cross_entropy,
    prime_token_rewards,
    trajectory_dpo,
)
from agentgym.trainers.losses.progress import progress_loss
from agentgym.trainers.parts import Learner
from agentgym.trainers.processes import Processes
from agentgym.trainers.segments import last_entries

from ..compare import Report
from .critics import Row, gradient, parameter, tensor
from .process import trajectory


class _Bigrams:
    """Two tables of a token's logits after the one before it: the model that is learned, and its reference."""

    def __init__(self, given: Row, params: Row, responses: list[list[int]]):
        self.phi, self.reference = parameter(given["phi"]), tensor(given["reference"])
        self.learner = Learner([self.phi], Processes(), learning_rate=params["lr"], num_steps=1, max_grad_norm=10.0)
        self.offsets = offsets_of(map(len, responses))
        self.token_K = [token for response in responses for token in response]
        self.before_K = [before for response in responses for before in [0, *response[:-1]]]

    def q_K(self) -> torch.Tensor:
        """log π_φ − log π_ref of each token of all responses."""
        at = (self.before_K, self.token_K)
        return torch.log_softmax(self.phi, -1)[at] - torch.log_softmax(self.reference, -1)[at]


def sums(values: torch.Tensor, offsets: IntArray) -> torch.Tensor:
    """The sum of each segment of values that can be learned from."""
    return torch.stack([part.sum() for part in torch.split(values, np.diff(offsets).tolist())])


# iStar ----------------------------------------------------------------------------------------------------


def check_istar_training(case: Row, report: Report) -> None:
    """The loss with its pairs and gradient, and step rewards; or what steps on it make of a model."""
    {"dpo": _check_istar_dpo, "update": _check_istar_update}[case["params"]["kind"]](case, report)


def _check_istar_dpo(case: Row, report: Report) -> None:
    rows, expected, beta = case["input"]["trajectories"], case["expected"], case["params"]["beta"]
    turns = [turn["q"] for row in rows for turn in row["turns"]]
    q_K = tensor(np.concatenate(turns)).requires_grad_()
    step_reward_T = beta * sums(q_K, offsets_of(map(len, turns)))
    turn_offsets_N, group_N, success_N = _of_rows(rows)
    score_N = mean_step_rewards(step_reward_T, turn_offsets_N)
    loss = trajectory_dpo(step_reward_T, turn_offsets_N, group_N, success_N)
    loss.backward()
    report.same("pairs", len(preference_margins(score_N, group_N, success_N)), expected["pairs"])
    report.number("trajectory_Q", score_N.tolist(), expected["trajectory_Q"])
    report.number("loss", loss.item(), expected["loss"])
    report.number("grad_q", gradient(q_K), expected["grad_q"])
    report.number("step_reward", step_reward_T.tolist(), expected["step_reward"])
    normalised = _istar_credit(rows, step_reward_T.tolist())
    report.number("step_reward_batch_norm", normalised, expected["step_reward_batch_norm"])


def _check_istar_update(case: Row, report: Report) -> None:
    rows, expected, params = case["input"]["trajectories"], case["expected"], case["params"]
    model = _Bigrams(case["input"], params, [turn["token_ids"] for row in rows for turn in row["turns"]])

    def step_reward_T() -> torch.Tensor:
        rewards: torch.Tensor = params["beta"] * sums(model.q_K(), model.offsets)
        return rewards

    report.number("step_reward_before", step_reward_T().tolist(), expected["step_reward_before"])
    losses = []
    for step in range(params["steps"]):
        loss = trajectory_dpo(step_reward_T(), *_of_rows(rows))
        losses.append(loss.item())
        model.learner.step([loss])
        if step == 0:
            report.number("grad_first_step", gradient(model.phi), expected["grad_first_step"])
    report.number("loss_each_step", losses, expected["loss_each_step"])
    report.number("phi_after", model.phi.tolist(), expected["phi_after"])
    report.number("step_reward_after", step_reward_T().tolist(), expected["step_reward_after"])


def _of_rows(rows: list[Row]) -> tuple[IntArray, IntArray, torch.Tensor]:
    """Where each trajectory's turns begin, its group, and whether it succeeded."""
    success_N = tensor([row["return"] for row in rows]) > 0
    return offsets_of(len(row["turns"]) for row in rows), distinct(row["group"] for row in rows), success_N


def _istar_credit(rows: list[Row], step_reward_T: list[float]) -> Any:
    """The step rewards as the scheme uses them."""
    rewards = iter(step_reward_T)
    batch = TurnBatch.from_dicts(
        [
            trajectory(row["group"], row["return"], [{"implicit_reward": next(rewards)} for _ in row["turns"]])
            for row in rows
        ]
    )
    return compute("istar", batch).parts["step_reward_T"]


# PRIME ----------------------------------------------------------------------------------------------------


def check_prime_training(case: Row, report: Report) -> None:
    """The cross-entropy and its gradient; or a model's updates, and its scores before or after them."""
    {"ce": _check_prime_ce, "update": _check_prime_update}[case["params"]["kind"]](case, report)


def _check_prime_ce(case: Row, report: Report) -> None:
    given, expected, beta = case["input"], case["expected"], case["params"]["beta"]
    q_K = tensor(np.concatenate(given["q"])).requires_grad_()
    q_sum_N = sums(q_K, offsets_of(map(len, given["q"])))
    loss = prime_cross_entropy(q_sum_N, tensor(given["acc"]), beta=beta)
    loss.backward()
    report.number("loss", loss.item(), expected["loss"])
    report.number("grad_q", gradient(q_K), expected["grad_q"])
    report.number("probability", torch.sigmoid(beta * q_sum_N).tolist(), expected["probability"])


def _check_prime_update(case: Row, report: Report) -> None:
    given, expected, params = case["input"], case["expected"], case["params"]
    beta, n_samples = params["beta"], params["n_samples"]
    model = _Bigrams(given, params, given["token_ids"])
    outcome_N = tensor(given["acc"])
    losses, scored = [], []
    for first in range(0, len(outcome_N), params["mini_batch"]):
        chosen = slice(first, first + params["mini_batch"])
        q_K = model.q_K()
        scored += [part.detach() for part in torch.split(q_K, np.diff(model.offsets).tolist())[chosen]]
        loss = prime_cross_entropy(sums(q_K, model.offsets)[chosen], outcome_N[chosen], beta=beta)
        losses.append(loss.item())
        model.learner.step([loss])
    report.number("loss_each_mini_batch", losses, expected["loss_each_mini_batch"])
    report.number("phi_after", model.phi.tolist(), expected["phi_after"])

    q_K = {"before": model.q_K().detach(), "after": torch.cat(scored)}[params["order"]]
    reward_K = prime_token_rewards(q_K, model.offsets, beta=beta)
    rewards = [part.tolist() for part in torch.split(reward_K, np.diff(model.offsets).tolist())]
    batch = TurnBatch.from_dicts(
        [
            trajectory(i // n_samples, given["acc"][i], [{"tokens": len(of_i), "implicit_reward": of_i}])
            for i, of_i in enumerate(rewards)
        ]
    )
    report.number("token_reward", compute("prime", batch).parts["process_reward_K"], expected["token_reward"])
    q_sum_N = sums(model.q_K().detach(), model.offsets)
    report.number(
        "dpo_acc_after", pairwise_accuracy(q_sum_N, batch.group_N, outcome_N).item(), expected["dpo_acc_after"]
    )
    absolute = torch.sign(q_sum_N) == torch.sign(2 * outcome_N - 1)
    report.number("dpo_acc_abs_after", absolute.double().mean().item(), expected["dpo_acc_abs_after"])


# SPA ------------------------------------------------------------------------------------------------------


def check_spa_training(case: Row, report: Report) -> None:
    """Where the estimator reads and what its loss gives; or steps on it."""
    {"progress loss": _check_progress_loss, "fit": _check_progress_fit}[case["params"]["kind"]](case, report)


def _check_progress_loss(case: Row, report: Report) -> None:
    given, expected = case["input"], case["expected"]
    lengths = [[turn["observation_tokens"] + turn["action_tokens"] for turn in turns] for turns in given["turns"]]
    read = [last_entries(offsets_of(of_one)).tolist() for of_one in lengths]
    report.same("read_positions", read, expected["read_positions"])
    hidden = [tensor(of_one).requires_grad_() for of_one in given["hidden"]]
    weight, bias = parameter(given["weight"]), parameter(given["bias"])
    contribution_T = torch.cat([of_one[at] @ weight + bias for of_one, at in zip(hidden, read, strict=True)])
    loss = progress_loss(contribution_T, offsets_of(map(len, read)), tensor(given["final_reward"]))
    loss.backward()
    report.number("contribution", contribution_T.tolist(), expected["contribution"])
    report.number("prediction", _completion(contribution_T, read), expected["prediction"])
    report.number("loss", loss.item(), expected["loss"])
    report.number("grad_weight", gradient(weight), expected["grad_weight"])
    report.number("grad_bias", gradient(bias), expected["grad_bias"])
    at_read = [[gradient(of_one)[i] for i in at] for of_one, at in zip(hidden, read, strict=True)]
    report.number("grad_hidden_at_read", at_read, expected["grad_hidden_at_read"])


def _completion(contribution_T: torch.Tensor, turns: list[list[int]]) -> Any:
    """The predictions that the scheme reports of these contributions."""
    given = iter(contribution_T.tolist())
    turn = {"tokens": 1, "executable": False, "value": [0.0]}
    rows = [trajectory(i, 0.0, [{**turn, "progress": next(given)} for _ in of_i]) for i, of_i in enumerate(turns)]
    return compute("spa", TurnBatch.from_dicts(rows)).parts["completion_N"]


def _check_progress_fit(case: Row, report: Report) -> None:
    given, expected, params = case["input"], case["expected"], case["params"]
    features = tensor(np.concatenate(given["features"]))
    offsets, outcome = offsets_of(map(len, given["features"])), tensor(given["final_reward"])
    weight, bias = parameter(np.zeros(features.shape[1])), parameter(0.0)
    learner = Learner(
        [weight, bias], Processes(), learning_rate=params["lr"], num_steps=1, weight_decay=0.01, max_grad_norm=1e9
    )
    losses = []
    for _ in range(params["steps"]):
        loss = progress_loss(features @ weight + bias, offsets, outcome)
        losses.append(loss.item())
        learner.step([loss])
    report.number("loss_each_step", losses, expected["loss_each_step"])
    report.number("weight", weight.tolist(), expected["weight"])
    report.number("bias", bias.item(), expected["bias"])
    report.number("contribution", (features @ weight + bias).tolist(), expected["contribution"])


# Sotopia-RL -----------------------------------------------------------------------------------------------


def check_sotopia_rl_training(case: Row, report: Report) -> None:
    """The reward of each utterance, in each dimension and in the mean, and the loss of a model of it."""
    given, expected, dimensions = case["input"], case["expected"], case["params"]["dimensions"]
    assert case["params"]["scale"] == 3  # ours too
    by_dimension = {d: _utterances(given["episodes"], [d]) for d in dimensions}
    for d, batch in by_dimension.items():
        rewards = [of_one[d] for of_one in expected["reward_by_dimension"]]
        report.number(f"reward {d}", utterance_rewards(batch), rewards)
    credit = compute("sotopia_rl", _utterances(given["episodes"], dimensions))
    target_T = credit.parts["utterance_reward_T"]
    report.number("target_mean_over_dimensions", target_T, expected["target_mean_over_dimensions"])
    prediction_T = tensor(given["prediction"]).requires_grad_()
    loss = F.mse_loss(prediction_T, tensor(target_T))
    loss.backward()
    report.number("mse", loss.item(), expected["mse"])
    report.number("grad_prediction", gradient(prediction_T), expected["grad_prediction"])


def _utterances(episodes: list[Row], dimensions: list[str]) -> TurnBatch:
    """The episodes as trajectories that tell these dimensions."""
    return TurnBatch.from_dicts(
        [
            {
                **trajectory(i, 0.0, [{"attribution": dict(zip(dimensions, each, strict=True))} for each in told]),
                "score": {d: episode["score"][d] for d in dimensions},
            }
            for i, episode in enumerate(episodes)
            for told in [list(zip(*(episode["attribution"][d] for d in dimensions), strict=True))]
        ]
    )
