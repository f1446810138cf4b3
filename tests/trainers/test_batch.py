"""Trajectories as flat arrays."""

from __future__ import annotations

import numpy as np
import pytest

from agentgym.agents.trajectory import StopReason, Trajectory, Turn
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute


def turn(obs="s", reward=0.0, valid=True, **more):
    return {"obs": obs, "reward": reward, "valid": valid, **more}


def nested(depth: int, key: str = "") -> object:
    """A value in as many lists, or objects with one key."""
    value: object = 0
    for _ in range(depth):
        value = {key: value} if key else [value]
    return value


def recorded(group: str, *rewards: float, state_key: str = "key", tokens: int = 2) -> Trajectory:
    turns = [Turn(f"obs {t}", state_key, "a", r, response_ids=[7] * tokens) for t, r in enumerate(rewards)]
    return Trajectory("env", 0, group, "task", "kind", turns=turns)


def test_arrays_of_recorded_trajectories():
    batch = TurnBatch.from_trajectories([recorded("b", 1, 2), recorded("a"), recorded("b", 3)])
    assert (batch.n_trajectories, batch.n_turns, batch.n_tokens, batch.n_groups) == (3, 3, 6, 2)
    assert batch.group_N.tolist() == [0, 1, 0]  # in the order of first appearance
    assert batch.turn_offsets_N.tolist() == [0, 2, 2, 3]
    assert batch.n_turns_N.tolist() == [2, 0, 1]
    assert batch.trajectory_T.tolist() == [0, 0, 2]
    assert batch.turn_index_T.tolist() == [0, 1, 0]
    assert batch.group_T.tolist() == [0, 0, 0]
    assert batch.turn_K.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.episode_return_N.tolist() == [3, 0, 3]
    assert batch.state_T is not None and batch.state_T.tolist() == [0, 0, 0]
    assert batch.observation_T == ["obs 0", "obs 1", "obs 0"]
    assert batch.reward_T.dtype == np.float64 and batch.valid_T.dtype == np.bool_


def test_what_no_trajectory_has_is_none():
    batch = TurnBatch.from_trajectories([recorded("g", 1, state_key="", tokens=0)])
    assert batch.state_T is None
    assert batch.token_offsets_T is None
    with pytest.raises(ValueError, match="does not know the tokens"):
        _ = batch.n_tokens


def test_the_parts_of_responses_are_columns():
    first, second = recorded("g", 1, 2, tokens=4).turns
    first.spans, first.parts = {"action": (0, 4), "switch": (0, 1)}, {"switch": "KEEP", "subgoal": "a"}
    second.spans, second.parts = {"subgoal": (1, 3)}, {"switch": "MAYBE"}
    told = TurnBatch.from_trajectories([Trajectory("env", 0, "g", "task", "kind", turns=[first, second])])
    assert told.columns["role_K"].tolist() == ["switch", *["action"] * 3, "", "subgoal", "subgoal", ""]
    assert told.flags("switch_T").tolist() == [False, True]
    assert told.columns["subgoal_T"].tolist() == told.columns["parts.subgoal_T"].tolist() == ["a", ""]
    untold = TurnBatch.from_trajectories([recorded("g", 1)])
    assert "role_K" not in untold.columns
    both = TurnBatch.concatenate([told, untold])
    assert both.columns["role_K"].tolist()[8:] == ["", ""] and both.flags("switch_T").tolist() == [False, True, False]


def test_a_response_of_a_wrong_form_is_invalid_whatever_its_action():
    trajectory = recorded("g", 1, 2)
    assert TurnBatch.from_trajectories([trajectory]).valid_T.tolist() == [True, True]
    trajectory.turns[1].fault = "no <subgoal>…</subgoal>"
    assert TurnBatch.from_trajectories([trajectory]).valid_T.tolist() == [True, False]


def test_technical_failures_are_refused():
    failed = recorded("g", 1)
    failed.stop_reason = StopReason.ENV_ERROR
    with pytest.raises(ValueError, match=r"trajectory 1 \(task\) ended in a technical error"):
        TurnBatch.from_trajectories([recorded("g", 1), failed])


