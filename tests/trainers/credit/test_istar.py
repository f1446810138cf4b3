"""iStar: against plain loops, and where it must reduce to something simpler."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from agentgym.trainers.credit.blocks import peak_normalised
from tests.trainers.credit.batches import batch_of, batches, quick
from tests.trainers.credit.naive_process import Row, n_tokens, outcome, standardised, whitened

NEEDS = ["implicit_reward_T"]


def against(value: float, peers: list[float], baseline: str) -> float:
    if len(peers) < 2:
        alone = value - 0.0 if peers else value
        return alone / (1 + 1e-6) if baseline == "grpo" else alone
    if baseline == "rloo":
        return len(peers) / (len(peers) - 1) * (value - fmean(peers))
    return standardised(value, peers, 1, 1e-6) if baseline == "grpo" else value - fmean(peers)


def over_tokens(values: list[float], counts: list[int]) -> list[float]:
    """Each value as it comes out of whitening where it is there as often as its count says."""
    positions, repeated = [], []
    for value, count in zip(values, counts, strict=True):
        positions.append(len(repeated))
        repeated += [value] * count
    white = whitened(repeated)
    return [white[at] if count else 0.0 for at, count in zip(positions, counts, strict=True)]


def naive(rows: list[Row], baseline: str, statistics: str, normalise: bool, weight: float) -> list[float]:
    turns = [(i, t, turn) for i, row in enumerate(rows) for t, turn in enumerate(row["turns"])]
    largest = max((abs(turn["implicit_reward"]) for _, _, turn in turns), default=0.0)
    scale = 1 / (largest + 1e-6) if normalise else 1.0
    episode, step = [], []
    for i, _, turn in turns:
        mates = [(j, u, other) for j, u, other in turns if rows[j]["group"] == rows[i]["group"]]
        returns = [outcome(rows[j]) for j, u, _ in mates if u == 0]
        rewards = [scale * other["implicit_reward"] for _, u, other in mates if statistics == "all_turns" or u == 0]
        episode.append(against(outcome(rows[i]), returns, baseline))
        step.append(against(scale * turn["implicit_reward"], rewards, baseline))
    if baseline == "reinforce_pp_baseline":
        counts = [n for row in rows for n in n_tokens(row)]
        episode, step = over_tokens(episode, counts), over_tokens(step, counts)
    return [e + weight * s for e, s in zip(episode, step, strict=True)]


@pytest.mark.parametrize(
    ("baseline", "statistics", "normalisation"),
    [
        ("rloo", "all_turns", "batch_norm"),
        ("rloo", "first_turns", "none"),
        ("grpo", "all_turns", "none"),
        ("grpo_without_std", "first_turns", "batch_norm"),
        ("reinforce_pp_baseline", "all_turns", "none"),
    ],
)
@quick
@given(rows=batches(NEEDS))
def test_istar_is_its_definition(baseline, statistics, normalisation, rows):
    batch = batch_of(rows, NEEDS)
    params = {"baseline": baseline, "step_statistics": statistics, "normalisation": normalisation}
    credit = compute("istar", batch, step_weight=0.5, **params)
    expected = np.array(naive(rows, baseline, statistics, normalisation == "batch_norm", 0.5))
    if baseline == "reinforce_pp_baseline":  # a turn without tokens has no place in it
        has_tokens = np.array([n > 0 for row in rows for n in n_tokens(row)], dtype=bool)
        assert credit.advantage_T[has_tokens] == pytest.approx(expected[has_tokens], abs=1e-6)
    else:
        assert credit.advantage_T == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("statistics", ["all_turns", "first_turns"])
@quick
@given(rows=batches(NEEDS))
def test_istar_without_step_weight_is_rloo(statistics, rows):
    batch = batch_of(rows, NEEDS)
    credit = compute("istar", batch, step_weight=0.0, step_statistics=statistics)
    assert credit.advantage_T.tolist() == compute("rloo", batch).advantage_T.tolist()
    grpo = compute("istar", batch, step_weight=0.0, baseline="grpo")
    assert grpo.advantage_T.tolist() == compute("grpo", batch).advantage_T.tolist()


def test_the_baseline_of_first_turns():
    def row(*rewards: float) -> Row:
        turns = [{"obs": 0, "reward": 0, "valid": True, "implicit_reward": r} for r in rewards]
        return {"group": 0, "turns": turns}

    batch = TurnBatch.from_dicts([row(1, 4), row(3)])
    params = {"baseline": "grpo_without_std", "normalisation": "none"}
    paper = compute("istar", batch, **params).parts["step_advantage_T"]
    released = compute("istar", batch, step_statistics="first_turns", **params).parts["step_advantage_T"]
    assert paper == pytest.approx([1 - 8 / 3, 4 - 8 / 3, 3 - 8 / 3])
    assert released.tolist() == [-1, 2, 1]  # the mean of 1 and 3


def test_the_penalty_is_local_to_its_turn_and_level():
    turns = [{"obs": 0, "reward": 1, "valid": v, "implicit_reward": 0.5} for v in (True, False)]
    batch = TurnBatch.from_dicts([{"group": g, "turns": turns} for g in (0, 0)])
    penalised = compute("istar", batch, invalid_action_penalty=0.1, baseline="grpo_without_std")
    assert penalised.advantage_T == pytest.approx([0, -0.1, 0, -0.1])


def test_reinforce_pp_needs_tokens():
    turn = {"obs": 0, "reward": 1, "valid": True, "implicit_reward": 0.5}
    batch = TurnBatch.from_dicts([{"group": 0, "turns": [turn]}])
    with pytest.raises(ValueError, match=r"istar with baseline='reinforce_pp_baseline' needs 'tokens'"):
        compute("istar", batch, baseline="reinforce_pp_baseline")


def test_no_return_is_larger_than_one_after_normalisation():
    reward, offsets = np.array([1.0, 2.0, -1.0, -5.0]), np.array([0, 3, 3, 4])
    assert peak_normalised(reward, offsets, 0.0).tolist() == [0.2, 0.4, -0.2, -1.0]
    assert peak_normalised(np.zeros(0), np.array([0])).tolist() == []
    noise = np.array([1e-4, -2e-4, 3e-4, 9e-4])
    assert peak_normalised(noise, offsets).tolist() == noise.tolist()
