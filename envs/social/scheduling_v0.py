"""Finding what two lists have in common: a slot that is free for both, or a friend that both know.

Mutual friends (arXiv:1704.07130) and its calendar form. Each seat sees its own list of 5 to 12 entries; exactly one
entry is in both, or none in a share of the tasks. Both gain 1 where they agree on the right one, or rightly that there
is none.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agentgym.envs.multi_agent import Played
from agentgym.envs.social.deal import DealGame, Grammar
from agentgym.envs.social.faces import faces
from agentgym.envs.social.references import Payoffs, References
from agentgym.envs.social.table import BadOffer, Knowledge, Move, Table, Valued
from agentgym.envs.splits import split_of

Entry = tuple[str, ...]
"""One word for each attribute."""

NONE: Entry = ()
"""The offer that there is nothing in common."""
NONE_WORDS = "none in common"

LENGTHS = (5, 12)
"""The least and the most entries of a list."""


@dataclass(frozen=True, slots=True)
class Form:
    """What the entries are."""

    name: str
    attributes: tuple[tuple[str, ...], ...]
    """The words of each attribute."""
    drawn: tuple[int, ...]
    """How many words of each attribute occur in a task: few, so that entries look alike."""
    task: str
    """What an own list is, and what is looked for."""


FORMS = {
    form.name: form
    for form in (
        Form(
            "calendar",
            (("Mon", "Tue", "Wed", "Thu", "Fri"), tuple(map(str, range(8, 19)))),
            (5, 8),
            "You two look for a slot (day and hour) in which both are free. Your free slots: {list}.",
        ),
        Form(
            "friends",
            (
                (
                    *("Ada", "Boris", "Chen", "Dora", "Emil", "Fatma", "Goran", "Hana", "Igor", "Jana", "Karim"),
                    *("Lena", "Milan", "Nora", "Omar", "Petra", "Quinn", "Rosa", "Sami", "Tara", "Uwe", "Vera"),
                ),
                ("baker", "cook", "farmer", "judge", "nurse", "pilot", "singer", "tailor", "teacher", "vet"),
                ("chess", "dance", "fishing", "golf", "hiking", "judo", "opera", "poker", "sailing", "yoga"),
            ),
            (6, 4, 4),
            "You two look for the friend (name, work, hobby) whom both know. Your friends: {list}.",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Task:
    """Both seats' lists."""

    form: str
    lists: tuple[tuple[Entry, ...], tuple[Entry, ...]]

    @property
    def common(self) -> Entry:
        """The entry that is in both lists, or `NONE`."""
        return next((entry for entry in self.lists[0] if entry in self.lists[1]), NONE)

    def canonical(self) -> str:
        """The same for all orders of entries and seats: what the split is a hash of."""
        return str(sorted(sorted(entries) for entries in self.lists))


@dataclass(frozen=True)
class EntryTable(Table):
    """The words that entries are made of. An offer is an entry, or `NONE`."""

    form: Form

    def read(self, body: str, seat: str) -> Entry:
        """See `Table.read`: the entry's words, with blanks, commas or slashes between them, in any case."""
        words = re.split(r"[\s,/]+", body.strip())
        if " ".join(words).lower() == NONE_WORDS:
            return NONE
        if len(words) == len(self.form.attributes):
            entry = tuple(_as_spelt(word, known) for word, known in zip(words, self.form.attributes, strict=True))
            if all(entry):
                return entry
        raise BadOffer("write 'propose: ' and an entry as it stands on your list, and end the sentence there.")

    def word(self, offer: Entry, seat: str) -> str:
        """See `Table.word`."""
        return self.name(offer) if offer else NONE_WORDS

    @staticmethod
    def name(entry: Entry) -> str:
        """An entry in words."""
        return " ".join(entry)


def _as_spelt(word: str, known: Sequence[str]) -> str:
    """The word as it is known, whatever its case; "" where it is not."""
    return next((each for each in known if each.lower() == word.lower()), "")


_CLAIM = re.compile(r"my list: ([^.\n]{0,500})", re.IGNORECASE)


