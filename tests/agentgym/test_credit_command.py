"""`agentgym credit`: trajectories from a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from agentgym.agents.trajectory import StopReason, Trajectory, Turn, write_trajectories
from agentgym.cli import app
from agentgym.credit_command import compare_file, credit_file
from agentgym.credit_tables import families
from agentgym.trainers.credit import Credit, credit, registry, schemes
from agentgym.trainers.losses import losses
from tests.small_model import SETTINGS, make_trainer

GIGPO_CASES = sorted((Path(__file__).parents[1] / "golden" / "gigpo").glob("case_*.json"))


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


def recorded(reward: float, reason: StopReason = StopReason.SUCCESS, **more: object) -> Trajectory:
    turn = Turn("obs", "key", "a", reward, response_ids=[1, 2], **more)
    return Trajectory("env", 0, "g", "task", "kind", turns=[turn], stop_reason=reason)


def test_our_own_trajectory_files(tmp_path):
    path = tmp_path / "t.jsonl"
    failed = recorded(9, StopReason.ENV_ERROR)
    write_trajectories(path, [recorded(0, StopReason.MAX_TURNS), failed, recorded(4, StopReason.SUCCESS)])
    result = credit_file("rloo", path, {})
    assert result["turn_advantages"] == [[-4], None, [4]]
    assert result["token_advantages"] == [[[-4, -4]], None, [[4, 4]]]
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1: not a trajectory"):
        credit_file("rloo", path, {})


def test_episodes_of_different_tasks_are_not_compared(tmp_path):
    """Groups are named alike in every run."""
    path = tmp_path / "t.jsonl"
    write_trajectories(path, [recorded(0), replace(recorded(4), task_id="another")])
    line = refused("rloo", path)
    assert line.startswith(f"{path}: group 'g' mixes the tasks another, task; where the file holds several runs")


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


def refused(*words: object) -> str:
    """The one line with which a command is refused."""
    result = CliRunner().invoke(app, ["credit", *map(str, words)])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


TURN = '{"obs": "s", "reward": 0, "valid": true}'


def text_of(reward: str = "0", more: str = "") -> str:
    """A file whose second trajectory's second turn has this reward and these other keys, written out by hand."""
    turn = f'{{"obs": "s", "reward": {reward}, "valid": true{more}}}'
    groups = [f'{{"group": 0, "turns": [{TURN}]}}', f'{{"group": 0, "turns": [{TURN}, {turn}]}}']
    return f'{{"trajectories": [{", ".join(groups)}]}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n", "not JSON: Expecting value"),
        (text_of().encode()[:-3], "not JSON: Expecting ',' delimiter"),
        (text_of().encode("utf-16"), "not UTF-8: the byte at 0 is 0xff"),
        (text_of().encode() + b"\xfa", "not UTF-8: the byte at 194 is 0xfa"),
        (text_of("NaN"), "trajectory 1, turn 1: reward must be a finite number, not nan"),
        (text_of("-Infinity"), "trajectory 1, turn 1: reward must be a finite number, not -inf"),
        (text_of("1e400"), "trajectory 1, turn 1: reward must be a finite number, not inf"),
        (text_of("9" * 400), "trajectory 1, turn 1: reward must be a finite number, not inf"),
        (text_of("9" * 5000), "trajectory 1, turn 1: reward must be a finite number, not inf"),
        (text_of("null"), "trajectory 1, turn 1: reward must be a number, not None"),
        (
            text_of("1e308").replace('"reward": 0', '"reward": 1e308'),
            "trajectory 0, turn 0: reinforce gives advantage_T",
        ),
        (text_of("[" * 100_000), "a value is nested too deeply"),
        (text_of("0", ', "tokens": 3'), "trajectory 0, turn 0: 'tokens' is missing, which others have"),
    ],
)
def test_damaged_files_are_answered_in_one_line(tmp_path, content, message):
    file = tmp_path / "t.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused("reinforce", file).startswith(f"{file}: {message}")


