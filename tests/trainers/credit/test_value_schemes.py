"""Schemes that need values: against loops written from their definitions, and what they reduce to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit, compute
from tests.trainers.credit.batches import batch_of, batches, quick

TOKEN_VALUES = ("value_K", "final_value_N")
TURN_VALUES = ("value_T", "final_value_N")
Trajectory = dict[str, Any]


# Loops written from the definitions ------------------------------------------------------------------------


def naive_gae(rewards: list[float], values: list[float], gamma: float, lam: float, end: float = 0.0) -> list[float]:
    advantages, after, value_after = [], 0.0, end
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        after = reward + gamma * value_after - value + gamma * lam * after
        value_after = value
        advantages.append(after)
    return advantages[::-1]


def naive_whiten(values: list[float], ddof: int = 1, inside: float = 1e-8, outside: float = 0.0) -> list[float]:
    if len(values) < 2:
        return [0.0] * len(values)
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - ddof)
    return [(v - mean) / ((variance + inside) ** 0.5 + outside) for v in values]


def naive_standardise(values: list[float]) -> list[float]:
    return naive_whiten(values, ddof=0, inside=0.0, outside=1e-8)


def turn_reward(turn: dict[str, Any], penalty: float) -> float:
    return turn["reward"] - penalty * (not turn["valid"])


def end_value(trajectory: Trajectory, bootstrap: bool) -> float:
    return trajectory["final_value"] if bootstrap and trajectory["truncated"] else 0.0


def token_lists(trajectory: Trajectory, penalty: float = 0.0) -> tuple[list[float], list[float], list[bool]]:
    """Rewards and values of a trajectory's tokens, and which are the last of a turn."""
    rewards, values, last = [], [], []
    for turn in trajectory["turns"]:
        n = len(turn["tokens"])
        rewards += turn.get("token_reward", [0.0] * n)
        values += turn["value"]
        last += [False] * (n - 1) + [True] * (n > 0)
        if rewards:
            rewards[-1] += turn_reward({**turn, "reward": turn["reward"] * ("token_reward" not in turn)}, penalty)
    return rewards, values, last


def flat(lists: list[list[Any]]) -> list[Any]:
    return [value for values in lists for value in values]


def agrees(credit: Credit, batch: TurnBatch, advantages: list[float], targets: list[float] | None = None) -> None:
    own = credit.advantage_T if credit.advantage_T is not None else credit.token_advantages(batch)
    assert own.tolist() == pytest.approx(advantages, abs=1e-6)
    if targets is not None:
        target = next(values for name, values in credit.targets.items() if name.startswith("value"))
        assert target.tolist() == pytest.approx(targets, abs=1e-9)


def added(one: list[float], other: list[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)]


# PPO over tokens and over turns ------------------------------------------------------------------------------

GAE_SETTINGS = [{}, {"bootstrap_truncated": True, "invalid_action_penalty": 0.5, "gamma": 0.9, "gae_lambda": 0.8}]


@pytest.mark.parametrize("params", GAE_SETTINGS)
@pytest.mark.parametrize("signals", [TOKEN_VALUES, (*TOKEN_VALUES, "token_reward_K")])
@quick
@given(data=st.data())
def test_ppo_agrees_with_a_loop_over_tokens(signals, params, data):
    trajectories = data.draw(batches(signals))
    batch = batch_of(trajectories, signals)
    gamma, lam = params.get("gamma", 1.0), params.get("gae_lambda", 0.95)
    expected, values = [], []
    for trajectory in trajectories:
        rewards, own, _ = token_lists(trajectory, params.get("invalid_action_penalty", 0.0))
        expected += naive_gae(rewards, own, gamma, lam, end_value(trajectory, bool(params)))
        values += own
    agrees(compute("ppo", batch, **params), batch, naive_whiten(expected), added(expected, values))
    agrees(compute("ppo", batch, whiten=False, **params), batch, expected)


