"""Trajectories as JSON lines: nothing is lost, and what is no trajectory is named."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.agents.trajectory import (
    SUFFIXES,
    StopReason,
    Trajectory,
    Turn,
    read_trajectories,
    write_trajectories,
)


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
    continues=st.booleans(),
    prompt_ids=ids,
    response_ids=ids,
    logprobs=st.lists(st.floats(), max_size=4),
    parts=st.dictionaries(any_text, any_text, max_size=2),
    spans=st.dictionaries(any_text, st.tuples(st.integers(0), st.integers(0)), max_size=2),
    fault=any_text,
    policy_step=st.integers(0),
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
    score=st.none() | st.floats(),
    final_observation=any_text,
    final_state_key=any_text,
    error=st.none() | any_text,
    episode=any_text,
    seat=any_text,
)


def one(**fields: object) -> Trajectory:
    turn = Turn("# √ #", "key", "up", 0.1, response="up", prompt_ids=[1, 2], response_ids=[3], logprobs=[-0.25])
    return dataclasses.replace(Trajectory("e", 1, "g", "t", "kind", [turn], StopReason.SUCCESS), **fields)


@settings(max_examples=60, deadline=None)
@given(st.lists(trajectories, max_size=3), st.sampled_from(SUFFIXES))
def test_written_and_read_back(written: list[Trajectory], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, f"trajectories{suffix}")
        write_trajectories(path, written)
        read = list(read_trajectories(path))
        assert repr(read) == repr(written)  # unlike ==, it tells -0.0 from 0.0 and 1 from 1.0, and NaN equals NaN
        data = path.read_bytes() if suffix == ".jsonl" else gzip.decompress(path.read_bytes())
        assert len(data.splitlines()) == len(written)
        write_trajectories(path.with_name(f"again{suffix}"), written)
        assert path.with_name(f"again{suffix}").read_bytes() == path.read_bytes()


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
        (b'{"version": 3}', "version 3 of the format; this agentgym reads 1 and 2"),
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


# Size, damage, version 1 -----------------------------------------------------------------------------------


def dialogue(n_turns: int, seed: int = 0) -> Trajectory:
    """A dialogue: a first prompt of 600 tokens, 120 more a turn, 80 sampled."""
    rng = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [rng.randrange(32_000) for _ in range(count)]

    turns = [
        Turn(
            f"You are in room {t}. There is a desk {rng.randrange(9)} and a shelf {rng.randrange(9)}.",
            f"room {t}/{rng.random()}",
            f"go to shelf {t}",
            -0.1,
            response=f"<think>Is it in room {rng.randrange(99)}?</think><action>go to shelf {t}</action>",
            continues=t > 0,
            prompt_ids=tokens(120 if t else 600),
            response_ids=tokens(80),
            logprobs=[-(rng.random() ** 4) for _ in range(80)],
        )
        for t in range(n_turns)
    ]
    return one(turns=turns)


def version_1(trajectory: Trajectory) -> str:
    """A line as the first version wrote it: every prompt whole, and the success beside the stop reason."""
    turns = [
        {
            "observation": turn.observation,
            "state_key": turn.state_key,
            "action": turn.action,
            "reward": turn.reward,
            "is_action_valid": turn.is_action_valid,
            "reward_parts": turn.reward_parts,
            "duration": turn.duration,
            "response": turn.response,
            "prompt_ids": prompt,
            "response_ids": turn.response_ids,
            "logprobs": turn.logprobs,
        }
        for turn, prompt in zip(trajectory.turns, trajectory.prompts(), strict=True)
    ]
    names = ("env_id", "seed", "group", "task_id", "task_type")
    later = ("stop_reason", "success", "score", "final_observation", "error", "task", "answers")
    fields = {name: getattr(trajectory, name) for name in names} | {"turns": turns}
    return json.dumps(fields | {name: getattr(trajectory, name) for name in later}, ensure_ascii=False)


def test_a_long_dialogue_takes_an_eighth_of_what_version_1_took(tmp_path: Path) -> None:
    played = dialogue(50)
    write_trajectories(tmp_path / "t.jsonl.gz", [played])
    assert (tmp_path / "t.jsonl.gz").stat().st_size < len(version_1(played).encode()) / 8
    assert [len(prompt) for prompt in played.prompts()] == [600 + 200 * t for t in range(50)]


def test_version_1_is_read(tmp_path: Path) -> None:
    """A dialogue, a window whose prompts share nothing, and one that was not played by a language model."""
    window = one(turns=[dataclasses.replace(turn, continues=False) for turn in dialogue(3).turns])
    unsampled = one(turns=[Turn("o", "s", "up"), Turn("p", "t", "down")], stop_reason=StopReason.MAX_TURNS)
    written = [dialogue(4), window, unsampled]
    (tmp_path / "t.jsonl").write_text("".join(version_1(t) + "\n" for t in written), encoding="utf-8")
    assert list(read_trajectories(tmp_path / "t.jsonl")) == written


def test_a_compressed_file_that_is_cut_short_or_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl.gz"
    write_trajectories(path, [one(seed=seed, turns=dialogue(2, seed).turns) for seed in range(20)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    read = []
    with pytest.raises(ValueError, match=r"t\.jsonl\.gz, line \d+: the file ends too early") as caught:
        read.extend(iter(read_trajectories(path)))
    assert "\n" not in str(caught.value)
    reading = read_trajectories(path)
    assert next(reading).seed == 0, "what is whole is read"
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match=r"t\.jsonl\.gz, line \d+: "):
        list(read_trajectories(path))
    path.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match=r"t\.jsonl\.gz, line 1: the compressed data are damaged: Not a gzipped file"):
        list(read_trajectories(path))
