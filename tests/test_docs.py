"""docs/credit.md: its code runs, its commands run, and its tables are those of the code."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.testing import CliRunner

from agentgym.cli import app
from agentgym.trainers import segments
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import blocks as blocks_of_code
from agentgym.trainers.credit import registry, schemes
from agentgym.trainers.losses import losses
from tests import docs_tables

ENTRIES = [entry for entry in (*schemes(), *losses()) if docs_tables.is_ours(entry)]
TEXT = docs_tables.PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def proofs() -> docs_tables.Proofs:
    return docs_tables.count_proofs()


def test_the_tables_are_those_of_the_code(proofs):
    made = docs_tables.rewritten(TEXT, proofs)
    assert made == TEXT, "docs/credit.md is stale: run `python -m tests.docs_tables`"


def test_every_golden_folder_of_an_algorithm_proves_something(proofs):
    folders = {path.name for path in docs_tables.algorithm_folders()}
    assert "gigpo" in folders
    assert folders == {folder for of_entry in proofs.values() for folder in of_entry}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{type(entry).__name__} {entry.name}")
def test_differences_between_paper_and_code_are_told(entry):
    assert entry.differences, f"the docstring of {entry.name} has no paragraph that begins with 'Paper and code:'"


def test_counting_leaves_the_registers_as_they_were(proofs):
    before = {scheme.name: scheme.function for scheme in schemes()}
    with docs_tables.used() as names:
        registry.compute("grpo", TurnBatch.from_dicts([]))
    assert names == {"Scheme grpo"}
    assert {scheme.name: scheme.function for scheme in schemes()} == before


def test_a_page_without_a_place_for_a_table_is_refused(proofs):
    with pytest.raises(ValueError, match="has no place for the table of losses"):
        docs_tables.rewritten(TEXT.replace("losses end", "end"), proofs)


def test_the_algebra_names_blocks_and_schemes_that_exist():
    rows = [
        line.split("|")[2:4] for line in TEXT.splitlines() if line.startswith("| ") and "**" in line and "?" in line
    ]
    assert len(rows) == 6
    for named_blocks, named_schemes in rows:
        for name in re.findall(r"`(\w+)[`(]", named_blocks):
            assert hasattr(blocks_of_code, name) or hasattr(segments, name) or name == "Credit"
        for name in re.findall(r"`(\w+)`", named_schemes):
            registry.get_scheme(name)


def test_the_python_runs(monkeypatch):
    monkeypatch.setattr(registry, "_SCHEMES", dict(registry._SCHEMES))
    names: dict[str, object] = {}
    for code in blocks("python"):
        exec(compile(code, "docs/credit.md", "exec"), names)
    (scheme,) = [code for code in blocks("python") if "@credit(" in code]
    written = [line for line in scheme.splitlines() if line and "import" not in line]
    assert len(written) <= 10


def test_the_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("json")
    (tmp_path / "trajectories.json").write_text(example, encoding="utf-8")
    commands = [line for block in blocks("bash") for line in block.splitlines() if line]
    assert len(commands) == 3
    for command in commands:
        program, *words = shlex.split(command, comments=True)
        assert program == "agentgym"
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert result.stdout
    ppo = CliRunner().invoke(app, ["credit", "turn_ppo", "trajectories.json"])  # the example has a signal
    assert ppo.exit_code == 0, ppo.output


def test_no_page_or_result_names_a_folder_of_one_machine():
    root = docs_tables.PAGE.parents[1]
    places = [
        root / "README.md",
        *(p for folder in ("benchmarks", "configs", "docs") for p in (root / folder).rglob("*")),
    ]
    texts = [path for path in places if path.suffix in {".md", ".py", ".json", ".jsonl", ".yaml"}]
    assert len(texts) > 20
    machine = re.compile(r"(^|[^a-z.])/(work|farm|root)/", re.MULTILINE)
    assert [path for path in texts if machine.search(path.read_text(encoding="utf-8"))] == []
