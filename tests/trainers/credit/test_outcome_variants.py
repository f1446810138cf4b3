"""REINFORCE++, the optimal token baseline, and schemes over parts of the reward or over durations.

Each is compared with a loop written from its definition.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from tests.trainers.credit.batches import batch_of, batches, quick

Trajectory = dict[str, Any]


def token_advantages(scheme: str, trajectories: list[Trajectory], *signals: str, **params: object) -> list[float]:
    batch = batch_of(trajectories, signals)
    return compute(scheme, batch, **params).token_advantages(batch).tolist()


def turn_advantages(scheme: str, trajectories: list[Trajectory], *signals: str, **params: object) -> list[float]:
    batch = batch_of(trajectories, signals)
    return compute(scheme, batch, **params).turn_advantages(batch).tolist()


def whitened(values: list[float]) -> list[float]:
    if len(values) < 2:
        return [0.0] * len(values)
    mean = sum(values) / len(values)
    variance = sum((x - mean) ** 2 for x in values) / (len(values) - 1)
    return [(x - mean) / sqrt(variance + 1e-8) for x in values]


def total(trajectory: Trajectory) -> float:
    return sum(turn["reward"] for turn in trajectory["turns"])


def standardised(x: float, peers: list[float]) -> float:
    if len(peers) == 1:
        return x / (1 + 1e-6)
    mean = sum(peers) / len(peers)
    std = sqrt(sum((p - mean) ** 2 for p in peers) / (len(peers) - 1))
    return (x - mean) / (std + 1e-6)


# REINFORCE++ ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", ["episode", "turn"])
@pytest.mark.parametrize("signals", [(), ("token_reward_K",)])
@quick
@given(data=st.data(), gamma=st.sampled_from([0.5, 1.0]), penalty=st.sampled_from([0.0, 0.25]))
def test_reinforce_pp(data, gamma, penalty, horizon, signals):
    trajectories = data.draw(batches(signals, min_tokens=1))
    returns = []
    for trajectory in trajectories:
        turns = trajectory["turns"]
        rewards = [u.get("token_reward") or [0] * (len(u["tokens"]) - 1) + [u["reward"]] for u in turns]
        for t, turn in enumerate(turns):
            later = [r for row in rewards[t + 1 :] for r in row] if horizon == "episode" else []
            for k in range(len(rewards[t])):
                gathered = sum(gamma**n * r for n, r in enumerate([*rewards[t][k:], *later]))
                returns.append(gathered - penalty * (not turn["valid"]))
    got = token_advantages(
        "reinforce_pp", trajectories, *signals, gamma=gamma, horizon=horizon, invalid_action_penalty=penalty
    )
    assert got == pytest.approx(whitened(returns), abs=1e-9)


@pytest.mark.parametrize("statistics", ["trajectories", "turns"])
@quick
@given(trajectories=batches(), penalty=st.sampled_from([0.0, 0.25]))
def test_reinforce_pp_baseline(trajectories, penalty, statistics):
    def scores(trajectory):
        return [total(trajectory) - penalty * (not turn["valid"]) for turn in trajectory["turns"]]

    centred = []
    for trajectory in trajectories:
        group = [t for t in trajectories if t["group"] == trajectory["group"] and t["turns"]]
        peers = [x for t in group for x in (scores(t) if statistics == "turns" else scores(t)[:1])]
        mean = sum(peers) / len(peers) if len(peers) > 1 else 0.0
        for turn, x in zip(trajectory["turns"], scores(trajectory), strict=True):
            centred += [x - mean] * len(turn["tokens"])
    got = token_advantages("reinforce_pp_baseline", trajectories, statistics=statistics, invalid_action_penalty=penalty)
    assert got == pytest.approx(whitened(centred), abs=1e-9)


# The optimal token baseline -------------------------------------------------------------------------------

OTB = ("logprob_K", "sum_pi_squared_K", "position_K")
probabilities = {"sum_pi_squared": st.floats(1.01, 2)}  # no norm is negative, or all rounding, whatever π is


def otb_by_loop(trajectories: list[Trajectory], positions: str, zero_tail: bool) -> list[float]:
    episodes = []
    for trajectory in trajectories:
        turns = trajectory["turns"]
        rewards, weights, places = [], [], []
        for turn in turns:
            rewards += [0.0] * (len(turn["tokens"]) - 1) + [turn["reward"]]
            weights += [1 - 2 * exp(p) + s for p, s in zip(turn["logprob"], turn["sum_pi_squared"], strict=True)]
            places += turn["position"]
        places = places if positions == "sequence" else list(range(len(rewards)))
        returns = [sum(rewards[k:]) for k in range(len(rewards))]
        gathered = [sum(weights[: k + 1]) for k in range(len(weights))]
        episodes.append((trajectory["group"], list(zip(places, returns, gathered, strict=True))))

    advantages = []
    for i, (group, tokens) in enumerate(episodes):
        siblings = [other for j, (g, other) in enumerate(episodes) if g == group and j != i and other]
        second = max(map(len, siblings), default=0)
        for place, g, _ in tokens:
            here = [(gj, wj) for other in [tokens, *siblings] for p, gj, wj in other if p == place]
            baseline = sum(gj * wj for gj, wj in here) / (sum(wj for _, wj in here) + 1e-8)
            if not siblings or (zero_tail and len(tokens) > second and place >= second):
                baseline = 0.0
            advantages.append(g - baseline)
    return advantages


@pytest.mark.parametrize("positions", ["response", "sequence"])
@pytest.mark.parametrize("zero_tail", [True, False])
@quick
@given(trajectories=batches(OTB, min_tokens=1, values=probabilities), gap=st.integers(0, 2))
def test_optimal_token_baseline(trajectories, gap, positions, zero_tail):
    for trajectory in trajectories:
        place = 0
        for turn in trajectory["turns"]:
            turn["position"] = list(range(place, place + len(turn["tokens"])))
            place += len(turn["tokens"]) + gap
    got = token_advantages("optimal_token_baseline", trajectories, *OTB, positions=positions, zero_tail=zero_tail)
    assert got == pytest.approx(otb_by_loop(trajectories, positions, zero_tail), abs=1e-7)


def test_equally_sure_tokens_have_the_mean_return_as_baseline():
    turn = {"obs": "", "valid": True, "tokens": 2, "logprob": [-1, -1], "sum_pi_squared": [0.5, 0.5]}
    group = [{"group": 0, "turns": [{**turn, "reward": r}]} for r in (1, 3)]
    assert token_advantages("optimal_token_baseline", group) == pytest.approx([-1, -1, 1, 1], abs=1e-6)


def test_positions_in_the_sequence_must_be_told():
    turn = {"obs": "", "valid": True, "reward": 1, "tokens": 1, "logprob": [0], "sum_pi_squared": [1]}
    with pytest.raises(ValueError, match="optimal_token_baseline with positions=\"sequence\" needs 'position_K'"):
        token_advantages("optimal_token_baseline", [{"group": 0, "turns": [turn]}], positions="sequence")


# GDPO -----------------------------------------------------------------------------------------------------

PARTS = "reward_parts.*_T"


@pytest.mark.parametrize("normalise_over", ["trajectories", "tokens", "nothing"])
@pytest.mark.parametrize("conditions", [None, {"format": "outcome"}])
@quick
@given(trajectories=batches([PARTS]), weight=st.sampled_from([1.0, 0.5]))
def test_gdpo(trajectories, weight, conditions, normalise_over):
    def part(trajectory, name):
        value = sum(turn["reward_parts"][name] for turn in trajectory["turns"])
        return value if not conditions or name == "outcome" or part(trajectory, "outcome") >= 0.5 else 0.0

    def summed(trajectory):
        group = [t for t in trajectories if t["group"] == trajectory["group"] and t["turns"]]
        apart = {
            name: standardised(part(trajectory, name), [part(t, name) for t in group]) for name in ("outcome", "format")
        }
        return apart["outcome"] + weight * apart["format"]

    params = {"weights": {"format": weight}, "conditions": conditions, "condition_threshold": 0.5}
    sums = [summed(t) for t in trajectories if t["turns"]]
    if normalise_over == "tokens":
        expected = whitened([summed(t) for t in trajectories for u in t["turns"] for _ in u["tokens"]])
        got = token_advantages("gdpo", trajectories, PARTS, normalise_over=normalise_over, **params)
        assert got == pytest.approx(expected, abs=1e-6)
        return
    alone = len(sums) == 1 and normalise_over == "trajectories"
    scale = (lambda x: 0.0 if alone else standardised(x, sums)) if normalise_over == "trajectories" else float
    expected = [scale(summed(t)) for t in trajectories for _ in t["turns"]]
    got = turn_advantages("gdpo", trajectories, PARTS, normalise_over=normalise_over, **params)
    assert got == pytest.approx(expected, abs=1e-6)


@quick
@given(trajectories=batches())
def test_gdpo_of_one_component_is_grpo(trajectories):
    for turn in (turn for trajectory in trajectories for turn in trajectory["turns"]):
        turn["reward_parts"] = {"outcome": turn["reward"], "format": 0.0}
    got = turn_advantages("gdpo", trajectories, PARTS, normalise_over="nothing")
    assert got == pytest.approx(turn_advantages("grpo", trajectories), abs=1e-9)


def test_gdpo_names_the_components_there_are():
    turn = {"obs": "", "valid": True, "reward": 0, "reward_parts": {"outcome": 1, "format": 0}}
    with pytest.raises(ValueError, match="gdpo: the reward has no component 'length': there is format, outcome"):
        turn_advantages("gdpo", [{"group": 0, "turns": [turn]}], conditions={"length": "outcome"})


# Gated rewards and durations ------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["grpo", "turn_loo"])
@quick
@given(trajectories=batches([PARTS]))
def test_g_ra(trajectories, base):
    gated = []
    for trajectory in trajectories:
        outcome = sum(turn["reward_parts"]["outcome"] for turn in trajectory["turns"])
        kept = "reward" if outcome >= 1 else "outcome"
        rewards = [{**turn, **turn["reward_parts"]}[kept] for turn in trajectory["turns"]]
        turns = [{**turn, "reward": r} for turn, r in zip(trajectory["turns"], rewards, strict=True)]
        gated.append({**trajectory, "turns": turns})
    got = turn_advantages("g_ra", trajectories, PARTS, base=base)
    assert got == pytest.approx(turn_advantages(base, gated), abs=1e-9)
    direct = turn_advantages("g_ra", trajectories, PARTS, base=base, threshold=-1e6)
    assert direct == pytest.approx(turn_advantages(base, trajectories), abs=1e-9)


def test_g_ra_opens_the_gate_at_the_threshold():
    def episode(outcome):
        turns = [
            {"reward": 0.5, "reward_parts": {"outcome": 0}},
            {"reward": outcome, "reward_parts": {"outcome": outcome}},
        ]
        return {"group": 0, "turns": [{"obs": "", "valid": True, **turn} for turn in turns]}

    batch = batch_of([episode(1), episode(0.75)])
    assert compute("g_ra", batch).parts["gated_reward_T"].tolist() == [0.5, 1, 0, 0.75]
    assert turn_advantages("g_ra", [episode(1), episode(0.75)], base="rloo") == [0.75, 0.75, -0.75, -0.75]


def test_g_ra_names_the_components_there_are():
    turn = {"obs": "", "valid": True, "reward": 0, "reward_parts": {"tests": 1, "format": 0}}
    with pytest.raises(ValueError, match="g_ra: the reward has no component 'outcome': there is format, tests"):
        turn_advantages("g_ra", [{"group": 0, "turns": [turn]}])


@pytest.mark.parametrize("normalise", ["batch_mean", "nothing"])
@quick
@given(trajectories=batches(["duration_T"]))
def test_duration_weighted(trajectories, normalise):
    durations = [turn["duration"] for trajectory in trajectories for turn in trajectory["turns"]]
    scale = sum(durations) / len(durations) if durations and normalise == "batch_mean" else 1.0
    plain = turn_advantages("grpo", trajectories)
    expected = [d / scale * a for d, a in zip(durations, plain, strict=True)]
    got = turn_advantages("duration_weighted", trajectories, "duration_T", normalise=normalise)
    assert got == pytest.approx(expected, abs=1e-9)


@quick
@given(trajectories=batches(["duration_T"]))
def test_duration_weighted_scales_the_advantages_of_tokens(trajectories):
    batch = batch_of(trajectories, ["duration_T"])
    credit = compute("duration_weighted", batch, base="reinforce_pp")
    plain_K = compute("reinforce_pp", batch).token_advantages(batch)
    weight_T = credit.parts["weight_T"]
    assert credit.token_advantages(batch).tolist() == pytest.approx((weight_T[batch.turn_K] * plain_K).tolist())


def test_no_duration_and_a_negative_one():
    turns = [{"obs": "", "valid": True, "reward": r, "duration": d} for r, d in ((1, 0), (0, 0))]
    batch = [{"group": 0, "turns": [turn]} for turn in turns]
    assert turn_advantages("duration_weighted", batch, base="dr_grpo") == [0.5, -0.5]
    turns[0]["duration"] = -2
    with pytest.raises(ValueError, match="duration_weighted: duration_T has -2 s; durations are not negative"):
        compute("duration_weighted", TurnBatch.from_dicts(batch))
