"""Fixtures of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentgym.envs.index_cache import CACHE_VARIABLE


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No index of a test stays in the user's cache, and none there is used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("indexes")))
        yield
