"""Resource trade: two seats with stocks of five goods, which are worth a little more to the one or the other.

The goods, stocks, values and the grammar of offers are those of TextArena's SimpleNegotiation. Stocks lie open, values
do not. One trade ends the game; a seat's payoff is what its stock gains in its own values.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.envs.social.deal import DealGame, Grammar
from agentgym.envs.social.faces import faces
from agentgym.envs.social.references import Payoffs, References
from agentgym.envs.social.table import BadOffer, Knowledge, Move, Table, Valued
from agentgym.envs.splits import split_of
from agentgym.envs.text_env import NoPlanError

GOODS = ("Wheat", "Wood", "Sheep", "Brick", "Ore")
BASE_VALUES = (5, 10, 15, 25, 40)
"""What one of each is worth on average: public."""
SPREAD = 0.2
"""Own values lie within this share of the base values."""
VALUES = (5, 40)
"""The least and the highest value of anything."""
STOCK = (5, 25)
"""The least and the most that a seat has of a good."""

Amounts = tuple[int, ...]
"""A whole number for each good, in the order of `GOODS`."""
Trade = tuple[Amounts, Amounts]
"""What the first seat gives, and what the second gives."""


@dataclass(frozen=True, slots=True)
class Task:
    """Stocks and values of both seats."""

    stocks: tuple[Amounts, Amounts]
    values: tuple[Amounts, Amounts]

    def canonical(self) -> str:
        """The same for both orders of the seats: what the split is a hash of."""
        return str(sorted(zip(self.stocks, self.values, strict=True)))


def worth(amounts: Amounts, values: Sequence[float]) -> float:
    """What amounts are worth."""
    return float(sum(map(mul, amounts, values)))


_SIDE = re.compile(r"\s*(?P<count>\d{1,9})\s+(?P<good>[a-z]+)\s*(?:,|and\b|\Z)", re.IGNORECASE)


def read_trade(body: str) -> Trade:
    """What is given and what is asked for in "3 Sheep, 2 Ore -> 5 Brick". Raises `BadOffer`.

    "I give" or "I offer" may stand before it and a full stop behind it; any case; one s too many is no fault.
    """
    text = re.sub(r"^\s*(?:i\s+(?:give|offer)\b)?", "", body, count=1, flags=re.IGNORECASE).rstrip().removesuffix(".")
    given, arrow, asked = text.partition("->")
    if not arrow:
        raise BadOffer("write an offer as in [Offer: 3 Sheep, 2 Ore -> 5 Brick]: what you give first.")
    return _read_side(given), _read_side(asked)


def _read_side(text: str) -> Amounts:
    amounts = [0] * len(GOODS)
    text, at = text.strip(), 0
    while at < len(text):
        item = _SIDE.match(text, at)
        if item is None:
            raise BadOffer("write an offer as in [Offer: 3 Sheep, 2 Ore -> 5 Brick].")
        name = item["good"].capitalize()
        good = name if name in GOODS else name.removesuffix("s")
        if good not in GOODS:
            raise BadOffer(f"there is no {name[:20]!r}, only {', '.join(GOODS)}.")
        if int(item["count"]) < 1:
            raise BadOffer("quantities are whole numbers of 1 and more.")
        amounts[GOODS.index(good)] += int(item["count"])
        at = item.end()
    if not any(amounts):
        raise BadOffer("both sides of a trade give something, as in [Offer: 3 Sheep, 2 Ore -> 5 Brick].")
    return tuple(amounts)


def name(amounts: Amounts) -> str:
    """Amounts in words."""
    return ", ".join(f"{n} {good}" for n, good in zip(amounts, GOODS, strict=True) if n)


@dataclass(frozen=True)
class TradeTable(Table):
    """Whose stocks these are. An offer is what each seat gives."""

    seats: tuple[str, str]
    stocks: tuple[Amounts, Amounts]

    def read(self, body: str, seat: str) -> Trade:
        """See `Table.read`."""
        gives, gets = read_trade(body)
        trade = (gives, gets) if seat == self.seats[0] else (gets, gives)
        for who, given, stock in zip(self.seats, trade, self.stocks, strict=True):
            for n, has, good in zip(given, stock, GOODS, strict=True):
                if n > has:
                    raise BadOffer(f"{'you have' if who == seat else f'{who} has'} only {has} {good}.")
        return trade

    def word(self, offer: Trade, seat: str) -> str:
        """See `Table.word`."""
        gives, gets = offer if seat == self.seats[0] else offer[::-1]
        return f"{name(gives)} -> {name(gets)}"

    def explain(self, offer: Trade, hearer: str) -> str:
        """What the hearer would give and get."""
        gives, gets = offer if hearer == self.seats[0] else offer[::-1]
        return f"You would give {name(gives)} and get {name(gets)}."


_CLAIM = re.compile(
    "my values: " + ", ".join(rf"{good} (?P<{good}>\d{{1,2}})" for good in GOODS) + r"\b", re.IGNORECASE
)


@dataclass(frozen=True)
class TradeKnowledge(Knowledge):
    """One seat's values. The other's are taken for the base values, until it says them."""

    table: TradeTable
    values: Amounts

    def __deepcopy__(self, memo: dict[int, Any]) -> TradeKnowledge:
        return self

    @property
    def best(self) -> float:
        """See `Knowledge.best`: at most what leaves the other no loss, if it had the base values."""
        return max((o.own for o in self.offers(()) if o.other >= 0), default=1.0)

    def own(self, offer: Trade) -> float:
        """See `Knowledge.own`."""
        gives, gets = offer if self.seat == self.table.seats[0] else offer[::-1]
        return worth(gets, self.values) - worth(gives, self.values)

    def offers(self, moves: Sequence[Move], proposed: Sequence[Trade] = ()) -> Sequence[Valued]:
        """See `Knowledge.offers`: trades on the frontier for the other's supposed values, without own loss."""
        return _along_frontier(self.table, self.seat, self.values, self._claimed(moves) or BASE_VALUES)

    def has_claimed(self, moves: Sequence[Move]) -> bool:
        """See `Knowledge.has_claimed`."""
        return self._claimed(moves) is not None

    def claim(self) -> str:
        """See `Knowledge.claim`."""
        return self._say(self.values)

    def false_claim(self, rng: random.Random) -> str:
        """See `Knowledge.false_claim`: values drawn anew."""
        return self._say(tuple(rng.randint(*_range(base)) for base in BASE_VALUES))

    @staticmethod
    def _say(values: Amounts) -> str:
        return "My values: " + ", ".join(f"{good} {v}" for good, v in zip(GOODS, values, strict=True)) + "."

    @staticmethod
    def _claimed(moves: Sequence[Move]) -> Amounts | None:
        for move in reversed(moves):
            claim = _CLAIM.search(move.words)
            if claim is not None:
                return tuple(max(1, int(claim[good])) for good in GOODS)
        return None


