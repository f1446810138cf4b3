"""Schemes with history groups, information gains and entropies: HGPO, IGPO, A²TGPO, EMPG."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit, compute
from agentgym.trainers.credit.states.hgpo import history_groups

from ..compare import RTOL, Report
from .algorithm_cases import NEARLY_EQUAL_RTOL, nearly_equal


def check_hgpo(case: dict[str, Any], report: Report) -> None:
    """Every array of an HGPO case. The parameters have the official names; all actions are valid."""
    trajectories = case["input"]["trajectories"]
    turns = [[{"valid": True, **turn} for turn in trajectory["turns"]] for trajectory in trajectories]
    batch = TurnBatch.from_dicts(
        [{"group": t["group"], "turns": of_t} for t, of_t in zip(trajectories, turns, strict=True)]
    )
    credit = compute("hgpo", batch, **case["params"])
    rtol_T = np.full(batch.n_turns, RTOL)
    if case["params"]["mode"] == "mean_std_norm":
        return_T = credit.parts["step_return_T"]
        levels = history_groups(batch, case["params"]["history_length"])
        for group_T in [*levels, batch.group_T]:
            late = np.flatnonzero(group_T >= 0)  # late enough for this level
            rtol_T[late[nearly_equal(return_T[late], group_T[late])]] = NEARLY_EQUAL_RTOL
    report.number("step_return", credit.parts["step_return_T"], case["expected"]["step_return"])
    report.number("advantage", credit.turn_advantages(batch), case["expected"]["advantage"], rtol_T)


def check_igpo(case: dict[str, Any], report: Report) -> None:
    """Every array of an IGPO case, or of the one that computes the gains from log-probabilities."""
    if "states" in case["input"]:
        means = [[float(np.mean(answer)) for answer in states] for states in case["input"]["states"]]
        batch = TurnBatch.from_dicts([with_potential(k, m, 0.0, [1] * len(m)) for k, m in enumerate(means)])
        for kind, expected in case["expected"].items():
            report.number(kind, gains_but_last(batch, compute("igpo", batch, info_gain_type=kind)), expected)
        return
    batch = batch_with_gains(case["input"]["trajectories"])
    params = dict(case["params"])
    params["scale"] = "std" if params.pop("norm_by_std", True) else "none"
    credit = compute("igpo", batch, info_gain_type="log_prob_diff", **params)
    report.number("turn_advantage", credit.turn_advantages(batch), case["expected"]["turn_advantage"])
    report.number("token_advantage", credit.token_advantages(batch), case["expected"]["token_advantage"])


def check_a2tgpo(case: dict[str, Any], report: Report) -> None:
    """Every array of an A²TGPO case."""
    batch = batch_with_gains(case["input"]["trajectories"])
    credit = compute("a2tgpo", batch, info_gain_type="log_prob_diff", **case["params"])
    assert credit.clip_scale_T is not None
    normalised = gains_but_last(batch, credit, "normalised_info_gain_T")
    report.number("normalised_info_gain", normalised, case["expected"]["normalised_info_gain"])
    report.number("turn_advantage", credit.turn_advantages(batch), case["expected"]["turn_advantage"])
    report.number("turn_clip_scale", credit.clip_scale_T, case["expected"]["turn_clip_scale"])


def check_empg(case: dict[str, Any], report: Report) -> None:
    """Every array of an EMPG case. A trajectory's advantage is given as the return of its first step."""
    trajectories = [
        {
            "group": i,
            "turns": [
                turn(trajectory["advantage"] * (t == 0), len(entropies), entropy=entropies)
                for t, entropies in enumerate(trajectory["step_token_entropies"])
            ],
        }
        for i, trajectory in enumerate(case["input"]["trajectories"])
    ]
    batch = TurnBatch.from_dicts(trajectories)
    credit = compute("empg", batch, base="return", **case["params"])
    parts = {name.removesuffix("_T"): values for name, values in credit.parts.items()}
    parts["step_advantage"] = credit.turn_advantages(batch)
    for name, expected in case["expected"].items():
        report.number(name, parts[name], expected)


def batch_with_gains(trajectories: list[dict[str, Any]]) -> TurnBatch:
    """Trajectories that tell their gains, as a batch whose answer's log-probabilities have these differences."""
    return TurnBatch.from_dicts(
        [
            with_potential(
                trajectory["group"],
                list(accumulate(trajectory["info_gain"], initial=0.0)),
                trajectory["outcome"],
                trajectory.get("turn_lengths", [1] * (len(trajectory["info_gain"]) + 1)),
            )
            for trajectory in trajectories
        ]
    )


def with_potential(group: object, logprobs: list[float], outcome: float, n_tokens: list[int]) -> dict[str, Any]:
    """A trajectory with the answer's log-probability before each turn, and the outcome at its last."""
    last = len(logprobs) - 1
    steps = enumerate(zip(logprobs, n_tokens, strict=True))
    turns = [turn(outcome * (t == last), tokens, answer_logprob=logprob) for t, (logprob, tokens) in steps]
    return {"group": group, "turns": turns}


def turn(reward: float, n_tokens: int, **signals: object) -> dict[str, Any]:
    """A turn of which nothing else matters."""
    return {"obs": "", "reward": reward, "valid": True, "tokens": n_tokens, **signals}


def gains_but_last(batch: TurnBatch, credit: Credit, part: str = "info_gain_T") -> list[list[float]]:
    """A part that only turns before the last have."""
    return [of_trajectory[:-1] for of_trajectory in batch.nest_turns(credit.parts[part])]
