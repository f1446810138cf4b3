"""Things and what is true of them, and how many questions it takes to tell them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

Facts = Mapping[int, bool]
"""Answers by the number of the attribute."""


@dataclass(frozen=True)
class KnowledgeBase:
    """Things, attributes, and for each thing the attributes that are true of it. No two things are alike."""

    things: tuple[str, ...]
    attributes: tuple[str, ...]
    """As they are asked for: "able to fly"."""
    true_of: tuple[frozenset[int], ...]
    """For each thing the numbers of its attributes."""

    def fitting(self, facts: Facts, without: frozenset[str] = frozenset()) -> list[int]:
        """The things of which all facts hold, but for those in `without`, by number."""
        return [
            number
            for number, true in enumerate(self.true_of)
            if self.things[number] not in without and all((which in true) == holds for which, holds in facts.items())
        ]

    def best_question(self, candidates: Sequence[int]) -> int | None:
        """The attribute that splits the candidates most evenly, the first of several; None for two things or one.

        Two are better guessed than asked for: that takes 1.5 turns on average, a question and a guess 2.
        """
        if len(candidates) <= 2:
            return None
        counts = [0] * len(self.attributes)
        for number in candidates:
            for which in self.true_of[number]:
                counts[which] += 1
        return min(range(len(counts)), key=lambda which: abs(2 * counts[which] - len(candidates)))

    @cached_property
    def turns(self) -> tuple[int, ...]:
        """How many turns the greedy halving tree takes for each thing, the guess included."""
        needed = [0] * len(self.things)
        for number, turns in self._needed(list(range(len(self.things))), 0):
            needed[number] = turns
        return tuple(needed)

    def _needed(self, candidates: list[int], asked: int) -> Iterator[tuple[int, int]]:
        which = self.best_question(candidates)
        if which is None:
            yield from ((number, asked + guesses) for guesses, number in enumerate(candidates, start=1))
            return
        for holds in (True, False):
            yield from self._needed([n for n in candidates if (which in self.true_of[n]) == holds], asked + 1)

    @property
    def expected_turns(self) -> float:
        """What the greedy halving tree takes on average over all things: a reference for those who guess."""
        return sum(self.turns) / len(self.turns)


def parse(text: str) -> KnowledgeBase:
    """A knowledge base in the form that `twenty_questions.txt` describes.

    Raises `ValueError` with the line for a key or a thing that is not right, and for two things that are alike.
    """
    keys: dict[str, str] = {}
    things: dict[str, frozenset[str]] = {}
    common: frozenset[str] = frozenset()
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = f"line {number} ({line})"
        if "=" in line:
            key, _, phrase = (part.strip() for part in line.partition("="))
            keys[key] = phrase
        elif line.startswith("["):
            common = frozenset(line.strip("[]").split())
        else:
            name, colon, own = line.partition(":")
            added = {key for key in own.split() if not key.startswith("-")}
            taken = {key[1:] for key in own.split() if key.startswith("-")}
            if not colon or name in things or not taken <= common or not common | added <= keys.keys():
                raise ValueError(f"{where} is no thing of its own with known attributes")
            true = (common | added) - taken
            alike = next((other for other, its in things.items() if its == true), None)
            if alike:
                raise ValueError(f"{where} has the same attributes as {alike}")
            things[name] = true
    order = {key: which for which, key in enumerate(keys)}
    true_of = tuple(frozenset(order[key] for key in true) for true in things.values())
    return KnowledgeBase(tuple(things), tuple(keys.values()), true_of)


@cache
def built_in() -> KnowledgeBase:
    """The one that ships."""
    return parse((files("agentgym.envs.social") / "twenty_questions.txt").read_text(encoding="utf-8"))
