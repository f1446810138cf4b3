"""Goals from products: WebShop's synthetic and human instructions, drawn and ordered as the official code does it.

Its draws come from Python's `random`. It seeds only the shuffle of the goals; the price of a product that has a
range and the limit of every goal depend on whatever was drawn before in the same process. Here that state is fixed,
so that a goal's name means the same everywhere; data that bring their own prices and goals are taken as they are.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from agentgym.envs.webshop.product import Goal, Product, text, texts

PRICE_SEED = 20261121
"""What the draws of prices and limits begin with."""

SHUFFLE_SEED = 233
"""The official seed of the goals' order."""

NO_LIMIT = 1_000_000.0
"""The limit of a goal whose product costs 980 dollars or more (official rule)."""

_LIMITS = [10.0 * tens for tens in range(1, 100)]
_TEST, _VALID = 500, 1000


def draw_prices(products: Sequence[Product], rng: random.Random) -> list[float]:
    """What each product costs when it is bought: its price, or a draw from its range."""
    return [rng.uniform(*p.prices) if len(p.prices) == 2 else p.prices[0] for p in products]


class SyntheticGoals(Sequence[Goal]):
    """A goal for every combination of the option values of every product that has an instruction.

    Goals are made when they are asked for: a hundred thousand products have about a million.
    """

    def __init__(self, products: Sequence[Product], prices: Sequence[float], rng: random.Random):
        """`rng`: in the state after `draw_prices`."""
        self._bases: list[tuple[Product, float]] = []
        self._ends: list[int] = []
        end = 0
        for product, price in zip(products, prices, strict=True):
            if product.instruction is not None:
                self._bases.append((product, _limit_above(price, rng)))
                end += math.prod(len(values) for values in product.options.values())
                self._ends.append(end)
        self._order = list(range(end))
        random.Random(SHUFFLE_SEED).shuffle(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def asins(self) -> Iterator[str]:
        """The product of each goal, in order, without making the goals."""
        return (self._bases[bisect_right(self._ends, number)][0].asin for number in self._order)

    @overload
    def __getitem__(self, index: int) -> Goal: ...
    @overload
    def __getitem__(self, index: slice) -> list[Goal]: ...
    def __getitem__(self, index: int | slice) -> Goal | list[Goal]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        number = self._order[index]
        which = bisect_right(self._ends, number)
        product, limit = self._bases[which]
        combination = number - (self._ends[which - 1] if which else 0)
        options: dict[str, str] = {}
        for name in sorted(product.options, reverse=True):  # the last name in order turns fastest
            combination, value = divmod(combination, len(product.options[name]))
            options[name] = product.options[name][value]
        options = dict(sorted(options.items()))
        wanted = ", and ".join(f"{name}: {value}" for name, value in options.items())
        instruction = f"{product.instruction}{' with ' + wanted if wanted else ''}{_limit_text(limit)}"
        name = f"synthetic-{range(len(self))[index]}"
        return make_goal(product, name, instruction, product.instruction_attributes, options, limit)


def human_goals(
    products: Sequence[Product],
    prices: Sequence[float],
    instructions: Mapping[str, Any],
    rng: random.Random,
) -> list[Goal]:
    """The goals in people's words, of those products that have any. Raises `ValueError` for a malformed one."""
    made: list[_Human] = []
    for product, price in zip(products, prices, strict=True):
        entries = instructions.get(product.asin, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{product.asin!r} is no list of JSON objects: {entries!r:.40}")
        for entry in ({"asin": product.asin} | entry for entry in entries):
            words, attributes = text(entry, "instruction"), texts(entry, "instruction_attributes")
            options = texts(entry, "instruction_options")
            if attributes:
                made.append(_Human(product, words, attributes, options, _limit_above(price, rng)))
    random.Random(SHUFFLE_SEED).shuffle(made)
    return [human.goal(number) for number, human in enumerate(made)]


@dataclass(frozen=True, slots=True)
class _Human:
    product: Product
    words: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    limit: float

    def goal(self, number: int) -> Goal:
        instruction = self.words.strip(".") + _limit_text(self.limit)
        return make_goal(self.product, f"human-{number}", instruction, self.attributes, self.options, self.limit)


def make_goal(
    product: Product,
    goal_id: str,
    instruction: str,
    attributes: Sequence[str],
    options: Mapping[str, str] | tuple[str, ...],
    price_upper: float,
) -> Goal:
    """A goal made from `product`."""
    return Goal(
        id=goal_id,
        asin=product.asin,
        instruction=instruction,
        attributes=tuple(attributes),
        options=options,
        price_upper=price_upper,
        category=product.category,
        query=product.query,
        product_category=product.product_category,
        nouns=product.nouns,
    )


def split_ranges(count: int) -> dict[str, range]:
    """Which of `count` goals in official order are in which split: test 0-499, valid 500-1499, train the rest.

    Where there are fewer than 5,000, test and valid have at most a fifth each.
    """
    test = min(_TEST, count // 5)
    valid = test + min(_VALID, count // 5)
    ranges = {"train": range(valid, count), "valid": range(test, valid), "test": range(test)}
    return {split: numbers for split, numbers in ranges.items() if numbers}


def _limit_above(price: float, rng: random.Random) -> float:
    """The larger of two of the next four multiples of ten dollars above the price."""
    choices = list(itertools.islice((limit for limit in _LIMITS if limit > price), 4))
    return max(rng.sample(choices, 2)) if len(choices) >= 2 else NO_LIMIT


def _limit_text(limit: float) -> str:
    return "" if limit == NO_LIMIT else f", and price lower than {limit:.2f} dollars"
