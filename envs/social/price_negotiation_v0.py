"""Price negotiation: a buyer and a seller agree on a price, and each knows only its own limit.

After CraigslistBargain (arXiv:1808.09637) and the buy-sell game of NegotiationArena (arXiv:2402.05863). A price p is
worth limit − p to the buyer and p − limit to the seller. In a share of the tasks the buyer's limit lies below the
seller's: then any deal is a loss to somebody, and to walk away is right.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from agentgym.envs.social.deal import DealGame, Grammar
from agentgym.envs.social.faces import faces
from agentgym.envs.social.references import Payoffs, References
from agentgym.envs.social.table import BadOffer, Knowledge, Move, Table, Valued
from agentgym.envs.splits import split_of

LIST_PRICES = (20, 500)
"""The least and the highest list price."""
SELLERS = (0.4, 0.8)
"""The seller's limit as a share of the list price."""
BUYERS = (0.85, 1.6)
"""The buyer's limit as a share of the seller's."""
HIGHEST = 999_999
"""The highest price that can be offered."""

THINGS = (
    *("armchair", "banjo", "bicycle", "bookcase", "camera", "canoe", "cello", "clock", "desk", "drill", "freezer"),
    *("guitar", "heater", "kayak", "lamp", "mirror", "mower", "oven", "printer", "radio", "saddle", "sofa", "stove"),
    *("table", "tent", "toolbox", "trailer", "trumpet", "typewriter", "wardrobe"),
)


@dataclass(frozen=True, slots=True)
class Task:
    """A thing with its list price, and the limits that only their owners know. Whole amounts."""

    thing: str
    list_price: int
    buyer: int
    seller: int


@dataclass(frozen=True)
class PriceTable(Table):
    """An offer is a whole price."""

    thing: str
    list_price: int

    def read(self, body: str, seat: str) -> int:
        """See `Table.read`."""
        digits = body.strip().removesuffix(".").removesuffix(",")
        if not re.fullmatch("[0-9]{1,7}", digits) or int(digits) > HIGHEST:
            raise BadOffer(f"a price is a whole number from 0 to {HIGHEST}, as in 'offer {self.list_price}'.")
        return int(digits)

    def word(self, offer: int, seat: str) -> str:
        """See `Table.word`."""
        return str(offer)


_CLAIM = re.compile(r"my limit: (\d{1,6})\b", re.IGNORECASE)


@dataclass(frozen=True)
class PriceKnowledge(Knowledge):
    """One seat's limit. The other's is taken for the mean of what the generator draws, until it says it."""

    table: PriceTable
    limit: int

    def __deepcopy__(self, memo: dict[int, Any]) -> PriceKnowledge:
        return self

    @property
    def _buys(self) -> bool:
        return self.seat == "buyer"

    @property
    def _bound(self) -> int:
        """The best price that is thinkable, from what is public."""
        if self._buys:
            return min(round(SELLERS[0] * self.table.list_price), self.limit - 1)
        return max(round(BUYERS[1] * self.limit), self.limit + 1)

    @property
    def best(self) -> float:
        """See `Knowledge.best`."""
        return abs(self._bound - self.limit)

    def own(self, offer: int) -> float:
        """See `Knowledge.own`."""
        return self.limit - offer if self._buys else offer - self.limit

    def offers(self, moves: Sequence[Move], proposed: Sequence[int] = ()) -> list[Valued]:
        """See `Knowledge.offers`: the prices between the own limit and the best thinkable one."""
        claimed = self._claimed(moves)
        other = float(0 if claimed is None else claimed)
        if claimed is None:
            other = sum(SELLERS) / 2 * self.table.list_price if self._buys else sum(BUYERS) / 2 * self.limit
        low, high = sorted((self._bound, self.limit))
        sign = 1 if self._buys else -1
        return [Valued(price, self.own(price), sign * (price - other)) for price in range(max(low, 0), high + 1)]

    def has_claimed(self, moves: Sequence[Move]) -> bool:
        """See `Knowledge.has_claimed`."""
        return self._claimed(moves) is not None

    def claim(self) -> str:
        """See `Knowledge.claim`."""
        return f"My limit: {self.limit}."

    def false_claim(self, rng: random.Random) -> str:
        """See `Knowledge.false_claim`: a limit half the way to the best thinkable price, or beyond."""
        return f"My limit: {round(self.limit + (self._bound - self.limit) * rng.uniform(0.5, 0.9))}."

    @staticmethod
    def _claimed(moves: Sequence[Move]) -> int | None:
        for move in reversed(moves):
            claim = _CLAIM.search(move.words)
            if claim is not None:
                return int(claim[1])
        return None


