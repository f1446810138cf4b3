"""Fixtures of the whole suite."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "AGENTGYM_CACHE" not in os.environ:  # the tests leave no index in the user's cache, and find none there
    os.environ["AGENTGYM_CACHE"] = tempfile.mkdtemp(prefix="agentgym-cache-")
    atexit.register(shutil.rmtree, os.environ["AGENTGYM_CACHE"], ignore_errors=True)
# Before any import of torch or NumPy: more threads than cores make small matrices many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

TESTS = Path(__file__).resolve().parent
DEFAULT_TEST_DATA = TESTS.parents[1] / "shared" / "data"
LONGEST_FIRST = (
    "trainers/test_distributed.py",
    "envs/test_scienceworld.py",
    "agentgym/test_processes.py",
    "envs/test_textworld.py",
    "agentgym/test_resume.py",
    "agents/test_models.py",
    "envs/alfworld/test_alfworld_textworld.py",
    "envs/test_vector.py",
    "trainers/test_hierarchy.py",
    "trainers/test_critics.py",
    "trainers/credit/test_every_scheme.py",
)
"""Where several processes share the tests, file by file, none is left alone with a long file at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {TESTS / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The directory with genuine data: $AGENTGYM_TEST_DATA, else ../shared/data beside the repository."""
    path = Path(os.environ.get("AGENTGYM_TEST_DATA") or DEFAULT_TEST_DATA)
    if not path.is_dir():
        pytest.skip(f"no test data: {path} is not a directory (set AGENTGYM_TEST_DATA to one)")
    return path
