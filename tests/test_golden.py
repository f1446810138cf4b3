"""The golden program: the cases that ship agree, and it notices what is wrong."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "tests" / "golden"


@pytest.fixture
def golden(monkeypatch, capsys):
    """Run the program here; return its exit status, its output and its error output."""
    monkeypatch.syspath_prepend(ROOT)
    main = importlib.import_module("tests.golden.__main__").main

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def copy_of_gigpo(tmp_path: Path, **changes: object) -> Path:
    """A copy of one shipped case, with parts of `expected` replaced."""
    folder = tmp_path / "gigpo"
    folder.mkdir()
    case = json.loads((SHIPPED / "gigpo" / "case_02.json").read_text(encoding="utf-8"))
    case["expected"].update(changes)
    (folder / "case_02.json").write_text(json.dumps(case), encoding="utf-8")
    return folder


def test_shipped_cases_agree():
    command = [sys.executable, "-m", "tests.golden", str(SHIPPED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed" in done.stdout
    assert len(done.stdout.splitlines()) > 100


def test_damaged_number_fails(golden, tmp_path):
    folder = copy_of_gigpo(tmp_path)
    assert golden(folder)[0] == 0
    case = json.loads((folder / "case_02.json").read_text(encoding="utf-8"))
    case["expected"]["advantage"][3][0] += 1e-3
    (folder / "case_02.json").write_text(json.dumps(case), encoding="utf-8")
    status, out, _ = golden(folder)
    assert status == 1
    assert "largest error 0.001 (advantage): FAILED: advantage: 1 of 84 values are off" in out


def test_unreadable_and_incomplete_cases_fail(golden, tmp_path):
    folder = copy_of_gigpo(tmp_path, unheard_of=[1.0])
    (folder / "case_03.json").write_text("{", encoding="utf-8")
    status, out, _ = golden(folder)
    assert status == 1
    assert "could not be run: KeyError: 'unheard_of'" in out
    assert "case_03.json: FAILED: cannot be read" in out


def test_damaged_board_fails(golden, tmp_path):
    traces = json.loads((SHIPPED / "sokoban" / "traces.json").read_text(encoding="utf-8"))[-2:]
    traces[1]["steps"][0]["obs"] = traces[1]["init"]
    (tmp_path / "sokoban").mkdir()
    (tmp_path / "sokoban" / "traces.json").write_text(json.dumps(traces), encoding="utf-8")
    status, out, _ = golden(tmp_path)
    assert status == 1
    assert "1 cases agree, 1 failed" in out
    assert "FAILED: turn 0: board is" in out


def test_unknown_folder_fails_unless_allowed(golden, tmp_path):
    copy_of_gigpo(tmp_path).rename(tmp_path / "unheard_of")
    assert golden(tmp_path)[0] == 1
    assert golden(tmp_path, "--allow-missing")[0] == 0


def test_wrong_calls(golden, tmp_path):
    for arguments in [[tmp_path / "nowhere"], [tmp_path], []]:
        status, out, err = golden(*arguments)
        assert (status, out) == (2, "")
        assert "error: " in err


def test_known_folder_that_is_empty_fails(golden, tmp_path):
    copy_of_gigpo(tmp_path)
    (tmp_path / "sokoban").mkdir()
    status, out, _ = golden(tmp_path)
    assert status == 1
    assert "sokoban: FAILED: there are no cases in it" in out
