"""PURE: against plain loops, and where it must reduce to something simpler."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from agentgym.trainers.credit.blocks import rate_of_others
from agentgym.trainers.credit.process.pure import step_scores
from tests.trainers.credit.batches import batch_of, batches, quick
from tests.trainers.credit.naive_process import Row, less_others, n_tokens, others, outcome, placed, sums_from

NEEDS = ["process_reward_T"]


def naive(rows: list[Row], temperature: float, weighting: str, baseline: str, c: float, mask: bool) -> list[float]:
    weighted: list[list[float]] = []
    for row in rows:
        scores = [turn["process_reward"] for turn in row["turns"]]
        exps = [math.exp((min(scores) - p) / temperature) if weighting == "min_form" else 1.0 for p in scores]
        weighted.append([e / sum(exps) * p for e, p in zip(exps, scores, strict=True)])
    totals, lengths = [sum(values) for values in weighted], [sum(n_tokens(row)) for row in rows]

    advantages: list[float] = []
    for i, row in enumerate(rows):
        peers = list(others(rows, i))
        if baseline == "step":
            rate = fmean(totals[j] / len(weighted[j]) for j in peers) if peers else 0.0
            baselines = [rate for _ in row["turns"]]
        else:
            length = sum(lengths[j] for j in peers)
            rate = sum(totals[j] for j in peers) / length if length else 0.0
            baselines = [rate * n for n in n_tokens(row)]
        rewards = placed(row, [w - b for w, b in zip(weighted[i], baselines, strict=True)])
        if rewards:
            rewards[-1] += c * less_others([outcome(other) for other in rows], rows, i)
        sums = sums_from(rewards)
        for end in np.cumsum(n_tokens(row)):
            if mask and end:
                sums[end - 1] = 0.0
        advantages += sums
    return advantages


@pytest.mark.parametrize(
    ("weighting", "baseline", "c", "mask"),
    [("min_form", "token", 0.0, False), ("min_form", "step", 0.5, True), ("mean", "token", 1.0, False)],
)
@quick
@given(rows=batches(NEEDS))
def test_pure_is_its_definition(weighting, baseline, c, mask, rows):
    params = {"weighting": weighting, "baseline": baseline, "verifiable_weight": c, "mask_separators": mask}
    credit = compute("pure", batch_of(rows, NEEDS), temperature=0.5, **params)
    assert credit.advantage_K.tolist() == pytest.approx(naive(rows, 0.5, weighting, baseline, c, mask), abs=1e-9)


def responses(*scores: list[float], rewards: tuple[float, ...] = ()) -> TurnBatch:
    """Trajectories of one group with two tokens a turn."""
    rewards = rewards or (0.0,) * len(scores)
    return TurnBatch.from_dicts(
        [
            {
                "group": 0,
                "turns": [{"obs": 0, "reward": r, "valid": True, "tokens": 2, "process_reward": p} for p in of_one],
            }
            for of_one, r in zip(scores, rewards, strict=True)
        ]
    )


@quick
@given(rows=batches(NEEDS, min_tokens=1))
def test_pure_with_one_turn_is_its_score(rows):
    rows = [{**row, "turns": row["turns"][:1]} for row in rows]
    scores = [row["turns"][0]["process_reward"] if row["turns"] else 0.0 for row in rows]
    credit = compute("pure", batch_of(rows, NEEDS), baseline="step")
    assert credit.parts["outcome_reward_N"].tolist() == scores
    expected = [less_others(scores, rows, i) for i, row in enumerate(rows) for _ in range(sum(n_tokens(row)))]
    assert credit.advantage_K.tolist() == pytest.approx(expected, abs=1e-9)


def test_pure_is_the_worst_turn_and_only_what_follows_it_is_spared():
    credit = compute("pure", responses([0.5, -0.75, 0.25]), temperature=0.001)
    assert credit.parts["outcome_reward_N"] == pytest.approx(-0.75)
    assert credit.advantage_K.tolist() == pytest.approx([-0.75] * 4 + [0.0] * 2)  # alone: no baseline


def test_pure_compares_tokens_and_outcomes_with_the_others():
    batch = responses([0.5], [-0.25], rewards=(1.0, 0.0))
    assert compute("pure", batch).advantage_K.tolist() == [0.75, 0.75, -0.75, -0.75]
    with_outcome = compute("pure", batch, verifiable_weight=2.0, mask_separators=True)
    assert with_outcome.advantage_K.tolist() == [2.75, 0, -2.75, 0]


def test_step_scores_are_differences_of_probabilities():
    logits = np.array([[0.3, 0.3], [-1.0, 2.0]])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert step_scores(logits) == pytest.approx(probabilities[:, 1] - probabilities[:, 0])


def test_rate_of_others_leaves_out_the_entry_itself_and_other_segments():
    amount, segment = np.array([6.0, 2.0, 4.0, 9.0]), np.array([0, 0, 0, 1])
    assert rate_of_others(amount, np.array([1, 1, 2, 3]), segment).tolist() == [2, 10 / 3, 4, 0]
