"""Schemes that need values: turn GAE, bi-level GAE, POAD and NTPO, ArCHer, MA-RLHF."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute

from ..compare import RTOL, Report
from .algorithm_cases import NEARLY_EQUAL_RTOL, nearly_equal
from .losses import check_archer_losses, check_ma_rlhf_losses

Row = dict[str, Any]


def check_turn_gae(case: Row, report: Report) -> None:
    """Advantages of turns, whitened over the batch, and what the critic is regressed on."""
    parts = [part for trajectory in case["input"]["trajectories"] for part in split_at_done(trajectory["turns"])]
    batch = batch_of(parts, value_T=np.array([turn["value"] for part in parts for turn in part]))
    credit = compute("turn_ppo", batch, **gae_params(case))
    rtol = whitened_rtol(credit.parts["gae_T"])
    report.number("turn_return", credit.targets["value_T"], case["expected"]["turn_return"])
    report.number("advantage_whitened", credit.turn_advantages(batch), case["expected"]["advantage_whitened"], rtol)


def check_bi_level_gae(case: Row, report: Report) -> None:
    """Values of tokens in the places that the case gives them: each turn's, then those of what it was answered."""
    given = case["input"]["trajectories"]
    masks = [
        [flag for turn in trajectory["turns"] for flag in [1] * turn["n_action_tokens"] + [0] * turn["n_obs_tokens"]]
        for trajectory in given
    ]
    mask = np.array([flag for flags in masks for flag in flags], dtype=np.bool_)
    batch = batch_of(
        [[{"tokens": turn["n_action_tokens"], **turn} for turn in trajectory["turns"]] for trajectory in given],
        value_K=np.concatenate([trajectory["values"] for trajectory in given])[mask],
    )
    credit = compute(
        "bi_level_gae",
        batch,
        turn_ends="nonzero_rewards",
        high_level_gamma=case["params"]["high_level_gamma"],
        **gae_params(case),
    )

    def placed(value_K: FloatArray) -> FloatArray:
        values = np.zeros(len(mask))
        values[mask] = value_K
        return values

    expected = case["expected"]
    report.same("action_mask", masks, expected["action_mask"])
    report.number("token_reward", placed(credit.parts["reward_K"]), expected["token_reward"])
    report.number("token_return", placed(credit.targets["value_K"]), expected["token_return"])
    rtol = whitened_rtol(credit.parts["gae_K"])
    report.number("advantage_whitened", placed(credit.token_advantages(batch)), expected["advantage_whitened"], rtol)


def check_poad(case: Row, report: Report) -> None:
    """A stream of turns that goes on over the ends of episodes; after the last one comes a value."""
    steps = [{"tokens": len(step["token_values"]), **step} for step in case["input"]["steps"]]
    parts = split_at_done(steps)
    final_N = np.zeros(len(parts))
    final_N[-1] = case["input"]["next_token_values"][0]
    batch = batch_of(
        parts,
        value_K=np.concatenate([step["token_values"] for step in steps]),
        value_T=np.array([step["token_values"][0] for step in steps]),
        final_value_N=final_N,
    )
    params = {**gae_params(case), "bootstrap_truncated": True}
    for scheme in ("POAD", "NTPO"):
        credit = compute(scheme.lower(), batch, norm_adv=False, **params)
        expected = case["expected"][scheme]
        report.number(f"{scheme} token_advantage", credit.token_advantages(batch), expected["token_advantage"])
        report.number(f"{scheme} token_return", credit.targets["value_K"], expected["token_return"])
    credit, expected = compute("turn_ppo", batch, whiten=False, **params), case["expected"]["action_level_GAE"]
    report.number("action_level_GAE advantage", credit.turn_advantages(batch), expected["advantage"])
    report.number("action_level_GAE returns", credit.targets["value_T"], expected["returns"])


