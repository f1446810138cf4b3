"""The house stands: imports go down only and in no circle, one place runs the model, small rooms stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {"envs": "agentgym.envs", "agents": "agentgym.agents", "trainers": "agentgym.trainers", "agentgym": "agentgym"}
"""From the ground up: folder → installed name."""


def modules() -> dict[str, ast.Module]:
    """The installed name of every module → its syntax tree."""
    found = {}
    for folder, name in FLOORS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join([name, *parts])] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def floor(module: str) -> int:
    """How high a module lies."""
    names = list(FLOORS.values())
    return max((i for i, name in enumerate(names[:-1]) if f"{module}.".startswith(f"{name}.")), default=len(names) - 1)


def imports(tree: ast.AST, *, at_import: bool) -> Iterator[str]:
    """The modules of ours that are imported; `at_import`: by the import of the module itself alone."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner)
        todo.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    upward = {name for name in imports(MODULES[module], at_import=False) if floor(name) > floor(module)}
    assert not upward


def test_no_import_runs_in_a_circle() -> None:
    """`graphlib` raises `CycleError`, which names the circle."""
    graph = {module: set(imports(tree, at_import=True)) - {module} for module, tree in MODULES.items()}
    TopologicalSorter(graph).prepare()


def test_one_place_runs_the_model_in_training_and_one_in_each_engine() -> None:
    def runs_model(tree: ast.AST) -> bool:
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = [f.attr if isinstance(f, ast.Attribute) else f.id if isinstance(f, ast.Name) else "" for f in calls]
        return bool({"model", "forward", "generate_batch"} & set(names))

    learning = {module for module in MODULES if floor(module) >= 2 and runs_model(MODULES[module])}
    acting = {module for module in MODULES if floor(module) == 1 and runs_model(MODULES[module])}
    assert learning == {"agentgym.trainers.policy"}
    assert all(module.startswith("agentgym.agents.engines.") for module in acting) and acting


@pytest.mark.parametrize(("file", "lines"), [("trainers/trainer.py", 200), ("agents/rollout.py", 250)])
def test_small_rooms_stay_small(file: str, lines: int) -> None:
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) < lines
