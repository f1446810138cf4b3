"""Goals that a rule can score: a price, a division of things, an entry that both have.

A scenario's `rule` says what is drawn with the task's seed: limits, values, lists. They stand in the scenario and the
goals as `{list}`, `{limit}`, `{items}`, `{values}`, `{entries}`. A deal needs an offer by one seat and its
acceptance by the other. Sources: social.md §2.1, §2.2, §2.4; CraigslistBargain (arXiv:1808.09637), Deal or No Deal
(arXiv:1706.05125), MutualFriends (arXiv:1704.07130).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import ceil, floor
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Payoffs: TypeAlias = tuple[float, float]
"""By seat; without a deal 0 for both."""

_SPLIT_TOTAL = 10
_MOST_DIGITS = 7


class Offer(NamedTuple):
    """A proposal that can be carried out."""

    by: int
    """The index of the seat that made it."""
    words: str
    payoffs: Payoffs


class Deal(ABC):
    """What a task's two seats may agree on, with all numbers drawn."""

    form: str
    """How an offer is written, for the seats."""

    @abstractmethod
    def told(self, seat: int | None) -> Mapping[str, str]:
        """What stands in the texts for names in braces: of a seat's goal, or of the scenario."""

    @abstractmethod
    def read(self, words: str, seat: int) -> Offer:
        """The offer of a seat. Raises `ValueError` in words for that seat alone where it cannot be carried out."""

    @abstractmethod
    def choices(self, seat: int) -> Sequence[str]:
        """The words of the offers that a seat may make and that are no loss to it, as far as it knows."""

    @abstractmethod
    def share(self, seat: int, offer: Offer) -> float:
        """What an offer gives a seat, as a share of the most it may hope for, knowing its own part alone."""

    def modest(self, seat: int, share: float) -> list[str]:
        """Of a seat's offers that give it at least such a share those that give it least; its best if none does."""
        shares = {words: self.share(seat, self.read(words, seat)) for words in self.choices(seat)}
        enough = [each for each in shares.values() if each >= share] or [max(shares.values())]
        return [words for words, each in shares.items() if each == min(enough)]

    @cached_property
    @abstractmethod
    def solutions(self) -> Sequence[Payoffs]:
        """The payoffs of all deals that are no loss to anybody."""

    @cached_property
    def best(self) -> Payoffs:
        """The most that each seat can have."""
        return max(each[0] for each in self.solutions), max(each[1] for each in self.solutions)

    @cached_property
    def best_joint(self) -> float:
        """The most that both can have together."""
        return max(a + b for a, b in self.solutions)

    @cached_property
    def nash(self) -> Payoffs:
        """The payoffs of the best product of gains, rounded down; by seat the lowest where several are the best."""
        top = max(a * b for a, b in self.solutions)
        points = [each for each in self.solutions if each[0] * each[1] == top]
        return float(floor(min(a for a, _ in points))), float(floor(min(b for _, b in points)))

    def is_success(self, offer: Offer, seat: int) -> bool:
        """The deal is on the Pareto frontier and gives the seat at least its payoff at the best product of gains."""
        own, others = offer.payoffs[seat], offer.payoffs[1 - seat]
        return own >= self.nash[seat] and not any(
            each[seat] >= own and each[1 - seat] >= others and each != offer.payoffs for each in self.solutions
        )


class Rule(ABC):
    """What a scenario's goals are scored by."""

    kind: str

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Deal:
        """The deal of a task."""


@dataclass(frozen=True)
class PriceRule(Rule):
    """A price between a seller's limit, 0.4 to 0.8 of the list price, and a buyer's, 1.1 to 1.6 of the seller's."""

    buyer: int
    """The buyer's index."""
    lowest: int
    highest: int
    """Of the list price, whole."""
    kind = "price"

    def draw(self, rng: np.random.Generator) -> Deal:
        """See `Rule`."""
        public = int(rng.integers(self.lowest, self.highest + 1))
        cost = max(2, round(public * rng.uniform(0.4, 0.8)))
        return PriceDeal(self.buyer, public, cost, max(cost + 2, round(cost * rng.uniform(1.1, 1.6))))