def test_what_is_unusual_and_right_is_read(tmp_path):
    file = tmp_path / "t.json"
    file.write_text("\ufeff" + text_of("-0.5", ', "note": [{"a": null}], "unused": ' + "9" * 5000), encoding="utf-8")
    assert credit_file("reinforce", file, {"baseline": "none"})["turn_advantages"] == [[0], [-0.5, -0.5]]
    write(file, {"trajectories": []})
    assert credit_file("grpo", file, {})["turn_advantages"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": float("nan")}, ": trajectory 2, turn 0: reward must be a finite number, not nan"),
        ({"reward": "1"}, ": trajectory 2, turn 0: reward must be a number, not '1'"),
        ({"is_action_valid": "no"}, ": trajectory 2, turn 0: is_action_valid must be true or false, not 'no'"),
        ({"response_ids": 3}, ": these are not the trajectories of a run: "),
        ({"response_ids": [2**80]}, ": these are not the trajectories of a run: "),
        ({"extra": 1}, ", line 3: not a trajectory: "),
    ],
)
def test_damaged_trajectory_files_are_answered_in_one_line(tmp_path, change, message):
    path = tmp_path / "t.jsonl"
    damaged = json.loads(recorded(1).to_json())
    damaged["turns"][0] |= change
    lines = [recorded(0).to_json(), recorded(0, StopReason.ENV_ERROR).to_json(), json.dumps(damaged)]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert refused("reinforce", path).startswith(f"{path}{message}")


