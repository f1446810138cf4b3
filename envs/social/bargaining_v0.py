"""Bargaining over items: who takes what of a few things that are worth different amounts to the two seats.

Deal or No Deal (arXiv:1706.05125): three kinds, 5 to 7 items in all, 1 to 4 of each; values are whole numbers from 0
to 10 with Σ count·value = 10 for each seat; every kind is worth something to somebody, some kind to both. Nobody is
told what the other's values are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, permutations, product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from agentgym.envs.json_files import lines_of
from agentgym.envs.social.deal import DealGame, Grammar
from agentgym.envs.social.faces import faces
from agentgym.envs.social.references import Payoffs, References
from agentgym.envs.social.table import BadOffer, Knowledge, Move, Table, Valued
from agentgym.envs.splits import split_of
from agentgym.envs.user_path import user_path

Counts = tuple[int, ...]
"""Of each kind: how many there are, how many somebody takes, or what one is worth to somebody."""

TOTAL_VALUE = 10
"""What all items together are worth to each seat."""

NOUNS = ("ball", "book", "coin", "cup", "drum", "hat", "key", "lamp", "map", "pen", "ring", "vase")
"""Kinds of items; those of a task are drawn."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the tasks are that are generated."""

    most_of_a_kind: int
    fewest_items: int
    most_items: int


SIZES: Mapping[int, Size] = {3: Size(4, 5, 7), 4: Size(3, 6, 9)}
"""By the number of kinds. Three is the official set: 5,295 scenarios, 475 of them different; four has 2,618."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What there is and what it is worth to each seat."""

    counts: Counts
    values: tuple[Counts, Counts]

    def canonical(self) -> str:
        """The same for all orders of kinds and seats: what the split is a hash of."""
        first, second = self.values
        kinds = sorted(zip(self.counts, first, second, strict=True))
        mirrored = sorted(zip(self.counts, second, first, strict=True))
        return " ".join(f"{c}:{a}:{b}" for c, a, b in min(kinds, mirrored))

    def fault(self) -> str | None:
        """What keeps this from being a task, in words."""
        if not self.counts or any(len(values) != len(self.counts) for values in self.values):
            return "counts and values must be as many for both seats"
        if min(self.counts) < 1 or min(map(min, self.values)) < 0:
            return "counts must be at least 1 and values at least 0"
        if len(self.counts) > len(NOUNS):
            return f"there are at most {len(NOUNS)} kinds, not {len(self.counts)}"
        if any(not any(values) for values in self.values):
            return "something must be worth something to each seat"
        return None


@dataclass(frozen=True)
class Task:
    """A scenario with names for its kinds."""

    scenario: Scenario
    kinds: tuple[str, ...]


@lru_cache(maxsize=4)
def scenarios(kinds: int) -> tuple[Scenario, ...]:
    """All different scenarios of so many kinds, one of each canonical form, in a fixed order."""
    size = SIZES[kinds]
    found: dict[str, Scenario] = {}
    for counts in product(range(1, size.most_of_a_kind + 1), repeat=kinds):
        if list(counts) != sorted(counts) or not size.fewest_items <= sum(counts) <= size.most_items:
            continue
        for pair in combinations_with_replacement(_valuations(counts), 2):
            if _is_of_interest(*pair):
                scenario = Scenario(counts, pair)
                found.setdefault(scenario.canonical(), scenario)
    return tuple(found[key] for key in sorted(found))