def test_both_constructors_agree():
    recordings = [recorded("b", 1, 2), recorded("a", 0.5)]
    dicts = [
        {
            "group": r.group,
            "turns": [turn(u.observation, u.reward, state_key="key", tokens=2) for u in r.turns],
        }
        for r in recordings
    ]
    ours, theirs = TurnBatch.from_trajectories(recordings), TurnBatch.from_dicts(dicts)
    for name in ("group_N", "turn_offsets_N", "reward_T", "valid_T", "state_T", "token_offsets_T"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
    assert ours.observation_T == theirs.observation_T


def test_states_are_state_keys_else_observations_of_any_kind():
    observations = [
        "a",
        ["a", {"x": 1, "y": [2]}],
        {"p": 1, "q": 2},
        {"q": 2, "p": 1},
        None,
        ["a", {"y": [2], "x": 1}],
    ]
    batch = TurnBatch.from_dicts([{"group": {"task": [1]}, "turns": [turn(obs) for obs in observations]}])
    assert batch.state_T is not None and batch.state_T.tolist() == [0, 1, 2, 2, 3, 1]
    assert batch.observation_T is None  # not all of them are text
    keyed = TurnBatch.from_dicts([{"group": 0, "turns": [turn("a", state_key="k"), turn("b", state_key="k")]}])
    assert keyed.state_T is not None and keyed.state_T.tolist() == [0, 0]
    assert keyed.observation_T == ["a", "b"]


def test_the_state_after_the_last_action_is_in_the_turns_numbers():
    def lived(group: str, *keys: str) -> Trajectory:
        turns = [Turn(f"obs {key}", key, "a", response_ids=[7]) for key in keys[:-1]]
        return Trajectory("env", 0, group, "task", "kind", turns=turns, final_state_key=keys[-1])

    one, other = [lived("g", "s", "t", "u"), lived("g", "s", "t")], [lived("h", "s", "v", "s")]
    batch = TurnBatch.concatenate([TurnBatch.from_trajectories(one), TurnBatch.from_trajectories(other)])
    assert batch.state_T is not None and batch.final_state_N is not None
    s, t, s_too, s_of_h, _ = batch.state_T.tolist()
    after_u, after_t, after_s = batch.final_state_N.tolist()
    assert (s, t, s_of_h) == (s_too, after_t, after_s) and after_u not in batch.state_T
    assert s != s_of_h, "states of other batches are other states"
    assert batch.select(np.array([2, 1])).final_state_N.tolist() == [after_s, after_t]  # type: ignore[union-attr]
    assert TurnBatch.from_trajectories([*one, lived("h", "s", "")]).final_state_N is None  # of an older file

    rows = [{"group": 0, "final_obs": "b", "turns": [turn("a"), turn("b")]}]
    assert TurnBatch.from_dicts(rows).final_state_N.tolist() == [1]  # type: ignore[union-attr]
    keyed = [{"group": 0, "final_obs": "b", "turns": [turn("a", state_key="k")]}]
    assert TurnBatch.from_dicts(keyed).gaps["final_state_N"] == "trajectory 0 has no 'final_state_key'"
    assert TurnBatch.from_dicts([*rows, {"group": 0, "turns": []}]).final_state_N is None


def test_tokens_are_numbers_or_lists():
    batch = TurnBatch.from_dicts([{"group": 0, "turns": [turn(tokens=3), turn(tokens=[5, 6]), turn(tokens=0)]}])
    assert batch.token_offsets_T is not None and batch.token_offsets_T.tolist() == [0, 3, 5, 5]
    assert batch.nest_tokens(np.arange(5)) == [[[0, 1, 2], [3, 4], []]]
    assert batch.nest_turns(np.arange(3)) == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("trajectories", "message"),
    [
        ({"group": 0}, "trajectories must be a list"),
        (["x"], "trajectory 0 must be an object"),
        ([{"turns": []}], "trajectory 0: the key 'group' is missing"),
        ([{"group": 0}], "trajectory 0: the key 'turns' is missing"),
        ([{"group": 0, "turns": "abc"}], "trajectory 0: turns must be a list"),
        ([{"group": 0, "turns": [turn(), 3]}], "trajectory 0, turn 1 must be an object"),
        (
            [{"group": 0, "turns": [{"obs": "s", "valid": True}]}],
            "trajectory 0, turn 0: the key 'reward' is missing",
        ),
        (
            [{"group": 0, "turns": [{"reward": 1, "valid": True}]}],
            "trajectory 0, turn 0: the key 'obs' is missing",
        ),
        (
            [{"group": 0, "turns": [turn(reward="1")]}],
            "trajectory 0, turn 0: reward must be a number, not '1'",
        ),
        (
            [{"group": 0, "turns": [turn(), turn(reward=float("nan"))]}],
            "trajectory 0, turn 1: reward must be a finite number, not nan",
        ),
        (
            [{"group": 0, "turns": [turn(reward=-(10**400))]}],
            "trajectory 0, turn 0: reward must be a finite number, not -inf",
        ),
        ([{"group": 0, "turns": [turn(valid="yes")]}], "valid must be true or false, not 'yes'"),
        ([{"group": 0, "turns": [], "truncated": 2}], "trajectory 0: truncated must be true or false, not 2"),
        ([{"group": 0, "turns": [turn(), turn(nested(5000))]}], "trajectory 0, turn 1: a value is nested too deeply"),
        ([{"group": nested(5000), "turns": []}], "trajectory 0: group: a value is nested too deeply"),
        ([{"group": 0, "turns": [turn(a=nested(50, "key"))]}], "trajectory 0, turn 0: 'a' is nested too deeply"),
        (
            [{"group": 0, "turns": [turn(tokens=10**400)]}],
            "trajectory 0, turn 0: tokens: there are more than 10,000,000",
        ),
        (
            [{"group": 0, "turns": [turn(), turn(tokens=2, value=[1])]}],
            "trajectory 0, turn 0: 'tokens' is missing, which others have",
        ),
        (
            [{"group": 0, "turns": [turn(tokens=1, value=[1]), turn(tokens=2, value=[1])]}],
            "trajectory 0, turn 1: 'value' has 1 entries for 2 tokens",
        ),
        (
            [{"group": 0, "turns": [turn(tokens=-1)]}],
            "tokens must be a list of tokens or their number, not -1",
        ),
        ([{"group": 0, "turns": [turn(tokens=1), turn()]}], "trajectory 0, turn 1: 'tokens' is missing"),
    ],
)
def test_wrong_dicts_are_named(trajectories, message):
    with pytest.raises(ValueError, match=message):
        TurnBatch.from_dicts(trajectories)