@dataclass(frozen=True)
class PriceDeal(Deal):
    """See `PriceRule`; prices are whole."""

    buyer: int
    public: int
    cost: int
    value: int
    form = "offer: PRICE"

    def told(self, seat: int | None) -> Mapping[str, str]:
        """See `Deal`."""
        if seat is None:
            return {"list": str(self.public)}
        return {"list": str(self.public), "limit": str(self.value if seat == self.buyer else self.cost)}

    def read(self, words: str, seat: int) -> Offer:
        """See `Deal`."""
        price = re.match(r"\$?\s*([0-9]+)(?![0-9.,]*[0-9])", words)
        if not price or len(price[1]) > _MOST_DIGITS:
            raise ValueError("an offer is a whole price, as in `offer: 45`")
        return self._offer(int(price[1]), seat)

    def _offer(self, price: int, seat: int) -> Offer:
        gains = float(self.value - price), float(price - self.cost)
        return Offer(seat, str(price), gains if self.buyer == 0 else gains[::-1])

    def choices(self, seat: int) -> Sequence[str]:
        """See `Deal`."""
        if seat == self.buyer:
            return [str(price) for price in range(self._floor, max(self.value, self._floor) + 1)]
        return [str(price) for price in range(self.cost, self._ceiling + 1)]

    def share(self, seat: int, offer: Offer) -> float:
        """See `Deal`. No seller sells for less than 0.4 of the list price, no buyer pays more than 1.28 of it."""
        room = self.value - self._floor if seat == self.buyer else self._ceiling - self.cost
        return offer.payoffs[seat] / max(room, 1)

    def modest(self, seat: int, share: float) -> list[str]:
        """See `Deal`; without trying all prices."""
        if seat == self.buyer:
            return [str(max(floor(self.value - share * (self.value - self._floor)), 1))]
        return [str(ceil(self.cost + share * (self._ceiling - self.cost)))]

    @property
    def _floor(self) -> int:
        return round(0.4 * self.public)

    @property
    def _ceiling(self) -> int:
        return round(1.28 * self.public)

    @cached_property
    def solutions(self) -> Sequence[Payoffs]:
        """See `Deal`."""
        span = self.value - self.cost
        return [(float(each), float(span - each)) for each in range(span + 1)]


@dataclass(frozen=True)
class SplitRule(Rule):
    """Things of several kinds, all of which together are worth 10 points to each seat, kind by kind differently."""

    kinds: tuple[str, ...]
    counts: tuple[int, ...]
    kind = "split"

    def draw(self, rng: np.random.Generator) -> Deal:
        """See `Rule`."""
        pairs = _value_pairs(self.counts)
        return SplitDeal(self.kinds, self.counts, pairs[int(rng.integers(len(pairs)))])


Values: TypeAlias = tuple[int, ...]