@lru_cache(maxsize=256)
def _along_frontier(table: TradeTable, seat: str, own: Amounts, other: Amounts) -> tuple[Valued, ...]:
    """Trades without own loss on the way from "all is mine" to "all is yours", what I value least in comparison first.

    The frontier of divisible goods, a unit at a time.
    """
    mine, theirs = table.stocks if seat == table.seats[0] else table.stocks[::-1]
    net = [-n for n in theirs]  # what I give
    found = []
    for good in sorted(range(len(GOODS)), key=lambda g: own[g] / other[g]):
        for _ in range(mine[good] + theirs[good]):
            net[good] += 1
            gain = -worth(tuple(net), own)
            trade = _both_sided(net, mine, theirs)
            if gain >= 0 and trade is not None:
                found.append(Valued(trade if seat == table.seats[0] else trade[::-1], gain, worth(tuple(net), other)))
    return tuple(found)


def _both_sided(net: Sequence[int], mine: Amounts, theirs: Amounts) -> Trade | None:
    """A trade of this net result in which both give something: where one gives nothing, a unit goes to and fro."""
    gives, gets = [max(n, 0) for n in net], [max(-n, 0) for n in net]
    if not any(gives) or not any(gets):
        good = next((g for g in range(len(net)) if gives[g] < mine[g] and gets[g] < theirs[g]), None)
        if good is None or not any(net):
            return None
        gives[good] += 1
        gets[good] += 1
    return tuple(gives), tuple(gets)


