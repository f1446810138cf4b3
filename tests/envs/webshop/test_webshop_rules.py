"""Matching, stemming, terms, actions and goals: the small rules, each by hand-checked examples."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.envs.webshop.analysis import stem, terms
from agentgym.envs.webshop.goals import NO_LIMIT, split_ranges
from agentgym.envs.webshop.goals import _limit_above as limit_above
from agentgym.envs.webshop.index import Index, build
from agentgym.envs.webshop.matching import normal_color, normal_pair, token_set_ratio
from agentgym.envs.webshop.pages import parse_action
from agentgym.envs.webshop.product import Goal, Product
from agentgym.envs.webshop.reward import judge


@pytest.mark.parametrize(
    ("first", "second", "ratio"),  # as thefuzz 0.19.0 gives them
    [
        ("x large", "('size', 'xx large')", 83),
        ("black", "('color', 'black')", 100),
        ("a1-wine\xa0red", "wine red", 56),
        ("Ünder 上", "nder 上", 100),
        ("", "black", 0),
        ("***", "black", 0),
        ("fuzzy was a bear", "fuzzy fuzzy was a bear", 100),
    ],
)
def test_token_set_ratio(first: str, second: str, ratio: int) -> None:
    assert token_set_ratio(first, second) == ratio == token_set_ratio(second, first)


def test_colors_by_the_order_of_the_list() -> None:
    assert normal_color("steelivy fuchsia") == "fuchsia" and normal_color("webshop") == "webshop"
    assert normal_pair("color", "dark red") == "('color', 'dark red')" and normal_pair("color", "red") == "red"


@pytest.mark.parametrize(
    ("word", "expected"),  # Porter's variant that Lucene has
    [
        *(("possibly", "possibl"), ("apology", "apolog"), ("caresses", "caress"), ("ponies", "poni"), ("as", "as")),
        *(("hopping", "hop"), ("falling", "fall"), ("filing", "file"), ("agreed", "agre"), ("sky", "sky")),
        *(("relational", "relat"), ("adoption", "adopt"), ("controlling", "control"), ("rate", "rate")),
    ],
)
def test_stems(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Women's T-Shirts, red,40 2.5oz", ["women", "t", "shirt", "red", "40", "2.5oz"]),
        ("the and of", []),
        ("don't re_use o'neill's", ["don't", "re_us", "o'neil"]),
        ("上衣 カバー サイズ", ["上", "衣", "カバー", "サイズ"]),
        ("½ ● ❶ ™ 🚀👍🏽", ["™", "🚀", "👍🏽"]),
        ("a" * 600, ["a" * 255, "a" * 255, "a" * 90]),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="cs[]\nX ", max_size=12))
def test_actions_are_parsed_as_by_the_official_pattern(action: str) -> None:
    found = re.match(r"(.+)\[(.+)\]", action)
    assert parse_action(action) == ((found[1], found[2].lower()) if found else None)


def test_a_rank_is_by_score_then_by_id() -> None:
    index = Index(build(["red cup", "red cup", "blue cup with a red lid and more", "plate"]), ["b", "a", "c", "d"])
    assert index.search("red cups", 10) == (1, 0, 2)
    assert index.search("red cups", 1) == (1,) and index.search("the", 10) == () == index.search("", 10)
    assert Index(build([]), []).search("red", 5) == ()


def test_lengths_lose_what_lucene_loses() -> None:
    norm = build([" ".join(["cup"] * length) for length in (0, 39, 40, 41, 55, 100)]).norm
    assert list(norm) == [0, 39, 40, 40, 47, 57] and norm.dtype == np.uint8


def test_limits_are_among_the_next_four_tens() -> None:
    rng = random.Random(0)
    assert {limit_above(20.0, rng) for _ in range(200)} == {40.0, 50.0, 60.0}
    assert limit_above(980.0, rng) == limit_above(5000.0, rng) == NO_LIMIT
    assert limit_above(979.0, rng) == 990.0


@pytest.mark.parametrize(("count", "sizes"), [(6910, (5410, 1000, 500)), (13, (9, 2, 2)), (3, (3, 0, 0))])
def test_splits(count: int, sizes: tuple[int, int, int]) -> None:
    ranges = split_ranges(count)
    assert tuple(len(ranges.get(split, ())) for split in ("train", "valid", "test")) == sizes
    assert sorted(number for numbers in ranges.values() for number in numbers) == list(range(count))


def product(**changes: object) -> Product:
    values = {"asin": "A", "title": "Red Cup", "description": "", "features": (), "prices": (5.0,), "options": {}}
    known = {"attributes": ("hand made",), "category": "c", "query": "cups", "product_category": "x › y › z"}
    return Product(**(values | known | {"nouns": ("red", "cup")} | changes))


GOAL = Goal("g", "A", "", ("hand made",), {"size": "large"}, 10.0, "c", "cups", "x › y", ("red", "cup"))


@pytest.mark.parametrize(
    ("bought", "price", "chosen", "score"),
    [
        (product(), 5.0, ["large"], 1.0),
        (product(), 11.0, ["large"], 2 / 3),
        (product(), 10.0, ["small"], 2 / 3),
        (product(attributes=(), features=("It is Hand Made.",)), 5.0, ["large"], 1.0),
        (product(query="plates", product_category="x", nouns=("cup",)), 5.0, ["large"], 1.0),
        (product(nouns=("plate",)), 5.0, ["large"], 0.0),
        (product(query="plates", product_category="x › a", nouns=()), 5.0, ["large"], 0.0),
    ],
)
def test_scores(bought: Product, price: float, chosen: list[str], score: float) -> None:
    assert judge(bought, GOAL, price, chosen).score == pytest.approx(score)
