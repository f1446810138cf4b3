"""Credit schemes: examples by hand, the blocks, and the register."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit, compute, credit, get_scheme, registry, schemes
from agentgym.trainers.credit.blocks import compare, discounted_returns
from agentgym.trainers.segments import intersect
from tests.trainers.credit.batches import batches, quarters, quick


def episodes(*rewards: float, group: str = "g") -> list[dict]:
    """One trajectory of one turn for each reward."""
    return [{"group": group, "turns": [{"obs": "s", "reward": r, "valid": True}]} for r in rewards]


def turn_advantages(scheme: str, trajectories: list[dict], **params: object) -> list[list[float]]:
    batch = TurnBatch.from_dicts(trajectories)
    return batch.nest_turns(compute(scheme, batch, **params).turn_advantages(batch))


def flat(nested: list[list[float]]) -> list[float]:
    return [value for values in nested for value in values]


# What the schemes are -------------------------------------------------------------------------------------


def test_reinforce_is_the_return_less_the_batch_mean():
    batch = [
        {"group": 0, "turns": [{"obs": 0, "reward": r, "valid": True} for r in (1, 0, 4)]},
        {"group": 1, "turns": [{"obs": 0, "reward": 3, "valid": False}]},
    ]
    assert turn_advantages("reinforce", batch) == [[1, 0, 0], [-1]]  # returns 5, 4, 4 and 3; baseline 4
    assert turn_advantages("reinforce", batch, gamma=0.5, baseline="none") == [[2, 2, 4], [3]]
    assert turn_advantages("reinforce", batch, baseline="none", invalid_action_penalty=0.5) == [
        [5, 4, 4],
        [2.5],
    ]
    assert turn_advantages("reinforce", batch[:1]) == [[5, 4, 4]]  # a batch of one has the baseline 0


def test_grpo_normalises_within_the_group():
    batch = episodes(0, 10, 10, group="a") + episodes(7, 7, group="b")
    outcomes = np.array([0, 10, 10])
    expected = (outcomes - outcomes.mean()) / (outcomes.std(ddof=1) + 1e-6)
    assert flat(turn_advantages("grpo", batch)) == pytest.approx([*expected, 0, 0], abs=1e-12)
    assert flat(turn_advantages("grpo", batch, scale="none")) == pytest.approx([-20 / 3, 10 / 3, 10 / 3, 0, 0])


def test_statistics_over_turns_weigh_long_trajectories_more():
    long = {"group": "g", "turns": [{"obs": 0, "reward": 1, "valid": True}] * 3}  # return 3
    batch = [long, *episodes(7)]
    assert turn_advantages("grpo", batch, scale="none") == [[-2, -2, -2], [2]]
    assert turn_advantages("grpo", batch, scale="none", statistics="turns") == [[-1, -1, -1], [3]]


@quick
@given(batches(min_turns=1))
def test_rloo_leaves_one_out(batch):
    batch = TurnBatch.from_dicts(batch)
    advantage_T = compute("rloo", batch).advantage_T
    for turn, i in enumerate(batch.trajectory_T):
        others = (batch.group_N == batch.group_N[i]) & (np.arange(batch.n_trajectories) != i)
        baseline = batch.episode_return_N[others].mean() if others.any() else 0.0
        assert advantage_T[turn] == pytest.approx(batch.episode_return_N[i] - baseline)


def test_gigpo_adds_the_comparison_within_a_state():
    def trajectory(reward, *states, group="g"):
        last = len(states) - 1
        return {
            "group": group,
            "turns": [{"obs": s, "reward": reward * (t == last), "valid": True} for t, s in enumerate(states)],
        }

    batch = [
        trajectory(8, "start", "door"),
        trajectory(0, "start", "wall"),
        trajectory(8, "start", group="h"),
    ]
    # Episode: the mean over the four turns of g is 4. State "start" of g: returns 4 and 0. h is alone.
    assert turn_advantages("gigpo", batch, gamma=0.5) == [[4 + 2, 4], [-4 - 2, -4], [8]]
    assert turn_advantages("gigpo", batch, gamma=0.5, step_weight=0.5) == [[4 + 1, 4], [-4 - 1, -4], [8]]


def test_invalid_action_penalty_is_local_to_its_turn():
    batch = episodes(0, 0)
    batch[0]["turns"] = [{"obs": "x", "reward": 0, "valid": True}, {"obs": "y", "reward": 0, "valid": False}]
    advantages = turn_advantages("grpo", batch, scale="none", invalid_action_penalty=0.3)
    assert advantages == [[0, -0.3], [0]]
    returns = compute("gigpo", TurnBatch.from_dicts(batch)).parts["step_return_penalised_T"]
    assert returns.tolist() == [0, -0.1, 0]


@quick
@given(batches())
def test_gigpo_without_repeated_states_is_its_episode_term(batch):
    for i, trajectory in enumerate(batch):
        for t, turn in enumerate(trajectory["turns"]):
            turn["state_key"] = [i, t]
    result = compute("gigpo", TurnBatch.from_dicts(batch), mode="mean_std_norm")
    assert not result.parts["step_advantage_T"].any()
    assert result.advantage_T.tolist() == result.parts["episode_advantage_T"].tolist()


@quick
@given(batches())
def test_similarity_of_one_is_equality(batch):
    batch = TurnBatch.from_dicts(batch)
    exact = compute("gigpo", batch).parts["step_group_T"]
    assert compute("gigpo", batch, similarity_threshold=1.0).parts["step_group_T"].tolist() == exact.tolist()


def test_similar_states_form_one_group_within_a_task():
    turns = [{"obs": f"You are in the kitchen. {n} apples.", "reward": n, "valid": True} for n in range(3)]
    turns.append({"obs": "Darkness.", "reward": 0, "valid": True})
    batch = TurnBatch.from_dicts([{"group": g, "turns": turns} for g in "ab"])
    groups = compute("gigpo", batch, similarity_threshold=0.9).parts["step_group_T"]
    assert groups.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]


# What schemes of one kind have in common; test_every_scheme.py has what all have ----------------------------


@quick
@given(batch=batches(min_turns=1), shift=quarters)
def test_shifting_every_return_of_the_batch_leaves_reinforce_alone(batch, shift):
    if len(batch) < 2:
        return
    before = flat(turn_advantages("reinforce", batch))
    for trajectory in batch:
        last = trajectory["turns"][-1]
        trajectory["turns"][-1] = {**last, "reward": last["reward"] + shift}
    assert flat(turn_advantages("reinforce", batch)) == pytest.approx(before, abs=1e-9)


@quick
@given(outcome=st.floats(-1e6, 1e6), lengths=st.lists(st.integers(1, 4), min_size=2, max_size=6))
def test_equal_outcomes_give_no_group_advantage(outcome, lengths):
    batch = TurnBatch.from_dicts(
        [
            {
                "group": 0,
                "turns": [{"obs": 0, "reward": outcome * (t == n - 1), "valid": True} for t in range(n)],
            }
            for n in lengths
        ]
    )
    for statistics in ("turns", "trajectories"):
        assert not compute("grpo", batch, statistics=statistics).advantage_T.any()
        assert not compute("rloo", batch, statistics=statistics).advantage_T.any()
        parts = compute("gigpo", batch, statistics=statistics, mode="mean_std_norm").parts
        assert not parts["episode_advantage_T"].any()


@pytest.mark.parametrize("scheme", ["grpo", "rloo", "gigpo"])
def test_a_group_of_one_keeps_its_raw_score(scheme):
    assert flat(turn_advantages(scheme, episodes(4))) == pytest.approx([4], rel=1e-5)
    assert get_scheme(scheme).requires_groups


@quick
@given(batches())
def test_every_token_of_a_turn_gets_its_advantage(batch):
    batch = TurnBatch.from_dicts(batch)
    result = compute("gigpo", batch)
    token_T = np.diff(batch.known_token_offsets())
    assert result.token_advantages(batch).tolist() == np.repeat(result.advantage_T, token_T).tolist()
    by_token = Credit(advantage_K=result.token_advantages(batch))
    had_tokens_T = batch.n_tokens_T > 0
    assert by_token.turn_advantages(batch)[had_tokens_T] == pytest.approx(result.advantage_T[had_tokens_T])


# The blocks -----------------------------------------------------------------------------------------------


@quick
@given(st.lists(st.tuples(st.integers(0, 3), quarters, st.booleans()), max_size=12), st.booleans())
def test_compare_is_what_it_says(entries, singleton_is_raw):
    segment = np.array([s for s, _, _ in entries], dtype=np.int64)
    value = np.array([v for _, v, _ in entries], dtype=np.float64)
    among = np.array([a for _, _, a in entries], dtype=bool)
    singleton = "raw" if singleton_is_raw else "zero"
    got = {
        s: compare(value, segment, scale=s, singleton=singleton, among=among) for s in ("none", "std", "leave_one_out")
    }
    for k, (s, x) in enumerate(zip(segment, value, strict=True)):
        counted = value[(segment == s) & among]
        n = len(counted)
        mean = counted.mean() if n > 1 or (n == 1 and singleton == "zero") else 0.0
        std = counted.std(ddof=1) if n > 1 else 1.0
        assert got["none"][k] == pytest.approx(x - mean)
        assert got["std"][k] == pytest.approx((x - mean) / (std + 1e-6))
        assert got["leave_one_out"][k] == pytest.approx((x - mean) * (n / (n - 1) if n > 1 else 1))


@quick
@given(st.lists(st.lists(quarters, max_size=6), max_size=5), st.floats(0, 1))
def test_discounted_returns_are_the_recursion(rewards, gamma):
    expected = []
    for trajectory in rewards:
        following = 0.0
        returns = [following := reward + gamma * following for reward in reversed(trajectory)]
        expected += reversed(returns)
    reward_T = np.array(flat(rewards), dtype=np.float64)
    offsets = np.cumsum([0, *map(len, rewards)])
    assert discounted_returns(reward_T, offsets, gamma) == pytest.approx(expected)
    by_turn = discounted_returns(reward_T, offsets, np.full(len(reward_T), gamma))
    assert by_turn == pytest.approx(expected)


def test_intersect_numbers_by_first_appearance():
    a, b = np.array([1, 0, 1, 1, 0]), np.array([5, 5, 5, 2, 5])
    assert intersect(a, b).tolist() == [0, 1, 0, 2, 1]


# The register ---------------------------------------------------------------------------------------------


@pytest.fixture
def own_register(monkeypatch):
    monkeypatch.setattr(registry, "_SCHEMES", dict(registry._SCHEMES))


def test_schemes_are_described_by_their_signatures():
    described = {scheme.name: scheme.describe() for scheme in schemes()}
    assert {"gigpo", "grpo", "reinforce", "rloo"} <= described.keys()
    gigpo = described["gigpo"]
    assert (gigpo["paper"], gigpo["granularity"], gigpo["needs"]) == (
        "arXiv:2505.10978",
        "turn",
        ["state_key"],
    )
    assert gigpo["parameters"]["gamma"] == {"type": "float in [0, 1]", "default": 0.95}
    assert gigpo["parameters"]["mode"] == {"type": '"mean_norm" | "mean_std_norm"', "default": "mean_norm"}
    assert gigpo["parameters"]["similarity_threshold"] == {"type": "float in [0, 1] | None", "default": None}


@pytest.mark.parametrize(
    ("scheme", "params", "message"),
    [
        ("gigop", {}, "unknown credit scheme 'gigop': did you mean 'gigpo'"),
        ("gigpo", {"gama": 1}, "gigpo: unknown parameter 'gama': did you mean 'gamma'? there is epsilon,"),
        ("gigpo", {"gamma": "0.9"}, "gigpo: gamma should be a valid number, not '0.9'"),
        ("gigpo", {"gamma": True}, "gigpo: gamma should be a valid number, not True"),
        ("gigpo", {"gamma": 95}, "gigpo: gamma should be less than or equal to 1, not 95"),
        ("gigpo", {"step_weight": float("inf")}, "gigpo: step_weight should be a finite number, not inf"),
        ("gigpo", {"mode": "mean"}, "gigpo: mode should be 'mean_norm' or 'mean_std_norm', not 'mean'"),
        ("gigpo", {"enable_similarity": "no"}, "gigpo: enable_similarity should be true or false, not 'no'"),
        ("gigpo", {"step_weight": 1, "step_advantage_w": 2}, "gigpo: a parameter is given under two names"),
    ],
)  # fmt: skip
def test_wrong_calls_are_answered_in_one_line(scheme, params, message):
    with pytest.raises(ValueError) as caught:
        compute(scheme, TurnBatch.from_dicts([]), **params)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_official_names_of_gigpo():
    names = get_scheme("gigpo").check_parameters
    assert names({"step_advantage_w": 2, "invalid_action_penalty_coef": 0.2}) == {
        "step_weight": 2.0,
        "invalid_action_penalty": 0.2,
    }
    assert names({"compute_mean_std_cross_steps": True}) == {"statistics": "turns"}
    assert names({"compute_mean_std_cross_steps": False}) == {"statistics": "trajectories"}
    assert names({"enable_similarity": False, "similarity_thresh": 0.8}) == {"similarity_threshold": None}
    assert names({"enable_similarity": True, "similarity_thresh": 0.8}) == {"similarity_threshold": 0.8}
    assert names({"enable_similarity": True}) == {"similarity_threshold": 0.95}


def test_a_missing_need_is_named(own_register):
    batch = TurnBatch.from_dicts(episodes(1))
    without_states = TurnBatch(batch.group_N, batch.turn_offsets_N, batch.reward_T, batch.valid_T)
    with pytest.raises(ValueError, match="gigpo needs 'state_key', which this batch does not have"):
        compute("gigpo", without_states)
    numbered = TurnBatch.from_dicts([{"group": 0, "turns": [{"obs": 1, "reward": 0, "valid": True}]}])
    with pytest.raises(ValueError, match="gigpo with similarity_threshold needs 'observation'"):
        compute("gigpo", numbered, similarity_threshold=0.9)

    @credit("valued", paper="none", needs=["value_T"])
    def valued(batch: TurnBatch) -> Credit:
        return Credit(advantage_T=batch.columns["value_T"])

    with pytest.raises(ValueError, match="valued needs 'value_T'"):
        compute("valued", batch)


def test_a_scheme_of_ones_own(own_register):
    @credit("mine", paper="none", granularity="token", needs=["tokens"])
    def mine(batch: TurnBatch, *, factor: float = 2.0, turns: int = 1) -> Credit:
        """Mine."""
        return Credit(advantage_K=factor * batch.reward_T[batch.turn_K])

    batch = TurnBatch.from_dicts([{"group": 0, "turns": [{"obs": 0, "reward": 3, "valid": True, "tokens": 2}]}])
    assert compute("mine", batch).token_advantages(batch).tolist() == [6, 6]
    assert compute("mine", batch, factor=1).turn_advantages(batch).tolist() == [3]
    with pytest.raises(ValueError, match=r"mine: turns should be a valid integer, not 1\.5"):
        compute("mine", batch, turns=1.5)
    with pytest.raises(ValueError, match="the credit scheme 'grpo' exists already, in agentgym"):
        credit("grpo", paper="none")(mine)
    with pytest.raises(TypeError, match="factor must be keyword-only with a default"):

        @credit("wrong", paper="none")
        def wrong(batch: TurnBatch, factor: float) -> Credit:
            raise NotImplementedError


def test_a_scheme_that_gives_nonsense_is_caught(own_register):
    @credit("short", paper="none")
    def short(batch: TurnBatch) -> Credit:
        return Credit(advantage_T=np.zeros(1))

    @credit("not_finite", paper="none")
    def not_finite(batch: TurnBatch) -> Credit:
        return Credit(advantage_T=np.full(batch.n_turns, np.nan))

    batch = TurnBatch.from_dicts(episodes(1, 2))
    with pytest.raises(ValueError, match=r"short: advantage_T has the shape \(1,\), not \(2,\)"):
        compute("short", batch)
    with pytest.raises(ValueError, match="trajectory 0, turn 0: not_finite gives advantage_T = nan"):
        compute("not_finite", batch)
    with pytest.raises(ValueError, match="either advantage_T or advantage_K"):
        Credit()
