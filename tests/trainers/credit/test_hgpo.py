"""HGPO: compared with loops written from the definition, and what it reduces to."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean, pstdev, stdev

import numpy as np
import pytest
from hypothesis import given

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from agentgym.trainers.credit.states.hgpo import history_groups
from tests.trainers.credit.batches import batches, quick

EPSILON = 1e-6


def naive(trajectories, *, history_length, gamma, mode, alpha, first_weight, drop, base_group, penalty):
    """HGPO with dictionaries; the advantages of all turns in order."""
    items = defaultdict(list)  # (trajectory, turn) -> (weight, advantage)
    groups = defaultdict(list)  # (task, level, last observations) -> members
    returns, scores = {}, defaultdict(list)
    for i, trajectory in enumerate(trajectories):
        turns = trajectory["turns"]
        for t, turn in enumerate(turns):
            cost = 0 if turn["valid"] else penalty
            returns[i, t] = sum(gamma**j * later["reward"] for j, later in enumerate(turns[t:])) - cost
            scores[trajectory["group"]].append(((i, t), sum(u["reward"] for u in turns) - cost))
            for level in range(history_length + 1):
                if t >= level:
                    last = tuple(u["obs"] for u in turns[t - level : t + 1])
                    groups[trajectory["group"], level, last].append((i, t))

    def divisor(spread):
        return spread + EPSILON if mode == "mean_std_norm" else 1.0

    if base_group:
        for members in scores.values():
            values = [value for _, value in members]
            mean, spread = (fmean(values), stdev(values)) if len(values) > 1 else (0.0, 1.0)
            for member, value in members:
                items[member].append((1, (value - mean) / divisor(spread)))
    for (_, level, _), members in groups.items():
        if len(members) > 1:
            values = [returns[member] for member in members]
            for member in members:
                advantage = (returns[member] - fmean(values)) / divisor(pstdev(values))
                items[member].append(((level + first_weight) ** alpha, advantage))
    result = []
    for member in returns:
        kept = [(weight, a) for weight, a in items[member] if not (drop and a == 0)]
        result.append(sum(w * a for w, a in kept) / (sum(w for w, _ in kept) + EPSILON))
    return result


@pytest.mark.parametrize("history_length", [0, 1, 4])
@pytest.mark.parametrize(
    ("mode", "alpha", "level_weights", "drop", "base_group", "gamma"),
    [
        ("mean_std_norm", 1.0, "official", True, False, 0.5),
        ("mean_norm", 0.0, "official", True, True, 1.0),
        ("mean_std_norm", 2.0, "paper", False, True, 0.95),
    ],
)
@quick
@given(trajectories=batches())
def test_agrees_with_loops(trajectories, history_length, mode, alpha, level_weights, drop, base_group, gamma):
    # Halves and quarters add up exactly, so that both find the same advantages to be exactly 0.
    settings = {"history_length": history_length, "gamma": gamma, "mode": mode, "base_group": base_group}
    first_weight = 2 if level_weights == "official" else 1
    expected = naive(trajectories, alpha=alpha, first_weight=first_weight, drop=drop, penalty=0.25, **settings)
    credit = compute(
        "hgpo",
        TurnBatch.from_dicts(trajectories),
        length_weight_alpha=alpha,
        level_weights=level_weights,
        drop_zero_items=drop,
        invalid_action_penalty=0.25,
        **settings,
    )
    assert credit.advantage_T == pytest.approx(expected, abs=1e-9)


@quick
@given(batches())
def test_without_history_it_compares_as_gigpo_does_within_a_state(trajectories):
    batch = TurnBatch.from_dicts(trajectories)
    credit = compute("hgpo", batch, history_length=0, mode="mean_norm")
    step_T = compute("gigpo", batch, mode="mean_norm").parts["step_advantage_T"]
    assert credit.advantage_T == pytest.approx(step_T, rel=1e-5, abs=1e-12)


def test_a_longer_common_history_weighs_more():
    def trajectory(*observations, reward):
        turns = [{"obs": o, "reward": 0, "valid": True} for o in observations]
        turns[-1]["reward"] = reward
        return {"group": "g", "turns": turns}

    rewards = (8, 0, 4)
    histories = ("hall", "door"), ("hall", "door"), ("attic", "door")
    trajectories = [trajectory(*h, reward=r) for h, r in zip(histories, rewards, strict=True)]
    batch = TurnBatch.from_dicts(trajectories)
    assert [group.tolist() for group in history_groups(batch, 2)] == [[0, 1, 0, 1, 2, 1], [-1, 0, -1, 0, -1, 1]]
    credit = compute("hgpo", batch, gamma=1.0, mode="mean_norm", drop_zero_items=False)
    # At the door: all three returns have the mean 4; those from the hall, again 4; the one from the attic is alone.
    assert batch.nest_turns(credit.advantage_T.round(4)) == [[4, 4], [-4, -4], [0, 0]]
    lopsided = TurnBatch.from_dicts([*trajectories, trajectory("attic", "attic", "door", reward=20)])
    credit = compute("hgpo", lopsided, gamma=1.0, mode="mean_norm", history_length=1)
    # The mean of the four is 8, of those from the hall 4, from the attic 12; the levels weigh 2 and 3.
    door = lopsided.nest_turns(credit.advantage_T)
    assert [turns[-1] for turns in door] == pytest.approx(
        [3 * 4 / 3, (-16 - 12) / 5, (-8 - 24) / 5, (24 + 24) / 5], rel=1e-5
    )


@quick
@given(batches(max_trajectories=1))
def test_a_group_of_one_compares_its_own_repeated_states(trajectories):
    for trajectory in trajectories:
        for t, turn in enumerate(trajectory["turns"]):
            turn["state_key"] = t
    assert not compute("hgpo", TurnBatch.from_dicts(trajectories)).advantage_T.any()
    turns = [{"obs": "hall", "reward": r, "valid": True} for r in (1, 0)]
    advantage_T = compute("hgpo", TurnBatch.from_dicts([{"group": 0, "turns": turns}])).advantage_T
    assert np.sign(advantage_T).tolist() == [1, -1]