@dataclass(frozen=True)
class EntryKnowledge(Knowledge):
    """One seat's list. What it proposed in vain is taken to be no entry of the other's, until the other says its list.

    An own entry is worth 1. That there is none in common is worth 1/2 while the other's list is not known: it is as
    likely as not.
    """

    table: EntryTable
    entries: tuple[Entry, ...]
    may_be_none: bool

    def __deepcopy__(self, memo: dict[int, Any]) -> EntryKnowledge:
        return self

    @property
    def best(self) -> float:
        """See `Knowledge.best`."""
        return 1.0

    def own(self, offer: Entry) -> float:
        """See `Knowledge.own`."""
        return 0.5 * self.may_be_none if offer == NONE else float(offer in self.entries)

    def offers(self, moves: Sequence[Move], proposed: Sequence[Entry] = ()) -> list[Valued]:
        """See `Knowledge.offers`: the own entries, and none where that may be."""
        theirs = self._claimed(moves)
        if theirs is not None:
            offers = [Valued(entry, 1.0, float(entry in theirs)) for entry in self.entries]
            none = float(not any(offer.other for offer in offers))
        else:
            offers = [Valued(entry, 1.0, 1 / (1 + proposed.count(entry))) for entry in self.entries]
            none = 0.5 * all(entry in proposed for entry in self.entries)
        return [*offers, Valued(NONE, none, none)] if self.may_be_none else offers

    def has_claimed(self, moves: Sequence[Move]) -> bool:
        """See `Knowledge.has_claimed`."""
        return self._claimed(moves) is not None

    def claim(self) -> str:
        """See `Knowledge.claim`."""
        return self._say(self.entries)

    def false_claim(self, rng: random.Random) -> str:
        """See `Knowledge.false_claim`: as many entries that are not on the list."""
        false: list[Entry] = []
        while len(false) < len(self.entries):
            entry = tuple(map(rng.choice, self.table.form.attributes))
            if entry not in self.entries:
                false.append(entry)
        return self._say(false)

    def _say(self, entries: Sequence[Entry]) -> str:
        return "My list: " + "; ".join(map(self.table.name, entries)) + "."

    def _claimed(self, moves: Sequence[Move]) -> list[Entry] | None:
        for move in reversed(moves):
            claim = _CLAIM.search(move.words)
            if claim is None:
                continue
            try:
                return [self.table.read(part, self.other) for part in claim[1].split(";")]
            except BadOffer:
                continue
        return None


RULES = """\
You ({seat}) and {other} each have a list, and find out what is in both: {one}. Nobody is shown the other's list. You \
take turns and talk in plain words. To act, write one of:
propose: ENTRY  (one of your list, as it is written there; end the sentence there)
{none}agree  (to {other}'s last proposal)
reject
withdraw  (your own proposal)
walk away  (ends the talk)
You both win if you agree on the right one{right}. Each of you has {max_turns} turns; use few."""