@lru_cache(maxsize=256)
def _value_pairs(counts: Values) -> list[tuple[Values, Values]]:
    """The values of two seats, a kind: each kind is worth something to somebody and some kind to both."""
    each = [range(_SPLIT_TOTAL // count + 1) for count in counts]
    vectors = [v for v in product(*each) if sum(c * x for c, x in zip(counts, v, strict=True)) == _SPLIT_TOTAL]
    return [
        (a, b)
        for a, b in product(vectors, vectors)
        if all(x or y for x, y in zip(a, b, strict=True)) and any(x and y for x, y in zip(a, b, strict=True)) and a != b
    ]


@dataclass(frozen=True)
class SplitDeal(Deal):
    """See `SplitRule`. An offer says what its seat takes; the other has the rest."""

    kinds: tuple[str, ...]
    counts: Values
    values: tuple[Values, Values]

    @property
    def form(self) -> str:  # type: ignore[override]
        """See `Deal`."""
        return f"offer: {self._words(self.counts)}, for what you want to have of it; or offer: nothing"

    def told(self, seat: int | None) -> Mapping[str, str]:
        """See `Deal`."""
        told = {"items": self._words(self.counts)}
        if seat is not None:
            worth = zip(self.kinds, self.values[seat], strict=True)
            told["values"] = ", ".join(f"each {kind} {value}" for kind, value in worth)
        return told

    def read(self, words: str, seat: int) -> Offer:
        """See `Deal`."""
        taken = [0] * len(self.kinds)
        names = [_singular(kind) for kind in self.kinds]
        words = _sentence(words)
        for part in [] if words == "nothing" else re.split(r",\s*(?:and\s+)?|\s+and\s+", words):
            named = re.fullmatch(r"([0-9]{1,3})\s+(.*\S)\s*", part.strip())
            if not named or _singular(named[2]) not in names:
                raise ValueError(f"an offer says what you take, as in `offer: {self._words(self.counts)}`")
            taken[names.index(_singular(named[2]))] += int(named[1])
        for kind, number, count in zip(self.kinds, taken, self.counts, strict=True):
            if number > count:
                raise ValueError(f"there are not {number} of {kind}, only {count}")
        return self._offer(tuple(taken), seat)

    def _offer(self, taken: Values, seat: int) -> Offer:
        rest = tuple(count - number for count, number in zip(self.counts, taken, strict=True))
        own, others = self._worth(taken, seat), self._worth(rest, 1 - seat)
        return Offer(seat, self._words(taken) or "nothing", (own, others) if seat == 0 else (others, own))

    def _worth(self, taken: Values, seat: int) -> float:
        return float(sum(number * value for number, value in zip(taken, self.values[seat], strict=True)))

    def _words(self, taken: Values) -> str:
        named = zip(self.kinds, taken, strict=True)
        return ", ".join(f"{number} {kind}{'s' * (number > 1)}" for kind, number in named if number)

    def choices(self, seat: int) -> Sequence[str]:
        """See `Deal`."""
        return [self._words(taken) or "nothing" for taken in _divisions(self.counts)]

    def share(self, seat: int, offer: Offer) -> float:
        """See `Deal`."""
        return offer.payoffs[seat] / _SPLIT_TOTAL

    @cached_property
    def solutions(self) -> Sequence[Payoffs]:
        """See `Deal`."""
        return [self._offer(taken, 0).payoffs for taken in _divisions(self.counts)]


@lru_cache(maxsize=256)
def _divisions(counts: Values) -> list[Values]:
    return list(product(*(range(count + 1) for count in counts)))


def _sentence(words: str) -> str:
    """The first sentence, in lower case; no offer is longer than that."""
    return re.split(r"[.!?;](?:\s|$)", words[:1000].strip())[0].casefold()


def _singular(words: str) -> str:
    words = " ".join(words.casefold().split())
    return words[:-1] if words.endswith("s") else words


@dataclass(frozen=True)
class EntryRule(Rule):
    """Each seat has a list of entries, exactly one of which is on both."""

    pool: tuple[str, ...]
    each: int
    """Entries a seat has."""
    kind = "appointment"

    def draw(self, rng: np.random.Generator) -> Deal:
        """See `Rule`."""
        order = rng.permutation(len(self.pool))[: 2 * self.each - 1].tolist()
        lists = [sorted([order[0], *order[1 : self.each]]), sorted([order[0], *order[self.each :]])]
        first, second = (tuple(self.pool[i] for i in indices) for indices in lists)
        return EntryDeal((first, second))


@dataclass(frozen=True)
class EntryDeal(Deal):
    """See `EntryRule`. A seat may offer what is on its own list; 1 for both if it is on the other's too."""

    lists: tuple[tuple[str, ...], tuple[str, ...]]
    form = "offer: ENTRY, one of your list"
    solutions = [(0.0, 0.0), (1.0, 1.0)]  # noqa: RUF012 - a constant

    def told(self, seat: int | None) -> Mapping[str, str]:
        """See `Deal`."""
        return {} if seat is None else {"entries": ", ".join(self.lists[seat])}

    def read(self, words: str, seat: int) -> Offer:
        """See `Deal`."""
        said = " ".join(_sentence(words).split())
        for entry in self.lists[seat]:
            if said == entry.casefold():
                worth = float(entry in self.lists[1 - seat])
                return Offer(seat, entry, (worth, worth))
        raise ValueError("an offer is one entry of your list, as in `offer: " + self.lists[seat][0] + "`")

    def choices(self, seat: int) -> Sequence[str]:
        """See `Deal`."""
        return self.lists[seat]

    def share(self, seat: int, offer: Offer) -> float:
        """See `Deal`."""
        return float(offer.words in self.lists[seat])


def read_rule(given: Any, seats: int, place: str) -> Rule:
    """The rule that a scenario's file says. Raises `ValueError` with its place."""

    def fault(what: str) -> ValueError:
        return ValueError(f"{place}: rule: {what}")

    if not isinstance(given, dict) or seats != 2:
        raise fault("an object is expected, in a scenario of two characters")
    match given:
        case {"kind": "price", "buyer": 0 | 1 as buyer, "list": [int(lowest), int(highest)]} if 5 <= lowest <= highest:
            return PriceRule(buyer, lowest, highest)
        case {"kind": "split", "items": dict(items)} if items and all(
            isinstance(count, int) and 1 <= count <= 4 for count in items.values()
        ):
            if not _value_pairs(tuple(items.values())):
                raise fault(f"no values of {', '.join(items)} give {_SPLIT_TOTAL} points for two")
            return SplitRule(tuple(items), tuple(items.values()))
        case {"kind": "appointment", "entries": [*entries], "each": int(each)} if (
            each >= 2 and len({str(entry).casefold() for entry in entries}) == len(entries) >= 2 * each - 1
        ):
            return EntryRule(tuple(map(str, entries)), each)
    raise fault(
        'expected {"kind": "price", "buyer": 0 or 1, "list": [lowest, highest]}, {"kind": "split", "items": {name: 1 '
        'to 4}} or {"kind": "appointment", "entries": [at least 2·each − 1], "each": number}'
    )
