"""OREO's two losses on recorded trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute

from ..compare import Report


def check_oreo(case: dict[str, Any], report: Report) -> None:
    """The residual is the loss's root, the advantage minus its gradient, but for means over tokens and trajectories."""
    given, expected = case["input"], case["expected"]
    signals = {"policy_logprob": "logprob", "reference_logprob": "reference_logprob", "value": "value_before_token"}
    trajectories = [
        {
            "group": i,
            "turns": [
                {"obs": "", "valid": True, "reward": reward, "tokens": len(given["logprob"][i])}
                | {name: given[source][i] for name, source in signals.items()}
            ],
        }
        for i, reward in enumerate(given["reward"])
    ]
    batch = TurnBatch.from_dicts(trajectories)
    credit = compute("oreo", batch, temperature=case["params"]["beta"])
    residual_K, lengths_N = credit.parts["residual_K"], batch.n_tokens_N
    weight_K = (1 / (lengths_N * len(lengths_N)))[batch.trajectory_K]
    report.number("value_loss", float((weight_K * residual_K**2).sum()), expected["value_loss"])
    report.number("policy_loss", float((weight_K * residual_K**2).sum()), expected["policy_loss_without_kl"])
    error_K = batch.signal("value_K") - credit.targets["value_K"]
    report.number("grad_value", 2 * weight_K * error_K, np.concatenate(expected["grad_value"]))
    assert credit.advantage_K is not None
    report.number("grad_logprob", -weight_K * credit.advantage_K, np.concatenate(expected["grad_logprob"]))