RULES = {
    "buyer": "You are the buyer. You have a limit: a price of p is a gain of (limit − p) for you, above it a loss.",
    "seller": "You are the seller. You have a limit: a price of p is a gain of (p − limit) for you, below it a loss.",
}
COMMON_RULES = """\
 The {other} has a limit too, and neither is told the other's. You take turns and talk in plain words. To act, write \
one of:
offer 45  (a whole price)
accept  (the {other}'s last offer)
reject
withdraw  (your own offer)
walk away  (ends the talk without a deal)
Without a deal nobody gains or loses. Each of you has {max_turns} turns. Gain as much as you can; where no price is \
good for both, walk away."""


class PriceNegotiation(DealGame):
    """A buyer and a seller haggle over the price of a thing."""

    possible_agents: ClassVar[list[str]] = ["buyer", "seller"]  # type: ignore[misc]
    task_types = ("no zone", "narrow zone", "wide zone")
    # A share of what is thinkable, much of which the other's limit forbids: more would leave narrow zones no deal.
    reservation = 0.05
    grammar = Grammar(
        offer=r"\boffer(?:[ \t]{0,3}:|(?=[ \t]{1,3}\$?\d))[ \t]{0,3}\$?(?P<offer>[\w.,]{0,40})",
        verbs={"accept": "accept", "reject": "reject", "withdraw": "withdraw", "walk away": "walk away"},
    )
    offer_form = "offer {}"

    def __init__(
        self, *, no_zone: float = 0.2, split: str = "train", max_turns: int = 10, render_mode: str | None = None
    ):
        """`no_zone`: the share of tasks in which no price is good for both, from 0 to 1. Raises `ValueError`."""
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        if not 0 <= no_zone <= 1:
            raise ValueError(f"no_zone must be from 0 to 1, not {no_zone!r}")
        self.no_zone = no_zone
        self.instructions = {
            seat: RULES[seat] + COMMON_RULES.format(other=self.other(seat), max_turns=max_turns)
            for seat in self.possible_agents
        }

    def _draw(self, rng: np.random.Generator, options: dict[str, Any]) -> PriceTable:
        self.task = options.get("task") or self._draw_task(rng)
        return PriceTable(self.task.thing, self.task.list_price)

    def _draw_task(self, rng: np.random.Generator) -> Task:
        has_zone = rng.random() >= self.no_zone
        thing = THINGS[int(rng.integers(len(THINGS)))]
        while True:
            list_price = int(rng.integers(LIST_PRICES[0], LIST_PRICES[1] + 1))
            seller = round(list_price * rng.uniform(*SELLERS))
            buyer = round(seller * (rng.uniform(1.0, BUYERS[1]) if has_zone else rng.uniform(BUYERS[0], 1.0)))
            fits = buyer >= seller + 2 if has_zone else buyer < seller
            if fits and split_of(f"{list_price}/{buyer}/{seller}") == self.split:
                return Task(thing, list_price, buyer, seller)

    def _opening(self, seat: str) -> str:
        limit = self.task.buyer if seat == "buyer" else self.task.seller
        return f"For sale: a used {self.task.thing}, list price {self.task.list_price}. Your limit: {limit}."

    def _task_id(self) -> str:
        return f"price/{self.task.thing}/{self.task.list_price}/{self.task.buyer}/{self.task.seller}"

    def _task_type(self) -> str:
        """A zone of agreement is narrow where it is less than a fifth of the seller's limit."""
        zone = self.task.buyer - self.task.seller
        return "no zone" if zone < 0 else "narrow zone" if 5 * zone < self.task.seller else "wide zone"

    def _payoffs(self, offer: int) -> Payoffs:
        return self.task.buyer - offer, offer - self.task.seller

    def _find_references(self) -> References:
        """In closed form: along the zone one's gain is the other's loss."""
        zone = max(0, self.task.buyer - self.task.seller)
        half = zone // 2
        return References(
            frontier=tuple((gain, zone - gain) for gain in range(zone + 1)),
            best_own=(zone, zone),
            best_total=zone,
            best_minimum=half,
            best_product=half * (zone - half),
            nash=(half, half),
        )

    def _nash_offer(self, seat: str) -> int:
        half = (self.task.buyer - self.task.seller) // 2
        return self.task.buyer - half if seat == "buyer" else self.task.seller + half

    def knowledge(self, seat: str) -> PriceKnowledge:
        """See `DealGame.knowledge`."""
        assert isinstance(self.table, PriceTable)
        limit = self.task.buyer if seat == "buyer" else self.task.seller
        return PriceKnowledge(**self._common_knowledge(seat), table=self.table, limit=limit)


env, raw_env, parallel_env = faces(PriceNegotiation)