def _range(base: int) -> tuple[int, int]:
    """The least and the highest own value of a good."""
    return max(VALUES[0], round(base * (1 - SPREAD))), min(VALUES[1], round(base * (1 + SPREAD)))


Array = NDArray[np.int32]
NEVER = -(10**6)
"""Stands for a value that no division gives."""


def _bundles(totals: Amounts) -> Iterator[tuple[int, int]]:
    """Goods in bundles of 1, 2, 4, … and the rest, as (good, size): sums of them make any amount of each."""
    for good, total in enumerate(totals):
        size = 1
        while total > 0:
            size = min(size, total)
            yield good, size
            total -= size
            size *= 2


def _best_for_second(task: Task) -> Iterator[Array]:
    """For each value of what the first seat has, the most that the second can have; `NEVER` or less where impossible.

    Dynamic programming over bundles, each of which goes whole to either seat: the i-th array is after i of them. The
    cheap goods come first, so that most arrays are short.
    """
    first, second = task.values
    best = np.zeros(1, dtype=np.int32)
    yield best
    for good, size in _bundles(_totals(task)):
        step = size * first[good]
        longer = np.empty(len(best) + step, dtype=np.int32)
        longer[len(best) :] = NEVER
        np.add(best, size * second[good], out=longer[: len(best)])
        np.maximum(longer[step:], best, out=longer[step:])
        best = longer
        yield best


def _totals(task: Task) -> Amounts:
    return tuple(map(sum, zip(*task.stocks, strict=True)))


@dataclass(frozen=True, slots=True)
class _Pairs(Sequence[Payoffs]):
    """Points of a frontier in two arrays: thousands of tuples would take longer to make than to find."""

    first: Array
    second: Array

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: Any) -> Any:
        return int(self.first[index]), int(self.second[index])


def solve(task: Task) -> References:
    """The references of a task, exactly, over all divisions of the goods."""
    *_, best = _best_for_second(task)
    best_from = np.maximum.accumulate(best[::-1])[::-1]
    on_frontier = np.flatnonzero(best_from[:-1] > best_from[1:])
    on_frontier = np.append(on_frontier, len(best) - 1)
    first = (on_frontier - int(worth(task.stocks[0], task.values[0]))).astype(np.int32)
    second = best[on_frontier] - int(worth(task.stocks[1], task.values[1]))
    gains = slice(np.searchsorted(first, 0), np.searchsorted(-second, 0, side="right"))
    gain, gain_of_second = first[gains], second[gains]
    product = gain * gain_of_second
    nash = np.flatnonzero(product == product.max())
    return References(
        frontier=_Pairs(first, second),
        best_own=(int(gain[-1]), int(gain_of_second[0])),
        best_total=int((first + second).max()),
        best_minimum=int(np.minimum(gain, gain_of_second).max()),
        best_product=int(product.max()),
        nash=(int(gain[nash[0]]), int(gain_of_second[nash[-1]])),
    )


def trade_of(task: Task, gain: int) -> Trade | None:
    """A trade on the frontier by which the first seat gains `gain`; None where no trade has this net result."""
    stages = list(_best_for_second(task))
    bundles = list(_bundles(_totals(task)))
    at = gain + int(worth(task.stocks[0], task.values[0]))
    keeps = [0] * len(GOODS)
    for i in reversed(range(len(bundles))):
        good, size = bundles[i]
        before, after = stages[i], stages[i + 1]
        if at >= len(before) or after[at] != before[at] + size * task.values[1][good]:
            keeps[good] += size
            at -= size * task.values[0][good]
    return _both_sided([has - keep for has, keep in zip(task.stocks[0], keeps, strict=True)], *task.stocks)


RULES = """\
You ({seat}) and {other} trade goods: Wheat, Wood, Sheep, Brick and Ore. What one of each is worth differs a little \
between you: around 5, 10, 15, 25 and 40. Your own values are told to you alone. You take turns and talk in plain \
words. To act, write one of:
[Offer: 3 Sheep, 2 Ore -> 5 Brick]  (what you give -> what you get)
[Accept]  ({other}'s last offer)
[Reject]
[Withdraw]  (your own offer)
[Walk away]  (ends the talk without a trade)
One trade ends the game. Each of you has {max_turns} turns. Gain as much value as you can."""


