"""verl's critic: the value loss and its means, whitened advantages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from agentgym.trainers.losses import Aggregation, token_weights, weight_total
from agentgym.trainers.losses.critics import clipped_value_loss

from ..compare import Report
from .signals import turn

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
    n_micro = -(-len(mask) // params["micro_batch_rows"])
    check("token-mean over micro-batches", 1 / np.bincount(micro_K)[micro_K] / n_micro)

    error_K, spread = (return_K - old_K).numpy(), return_K.numpy()
    variance = 1 - error_K.var(ddof=1) / (spread.var(ddof=1) + 1e-5)
    report.number("explained_variance_of_old", variance, expected["explained_variance_of_old"])
    rows = [{"group": i, "turns": [turn(0.0, n)]} for i, n in enumerate(mask.sum(1).tolist())]
    columns = {"value_K": old_K.numpy(), "token_reward_K": return_K.numpy()}
    credit = compute("ppo", replace(TurnBatch.from_dicts(rows), columns=columns), gamma=0.0)
    whitened = np.zeros(mask.shape)
    whitened[mask] = credit.advantage_K
    report.number("advantage_whitened", whitened, expected["advantage_whitened"])


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