@pytest.mark.parametrize("params", GAE_SETTINGS)
@quick
@given(trajectories=batches(TURN_VALUES))
def test_turn_ppo_agrees_with_a_loop_over_turns(params, trajectories):
    batch = batch_of(trajectories, TURN_VALUES)
    gamma, lam = params.get("gamma", 0.99), params.get("gae_lambda", 0.9)
    expected, values = [], []
    for trajectory in trajectories:
        rewards = [turn_reward(turn, params.get("invalid_action_penalty", 0.0)) for turn in trajectory["turns"]]
        own = [turn["value"] for turn in trajectory["turns"]]
        expected += naive_gae(rewards, own, gamma, lam, end_value(trajectory, bool(params)))
        values += own
    agrees(compute("turn_ppo", batch, **params), batch, naive_whiten(expected), added(expected, values))
    agrees(compute("turn_ppo", batch, whiten=False, **params), batch, expected)


@quick
@given(trajectories=batches(), gamma=st.floats(0, 1))
def test_ppo_with_lambda_1_and_no_values_is_the_discounted_return(trajectories, gamma):
    for turn in flat([trajectory["turns"] for trajectory in trajectories]):
        turn |= {"tokens": [0], "value": [0.0]}
    batch = batch_of(trajectories, ["value_K"])
    advantage = compute("ppo", batch, gamma=gamma, gae_lambda=1.0, whiten=False).token_advantages(batch)
    returns = compute("reinforce", batch, gamma=gamma, baseline="none").turn_advantages(batch)
    assert advantage.tolist() == pytest.approx(returns.tolist(), abs=1e-9)


@pytest.mark.parametrize("whiten", [True, False])
@quick
@given(trajectories=batches(["value_T"]))
def test_with_one_token_a_turn_all_token_schemes_are_turn_ppo(whiten, trajectories):
    for turn in flat([trajectory["turns"] for trajectory in trajectories]):
        turn["tokens"] = [0]
    batch = batch_of(trajectories, ["value_T"])
    tokens = TurnBatch(**{**vars_of(batch), "columns": {"value_K": batch.signal("value_T")}})
    params: dict[str, Any] = {"gamma": 0.9, "gae_lambda": 0.8}
    expected = compute("turn_ppo", batch, whiten=whiten, **params).turn_advantages(batch).tolist()
    others = {
        "ppo": {"whiten": whiten},
        "bi_level_gae": {"whiten": whiten, "high_level_gamma": 0.9},
        "poad": {"norm_adv": False},
        "ntpo": {"norm_adv": False},
        "ma_rlhf": {"variant": "paper", "ngram": 1},
    }
    for scheme, own in others.items():
        if "whiten" in own or not whiten:
            advantage = compute(scheme, tokens, **params, **own).token_advantages(tokens)
            assert advantage.tolist() == pytest.approx(expected, abs=1e-6), scheme


def vars_of(batch: TurnBatch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in batch.__dataclass_fields__}


def test_a_turn_without_tokens_passes_its_reward_back():
    turns = [(2, [1.0, 1.0]), (1, []), (4, [3.0])]
    trajectory = {
        "group": 0,
        "turns": [{"obs": "", "reward": r, "valid": True, "tokens": len(v), "value": v} for r, v in turns],
    }
    batch = TurnBatch.from_dicts([trajectory, {"group": 0, "turns": []}])
    credit = compute("ppo", batch, gamma=1.0, gae_lambda=0.0, whiten=False)
    assert credit.token_advantages(batch).tolist() == [0, 3 + 3 - 1, 4 - 3]
    assert credit.turn_advantages(batch).tolist() == [2.5, 0, 1]


def test_truncated_episodes_are_bootstrapped_only_on_request():
    turn = {"obs": "", "reward": 1, "valid": True, "value": 2.0}
    batch = TurnBatch.from_dicts(
        [{"group": 0, "truncated": cut, "final_value": 5.0, "turns": [turn]} for cut in (0, 1)]
    )
    params: dict[str, Any] = {"gamma": 0.5, "whiten": False}
    assert compute("turn_ppo", batch, **params).turn_advantages(batch).tolist() == [-1, -1]
    assert compute("turn_ppo", batch, bootstrap_truncated=True, **params).turn_advantages(batch).tolist() == [-1, 1.5]
    without = TurnBatch.from_dicts([{"group": 0, "truncated": True, "turns": [turn]}])
    with pytest.raises(ValueError, match="turn_ppo with bootstrap_truncated needs 'final_value_N'"):
        compute("turn_ppo", without, bootstrap_truncated=True)


