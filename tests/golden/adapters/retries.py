"""R³L's pivotal credit, positive amplification and loss."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import torch

from agentgym.agents.trajectory import Trajectory, Turn
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from agentgym.trainers.losses import PolicyTokens, get_loss

from ..compare import Report


def check_r3l(case: dict[str, Any], report: Report) -> None:
    """Which tokens are learned from in both attempts, their advantages, and the loss averaged over them."""
    params, given, expected = case["params"], case["input"]["trajectories"], case["expected"]
    batch = TurnBatch.from_trajectories([_trajectory(each) for each in given])
    names = {
        "positive_amplification": "amplify",
        "success_reward": "success_return",
        "success_advantage": "success_advantage",
        "positive_factor": "positive_factor",
    }
    columns = compute("r3l", batch, **{ours: params[theirs] for theirs, ours in names.items()}).columns(batch)
    is_action = [np.repeat([0, 1] * len(each["turns"]), _lengths(each)).astype(bool) for each in given]

    def of_actions(name: str) -> np.ndarray[Any, Any]:
        return np.concatenate([np.array(of)[at] for of, at in zip(expected[name], is_action, strict=True)])

    trained_K = columns["trained_K"]
    report.same("trained", trained_K.astype(int).tolist(), of_actions("trained").tolist())
    report.number("advantage", columns["advantage_K"] * trained_K, of_actions("advantage"))
    logprob_K = np.concatenate([np.array(each["logprob"])[at] for each, at in zip(given, is_action, strict=True)])
    logprob = torch.from_numpy(logprob_K)
    tokens = PolicyTokens(logprob, logprob, torch.from_numpy(columns["advantage_K"]))
    loss_K = get_loss("opmd").function(tokens, tau=params["tau"]).loss_K.numpy()
    report.number("loss_token_mean", loss_K[trained_K].mean(), expected["loss_token_mean"])


def _lengths(given: dict[str, Any]) -> list[int]:
    """Of observations and actions in turn."""
    return list(chain(*((turn["observation_tokens"], turn["action_tokens"]) for turn in given["turns"])))


def _trajectory(given: dict[str, Any]) -> Trajectory:
    turns = [Turn("", "", "", prompt_ids=[0], response_ids=[0] * turn["action_tokens"]) for turn in given["turns"]]
    turns[-1].reward = given["reward"]
    return Trajectory("golden", 0, "0/0", "", "", turns, pivot=given["retry_from_turn"])