def test_signals_of_every_axis():
    batch = TurnBatch.from_dicts(
        [
            {"group": 0, "score": {"goal": 7, "ties": None}, "kind": "easy", "turns": [turn(tokens=2, value=[1, 2])]},
            {"group": 0, "score": {"goal": 10**400, "ties": 1}, "kind": "hard", "turns": []},
        ]
    )
    assert set(batch.columns) == {"value_K", "score.goal_N", "score.ties_N", "kind_N"}
    assert batch.signal("value_K").tolist() == [1, 2]
    assert batch.categories("kind_N").tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"trajectory 1: score\.goal_N is inf"):
        batch.signal("score.goal_N")
    with pytest.raises(ValueError, match=r"trajectory 0: score\.ties_N is nan"):
        batch.signal("score.ties_N")


@pytest.mark.parametrize(
    ("turns", "name", "reason"),
    [
        ([{"value": 1}, {}], "value_T", "trajectory 0, turn 1 has no 'value'"),
        ([{}, {"value": [1]}], "value_K", "trajectory 0, turn 0 has no 'value'"),
        ([{"value": 1}, {"value": "high"}], "value_T", "'value' is of another kind in trajectory 0, turn 1"),
        ([{"value": 1}, {"value": [1]}], "value_K", "'value' is of another kind in trajectory 0, turn 1"),
        ([{"value": [1]}, {"value": [1, "x"]}], "value_K", "'value' are neither all numbers nor all texts"),
        (
            [{"value": 1}, {"value": 2}],
            "value_K",
            "trajectory 0, turn 0 has no list of 'value' with one for each token",
        ),
        ([{"value": [1]}, {"value": [2, 3]}], "value_T", "trajectory 0, turn 0 has a list of 'value', not one"),
    ],
)
def test_why_a_signal_is_missing_is_said(turns, name, reason):
    batch = TurnBatch.from_dicts([{"group": 0, "turns": [turn(tokens=t + 1, **more) for t, more in enumerate(turns)]}])
    with pytest.raises(ValueError, match=f"the batch has no {name}: .*{reason}"):
        batch.signal(name)


def test_arrays_that_do_not_fit_are_refused():
    arrays = {"group_N": np.array([0]), "turn_offsets_N": np.array([0, 2])}
    arrays |= {"reward_T": np.zeros(2), "valid_T": np.ones(2, dtype=bool)}
    TurnBatch(**arrays)
    for change, message in [
        ({"turn_offsets_N": np.array([0, 1])}, "turn_offsets_N ends at 1, not at 2 turns"),
        ({"turn_offsets_N": np.array([0, 1, 2])}, "turn_offsets_N has 3 entries, not 2"),
        ({"valid_T": np.ones(3, dtype=bool)}, "valid_T has 3 entries, not 2"),
        ({"group_N": np.array([1])}, "order of first appearance"),
        ({"token_offsets_T": np.array([0, 3, 2])}, "token_offsets_T must begin at 0 and never fall"),
        ({"columns": {"value_T": np.zeros(1)}}, "value_T has 1 entries, not 2"),
        ({"columns": {"value": np.zeros(2)}}, "'value' must be named after its axis"),
    ]:
        with pytest.raises(ValueError, match=message):
            TurnBatch(**{**arrays, **change})


