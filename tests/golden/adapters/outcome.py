"""Schemes that look at rewards alone: verl's estimators, verl-agent's on turns, Stratified GRPO."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit, compute

from ..compare import RTOL, Report
from .algorithm_cases import NEARLY_EQUAL_RTOL, nearly_equal


def check_verl_estimators(case: dict[str, Any], report: Report) -> None:
    """Advantages and returns of each of verl's estimators, on the policy's own tokens."""
    responses = case["input"]["responses"]
    batch = TurnBatch.from_dicts([response_trajectory(response) for response in responses])
    for name, expected in case["expected"].items():
        scheme, options = verl_scheme(name, case["params"])
        credit = compute(scheme, batch, **options)
        rtol_K = verl_tolerance(name, credit, batch)
        report.number(
            f"{name} advantages", credit.token_advantages(batch), own(expected["advantages"], responses), rtol_K
        )
        report.number(f"{name} returns", returns(credit, batch), own(expected["returns"], responses), rtol_K)


def verl_scheme(name: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Our scheme for one of verl's estimators, and its options."""
    return {
        "gae": ("ppo", {"gamma": params["gamma"], "gae_lambda": params["lam"]}),
        "grpo_vectorized": ("grpo", {"variance_floor": 1e-6}),
        "reinforce_pp": ("reinforce_pp", {"gamma": params["gamma"], "horizon": "turn"}),
        "gpg": ("gpg", {"gradient_estimation": "nonzero_scores"}),
        "otb": ("optimal_token_baseline", {"positions": "sequence", "zero_tail": False}),
        "tir_otb": ("optimal_token_baseline", {"positions": "response"}),
    }.get(name, (name, {}))


def response_trajectory(response: dict[str, Any]) -> dict[str, Any]:
    """A response in our form: each run of tokens with mask 1 is a turn.

    Rewards on other tokens count for the turn before them (the first, if there is none), but as rewards of
    tokens only those on the policy's own do.
    """
    mask = [0, *response["mask"], 0]
    starts = [t for t, (before, here) in enumerate(pairwise(mask)) if here and not before]
    ends = [t for t, (before, here) in enumerate(pairwise(mask)) if before and not here]
    bounds = [0, *starts[1:], len(response["mask"])]

    def turn(start: int, end: int, reward: float) -> dict[str, Any]:
        return {
            "obs": "",
            "valid": True,
            "reward": reward,
            "tokens": end - start,
            "token_reward": response["rewards"][start:end],
            "value": response["values"][start:end],
            "logprob": response["old_logprobs"][start:end],
            "sum_pi_squared": response["sum_pi_squared"][start:end],
            "position": list(range(start, end)),
        }

    rewards = [sum(response["rewards"][start:end]) for start, end in pairwise(bounds)]
    turns = [turn(*span) for span in zip(starts or [0], ends or [0], rewards, strict=True)]
    return {"group": response["group"], "greedy_return": response["greedy_baseline_reward"], "turns": turns}


def own(values: list[list[float]], responses: list[dict[str, Any]]) -> list[float]:
    """The values on the policy's own tokens."""
    rows = zip(values, responses, strict=True)
    return [value for row, response in rows for value, mask in zip(row, response["mask"], strict=True) if mask]


def returns(credit: Credit, batch: TurnBatch) -> FloatArray:
    """What verl calls returns: a critic's target, the return from each token on, or else the advantage again."""
    return credit.targets.get("value_K", credit.parts.get("return_K", credit.token_advantages(batch)))


def verl_tolerance(name: str, credit: Credit, batch: TurnBatch) -> FloatArray:
    """The relative tolerance for each token: wider where a std of nearly equal numbers divides."""
    if name in ("grpo", "grpo_passk"):
        nearly_equal_K = nearly_equal(batch.episode_return_N, batch.group_N)[batch.trajectory_K]
    elif name in ("gae", "reinforce_pp", "reinforce_pp_baseline"):
        nearly_equal_K = nearly_equal(returns(credit, batch), np.zeros(batch.n_tokens, dtype=np.int64))
    else:
        nearly_equal_K = np.zeros(batch.n_tokens, dtype=np.bool_)
    return np.where(nearly_equal_K, NEARLY_EQUAL_RTOL, RTOL)


def check_verl_agent_estimators(case: dict[str, Any], report: Report) -> None:
    """verl-agent's estimators on turns; a turn is one row there, and its last token has the row's score."""
    params = case["params"]
    options = {
        "statistics": "turns" if params["stats_over_steps"] else "trajectories",
        "invalid_action_penalty": params["invalid_action_penalty_coef"],
    }
    batch = TurnBatch.from_dicts([episode(row) for row in case["input"]["trajectories"]])
    for name, expected in case["expected"].items():
        credit = compute(name, batch, **options)
        nearly_equal_T = nearly_equal(credit.parts["episode_score_T"], batch.group_T) & (name == "grpo")
        rtol_T = np.where(nearly_equal_T, NEARLY_EQUAL_RTOL, RTOL)
        report.number(name, credit.turn_advantages(batch), expected, rtol_T)


def episode(row: dict[str, Any]) -> dict[str, Any]:
    """An episode whose return comes with its last turn.

    The rows that these files were made of had two tokens each: the number counts in the n − 1 of a whitening.
    """
    last = row["n_turns"] - 1
    turns = [
        {"obs": "", "valid": bool(valid), "reward": row["return"] * (t == last), "tokens": 2}
        for t, valid in enumerate(row["valid"])
    ]
    return {"group": row["group"], "turns": turns}


def check_stratified_grpo(case: dict[str, Any], report: Report) -> None:
    """Stratified GRPO with std of either ddof."""
    batch = TurnBatch.from_dicts(
        [
            {
                "group": row["group"],
                "stratum": row["stratum"],
                "turns": [{"obs": "", "valid": True, "reward": row["reward"]}],
            }
            for row in case["input"]["trajectories"]
        ]
    )
    for name, expected in case["expected"].items():
        ddof = int(name.removeprefix("ddof"))
        credit = compute("stratified_grpo", batch, strata="signal", ddof=ddof, **case["params"])
        got = {name[:-2]: values for name, values in credit.parts.items()}  # without the axis suffix
        got["blended"] = credit.turn_advantages(batch)
        for array, values in expected.items():
            report.number(f"{name} {array}", got[array], values)