class Scheduling(DealGame):
    """Two seats find the one entry that is in both lists."""

    task_types = tuple(f"{form}, {length} lists" for form in FORMS for length in ("short", "long"))
    grammar = Grammar(
        offer=r"propose\s{0,3}:(?P<offer>(?:(?!propose\s{0,3}:)[^\n.!?;\[\]])*)",
        verbs={
            "agree": "accept",
            "accept": "accept",
            "reject": "reject",
            "withdraw": "withdraw",
            "walk away": "walk away",
        },
        offers={NONE_WORDS: NONE},
    )
    offer_form = "propose: {}"

    def __init__(
        self,
        *,
        form: str = "both",
        none: float = 0.0,
        turn_cost: float = 0.0,
        split: str = "train",
        max_turns: int = 10,
        render_mode: str | None = None,
    ):
        """`form`: "calendar", "friends" or "both". `none`: the share of tasks with nothing in common, from 0 to 1.

        `turn_cost`: taken from a seat's reward at each of its turns, from 0 to 1 (0.05 is usual). Raises `ValueError`.
        """
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        if form not in (*FORMS, "both"):
            raise ValueError(f"form must be one of {', '.join(FORMS)} or both, not {form!r}")
        for name, value in (("none", none), ("turn_cost", turn_cost)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {value!r}")
        self.forms = tuple(FORMS) if form == "both" else (form,)
        self.none = none
        self.turn_cost = turn_cost
        self.instructions = {
            seat: RULES.format(
                seat=seat,
                other=self.other(seat),
                max_turns=max_turns,
                one="exactly one entry, or none" if none else "exactly one entry",
                none=f"{NONE_WORDS}  (a proposal too)\n" if none else "",
                right=", or rightly that there is none" if none else "",
            )
            for seat in self.possible_agents
        }

    def _draw(self, rng: np.random.Generator, options: dict[str, Any]) -> EntryTable:
        self.task = options.get("task") or self._draw_task(rng)
        return EntryTable(FORMS[self.task.form])

    def _draw_task(self, rng: np.random.Generator) -> Task:
        form = FORMS[self.forms[int(rng.integers(len(self.forms)))]]
        has_none = rng.random() < self.none
        while True:
            lengths = rng.integers(LENGTHS[0], LENGTHS[1] + 1, 2).tolist()
            words = [
                [known[i] for i in rng.permutation(len(known))[:count].tolist()]
                for known, count in zip(form.attributes, form.drawn, strict=True)
            ]
            numbers = rng.permutation(math.prod(form.drawn))[: sum(lengths) - (not has_none)].tolist()
            entries = [_entry(number, words) for number in numbers]
            first = entries[: lengths[0]]
            second = entries[lengths[0] :] if has_none else entries[lengths[0] - 1 :]
            lists = tuple(tuple(side[i] for i in rng.permutation(len(side)).tolist()) for side in (first, second))
            task = Task(form.name, lists)  # type: ignore[arg-type]
            if split_of(task.canonical()) == self.split:
                return task

    def _opening(self, seat: str) -> str:
        entries = self.task.lists[self.possible_agents.index(seat)]
        return FORMS[self.task.form].task.format(list="; ".join(map(EntryTable.name, entries)))

    def _task_id(self) -> str:
        return "scheduling/" + "/".join(",".join(map("-".join, entries)) for entries in self.task.lists)

    def _task_type(self) -> str:
        """Short lists have up to 8 entries on average."""
        length = "short" if sum(map(len, self.task.lists)) <= 16 else "long"
        return f"{self.task.form}, {length} lists"

    def _check_offer(self, offer: Entry, seat: str) -> None:
        if offer != NONE and offer not in self.task.lists[self.possible_agents.index(seat)]:
            raise BadOffer("that is not on your list.")

    def _payoffs(self, offer: Entry) -> Payoffs:
        right = int(offer == self.task.common)
        return right, right

    def _find_references(self) -> References:
        return References.of([(1, 1)])

    def _tell_outcome(self, info: dict[str, Any], seat: int) -> None:
        super()._tell_outcome(info, seat)
        info["optimum"]["messages"] = float(math.ceil(math.log2(min(map(len, self.task.lists)))))

    def _act(self, seat: str, action: str) -> Played:
        played = super()._act(seat, action)
        if not self.turn_cost:
            return played
        rewards = {each: played.rewards.get(each, 0.0) - self.turn_cost * (each == seat) for each in self.agents}
        return replace(played, rewards=rewards)

    def _nash_offer(self, seat: str) -> Entry:
        return self.task.common

    def knowledge(self, seat: str) -> EntryKnowledge:
        """See `DealGame.knowledge`."""
        assert isinstance(self.table, EntryTable)
        return EntryKnowledge(
            **self._common_knowledge(seat),
            table=self.table,
            entries=self.task.lists[self.possible_agents.index(seat)],
            may_be_none=self.none > 0,
        )


def _entry(number: int, words: Sequence[Sequence[str]]) -> Entry:
    """The entry with a number, of all that the words make."""
    entry = []
    for known in words:
        number, index = divmod(number, len(known))
        entry.append(known[index])
    return tuple(entry)


env, raw_env, parallel_env = faces(Scheduling)