def test_concatenation_keeps_groups_and_states_of_different_batches_apart():
    first = TurnBatch.from_trajectories([recorded("a", 1), recorded("b", 2)])
    empty = TurnBatch.from_trajectories([])
    second = TurnBatch.from_trajectories([recorded("a", 3, 4)])
    batch = TurnBatch.concatenate([first, empty, second])
    assert batch.group_N.tolist() == [0, 1, 2]
    assert batch.state_T is not None and batch.state_T.tolist() == [0, 0, 1, 1]
    assert batch.turn_offsets_N.tolist() == [0, 1, 2, 4]
    assert batch.token_offsets_T is not None and batch.token_offsets_T.tolist() == [0, 2, 4, 6, 8]
    assert batch.reward_T.tolist() == [1, 2, 3, 4]
    assert batch.observation_T == ["obs 0", "obs 0", "obs 0", "obs 1"]


def test_concatenation_refuses_what_would_be_lost():
    with_tokens = TurnBatch.from_trajectories([recorded("a", 1)])
    without = TurnBatch.from_trajectories([recorded("a", 1, tokens=0)])
    with pytest.raises(ValueError, match="some of the batches have tokens"):
        TurnBatch.concatenate([with_tokens, without])
    arrays = {"group_N": np.array([0]), "turn_offsets_N": np.array([0, 1])}
    arrays |= {"reward_T": np.zeros(1), "valid_T": np.ones(1, dtype=bool)}
    signalled = TurnBatch(**arrays, columns={"value_T": np.array([5.0])})
    with pytest.raises(ValueError, match="some of the batches have the column 'value_T'"):
        TurnBatch.concatenate([signalled, TurnBatch(**arrays)])
    assert TurnBatch.concatenate([signalled, signalled]).columns["value_T"].tolist() == [5, 5]
    with pytest.raises(ValueError, match="no batch"):
        TurnBatch.concatenate([])


def test_a_share_of_the_credit_is_that_of_its_batch_whatever_axes_the_scheme_has_for_itself():
    """`bi_level_gae` and `ma_rlhf` tell parts of tokens that are no tokens of the batch."""
    turns = [{"obs": "s", "reward": 1.0, "valid": True, "tokens": 2, "value": [0.1, 0.2]}] * 3
    one, other = (TurnBatch.from_dicts([{"group": i, "turns": turns[: i + 2]}]) for i in (0, 1))
    for scheme in ("bi_level_gae", "ma_rlhf"):
        together = compute(scheme, TurnBatch.concatenate([one, other]))
        share = together.part_of([one, other], 1)
        columns = other.with_columns(share.columns(other)).columns
        assert columns["advantage_K"].tolist() == together.advantage_K[one.n_tokens :].tolist()
        assert "target.value_K" in columns


def test_a_column_that_only_some_episodes_tell_is_left_out_and_why():
    told, untold = recorded("a", 1), recorded("b", 1)
    told.turns[0].duration = 2.0
    batches = [TurnBatch.from_trajectories([told]), TurnBatch.from_trajectories([untold])]
    together = TurnBatch.concatenate(batches)
    assert "duration_T" not in together.columns and "duration_T" in together.gaps
    nothing = TurnBatch.from_trajectories([])
    assert nothing.empty_columns(batches)["duration_T"].shape == (0,)


def test_a_batch_is_saved_whole(tmp_path):
    batch = TurnBatch.from_trajectories([recorded("a", 2), recorded("b", 1)])
    texts = np.array(["x\0", "\ud800"], dtype=object)
    batch = batch.with_columns({"role_T": texts, "value_T": np.array([0.1, np.nan])})
    batch.save(tmp_path / "batch.npz")
    again = TurnBatch.load(tmp_path / "batch.npz")
    assert again.columns.keys() == batch.columns.keys() and again.observation_T == batch.observation_T
    assert again.columns["role_T"].tolist() == texts.tolist()
    np.testing.assert_array_equal(again.columns["value_T"], batch.columns["value_T"])
    assert again.select(np.array([1])).turn_offsets_N.tolist() == [0, 1]
    (tmp_path / "cut.npz").write_bytes((tmp_path / "batch.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut\.npz is no file of arrays"):
        TurnBatch.load(tmp_path / "cut.npz")
