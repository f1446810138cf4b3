"""`agentgym credit`: trajectories from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentgym.agents.trajectory import StopReason, Trajectory, Turn, write_trajectories
from agentgym.credit_command import credit_file

GIGPO_CASES = sorted((Path(__file__).parent / "golden" / "gigpo").glob("case_*.json"))


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def episode(reward: float, **more: object) -> dict:
    return {"group": "g", "turns": [{"obs": "s", "reward": reward, "valid": True, **more}]}


@pytest.mark.parametrize("path", GIGPO_CASES, ids=lambda path: path.stem)
def test_golden_files_are_understood(path):
    result = credit_file("gigpo", path, {})
    expected = json.loads(path.read_text(encoding="utf-8"))["expected"]["advantage"]
    assert len(result["turn_advantages"]) == len(expected)
    for got, wanted in zip(result["turn_advantages"], expected, strict=True):
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert result["token_advantages"] is None


def test_parameters_come_from_the_file_and_above_it_from_the_call(tmp_path):
    file = write(tmp_path / "t.json", {"params": {"scale": "none"}, "trajectories": [episode(0), episode(4)]})
    assert credit_file("grpo", file, {})["turn_advantages"] == [[-2], [2]]
    scaled = credit_file("grpo", file, {"scale": "std", "epsilon": "1e-9"})["turn_advantages"]
    assert scaled == [[pytest.approx(-(0.5**0.5))], [pytest.approx(0.5**0.5)]]
    bare = write(tmp_path / "bare.json", {"trajectories": [episode(3, tokens=2)]})
    assert credit_file("reinforce", bare, {"gamma": 0.5}) == {
        "scheme": "reinforce",
        "turn_advantages": [[3]],
        "token_advantages": [[[3, 3]]],
    }


def test_our_own_trajectory_files(tmp_path):
    def recorded(reward: float, reason: StopReason) -> Trajectory:
        turn = Turn("obs", "key", "a", reward, response_ids=[1, 2])
        return Trajectory("env", 0, "g", "task", "kind", turns=[turn], stop_reason=reason)

    path = tmp_path / "t.jsonl"
    failed = recorded(9, StopReason.ENV_ERROR)
    write_trajectories(path, [recorded(0, StopReason.MAX_TURNS), failed, recorded(4, StopReason.SUCCESS)])
    result = credit_file("rloo", path, {})
    assert result["turn_advantages"] == [[-4], None, [4]]
    assert result["token_advantages"] == [[[-4, -4]], None, [[4, 4]]]
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1: not a trajectory"):
        credit_file("rloo", path, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], 'expected an object with the key "trajectories"'),
        ({"input": {}}, 'expected an object with the key "trajectories"'),
        ({"params": 3, "trajectories": []}, '"params" must be an object, not 3'),
        (
            {"params": {"gama": 1}, "trajectories": []},
            "reinforce: unknown parameter 'gama': did you mean 'gamma'?",
        ),
        ({"trajectories": [{"turns": []}]}, "trajectory 0: the key 'group' is missing"),
    ],
)
def test_wrong_files_are_answered_in_one_line(tmp_path, content, message):
    file = write(tmp_path / "t.json", content)
    with pytest.raises(ValueError) as caught:
        credit_file("reinforce", file, {})
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_wrong_calls_are_answered_in_one_line(tmp_path):
    file = write(tmp_path / "t.json", {"trajectories": []})
    for scheme, path, params, message in [
        ("gigop", file, {}, "unknown credit scheme 'gigop': did you mean 'gigpo'?"),
        ("grpo", file, {"scal": "none"}, "grpo: unknown parameter 'scal': did you mean 'scale'?"),
        ("grpo", tmp_path / "nowhere.json", {}, f"{tmp_path / 'nowhere.json'}: No such file or directory"),
        ("grpo", tmp_path, {}, f"{tmp_path}: Is a directory"),
    ]:
        with pytest.raises(ValueError) as caught:
            credit_file(scheme, path, params)
        assert str(caught.value).startswith(message)
    file.write_text("not JSON", encoding="utf-8")
    with pytest.raises(ValueError, match=r"not JSON: .* \(the name of a trajectory file ends in \.jsonl\)"):
        credit_file("grpo", file, {})