# Bi-level GAE ------------------------------------------------------------------------------------------------


def naive_bi_level(trajectory: Trajectory, params: dict[str, Any]) -> tuple[list[float], list[float]]:
    rewards, values, last = token_lists(trajectory, params["invalid_action_penalty"])
    ends = [k for k, is_last in enumerate(last) if is_last]
    if params["turn_ends"] == "nonzero_rewards":
        ends = [k for k in ends if rewards[k] != 0 or k == len(rewards) - 1]
    end = end_value(trajectory, params["bootstrap_truncated"])
    at_ends = ([rewards[k] for k in ends], [values[k] for k in ends])
    of_turns = naive_gae(*at_ends, params["high_level_gamma"], params["gae_lambda"], end)
    advantages: list[float] = []
    for k, advantage in zip(ends, of_turns, strict=True):
        of_turn = values[len(advantages) : k + 1]
        earned = [0.0] * (len(of_turn) - 1) + [advantage + values[k]]
        advantages += naive_gae(earned, of_turn, params["gamma"], params["gae_lambda"])
    return advantages, values


@pytest.mark.parametrize("turn_ends", ["turns", "nonzero_rewards"])
@quick
@given(bootstrap=st.booleans(), trajectories=batches(TOKEN_VALUES, rewards=st.sampled_from([0.0, 0.0, 1.0, -0.5])))
def test_bi_level_gae_agrees_with_loops_over_turns_and_their_tokens(turn_ends, bootstrap, trajectories):
    params = {"gamma": 0.97, "gae_lambda": 0.9, "high_level_gamma": 0.8, "turn_ends": turn_ends}
    params |= {"bootstrap_truncated": bootstrap, "invalid_action_penalty": 0.5}
    batch = batch_of(trajectories, TOKEN_VALUES)
    pairs = [naive_bi_level(trajectory, params) for trajectory in trajectories]
    expected, values = flat([a for a, _ in pairs]), flat([v for _, v in pairs])
    agrees(compute("bi_level_gae", batch, **params), batch, naive_whiten(expected), added(expected, values))
    agrees(compute("bi_level_gae", batch, whiten=False, **params), batch, expected)


@quick
@given(trajectories=batches(["value_K"]))
def test_bi_level_gae_without_discount_is_ppo(trajectories):
    batch = batch_of(trajectories, ["value_K"])
    params: dict[str, Any] = {"gamma": 1.0, "gae_lambda": 1.0}
    expected = compute("ppo", batch, **params).token_advantages(batch)
    agrees(compute("bi_level_gae", batch, high_level_gamma=1.0, **params), batch, expected.tolist())


# POAD and NTPO -----------------------------------------------------------------------------------------------


def naive_decomposed(trajectory: Trajectory, gamma: float, lam: float, inside: float, end: float) -> list[float]:
    advantages, after, value_after = [], 0.0, end
    for reward, value, last in reversed(list(zip(*token_lists(trajectory), strict=True))):
        discount = gamma if last else inside
        after = reward + discount * value_after - value + discount * lam * after
        value_after = value
        advantages.append(after)
    return advantages[::-1]


@pytest.mark.parametrize("scheme", ["poad", "ntpo"])
@quick
@given(bootstrap=st.booleans(), trajectories=batches(TOKEN_VALUES))
def test_poad_and_ntpo_agree_with_a_loop_over_tokens(scheme, bootstrap, trajectories):
    batch = batch_of(trajectories, TOKEN_VALUES)
    inside = 1.0 if scheme == "poad" else 0.9
    expected = flat([naive_decomposed(t, 0.9, 0.8, inside, end_value(t, bootstrap)) for t in trajectories])
    targets = added(expected, flat([token_lists(trajectory)[1] for trajectory in trajectories]))
    params = {"gamma": 0.9, "gae_lambda": 0.8, "bootstrap_truncated": bootstrap}
    agrees(compute(scheme, batch, **params), batch, naive_standardise(expected), targets)
    agrees(compute(scheme, batch, norm_adv=False, **params), batch, expected, targets)