@lru_cache(maxsize=256)
def _valuations(counts: Counts) -> tuple[Counts, ...]:
    """All values with Σ count·value = `TOTAL_VALUE`."""
    *front, last = counts
    found = []
    for values in product(*(range(TOTAL_VALUE // count + 1) for count in front)):
        rest = TOTAL_VALUE - sum(c * v for c, v in zip(front, values, strict=True))
        if rest >= 0 and rest % last == 0:
            found.append((*values, rest // last))
    return tuple(found)


def _is_of_interest(first: Counts, second: Counts) -> bool:
    """Every kind is worth something to somebody, and some kind to both."""
    pairs = list(zip(first, second, strict=True))
    return all(a or b for a, b in pairs) and any(a and b for a, b in pairs)


@lru_cache(maxsize=4096)
def _expected_values(counts: Counts, own: Counts) -> tuple[float, ...]:
    """The mean of the other's values over all that go with the own ones."""
    possible = [values for values in _valuations(counts) if _is_of_interest(own, values)]
    if not possible:  # values from a file need not keep the generator's rules
        return tuple(TOTAL_VALUE / sum(counts) for _ in counts)
    return tuple(sum(column) / len(possible) for column in zip(*possible, strict=True))


@lru_cache(maxsize=1024)
def divisions(counts: Counts) -> tuple[Counts, ...]:
    """All that the first seat can take."""
    return tuple(product(*(range(count + 1) for count in counts)))


def worth(items: Counts, values: Counts) -> int:
    """What items are worth."""
    return sum(map(int.__mul__, items, values))


@lru_cache(maxsize=8192)
def solve(scenario: Scenario) -> References:
    """The references of a scenario, by enumeration of its divisions."""
    first, second = scenario.values
    whole = worth(scenario.counts, second)
    return References.of((worth(take, first), whole - worth(take, second)) for take in divisions(scenario.counts))


_ITEM = re.compile(r"\s*(?P<count>\d{1,9})\s+(?P<kind>[a-z]+)\s*(?:,\s*(?:and\b)?|and\b|\Z)", re.IGNORECASE)


@dataclass(frozen=True)
class ItemTable(Table):
    """What lies on the table. An offer is what the first seat takes; it is written as what its speaker takes."""

    seats: tuple[str, str]
    kinds: tuple[str, ...]
    counts: Counts

    def read(self, body: str, seat: str) -> Counts:
        """See `Table.read`: "2 book, 1 hat", in any order, or "nothing"."""
        mine = self._read_items(body)
        return mine if seat == self.seats[0] else self.rest(mine)

    def word(self, offer: Counts, seat: str) -> str:
        """See `Table.word`."""
        return self.name(offer if seat == self.seats[0] else self.rest(offer))

    def explain(self, offer: Counts, hearer: str) -> str:
        """What is left for the hearer."""
        return f"You would get {self.name(offer if hearer == self.seats[0] else self.rest(offer))}."

    def rest(self, items: Counts) -> Counts:
        """What is left when somebody takes `items`."""
        return tuple(map(int.__sub__, self.counts, items))

    def name(self, items: Counts) -> str:
        """Items in words."""
        named = [f"{n} {kind}" for n, kind in zip(items, self.kinds, strict=True) if n]
        return ", ".join(named) or "nothing"

    def _read_items(self, body: str) -> Counts:
        text = body.strip()
        if text.lower() == "nothing":
            return (0,) * len(self.kinds)
        taken = [0] * len(self.kinds)
        at = 0
        while at < len(text):
            item = _ITEM.match(text, at)
            if item is None:
                raise BadOffer(f"write what you take as in {self._example()}, and end the sentence there.")
            kind = item["kind"].lower()
            index = self._index(kind)
            if index is None:
                raise BadOffer(f"there is no {kind[:20]!r}, only {', '.join(self.kinds)}.")
            taken[index] += int(item["count"])
            at = item.end()
        if not text:
            raise BadOffer(f"say what you take, as in {self._example()}.")
        for n, count, kind in zip(taken, self.counts, self.kinds, strict=True):
            if n > count:
                raise BadOffer(f"there {'is' if count == 1 else 'are'} only {count} {kind}.")
        return tuple(taken)

    def _index(self, kind: str) -> int | None:
        for name in (kind, kind.removesuffix("s")):
            if name in self.kinds:
                return self.kinds.index(name)
        return None

    def _example(self) -> str:
        return f"'propose: {self.counts[0]} {self.kinds[0]}, 1 {self.kinds[1]}'"


_CLAIM = re.compile(r"my values: (?P<values>[a-z]+ \d{1,2}(?:, [a-z]+ \d{1,2}){0,20})", re.IGNORECASE)


@dataclass(frozen=True)
class ItemKnowledge(Knowledge):
    """One seat's values. The other's are the mean of all that the rules allow, until it says them."""

    table: ItemTable
    values: Counts

    def __deepcopy__(self, memo: dict[int, Any]) -> ItemKnowledge:
        return self

    @property
    def best(self) -> float:
        """See `Knowledge.best`."""
        return worth(self.table.counts, self.values)

    def own(self, offer: Counts) -> float:
        """See `Knowledge.own`."""
        return worth(self._mine(offer), self.values)

    def offers(self, moves: Sequence[Move], proposed: Sequence[Counts] = ()) -> list[Valued]:
        """See `Knowledge.offers`: all divisions."""
        values = self._claimed(moves) or _expected_values(self.table.counts, self.values)
        valued = []
        for offer in divisions(self.table.counts):
            mine = self._mine(offer)
            theirs = sum(n * v for n, v in zip(self.table.rest(mine), values, strict=True))
            valued.append(Valued(offer, worth(mine, self.values), theirs))
        return valued

    def has_claimed(self, moves: Sequence[Move]) -> bool:
        """See `Knowledge.has_claimed`."""
        return self._claimed(moves) is not None

    def claim(self) -> str:
        """See `Knowledge.claim`."""
        return self._say(self.values)

    def false_claim(self, rng: random.Random) -> str:
        """See `Knowledge.false_claim`: other values that the counts allow."""
        false = [values for values in _valuations(self.table.counts) if values != self.values]
        return self._say(rng.choice(false) if false else self.values)

    def _mine(self, offer: Counts) -> Counts:
        return offer if self.seat == self.table.seats[0] else self.table.rest(offer)

    def _say(self, values: Counts) -> str:
        told = ", ".join(f"{kind} {value}" for kind, value in zip(self.table.kinds, values, strict=True))
        return f"My values: {told}."

    def _claimed(self, moves: Sequence[Move]) -> Counts | None:
        for move in reversed(moves):
            claim = _CLAIM.search(move.words)
            if claim is None:
                continue
            told = dict(pair.lower().split(" ") for pair in claim["values"].split(", "))
            if told.keys() == set(self.table.kinds):
                return tuple(int(told[kind]) for kind in self.table.kinds)
        return None


RULES = """\
You ({seat}) and {other} divide some items. Each item is worth something to you and something else to {other}; \
neither of you is told what the other's values are. You take turns and talk in plain words. To act, write one of:
propose: 2 book, 1 hat  (what you take; the rest is {other}'s; end the sentence there)
accept  (take {other}'s last proposal)
reject
withdraw  (your own proposal)
walk away  (ends the talk without a deal)
Without a deal both get nothing. Each of you has {max_turns} turns. Get as much as you can."""


class Bargaining(DealGame):
    """Two seats divide items; each knows its own values alone."""

    task_types = ("opposed", "mixed", "compatible")
    grammar = Grammar(
        offer=r"propose\s{0,3}:(?P<offer>(?:(?!propose\s{0,3}:)[^\n.!?;\[\]])*)",
        verbs={"accept": "accept", "reject": "reject", "withdraw": "withdraw", "walk away": "walk away"},
    )
    offer_form = "propose: {}"

    def __init__(
        self,
        *,
        kinds: int = 3,
        data: str | Path = "builtin",
        split: str = "train",
        max_turns: int = 10,
        render_mode: str | None = None,
    ):
        """`kinds`: of items, 3 or 4. `data`: "builtin", or a file of the official data set (see `read_scenarios`).

        Raises `ValueError` for other `kinds`, and for a file that cannot be read or has nothing in this split.
        """
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        if kinds not in SIZES:
            raise ValueError(f"kinds must be one of {', '.join(map(str, SIZES))}, not {kinds!r}")
        self.data_source = str(data)
        self._scenarios = _in_split(kinds, split) if data == "builtin" else _read_split(user_path(data), split)
        first, second = self.possible_agents
        self.instructions = {
            first: RULES.format(seat=first, other=second, max_turns=max_turns),
            second: RULES.format(seat=second, other=first, max_turns=max_turns),
        }

    _shared_between_snapshots: ClassVar[frozenset[str]] = DealGame._shared_between_snapshots | {"_scenarios"}

    def _draw(self, rng: np.random.Generator, options: dict[str, Any]) -> ItemTable:
        task = options.get("task") or self._draw_task(rng)
        self.scenario = task.scenario
        return ItemTable(tuple(self.possible_agents), task.kinds, task.scenario.counts)  # type: ignore[arg-type]

    def _draw_task(self, rng: np.random.Generator) -> Task:
        scenario = self._scenarios[int(rng.integers(len(self._scenarios)))]
        order = rng.permutation(len(scenario.counts)).tolist()
        mirror = int(rng.integers(2))
        names = rng.permutation(len(NOUNS))[: len(order)].tolist()
        counts = tuple(scenario.counts[k] for k in order)
        first, second = (tuple(scenario.values[i ^ mirror][k] for k in order) for i in (0, 1))
        return Task(Scenario(counts, (first, second)), tuple(NOUNS[n] for n in names))

    def _opening(self, seat: str) -> str:
        assert isinstance(self.table, ItemTable)
        values = self.scenario.values[self.possible_agents.index(seat)]
        each = ", ".join(f"{kind} {value}" for kind, value in zip(self.table.kinds, values, strict=True))
        return f"On the table: {self.table.name(self.table.counts)}. What one of each is worth to you: {each}."

    def _task_id(self) -> str:
        assert isinstance(self.table, ItemTable)
        columns = zip(self.table.kinds, self.scenario.counts, *self.scenario.values, strict=True)
        return "bargaining/" + "/".join(f"{kind}:{c}:{a}:{b}" for kind, c, a, b in columns)

    def _task_type(self) -> str:
        """How much of both bests can be had together: up to 6/5 of one, up to 3/2, or more."""
        counts, (first, second) = self.scenario.counts, self.scenario.values
        share = worth(counts, tuple(map(max, first, second))) / max(worth(counts, first), worth(counts, second))
        return "opposed" if share <= 1.2 else "mixed" if share <= 1.5 else "compatible"

    def _payoffs(self, offer: Counts) -> Payoffs:
        first, second = self.scenario.values
        return worth(offer, first), worth(self.scenario.counts, second) - worth(offer, second)

    def _find_references(self) -> References:
        return solve(self.scenario)

    def _nash_offer(self, seat: str) -> Counts:
        other = self.possible_agents.index(self.other(seat))

        def goodness(offer: Counts) -> tuple[float, float]:
            payoffs = self._payoffs(offer)
            return payoffs[0] * payoffs[1], payoffs[other]

        return max(divisions(self.scenario.counts), key=goodness)

    def knowledge(self, seat: str) -> ItemKnowledge:
        """See `DealGame.knowledge`."""
        assert isinstance(self.table, ItemTable)
        values = self.scenario.values[self.possible_agents.index(seat)]
        return ItemKnowledge(**self._common_knowledge(seat), table=self.table, values=values)


@lru_cache(maxsize=8)
def _in_split(kinds: int, split: str) -> tuple[Scenario, ...]:
    return tuple(scenario for scenario in scenarios(kinds) if split_of(scenario.canonical()) == split)


@lru_cache(maxsize=8)
def _read_split(path: Path, split: str) -> tuple[Scenario, ...]:
    found = tuple(scenario for scenario in read_scenarios(path) if split_of(scenario.canonical()) == split)
    if not found:
        raise ValueError(f"{path}: no scenario in it is of the split {split!r}")
    return found


def read_scenarios(path: Path) -> list[Scenario]:
    """The scenarios of a file of Deal or No Deal, each once, in the file's order.

    Two forms are known: dialogues, a line a seat, with `<input> count value count value … </input>` and
    `<partner_input> … </partner_input>`; and the file for self-play, of whose lines two each, `count value …`, are the
    two seats of a scenario. Raises `ValueError` with the line for what is neither.
    """
    found: dict[Scenario, None] = {}
    waiting: tuple[str, list[int]] | None = None
    for number, line in lines_of(path):
        place = f"{path}, line {number}"
        if "<input>" in line:
            found[_paired(_numbers(line, "input", place), _numbers(line, "partner_input", place), place)] = None
        elif waiting is None:
            waiting = place, _whole_numbers(line, place)
        else:
            found[_paired(waiting[1], _whole_numbers(line, place), place)] = None
            waiting = None
    if waiting is not None:
        raise ValueError(f"{waiting[0]}: the other seat's line is missing")
    if not found:
        raise ValueError(f"{path}: there are no scenarios in it")
    return list(found)


def _numbers(line: str, mark: str, place: str) -> list[int]:
    inside = re.search(f"<{mark}>([^<]*)</{mark}>", line)
    if inside is None:
        raise ValueError(f"{place}: there is no <{mark}> … </{mark}>")
    return _whole_numbers(inside[1], place)


def _whole_numbers(text: str, place: str) -> list[int]:
    words = text.split()
    if not words or len(words) % 2 or not all(word.isascii() and word.isdigit() and len(word) < 4 for word in words):
        raise ValueError(f"{place}: expected a count and a value for each kind, as in '1 4 4 1 1 2', not {text[:60]!r}")
    return [int(word) for word in words]


def _paired(own: list[int], partner: list[int], place: str) -> Scenario:
    if own[::2] != partner[::2]:
        raise ValueError(f"{place}: the two seats' counts differ: {own[::2]} and {partner[::2]}")
    scenario = Scenario(tuple(own[::2]), (tuple(own[1::2]), tuple(partner[1::2])))
    fault = scenario.fault()
    if fault is not None:
        raise ValueError(f"{place}: {fault}")
    return scenario


def all_orders(scenario: Scenario) -> Iterator[Scenario]:
    """Every scenario of the same canonical form, once."""
    columns = list(zip(scenario.counts, *scenario.values, strict=True))
    mirrored = [(c, b, a) for c, a, b in columns]
    for order in {*permutations(columns), *permutations(mirrored)}:
        counts, first, second = zip(*order, strict=True)
        yield Scenario(counts, (first, second))


env, raw_env, parallel_env = faces(Bargaining)