class ResourceTrade(DealGame):
    """Two seats trade goods once; each knows its own values alone."""

    task_types = ("little to gain", "some to gain", "much to gain")
    grammar = Grammar(
        offer=r"\[\s{0,9}offer\s{0,3}:?(?P<offer>[^\[\]\n]*)\]?",
        verbs={
            "accept": "accept",
            "reject": "reject",
            "deny": "reject",
            "withdraw": "withdraw",
            "walk away": "walk away",
        },
    )
    offer_form = "[Offer: {}]"

    def __init__(self, *, split: str = "train", max_turns: int = 10, render_mode: str | None = None):
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.instructions = {
            seat: RULES.format(seat=seat, other=self.other(seat), max_turns=max_turns) for seat in self.possible_agents
        }

    def _draw(self, rng: np.random.Generator, options: dict[str, Any]) -> TradeTable:
        self.task = options.get("task") or self._draw_task(rng)
        self._nash_trades: dict[str, Trade] = {}
        return TradeTable(tuple(self.possible_agents), self.task.stocks)  # type: ignore[arg-type]

    def _draw_task(self, rng: np.random.Generator) -> Task:
        ranges = [_range(base) for base in BASE_VALUES]
        low, high = [low for low, _ in ranges], [high + 1 for _, high in ranges]
        while True:
            stocks = rng.integers(STOCK[0], STOCK[1] + 1, (2, len(GOODS))).tolist()
            values = rng.integers(low, high, (2, len(GOODS))).tolist()
            task = Task((tuple(stocks[0]), tuple(stocks[1])), (tuple(values[0]), tuple(values[1])))
            # Without a good that each values more than the other there is no trade that both gain by.
            both = {(a > b) - (a < b) for a, b in zip(*values, strict=True)} >= {1, -1}
            if both and split_of(task.canonical()) == self.split:
                return task

    def _opening(self, seat: str) -> str:
        own = self.possible_agents.index(seat)
        each = ", ".join(f"{good} {v}" for good, v in zip(GOODS, self.task.values[own], strict=True))
        stocks = self.task.stocks
        return (
            f"You have {name(stocks[own])}. {self.other(seat)} has {name(stocks[1 - own])}. "
            f"What one of each is worth to you: {each}."
        )

    def _task_id(self) -> str:
        numbers = (*self.task.stocks, *self.task.values)
        return "trade/" + "/".join(",".join(map(str, row)) for row in numbers)

    def _task_type(self) -> str:
        """By the best total gain as a share of what all goods are worth: below 4 %, below 7 %, or more."""
        (a, b), (v, w) = self.task.stocks, self.task.values
        gain = sum(max(y - x, 0) * n + max(x - y, 0) * m for n, m, x, y in zip(a, b, v, w, strict=True))
        share = gain / (worth(a, v) + worth(b, w))
        return "little to gain" if share < 0.04 else "some to gain" if share < 0.07 else "much to gain"

    def _payoffs(self, offer: Trade) -> Payoffs:
        first, second = offer
        values = self.task.values
        return worth(second, values[0]) - worth(first, values[0]), worth(first, values[1]) - worth(second, values[1])

    def _find_references(self) -> References:
        return solve(self.task)

    def _nash_offer(self, seat: str) -> Trade:
        trade = self._nash_trades.get(seat)
        if trade is None:
            best = self.references
            gains = [int(a) for a, b in best.frontier if min(a, b) >= 0 and a * b == best.best_product]
            trade = trade_of(self.task, gains[0 if seat == self.possible_agents[0] else -1])
            if trade is None:
                raise NoPlanError("there is no trade by which both gain")
            self._nash_trades[seat] = trade
        return trade

    def knowledge(self, seat: str) -> TradeKnowledge:
        """See `DealGame.knowledge`."""
        assert isinstance(self.table, TradeTable)
        values = self.task.values[self.possible_agents.index(seat)]
        return TradeKnowledge(**self._common_knowledge(seat), table=self.table, values=values)


env, raw_env, parallel_env = faces(ResourceTrade)
