"""HiPER: its advantages, what it reads from responses, where values are read, the losses of its three heads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from agentgym.agents.formats import get_format
from agentgym.agents.token_spans import token_spans
from agentgym.agents.trajectory import Trajectory, Turn
from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit, compute
from agentgym.trainers.experience import Experience
from agentgym.trainers.losses.critics import clipped_value_loss
from agentgym.trainers.signals.critic import PLACES

from ..compare import RTOL, Report
from .critics import gradient, tensor
from .values import Row, batch_of, whitened_rtol

HEADS = {"low": "value_low_T", "high": "value_high_T", "term": "value_switch_T"}


def check_hiper(case: Row, report: Report) -> None:
    """The three advantages of HiPER in turns that have one token for each."""
    params = hiper_params(case["params"])
    batch, credit = _computed(case, params)
    raw = compute("hiper", batch, **{**params, "norm_adv": False})
    switch_T, subgoal_T, action_T = credit.token_advantages(batch).reshape(-1, 3).T
    termination_T = credit.parts.get("switch_advantage_T", np.zeros(batch.n_turns))
    begins_T = np.diff(credit.parts["segment_T"], prepend=-1) > 0

    expected = case["expected"]
    levels = {
        "adv_action_tokens": (action_T, raw.parts["action_advantage_T"]),
        "adv_subgoal_tokens": (subgoal_T, raw.parts["subgoal_advantage_T"][begins_T]),
        "adv_switch_tokens_from_high": (switch_T - termination_T, raw.parts["subgoal_advantage_T"][begins_T]),
        "adv_switch_tokens_from_termination": (termination_T, raw.parts.get("switch_advantage_T", termination_T)),
    }
    for name, (values, unscaled) in levels.items():
        report.number(name, values, expected[name], whitened_rtol(unscaled) if params["norm_adv"] else RTOL)
    report.number("return_low", credit.targets["value_low_T"], expected["return_low"])
    report.number("return_high", credit.targets["value_high_T"] * begins_T, expected["return_high"])
    report.number("return_term", credit.targets.get("value_switch_T", termination_T), expected["return_term"])


def check_hiper_training(case: Row, report: Report) -> None:
    """Responses, or the losses of the three heads."""
    {"parser": _check_parser, "value losses": _check_value_losses}[case["params"]["kind"]](case, report)


def _check_parser(case: Row, report: Report) -> None:
    """What is the trainer's of each response, and what the environment is told where that is defined alike."""
    turns = []
    for number, (given, expected) in enumerate(zip(case["input"]["turns"], case["expected"]["turns"], strict=True)):
        parsed = get_format("hiper").parse(given["text"])
        ids = [*range(len(given["tokens"]))]
        spans = token_spans(partial(_decoded, given["tokens"]), ids, parsed.spans)
        told = {name: list(spans[name]) if name in spans else None for name in expected["with_tags"]}
        report.same(f"turn {number}: with_tags", told, expected["with_tags"])
        turn = Turn("", "", parsed.action, prompt_ids=[0], response_ids=ids, spans=spans, fault=parsed.fault)
        turn.parts = dict(parsed.parts)
        turns.append(turn)
        for world in ("env_alfworld", "env_webshop"):
            theirs = expected[world]
            if parsed.action and not re.search("[\u4e00-\u9fff]", given["text"]):  # there we leave it to the world
                report.same(f"turn {number}: {world} valid", not parsed.fault, bool(theirs["valid"]))
            if theirs["valid"]:  # else the last characters stand for what is missing
                ours = {"action": parsed.action.lower(), **parsed.parts, "valid": 1}
                report.same(f"turn {number}: {world}", ours, theirs)

    experience = Experience.of(0, [Trajectory("golden", 0, "", "", "", turns)])
    begins = [expected["begins_subgoal_by_tag"] for expected in case["expected"]["turns"]]
    report.same("begins_subgoal_by_tag", experience.batch.flags("switch_T").tolist(), begins)
    borders = np.cumsum([len(turn.response_ids) for turn in turns])[:-1]
    for head, column in HEADS.items():
        at_TK = np.split(PLACES[column](experience), borders)
        read_T = [expected["value_read_before_token"][head] for expected in case["expected"]["turns"]]
        expected_T = [[] if place is None else [place] for place in read_T]
        report.same(f"value_read_before_token {head}", [np.flatnonzero(at_K).tolist() for at_K in at_TK], expected_T)


