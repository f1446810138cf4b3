"""HiPER: against loops written from its definition, and what it reduces to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from tests.trainers.credit.batches import batch_of, batches, quick

VALUES = ("value_low_T", "value_high_T", "value_switch_T")
SIGNALS = ("role_K", "switch_T", "subgoal_T", *VALUES)
SUBGOALS = {"subgoal": st.sampled_from(["find", "take", ""])}
Turn = dict[str, Any]

PLAIN: dict[str, Any] = {
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "segment_gae_lambda": 0.7,
    "termination_head": True,
    "assign_high_to_switch": False,
    "norm_adv": False,
    "bootstrap_truncated": False,
    "keep_penalty": 0.0,
    "keep_penalty_mode": "fixed",
    "consistency_penalty": 0.0,
    "invalid_action_penalty": 0.0,
}


# Loops written from the definition ---------------------------------------------------------------------------


def shaped_rewards(turns: list[Turn], params: dict[str, Any]) -> list[float]:
    rewards = []
    for t, turn in enumerate(turns):
        reward = turn["reward"] - params["invalid_action_penalty"] * (not turn["valid"])
        if not turn["switch"]:
            if params["keep_penalty_mode"] == "fixed":
                reward -= params["keep_penalty"]
            elif len(turns) > 1:
                reward -= params["keep_penalty"] / len(turns)
            both_named = t > 0 and turn["subgoal"] and turns[t - 1]["subgoal"]
            if both_named and turn["subgoal"] != turns[t - 1]["subgoal"]:
                reward -= params["consistency_penalty"]
        rewards.append(reward)
    return rewards


def naive_levels(trajectory: dict[str, Any], params: dict[str, Any]) -> tuple[list[float], list[float], list[float]]:
    """A^low, A^high (0 but at the first turns of segments) and G of each turn."""
    turns, gamma = trajectory["turns"], params["gamma"]
    rewards = shaped_rewards(turns, params)
    starts = [t for t, turn in enumerate(turns) if t == 0 or turn["switch"]]
    low, high, returns = [0.0] * len(turns), [0.0] * len(turns), [0.0] * len(turns)
    high_after = 0.0
    for start, following in reversed(list(zip(starts, [*starts[1:], len(turns)], strict=False))):
        end, bootstrapped = following - 1, trajectory["truncated"] and params["bootstrap_truncated"]
        if following < len(turns):
            next_low = next_high = turns[following]["value_high"]
        else:
            next_low = turns[end]["value_low"] if bootstrapped else 0.0
            next_high = turns[start]["value_high"] if bootstrapped else 0.0
        value_after, low_after, gathered = next_low, 0.0, next_high
        for t in range(end, start - 1, -1):
            low[t] = rewards[t] + gamma * value_after - turns[t]["value_low"] + gamma * params["gae_lambda"] * low_after
            value_after, low_after = turns[t]["value_low"], low[t]
            returns[t] = gathered = rewards[t] + gamma * gathered
        span = gamma ** (following - start)
        earned = sum(gamma ** (t - start) * rewards[t] for t in range(start, following))
        delta = earned + span * next_high - turns[start]["value_high"]
        high[start] = high_after = delta + span * params["segment_gae_lambda"] * high_after
    return low, high, returns


def standardised(values: list[float], has: list[bool]) -> list[float]:
    chosen = [value for value, flag in zip(values, has, strict=True) if flag]
    mean = sum(chosen) / max(len(chosen), 1)
    std = (sum((value - mean) ** 2 for value in chosen) / max(len(chosen), 1)) ** 0.5
    return [(value - mean) / (std + 1e-8) for value in values]


def naive_hiper(trajectories: list[dict[str, Any]], params: dict[str, Any]) -> tuple[list[float], list[bool]]:
    """The advantage of each token, and whether it is trained."""
    turns = [turn for trajectory in trajectories for turn in trajectory["turns"]]
    levels = [naive_levels(trajectory, params) for trajectory in trajectories]
    low, high, returns = ([value for level in levels for value in level[i]] for i in range(3))
    switch = [g - turn["value_switch"] for g, turn in zip(returns, turns, strict=True)]
    begins = [turn["switch"] or t == 0 for trajectory in trajectories for t, turn in enumerate(trajectory["turns"])]
    high_roles = {"subgoal", "switch"} if params["assign_high_to_switch"] else {"subgoal"}

    def receives(level: str, role: str, t: int) -> bool:
        if level == "high":
            return bool(begins[t]) and role in high_roles
        return role == {"low": "action", "switch": "switch"}[level]

    advantages = {"low": low, "high": high} | ({"switch": switch} if params["termination_head"] else {})
    if params["norm_adv"]:
        for level, values in advantages.items():
            has = [any(receives(level, role, t) for role in turn["role"]) for t, turn in enumerate(turns)]
            advantages[level] = standardised(values, has)
    got = [
        [values[t] for level, values in advantages.items() if receives(level, role, t)]
        for t, turn in enumerate(turns)
        for role in turn["role"]
    ]
    return [sum(values) for values in got], [bool(values) for values in got]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"bootstrap_truncated": True, "keep_penalty": 0.5, "consistency_penalty": 0.25, "invalid_action_penalty": 0.1},
        {"keep_penalty": 0.5, "keep_penalty_mode": "normalized", "assign_high_to_switch": True},
        {"termination_head": False, "assign_high_to_switch": True, "bootstrap_truncated": True},
        {"norm_adv": True},
        {"norm_adv": True, "assign_high_to_switch": True, "termination_head": False, "consistency_penalty": 1.0},
    ],
)
@quick
@given(data=st.data())
def test_hiper_agrees_with_loops_over_segments(params, data):
    trajectories = data.draw(batches(SIGNALS, values=SUBGOALS))
    batch = batch_of(trajectories, SIGNALS)
    settings = {**PLAIN, **params}
    credit = compute("hiper", batch, **settings)
    advantages, trained = naive_hiper(trajectories, settings)
    assert credit.token_advantages(batch).tolist() == pytest.approx(advantages, abs=1e-6)
    assert credit.trained_K is not None
    assert credit.trained_K.tolist() == trained


@quick
@given(trajectories=batches(SIGNALS))
def test_the_targets_are_advantages_and_values(trajectories):
    batch = batch_of(trajectories, SIGNALS)
    targets = compute("hiper", batch, **PLAIN).targets
    levels = [naive_levels(trajectory, PLAIN) for trajectory in trajectories]
    low, high, returns = (np.array([value for level in levels for value in level[i]]) for i in range(3))
    assert targets["value_low_T"] == pytest.approx(low + batch.signal("value_low_T"), abs=1e-9)
    assert targets["value_high_T"] == pytest.approx(high + batch.signal("value_high_T"), abs=1e-9)
    assert targets["value_switch_T"] == pytest.approx(returns, abs=1e-9)


# Reductions --------------------------------------------------------------------------------------------------


def with_one_token_a_role(trajectories: list[dict[str, Any]], switch: bool) -> TurnBatch:
    for turn in (turn for trajectory in trajectories for turn in trajectory["turns"]):
        turn |= {"tokens": 3, "role": ["switch", "subgoal", "action"], "switch": switch}
    return batch_of(trajectories, SIGNALS)


def turn_gae(batch: TurnBatch, value: str, gae_lambda: float) -> list[float]:
    fields = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
    turns = TurnBatch(**{**fields, "columns": {"value_T": batch.signal(value)}})
    advantage_T = compute("turn_ppo", turns, gamma=0.9, gae_lambda=gae_lambda, whiten=False).turn_advantages(turns)
    return [float(advantage) for advantage in advantage_T]


@quick
@given(trajectories=batches(SIGNALS))
def test_with_one_segment_acting_is_gae_over_turns(trajectories):
    batch = with_one_token_a_role(trajectories, switch=False)
    parts = compute("hiper", batch, **PLAIN).parts
    assert parts["action_advantage_T"].tolist() == pytest.approx(turn_gae(batch, "value_low_T", 0.8), abs=1e-9)
    returns = compute("reinforce", batch, gamma=0.9, baseline="none").turn_advantages(batch)
    is_first = batch.turn_index_T == 0
    expected = np.where(is_first, returns - batch.signal("value_high_T"), 0.0)
    assert parts["subgoal_advantage_T"] == pytest.approx(expected, abs=1e-9)
    assert parts["switch_advantage_T"] == pytest.approx(returns - batch.signal("value_switch_T"), abs=1e-9)


@quick
@given(trajectories=batches(SIGNALS))
def test_where_every_turn_begins_a_segment_naming_is_gae_over_turns(trajectories):
    batch = with_one_token_a_role(trajectories, switch=True)
    credit = compute("hiper", batch, **PLAIN)
    assert credit.parts["subgoal_advantage_T"].tolist() == pytest.approx(turn_gae(batch, "value_high_T", 0.7), abs=1e-9)
    # One step of the higher critic is what acting, and switching, are then compared with.
    one_step = np.array(turn_gae(batch, "value_high_T", 0.0)) + batch.signal("value_high_T")
    assert credit.targets["value_low_T"] == pytest.approx(one_step, abs=1e-9)
    assert credit.targets["value_switch_T"] == pytest.approx(one_step, abs=1e-9)


# A small example, and bad input ------------------------------------------------------------------------------


def turn(reward: float, switch: bool, low: float, high: float, roles: list[str], subgoal: str = "key") -> Turn:
    return {
        "obs": "", "valid": True, "reward": reward, "switch": switch, "subgoal": subgoal,
        "value_low": low, "value_high": high, "tokens": len(roles), "role": roles,
    }  # fmt: skip


def test_three_turns_by_hand():
    roles = ["switch", "subgoal", "", "action"]
    turns = [turn(1, False, 0, 4, roles), turn(0, False, 2, 9, ["action"], "box"), turn(6, True, 1, 8, roles)]
    batch = TurnBatch.from_dicts([{"group": 0, "turns": turns}])
    params = {**PLAIN, "gamma": 0.5, "gae_lambda": 1.0, "segment_gae_lambda": 0.0, "termination_head": False}
    credit = compute(
        "hiper",
        batch,
        **params,
    )
    # Acting: turn 2: 6 − 1. Turn 1: 0.5·8 − 2 = 2. Turn 0: 1 + 0.5·2 − 0 + 0.5·2 = 3. Naming: turn 2: 6 − 8,
    # turn 0: 1 + 0.25·8 − 4.
    assert batch.nest_tokens(credit.token_advantages(batch)) == [[[0, -1, 0, 3], [2], [0, -2, 0, 5]]]
    assert credit.trained_K is not None
    assert credit.trained_K.tolist() == [0, 1, 0, 1, 1, 0, 1, 0, 1]
    # The second turn keeps its sub-goal and names another; the first has none before it to be compared with.
    punished = compute("hiper", batch, **{**params, "consistency_penalty": 1.0, "keep_penalty": 2.0})
    assert punished.parts["reward_T"].tolist() == [1 - 2, 0 - 2 - 1, 6]


def test_what_is_missing_or_unknown_is_named():
    turns = [turn(1, True, 0, 0, ["thought"])]
    batch = TurnBatch.from_dicts([{"group": 0, "turns": turns}])
    with pytest.raises(ValueError, match="role_K is 'thought'"):
        compute("hiper", batch)
    turns = [{key: value for key, value in turn(1, True, 0, 0, ["action"]).items() if key != "subgoal"}]
    batch = TurnBatch.from_dicts([{"group": 0, "turns": turns}])
    with pytest.raises(ValueError, match="hiper with termination_head needs 'value_switch_T'"):
        compute("hiper", batch)
    with pytest.raises(ValueError, match="hiper with consistency_penalty needs 'subgoal_T'"):
        compute("hiper", batch, consistency_penalty=1.0)
