"""Schemes that need implicit, learned or judged step scores: PURE, iStar, PRIME, SPA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from agentgym.trainers.credit.process.pure import step_scores

from ..compare import RTOL, Report
from .algorithm_cases import NEARLY_EQUAL_RTOL, nearly_equal
from .losses import check_istar_loss, check_prime_loss

Row = dict[str, Any]


def check_pure(case: Row, report: Report) -> None:
    """A response's steps are turns; whether it is solved is the reward of the last."""
    params, responses = case["params"], case["input"]["responses"]
    if params["n_samples_per_prompt"] * len({row["prompt"] for row in responses}) != len(responses):
        report.differs("some prompt has not as many responses as n_samples_per_prompt says")
    batch = TurnBatch.from_dicts(
        [
            trajectory(
                row["prompt"],
                row["solved"],
                [
                    {"tokens": n_tokens, "process_reward": score}
                    for n_tokens, score in zip(
                        row["step_lengths"], step_scores(np.array(row["prm_logits"])), strict=True
                    )
                ],
            )
            for row in responses
        ]
    )
    credit = compute(
        "pure",
        batch,
        temperature=params["temperature"],
        weighting="mean" if params["disable_weighted_reward"] else "min_form",
        baseline=params["reward_baseline"],
        verifiable_weight={"PRM": 0.0, "PRMVR": params["verifiable_reward_coef"]}[params["reward_mode"]],
        mask_separators=params["mask_separator"],
    )
    expected = case["expected"]
    report.number("process_reward", batch.signal("process_reward_T"), expected["process_reward"])
    report.number("weighted_process_reward", credit.parts["weighted_reward_T"], expected["weighted_process_reward"])
    report.number("outcome_reward", credit.parts["outcome_reward_N"], expected["outcome_reward"])
    report.number("token_reward_after_baseline", credit.parts["reward_K"], expected["token_reward_after_baseline"])
    report.number("token_advantage", credit.token_advantages(batch), expected["token_advantage"])


def check_istar(case: Row, report: Report) -> None:
    """iStar with every baseline. The files were made with two tokens a turn, which whitening depends on."""
    params, expected = case["params"], dict(case["expected"])
    batch = TurnBatch.from_dicts(
        [
            trajectory(
                row["group"],
                row["return"],
                [{"tokens": 2, "implicit_reward": reward} for reward in row["step_rewards"]],
            )
            for row in case["input"]["trajectories"]
        ]
    )
    common = {
        "step_weight": params["step_advantage_w"],
        "normalisation": params["istar_norm"],
        "step_statistics": "first_turns",
    }
    credits = {
        name: compute("istar", batch, baseline=baseline, **common)
        for name, baseline in {
            "istar_rloo": "rloo",
            "istar_grpo_mean_norm": "grpo_without_std",
            "istar_grpo_mean_std_norm": "grpo",
            "istar_reinforce_pp_baseline": "reinforce_pp_baseline",
        }.items()
    }
    rloo = credits["istar_rloo"]
    got = {name: credit.turn_advantages(batch) for name, credit in credits.items()}
    got["combined_rloo"] = got["istar_rloo"]
    got["istar_rloo_process_only"] = rloo.parts["step_advantage_T"]
    got["step_reward_normalised"] = rloo.parts["step_reward_T"]

    first_T = batch.turn_index_T == 0
    std_rtol_T = np.full(batch.n_turns, RTOL)
    for value_T in (batch.episode_return_N[batch.trajectory_T], rloo.parts["step_reward_T"]):
        near = set(batch.group_T[first_T][nearly_equal(value_T[first_T], batch.group_T[first_T])].tolist())
        std_rtol_T[[group in near for group in batch.group_T.tolist()]] = NEARLY_EQUAL_RTOL
    if expected.pop("trajectory_dpo_loss", None) is not None:
        check_istar_loss(case, report)
    for name, values in expected.items():
        report.number(name, got[name], values, std_rtol_T if name == "istar_grpo_mean_std_norm" else RTOL)


def check_prime(case: Row, report: Report) -> None:
    """A response is a trajectory of one turn; its accuracy is its reward."""
    params, given, expected = case["params"], case["input"], dict(case["expected"])
    report.same("lengths", [len(row) for row in given["process_reward"]], given["lengths"])
    batch = TurnBatch.from_dicts(
        [
            trajectory(i // params["n_samples"], acc, [{"tokens": len(rewards), "implicit_reward": rewards}])
            for i, (rewards, acc) in enumerate(zip(given["process_reward"], given["acc"], strict=True))
        ]
    )
    credit = compute(
        "prime",
        batch,
        process_weight=params["reward_dpo_coef"],
        outcome_weight=params["reward_gt_coef"],
        normalisation="none",
    )
    if expected.pop("prm_ce_loss", None) is not None:
        check_prime_loss(case, report)
    got = {"token_return": credit.parts["return_K"], "token_advantage_whitened": credit.token_advantages(batch)}
    for name, values in expected.items():
        report.number(name, got[name], values)


def check_spa(case: Row, report: Report) -> None:
    """Either the released placement of step scores, or the released script's step scores."""
    if "step_scores" in case["expected"]:
        check_spa_scores(case, report)
    else:
        check_spa_placement(case, report)


def check_spa_scores(case: Row, report: Report) -> None:
    """The scores of turns by the released data script."""
    batch = TurnBatch.from_dicts(
        [
            trajectory(
                row["id"],
                row["final_reward"],
                [{"tokens": 1, "progress": 0, "value": [0.0], "executable": flag} for flag in row["step_executable"]],
            )
            for row in case["input"]["trajectories"]
        ]
    )
    credit = compute("spa", batch, scores="leave_one_out", grounding_reward=case["params"]["grounding_reward"])
    report.number("step_scores", credit.parts["step_score_T"], case["expected"]["step_scores"])


def check_spa_placement(case: Row, report: Report) -> None:
    """Rewards of tokens. A turn has its observation's tokens too, since the KL penalty lies on them as well."""
    rows, masks = [], []
    for i, row in enumerate(case["input"]["trajectories"]):
        ends = np.cumsum(row["seg"])[1::2].tolist()
        lengths = np.diff([0, *ends]).tolist()
        starts = [end - length for end, length in zip(ends, lengths, strict=True)]
        turns = [
            {
                "tokens": length,
                "progress": score,
                "executable": False,
                "logprob": row["logprob"][start : start + length],
                "reference_logprob": row["ref_logprob"][start : start + length],
                "value": [0.0] * length,
            }
            for start, length, score in zip(starts, lengths, row["step_scores"], strict=True)
        ]
        rows.append(trajectory(i, 0.0, turns))
        masks.append(np.repeat(np.arange(len(row["seg"])) % 2, row["seg"]).tolist())
    batch = TurnBatch.from_dicts(rows)
    credit = compute("spa", batch, variant="released", kl_coefficient=case["params"]["kl_coef"])
    report.same("action_mask", masks, case["expected"]["action_mask"])
    report.number("token_reward", credit.parts["reward_K"], case["expected"]["token_reward"])


def trajectory(group: object, outcome: float, turns: Sequence[Row]) -> Row:
    """A trajectory whose last turn is rewarded with the outcome."""
    last = len(turns) - 1
    return {
        "group": group,
        "turns": [
            {"obs": "", "valid": True, "reward": outcome if t == last else 0, **turn} for t, turn in enumerate(turns)
        ],
    }