def _decoded(tokens: Sequence[str], ids: Sequence[int]) -> str:
    return "".join(tokens[i] for i in ids)


def _check_value_losses(case: Row, report: Report) -> None:
    """The targets and the clipped loss of each head, over its own places, in the batch or in micro-batches.

    Twice ours: the loss that HiPER's repository has from verl lacks the ½.
    """
    params, expected = case["params"], case["expected"]
    _, credit = _computed(case, hiper_params(params))
    turns = [turn for trajectory in case["input"]["trajectories"] for turn in trajectory["turns"]]
    begins_T = np.diff(credit.parts["segment_T"], prepend=-1) > 0
    report.same("begins_segment", begins_T.tolist(), expected["begins_segment"])
    micro_T = np.arange(len(turns)) // params["micro_batch_rows"]
    n_micro = len(turns) // params["micro_batch_rows"]
    coefficients = {"low": 1.0, "high": params["high_value_coef"], "term": params["term_value_coef"]}
    for reduction in ("loss_whole_batch", "loss_micro_batches"):
        total = 0.0
        for head, column in HEADS.items():
            return_T, at_T = credit.targets[column], begins_T if head == "high" else np.ones(len(turns), np.bool_)
            report.number(f"returns {head}", return_T * at_T, expected["returns"][head])
            value_T = tensor([turn[f"p_{head}"] for turn in turns]).requires_grad_()
            old_T = tensor([turn[f"v_{head}"] for turn in turns])
            loss_T, _ = clipped_value_loss(value_T, old_T, tensor(return_T), epsilon=params["cliprange_value"])
            weight_T: FloatArray = at_T / at_T.sum()
            if reduction == "loss_micro_batches":
                weight_T = at_T / np.maximum(np.bincount(micro_T, weights=at_T), 1)[micro_T] / n_micro
            loss = 2 * coefficients[head] * (loss_T * tensor(weight_T)).sum()
            loss.backward()
            total += loss.item()
            if reduction == "loss_whole_batch":
                report.number(f"{reduction} {head}", loss.item() / coefficients[head], expected[reduction][head])
            report.number(f"{reduction} grad {head}", gradient(value_T), expected[reduction]["grad"][head])
        report.number(f"{reduction} total", total, expected[reduction]["total"])


def _computed(case: Row, params: Row) -> tuple[TurnBatch, Credit]:
    """The batch of a case, three tokens a turn, one for each role, and its credit."""
    names = {"switch": "switch", "subgoal": "subgoal_id", "value_low": "v_low", "value_high": "v_high"}
    names |= {"value_switch": "v_term"}
    turns = [turn for trajectory in case["input"]["trajectories"] for turn in trajectory["turns"]]
    batch = batch_of(
        [[{"tokens": 3, **turn} for turn in trajectory["turns"]] for trajectory in case["input"]["trajectories"]],
        role_K=np.array(["switch", "subgoal", "action"] * len(turns), dtype=object),
        **{f"{ours}_T": np.array([turn[theirs] for turn in turns]) for ours, theirs in names.items()},
    )
    return batch, compute("hiper", batch, **params)


def hiper_params(params: Row) -> dict[str, Any]:
    """The parameters of HiPER's code under our names, penalties as what is subtracted."""
    same = ("gamma", "assign_high_to_switch", "norm_adv", "bootstrap_truncated", "keep_penalty_mode")
    return {name: params[name] for name in same if name in params} | {
        "gae_lambda": params["lam_turn"],
        "segment_gae_lambda": params["lam_seg"],
        "termination_head": params.get("use_termination_head", True),
        "keep_penalty": -params["keep_penalty"],
        "consistency_penalty": -params["keep_consistency_penalty"],
        "invalid_action_penalty": params["invalid_action_penalty_coef"],
    }
