"""The shop over the genuine data says, finds and pays what the official code did."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentgym.envs.webshop.cache import cached_postings
from agentgym.envs.webshop.goals import SyntheticGoals
from agentgym.envs.webshop.index import Index, build
from agentgym.envs.webshop.shop import RESULTS
from tests.envs.webshop.replay import check_ranking, check_reward, check_trace, shop
from tests.golden.compare import Report


def vectors(test_data: Path, name: str) -> list[dict[str, Any]]:
    file = test_data.parent / "golden" / "webshop" / name
    if not file.is_file():
        pytest.skip(f"no golden vectors: {file}")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "check"),
    [("cases.json", check_reward), ("search.json", check_ranking), ("traces.json", check_trace)],
)
def test_golden(test_data: Path, name: str, check: Callable[[dict[str, Any], Report], None]) -> None:
    for case in vectors(test_data, name):
        report = Report()
        check(case, report)
        assert not report.mismatches, report.mismatches[:2]


def test_our_own_index_ranks_all_fifty_as_lucene(test_data: Path) -> None:
    own = Index(build(product.search_text for product in shop().products), [p.asin for p in shop().products])
    for case in vectors(test_data, "search.json"):
        for index in (own, shop().index):
            found = [shop().products[number].asin for number, _ in index.ranking(case["query"], RESULTS)]
            assert found == case["top50"], case["query"]


def test_constructed_goals_are_the_official_ones_but_for_the_limits(test_data: Path) -> None:
    made = SyntheticGoals(shop().products, shop().prices, random.Random(0))
    assert len(made) == len(shop().goals) == 6910
    for ours, theirs in zip(made, shop().goals, strict=True):
        assert (ours.id, ours.asin, ours.options) == (theirs.id, theirs.asin, theirs.options)
        assert ours.instruction.split(", and price")[0] == theirs.instruction.split(", and price")[0]


def test_a_differing_case_is_noticed(test_data: Path) -> None:
    case = vectors(test_data, "cases.json")[0]
    report = Report()
    check_reward(case | {"reward": case["reward"] + 2e-6}, report)
    assert any("1e-6" in each for each in report.mismatches)
    query = vectors(test_data, "search.json")[0]
    first, second, *rest = query["top50"]
    report = Report()
    check_ranking(query | {"top50": [second, first, *rest]}, report)
    assert report.mismatches


def test_the_cached_index_is_the_one_that_was_made(test_data: Path) -> None:
    texts = [product.search_text for product in shop().products[:50]]
    made = build(texts)
    for _ in range(2):
        kept = cached_postings(texts, lambda: made)
        assert kept.terms == made.terms and kept.total_length == made.total_length
        assert all((getattr(kept, name) == getattr(made, name)).all() for name in ("start", "document", "norm"))