def test_truncated_and_empty_trajectory_files(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(recorded(0).to_json() + "\n" + recorded(1).to_json()[:-20], encoding="utf-8")
    assert refused("reinforce", path).startswith(f"{path}, line 2: ")
    path.write_bytes(b"")
    assert refused("reinforce", path) == f"{path}: the file is empty"


def test_wrong_calls_are_answered_in_one_line(tmp_path):
    file = write(tmp_path / "t.json", {"trajectories": []})
    for scheme, path, params, message in [
        ("gigop", file, {}, "unknown credit scheme 'gigop': did you mean 'gigpo'"),
        ("grpo", file, {"scal": "none"}, "grpo: unknown parameter 'scal': did you mean 'scale'?"),
        ("grpo", tmp_path / "nowhere.json", {}, f"{tmp_path / 'nowhere.json'}: No such file or directory"),
        ("grpo", tmp_path, {}, f"{tmp_path} is no run: it has no config.yaml"),
    ]:
        with pytest.raises(ValueError) as caught:
            credit_file(scheme, path, params)
        assert str(caught.value).startswith(message)
    file.write_text("not JSON", encoding="utf-8")
    with pytest.raises(ValueError, match=r"not JSON: .* \(the name of .* ends in \.jsonl or \.jsonl\.gz\)"):
        credit_file("grpo", file, {})


# Comparing schemes ----------------------------------------------------------------------------------------


@pytest.fixture
def own_register(monkeypatch):
    monkeypatch.setattr(registry, "_SCHEMES", dict(registry._SCHEMES))


@pytest.fixture
def file(tmp_path) -> Path:
    """Two trajectories of one group; observations that a terminal must not be given as they are."""
    turns = [
        {"obs": "\u001b[31m[bold]line one\nline two\ud800", "reward": 0, "valid": True},
        {"obs": "a very long observation " * 500, "reward": 4, "valid": False},
    ]
    trajectories = [{"group": "g", "turns": turns}, {"group": "g", "turns": turns[:1]}]
    return write(tmp_path / "t.json", {"params": {"scale": "none"}, "trajectories": trajectories})


def table(*words: object) -> tuple[list[list[str]], str]:
    """The cells of the lines of `agentgym credit --compare …`, and what it says besides."""
    result = CliRunner().invoke(app, ["credit", "--compare", *map(str, words)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(c.isprintable() for line in lines for c in line)
    return [line.split() for line in lines if line.strip()], result.stderr


def test_compare_prints_what_each_scheme_gives_to_each_turn(file):
    rows, said = table("grpo", "rloo", "reinforce", file, "--gamma", "0.5")
    assert rows[0] == ["turn", "group", "observation", "reward", "grpo", "rloo", "reinforce"]
    assert [[*row[:2], *row[-4:]] for row in rows[2:]] == [
        ["0/0", "0", "0", "2", "4", "1"],  # grpo with the file's scale, reinforce with the call's gamma
        ["0/1", "0", "4", "2", "4", "3"],
        ["1/0", "0", "0", "-2", "-4", "-1"],
    ]
    assert rows[2][2].startswith("·[31m[bold]line")
    assert rows[3][-5].endswith("…")
    assert said == ""


def test_compare_leaves_out_what_cannot_be_computed(file, own_register):
    @credit("critical", paper="none", needs=["value_T"])
    def critical(batch, *, gamma: float = 1.0) -> Credit:
        """Needs a critic."""
        return Credit(advantage_T=batch.signal("value_T"))

    rows, said = table("critical", "rloo", file)
    assert rows[0][-2:] == ["reward", "rloo"]
    assert said.startswith("left out: critical needs 'value_T' (critic's value of the situation before each turn), ")
    assert len(said.splitlines()) == 1
    assert refused("--compare", "critical", file).startswith(f"{file}: critical needs 'value_T'")


def test_compare_takes_as_many_tables_as_it_needs(file, own_register):
    def thirds(unit: float):
        def scheme(batch) -> Credit:
            return Credit(advantage_T=batch.reward_T * unit / 3)

        return scheme

    names = [f"own_scheme_of_long_name_{i}" for i in range(9)]
    for i, name in enumerate(names):
        credit(name, paper="none")(thirds(10.0 ** (i - 4)))
    rows, _ = table(*names, file)
    assert sum(row[0] == "turn" for row in rows) > 1
    assert sum(row[0] == "0/1" for row in rows) == sum(row[0] == "turn" for row in rows)
    numbers = [word for row in rows if row[0] == "0/1" for word in row[5:]]
    assert "1.33e-04" in numbers and "13333.333" in numbers


def test_compare_refuses_wrong_calls(file):
    assert refused("--compare", "gigop", "grpo", file).startswith("unknown credit scheme 'gigop': did you mean 'gigpo'")
    assert refused("--compare", "gigpo", "rloo", file, "--scale", "none") == (
        "unknown parameter 'scale': none of gigpo, rloo has it"
    )
    assert refused("grpo", "rloo", file).startswith("expected agentgym credit SCHEME FILE")
    assert refused("--compare", file).startswith("expected agentgym credit SCHEME FILE")
    assert "epsilon should be greater than 0, not -1" in refused("--compare", "grpo", file, "--epsilon", "-1")


def test_compare_keeps_the_file_s_numbers_of_trajectories(tmp_path):
    path = tmp_path / "t.jsonl"
    write_trajectories(path, [recorded(9, StopReason.ENV_ERROR), recorded(0), recorded(4)])
    comparison = compare_file(["rloo", "gigpo"], path, {"step_advantage_w": 0.0, "compute_mean_std_cross_steps": True})
    assert comparison.trajectory_N == [1, 2]
    assert comparison.advantage_T["rloo"].tolist() == [-4, 4]
    rows, _ = table("rloo", path)
    assert [row[0] for row in rows[2:]] == ["1/0", "2/0"]


def test_schemes_and_losses_are_listed_within_80_columns():
    listed_families = families(schemes())
    assert listed_families[0].startswith("From outcomes") and len(listed_families) == len(set(listed_families))
    shown = CliRunner().invoke(app, ["schemes"]).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.index("From outcomes alone") < shown.index("gigpo") < shown.index("Losses")
    for listed in (*schemes(), *losses()):
        parameters = [f"{p.name}={p.default}" for p in listed.parameters.values()]
        texts = (listed.name, listed.paper, *getattr(listed, "needs", []), *parameters)
        assert all(word in shown for text in texts for word in text.split()), listed.name


def test_a_run_gives_its_own_credit_and_any_schemes_with_the_signals_that_it_computed(cloned_model, tmp_path):
    settings = {"credit": "empg", "max_steps": 2, "trajectory_steps": 1}  # which needs entropies
    trainer = make_trainer(cloned_model, tmp_path, **settings)
    list(trainer.train())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS | settings))
    own = json.loads(CliRunner().invoke(app, ["credit", str(tmp_path)]).stdout)
    again = json.loads(CliRunner().invoke(app, ["credit", "empg", str(tmp_path), "--step", "2"]).stdout)
    assert own["scheme"] == "empg" and own["turn_advantages"] == again["turn_advantages"]
    assert own["token_advantages"] == again["token_advantages"]
    assert own != json.loads(CliRunner().invoke(app, ["credit", str(tmp_path), "--step", "1"]).stdout)
    shown = CliRunner().invoke(app, ["credit", "--compare", "empg", "grpo", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    gone = CliRunner().invoke(app, ["credit", str(tmp_path), "--step", "9"])
    assert gone.exit_code == 2 and "step 9 was not kept; there is 1 to 2" in gone.stderr
    played = tmp_path / "trajectories" / "step-000001.process-0.jsonl.gz"
    played.write_bytes(b"")
    assert refused(tmp_path).startswith(f"{played} holds 0 trajectories, and ")


def test_a_run_that_is_not_there(tmp_path):
    assert refused(tmp_path / "nope", "--step", 1).startswith(f"there is no run {tmp_path / 'nope'}: expected")
    assert refused("grpo").startswith("expected agentgym credit SCHEME FILE")


def test_every_nth_step_is_kept(cloned_model, tmp_path):
    list(make_trainer(cloned_model, tmp_path, max_steps=3, trajectory_steps=2).train())
    for folder, suffix in (("trajectories", "jsonl.gz"), ("credit", "npz")):
        names = sorted(path.name for path in (tmp_path / folder).iterdir())
        assert names == [f"step-{step:06d}.process-0.{suffix}" for step in (0, 2)]
