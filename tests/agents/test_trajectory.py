"""Trajectories as JSON lines: nothing is lost, and what is no trajectory is named."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.agents.trajectory import StopReason, Trajectory, Turn, read_trajectories, write_trajectories


def survives_utf16(text: str) -> bool:
    """No high surrogate stands before a low one: to JSON, as to UTF-16, the two are one character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") == text


any_text = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from('\n\r\u2028\x85\0"\\')).filter(
    survives_utf16
)
ids = st.lists(st.integers(0, 2**31), max_size=4)
turns = st.builds(
    Turn,
    observation=any_text,
    state_key=any_text,
    action=any_text,
    reward=st.floats(),
    is_action_valid=st.booleans(),
    response=any_text,
    prompt_ids=ids,
    response_ids=ids,
    logprobs=st.lists(st.floats(), max_size=4),
)
trajectories = st.builds(
    Trajectory,
    env_id=any_text,
    seed=st.integers(0, 2**63),
    group=any_text,
    task_id=any_text,
    task_type=any_text,
    turns=st.lists(turns, max_size=3),
    stop_reason=st.none() | st.sampled_from(StopReason),
    success=st.booleans(),
    score=st.none() | st.floats(),
    final_observation=any_text,
    error=st.none() | any_text,
)


def one(**fields: object) -> Trajectory:
    turn = Turn("# √ #", "key", "up", 0.1, response="up", prompt_ids=[1, 2], response_ids=[3], logprobs=[-0.25])
    return dataclasses.replace(Trajectory("e", 1, "g", "t", "kind", [turn], StopReason.SUCCESS, True), **fields)


@settings(max_examples=60, deadline=None)
@given(st.lists(trajectories, max_size=3))
def test_written_and_read_back(written: list[Trajectory]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "trajectories.jsonl")
        write_trajectories(path, written)
        read = list(read_trajectories(path))
        assert repr(read) == repr(written)  # unlike ==, it tells -0.0 from 0.0 and 1 from 1.0, and NaN equals NaN
        assert len(path.read_bytes().splitlines()) == len(written)


def test_one_line_is_json_that_people_can_read(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write_trajectories(path, [one(), one(final_observation="\udc80")])
    lines = path.read_text(encoding="utf-8").splitlines()  # UTF-8, whatever is in it
    assert "# √ #" in lines[0]
    assert json.loads(lines[0])["turns"][0]["logprobs"] == [-0.25]
    assert json.loads(lines[1])["final_observation"] == "\udc80"


def test_writing_replaces(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write_trajectories(path, [one()] * 3)
    write_trajectories(path, iter([one(seed=5)]))
    assert [t.seed for t in read_trajectories(path)] == [5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"env_id": "e", "seed": 1', "Expecting"),
        (b"", "Expecting value"),
        (b"[]", "not a trajectory"),
        (b"7", "not a trajectory"),
        (b'{"env_id": "e"}', "not a trajectory: 'turns'"),
        (one().to_json().replace('"seed": 1,', "").encode(), "missing 1 required positional argument: 'seed'"),
        (one().to_json().replace('"seed"', '"sede"').encode(), "unexpected keyword argument 'sede'"),
        (one().to_json().replace('"action"', '"act"').encode(), "unexpected keyword argument 'act'"),
        (one().to_json().replace('"success",', '"victory",').encode(), "'victory' is not a valid StopReason"),
        (one().to_json().encode("latin-1", "replace").replace(b"?", b"\xff"), "codec can't decode byte 0xff"),
    ],
)
def test_what_is_no_trajectory_is_named_with_file_and_line(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(one().to_json().encode() + b"\n" + line + b"\n")
    reading = read_trajectories(path)
    assert next(reading) == one()
    with pytest.raises(ValueError) as caught:
        next(reading)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2: ") and reason in message and "\n" not in message


def test_the_return_is_the_sum_of_rewards() -> None:
    trajectory = one(turns=[Turn("", "", "", r) for r in (-0.1, -0.1, 10.9)])
    assert trajectory.total_reward == pytest.approx(10.7)
    assert one(turns=[]).total_reward == 0