def check_archer(case: Row, report: Report) -> None:
    """The advantage and the critics' targets of single transitions, and sums over one trajectory's rewards."""
    given, expected = case["input"], case["expected"]
    here = {"q1_T": "q1", "q2_T": "q2", "v1_T": "v1", "v2_T": "v2"}
    here |= {f"target_q{j}_policy_T": f"target_q{j}_on_policy_action" for j in (1, 2)}
    after = {f"target_v{j}_T": f"target_v{j}_next" for j in (1, 2)}
    # A transition that is not done is followed by a turn that stands for the next situation.
    rewards = [[r] if done else [r, 0.0] for r, done in zip(given["reward"], given["done"], strict=True)]
    batch = batch_of([[{"reward": r} for r in turns] for turns in rewards])
    first, last = batch.turn_offsets_N[:-1], batch.turn_offsets_N[1:] - 1
    signals = {name: at(first, given[key], batch.n_turns) for name, key in here.items()}
    signals |= {name: at(last, given[key], batch.n_turns) for name, key in after.items()}
    batch = replace(batch, columns=signals)
    credit = compute("archer", batch, gamma=case["params"]["gamma"])
    report.number("actor_advantage", credit.turn_advantages(batch)[first], expected["actor_advantage"])
    for j in (1, 2):
        report.number(f"q{j}_target", credit.targets[f"q{j}_T"][first], expected[f"q{j}_target"])

    whole = batch_of([[{"reward": r} for r in given["mc_rewards"]]])
    for name in expected:
        if name.startswith("mc_return_gamma"):
            gamma = float(name.removeprefix("mc_return_gamma"))
            returns = compute("reinforce", whole, gamma=gamma, baseline="none")
            report.number(name, returns.turn_advantages(whole), expected[name])
    report.number("trajectory_reward", whole.episode_return_N, [expected["trajectory_reward"]])
    check_archer_losses(case, report)


def check_ma_rlhf(case: Row, report: Report) -> None:
    """Macro actions of a single response."""
    given, params, expected = case["input"], case["params"], case["expected"]
    batch = batch_of(
        [[{"reward": 0.0, "tokens": len(given["values"])}]],
        value_K=np.array(given["values"]),
        token_reward_K=np.array(given["token_rewards"]),
        perplexity_K=np.array(given["ref_ppl"]),
    )
    rule = {"termination": "perplexity"} if params["termination"] == "ppl" else {"ngram": params["ngram"]}
    credit = compute("ma_rlhf", batch, weights=params["value_function"], **rule, **gae_params(case))
    names = {"boundaries": "first_token", "macro_values": "value", "macro_rewards": "reward"}
    names |= {"macro_advantages": "advantage", "macro_returns": "return"}
    for theirs, ours in names.items():
        report.number(theirs, credit.parts[f"{ours}_M"], expected[theirs], 0.0 if theirs == "boundaries" else RTOL)
    check_ma_rlhf_losses(case, report)


# From cases to batches -------------------------------------------------------------------------------------


def batch_of(trajectories: Iterable[Sequence[Row]], **signals: NDArray[Any]) -> TurnBatch:
    """The batch of trajectories of turns; one whose last turn is not "done" was truncated."""
    keys = {"reward", "tokens"}
    dicts = [
        {
            "group": number,
            "truncated": not turns[-1].get("done", True),
            "turns": [
                {"obs": "", "valid": turn.get("valid", True)} | {key: turn[key] for key in keys & turn.keys()}
                for turn in turns
            ],
        }
        for number, turns in enumerate(trajectories)
    ]
    return replace(TurnBatch.from_dicts(dicts), columns=signals)


def split_at_done(turns: Sequence[Row]) -> list[list[Row]]:
    """The turns of each episode, for turns that go on after one that is done."""
    episodes: list[list[Row]] = [[]]
    for turn in turns:
        if episodes[-1] and episodes[-1][-1]["done"]:
            episodes.append([])
        episodes[-1].append(turn)
    return episodes


def gae_params(case: Row) -> dict[str, float]:
    """The discount and λ of a case, under our names."""
    return {"gamma": case["params"]["gamma"], "gae_lambda": case["params"]["lam"]}


def at(place: IntArray, values: Sequence[float], length: int) -> FloatArray:
    """The values at their places in an array of zeros."""
    array = np.zeros(length)
    array[place] = values
    return array


def whitened_rtol(value: FloatArray) -> float:
    """The relative tolerance of values that were divided by their std."""
    return NEARLY_EQUAL_RTOL if nearly_equal(value, np.zeros(len(value), dtype=np.int64)).any() else RTOL