@quick
@given(trajectories=batches(["value_K"], min_tokens=1))
def test_poad_with_lambda_1_values_situations_like_turn_ppo(trajectories):
    """The value of a turn's first token cancels the turn's length: A_{t,0} is the advantage of the turn."""
    batch = batch_of(trajectories, ["value_K"])
    first_T = batch.known_token_offsets()[:-1]
    turns = TurnBatch(**{**vars_of(batch), "columns": {"value_T": batch.signal("value_K")[first_T]}})
    params: dict[str, Any] = {"gamma": 0.9, "gae_lambda": 1.0}
    advantage = compute("poad", batch, norm_adv=False, **params).token_advantages(batch)[first_T]
    expected = compute("turn_ppo", turns, whiten=False, **params).turn_advantages(turns)
    assert advantage.tolist() == pytest.approx(expected.tolist(), abs=1e-9)


# ArCHer ------------------------------------------------------------------------------------------------------

CRITICS = [f"{name}{j}" for name in ("q", "v", "target_v") for j in (1, 2)]
ARCHER = [f"{name}_T" for name in CRITICS] + [f"target_q{j}_policy_T" for j in (1, 2)]


@quick
@given(trajectories=batches([*ARCHER, "value_K"]))
def test_archer_agrees_with_a_loop_over_turns(trajectories):
    batch = batch_of(trajectories, [*ARCHER, "value_K"])
    credit = compute("archer", batch, gamma=0.9)
    based = compute("archer", batch, gamma=0.9, token_baseline=True)
    expected: dict[str, list[float]] = {name: [] for name in ("advantage", "q1", "q2", "v1", "v2", "token")}
    for turns in (trajectory["turns"] for trajectory in trajectories):
        for t, turn in enumerate(turns):
            advantage = min(turn["q1"], turn["q2"]) - min(turn["v1"], turn["v2"])
            expected["advantage"].append(advantage)
            expected["token"] += [advantage - baseline for baseline in turn["value"]]
            for j in (1, 2):
                after = turns[t + 1][f"target_v{j}"] if t + 1 < len(turns) else 0.0
                expected[f"q{j}"].append(turn["reward"] + 0.9 * after)
                expected[f"v{j}"].append(turn[f"target_q{j}_policy"])
    agrees(credit, batch, expected["advantage"])
    agrees(based, batch, expected["token"], credit.token_advantages(batch).tolist())
    for name in ("q1", "q2", "v1", "v2"):
        assert credit.targets[f"{name}_T"].tolist() == pytest.approx(expected[name])


def test_archer_without_targets_needs_no_target_critics():
    turn = {"obs": "", "reward": 1, "valid": True, "q1": 3, "q2": 2, "v1": 1, "v2": 4}
    batch = TurnBatch.from_dicts([{"group": 0, "turns": [turn]}])
    assert compute("archer", batch, critic_targets=None).turn_advantages(batch).tolist() == [1]
    with pytest.raises(ValueError, match="archer with critic_targets needs 'target_v1_T'"):
        compute("archer", batch)


# MA-RLHF -----------------------------------------------------------------------------------------------------

MACRO = (*TOKEN_VALUES, "perplexity_K")


def naive_macros(turn: dict[str, Any], termination: str, n: int, variant: str) -> list[list[int]]:
    """The positions of the tokens in each macro action of a turn."""
    length, perplexity = len(turn["tokens"]), turn["perplexity"]
    if length == 0:
        return []
    starts = [0]
    for position in range(1, length):
        before = position - 1 if variant == "paper" else position
        if termination == "ngram" and position % n == 0:
            starts.append(position)
        if termination == "perplexity" and before + 1 < length and perplexity[before + 1] > perplexity[before]:
            starts.append(position)
    if variant == "official":
        starts.append(length - 1)  # maybe for the second time
    return [list(range(a, b)) for a, b in zip(starts, [*starts[1:], length], strict=True)]


