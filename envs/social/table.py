"""What lies on the table of a deal game, what one seat knows of it, and what it hears from the other."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

from agentgym.envs.social.speech import entries

Offer: TypeAlias = Any
"""A division in a game's own hashable form, the same whoever proposes it."""


class BadOffer(ValueError):  # noqa: N818 - nothing of the program's is wrong
    """What a seat wrote as an offer is none, or none that can be carried out; the message says why, to the seat."""


class Table(ABC):
    """The public part of a task: enough to read and to word an offer. It never changes."""

    @abstractmethod
    def read(self, body: str, seat: str) -> Offer:
        """The offer that `seat` wrote. Raises `BadOffer`."""

    @abstractmethod
    def word(self, offer: Offer, seat: str) -> str:
        """An offer as `seat` writes it, without a full stop inside: `read` gives it back."""

    def explain(self, offer: Offer, hearer: str) -> str:
        """What the game adds to an offer for the seat that hears it."""
        return ""


@dataclass(frozen=True, slots=True)
class Move:
    """What the other seat did, as it was heard."""

    kind: Literal["say", "propose", "reject", "withdraw"]
    offer: Offer = None
    words: str = ""


def heard(observation: str, other: str, table: Table) -> Iterator[Move]:
    """What `other` did, read back from what was told to the seat opposite. Nothing that was said can be taken for it.

    Of an act that ended the game nothing is read.
    """
    for entry in entries(observation):
        name, _, done = entry.partition(" ")
        if name != other:
            continue
        verb, _, rest = done.partition(": ")
        if verb == "said":
            yield Move("say", words=rest)
        elif verb == "proposes":
            yield Move("propose", table.read(rest.partition(".")[0], other))
        elif done == "says nothing.":
            yield Move("say")
        elif done == "rejects.":
            yield Move("reject")
        elif done == "withdraws.":
            yield Move("withdraw")


@dataclass(frozen=True, slots=True)
class Valued:
    """An offer with what it is worth as far as one seat can know."""

    offer: Offer
    own: float
    """The own payoff, exactly."""
    other: float
    """The other's payoff: what is to be expected of it, or what follows from what the other said of itself."""


@dataclass(frozen=True)
class Knowledge(ABC):
    """What one seat knows of a task: the table, its own private part, and what is public of the other's.

    It is all that a scripted partner decides by; of the other's private part it holds nothing. It never changes.
    """

    seat: str
    other: str
    table: Table
    max_turns: int
    """Turns of the own seat in a game."""
    reservation: float
    """The share of the own best below which the seat does not go."""
    offer_form: str
    """An offer as an action, with {} for what is offered."""
    accept: str
    """The word for an acceptance."""
    reject: str
    """The word for a rejection."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @property
    @abstractmethod
    def best(self) -> float:
        """The most that the seat could hope for, more than 0."""

    @abstractmethod
    def own(self, offer: Offer) -> float:
        """The own payoff of an offer."""

    @abstractmethod
    def offers(self, moves: Sequence[Move], proposed: Sequence[Offer] = ()) -> Sequence[Valued]:
        """What the seat could propose, after the other has made `moves` and itself has `proposed` something in vain."""

    @abstractmethod
    def has_claimed(self, moves: Sequence[Move]) -> bool:
        """Whether the other has said what it has in words that `offers` understands."""

    @abstractmethod
    def claim(self) -> str:
        """The own private part in words that `offers` of the seat opposite understands. Without an act in it."""

    @abstractmethod
    def false_claim(self, rng: random.Random) -> str:
        """The same with another private part than the own."""

    def heard(self, observation: str) -> Iterator[Move]:
        """What the other did."""
        return heard(observation, self.other, self.table)

    def propose(self, offer: Offer) -> str:
        """The action that proposes `offer`."""
        return self.offer_form.format(self.table.word(offer, self.seat))