def naive_ma_rlhf(trajectory: Trajectory, params: dict[str, Any]) -> tuple[list[float], list[float]]:
    rewards, values, _ = token_lists(trajectory, params["invalid_action_penalty"])
    macro_rewards, macro_values, lengths, seen = [], [], [], 0
    for turn in trajectory["turns"]:
        for macro in naive_macros(turn, params["termination"], params["ngram"], params["variant"]):
            n = len(macro)
            weights = {
                "equal": [1 / n for _ in macro],
                "position": [1 / (j + 1) / sum(1 / (i + 1) for i in range(n)) for j in range(n)],
                "unit": [float(j == n - 1) for j in range(n)],
            }[params["weights"]]
            macro_values.append(sum(w * values[seen + k] for w, k in zip(weights, macro, strict=True)))
            if params["variant"] == "paper":
                weights = [1.0] * n
            macro_rewards.append(sum(w * rewards[seen + k] for w, k in zip(weights, macro, strict=True)))
            lengths.append(n)
        seen += len(turn["tokens"])
    end = end_value(trajectory, params["bootstrap_truncated"])
    advantages = naive_gae(macro_rewards, macro_values, params["gamma"], params["gae_lambda"], end)
    returns = added(advantages, macro_values)
    return flat([[a] * n for a, n in zip(advantages, lengths, strict=True)]), flat(
        [[g] * n for g, n in zip(returns, lengths, strict=True)]
    )


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize(("termination", "ngram"), [("ngram", 1), ("ngram", 2), ("perplexity", 1)])
@quick
@given(weights=st.sampled_from(["equal", "position", "unit"]), trajectories=batches(MACRO))
def test_ma_rlhf_agrees_with_a_loop_over_macro_actions(variant, weights, termination, ngram, trajectories):
    params = {"termination": termination, "ngram": ngram, "weights": weights, "variant": variant}
    params |= {"gamma": 0.9, "gae_lambda": 0.8, "bootstrap_truncated": True, "invalid_action_penalty": 0.5}
    batch = batch_of(trajectories, MACRO)
    pairs = [naive_ma_rlhf(trajectory, params) for trajectory in trajectories]
    agrees(compute("ma_rlhf", batch, **params), batch, flat([a for a, _ in pairs]), flat([g for _, g in pairs]))


@quick
@given(trajectories=batches(["value_K"]))
def test_ma_rlhf_with_macro_actions_of_one_token_is_gae_over_tokens(trajectories):
    batch = batch_of(trajectories, ["value_K"])
    params: dict[str, Any] = {"gamma": 0.9, "gae_lambda": 0.8}
    expected = compute("ppo", batch, whiten=False, **params).token_advantages(batch)
    agrees(compute("ma_rlhf", batch, ngram=1, variant="paper", **params), batch, expected.tolist())


def test_random_macro_actions_have_the_published_lengths_and_follow_the_seed():
    turn = {"obs": "", "reward": 1.0, "valid": True, "tokens": 70, "value": [0.0] * 70}
    batch = TurnBatch.from_dicts([{"group": 0, "turns": [turn, turn]}])

    def lengths(seed: int) -> list[int]:
        credit = compute("ma_rlhf", batch, termination="randomized_ngram", seed=seed, variant="paper")
        return np.diff([*credit.parts["first_token_M"].tolist(), 140]).tolist()

    first_turn = lengths(0)[:13]
    assert sorted(first_turn) == sorted([2, 3, 5, 10] * 3 + [70 - 60])
    assert lengths(0)[13:26] != first_turn
    assert lengths(0) == lengths(0) != lengths(1)


# All of them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ppo", "bi_level_gae", "poad", "ntpo", "ma_rlhf"])
@quick
@given(trajectories=batches(["value_K"], rewards=st.floats(-1e9, 1e9), values={"value": st.floats(-1e9, 1e9)}))
def test_finite_rewards_and_values_give_finite_advantages(scheme, trajectories):
    batch = batch_of(trajectories, ["value_K"])
    assert np.isfinite(compute(scheme, batch).token_advantages(batch)).all()
