"""The rules of matrix games: who decides when in a round, between what, and what each then earns.

Kinds: the prisoner's dilemma, the stag hunt, matching pennies, rock paper scissors, public goods with n seats, and the
ultimatum game. Payoffs are drawn with the task; options of `reset` fix them. Seats are numbered here.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

Decisions = Mapping[int, str]
"""What was decided in a round, by seat."""


class MatrixRules(ABC):
    """One round of a game, with its payoffs drawn."""

    zero_sum: ClassVar[bool] = False

    @property
    @abstractmethod
    def task(self) -> str:
        """The payoffs in short: two games with the same are the same task."""

    @abstractmethod
    def words(self, names: Sequence[str]) -> str:
        """The payoffs in words."""

    @abstractmethod
    def deciding(self, decided: Decisions, number: int) -> tuple[int, ...]:
        """The seats that decide next, at once, in round `number` (from 0); empty when the round is over."""

    @abstractmethod
    def choices(self, seat: int, decided: Decisions) -> list[str]:
        """What the seat decides between."""

    @abstractmethod
    def default(self, seat: int, decided: Decisions) -> str:
        """The decision of a seat that does not decide."""

    @abstractmethod
    def best_for_all(self, seat: int, decided: Decisions) -> str:
        """The seat's part in the best total, shared as evenly as may be."""

    @abstractmethod
    def payoffs(self, decided: Decisions) -> tuple[Fraction, ...]:
        """What each seat earns in a round."""

    @abstractmethod
    def is_efficient(self, decided: Decisions) -> bool:
        """The round's outcome is on the Pareto frontier: no other gives one seat more and none less."""

    @property
    @abstractmethod
    def bounds(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """For each seat what it earns in a round without agreement, or at the worst in a game of nothing else; and
        the most it can earn."""

    @property
    @abstractmethod
    def nash(self) -> tuple[int, ...]:
        """What each seat earns where the product of gains over no agreement is best, rounded down."""

    @property
    @abstractmethod
    def best_total(self) -> Fraction:
        """The most that all earn together in a round."""

    def read(self, seat: int, decided: Decisions, text: str) -> str | None:
        """The last of the choices that stands in square brackets, in whatever case; None where none does."""
        choices = set(self.choices(seat, decided))
        found = [said for said in map(str.lower, _BRACKETED.findall(text)) if said in choices]
        return found[-1] if found else None


_BRACKETED = re.compile(r"\[[ \t]?([^\[\]\s](?:[^\[\]]{0,20}[^\[\]\s])?)[ \t]?\]")


@dataclass(frozen=True)
class TableGame(MatrixRules):
    """Two seats, one choice each, and a table of what they earn."""

    names: tuple[str, ...]
    """The choices; the first is the seat's part in the best total, the last its default."""
    table: tuple[tuple[tuple[int, int], ...], ...]
    """By the choices of both seats: what both earn."""

    @property
    def task(self) -> str:
        """See `MatrixRules.task`."""
        return " ".join(f"{a},{b}" for row in self.table for a, b in row)

    def words(self, names: Sequence[str]) -> str:
        """See `MatrixRules.words`."""
        cells = [
            f"{mine}, {theirs}: {a} and {b}"
            for mine, row in zip(self.names, self.table, strict=True)
            for theirs, (a, b) in zip(self.names, row, strict=True)
        ]
        return f"What {names[0]} and {names[1]} choose, and what they earn: {'; '.join(cells)}."

    def deciding(self, decided: Decisions, number: int) -> tuple[int, ...]:
        """Both at once."""
        return tuple(seat for seat in (0, 1) if seat not in decided)

    def choices(self, seat: int, decided: Decisions) -> list[str]:
        """See `MatrixRules.choices`."""
        return list(self.names)

    def default(self, seat: int, decided: Decisions) -> str:
        """See `MatrixRules.default`."""
        return self.names[-1]

    def best_for_all(self, seat: int, decided: Decisions) -> str:
        """See `MatrixRules.best_for_all`."""
        return self.names[0]

    def payoffs(self, decided: Decisions) -> tuple[Fraction, ...]:
        """See `MatrixRules.payoffs`."""
        a, b = self.table[self.names.index(decided[0])][self.names.index(decided[1])]
        return Fraction(a), Fraction(b)

    def is_efficient(self, decided: Decisions) -> bool:
        """See `MatrixRules.is_efficient`."""
        mine, theirs = self.payoffs(decided)
        cells = [cell for row in self.table for cell in row]
        return not any(a >= mine and b >= theirs and (a > mine or b > theirs) for a, b in cells)

    @property
    def bounds(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """See `MatrixRules.bounds`."""
        earned = [[Fraction(cell[seat]) for row in self.table for cell in row] for seat in (0, 1)]
        return tuple((Fraction(self.table[-1][-1][seat]), max(earned[seat])) for seat in (0, 1))

    @property
    def nash(self) -> tuple[int, ...]:
        """See `MatrixRules.nash`."""
        return self.table[0][0]

    @property
    def best_total(self) -> Fraction:
        """See `MatrixRules.best_total`."""
        return Fraction(max(a + b for row in self.table for a, b in row))


@dataclass(frozen=True)
class ZeroSumGame(TableGame):
    """A table in which one seat's gain is the other's loss. The best that either can make sure of is 0 on average."""

    zero_sum: ClassVar[bool] = True

    @property
    def bounds(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """See `MatrixRules.bounds`."""
        most = Fraction(max(abs(a) for row in self.table for a, _ in row))
        return ((-most, most), (-most, most))

    @property
    def nash(self) -> tuple[int, ...]:
        """Nothing: there is nothing to agree on."""
        return (0, 0)


@dataclass(frozen=True)
class PublicGoods(MatrixRules):
    """Each seat keeps what it likes of its endowment; what is given is multiplied and shared by all."""

    n_seats: int
    endowment: int
    factor: Fraction
    """More than 1 and less than `n_seats`: giving costs the giver and is good for all together."""

    @property
    def task(self) -> str:
        """See `MatrixRules.task`."""
        return f"{self.n_seats} {self.endowment} {self.factor}"

    def words(self, names: Sequence[str]) -> str:
        """See `MatrixRules.words`."""
        return (
            f"Each has {self.endowment} a round. What all give is multiplied by {float(self.factor):g} and shared "
            f"among the {self.n_seats} in equal parts, and what a player does not give it keeps."
        )

    def deciding(self, decided: Decisions, number: int) -> tuple[int, ...]:
        """All at once."""
        return tuple(seat for seat in range(self.n_seats) if seat not in decided)

    def choices(self, seat: int, decided: Decisions) -> list[str]:
        """See `MatrixRules.choices`."""
        return [str(given) for given in range(self.endowment + 1)]

    def default(self, seat: int, decided: Decisions) -> str:
        """See `MatrixRules.default`."""
        return "0"

    def best_for_all(self, seat: int, decided: Decisions) -> str:
        """See `MatrixRules.best_for_all`."""
        return str(self.endowment)

    def payoffs(self, decided: Decisions) -> tuple[Fraction, ...]:
        """See `MatrixRules.payoffs`."""
        given = [int(decided[seat]) for seat in range(self.n_seats)]
        share = self.factor * sum(given) / self.n_seats
        return tuple(self.endowment - own + share for own in given)

    def is_efficient(self, decided: Decisions) -> bool:
        """See `MatrixRules.is_efficient`.

        If the k seats that kept something gave 1 more each, all would have k·factor/n more, and these k would pay 1
        for it: worse for none exactly where k·factor ≥ n, and then better for some, since factor > 1. Where it is
        less no other change is better: whoever gives more must have it back from what k seats can add.
        """
        keeping = sum(int(decided[seat]) < self.endowment for seat in range(self.n_seats))
        return keeping * self.factor < self.n_seats

    @property
    def bounds(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """See `MatrixRules.bounds`."""
        free_ride = self.endowment + self.factor * self.endowment * (self.n_seats - 1) / self.n_seats
        return ((Fraction(self.endowment), free_ride),) * self.n_seats

    @property
    def nash(self) -> tuple[int, ...]:
        """See `MatrixRules.nash`."""
        return (int(self.factor * self.endowment),) * self.n_seats

    @property
    def best_total(self) -> Fraction:
        """See `MatrixRules.best_total`."""
        return self.factor * self.endowment * self.n_seats


@dataclass(frozen=True)
class Ultimatum(MatrixRules):
    """One seat offers a part of the pool, which the other accepts; or rejects, and nobody gets anything."""

    pool: int
    alternates: bool
    """The proposer changes from round to round; else it is seat 0."""

    @property
    def task(self) -> str:
        """See `MatrixRules.task`."""
        return f"{self.pool} {'in turn' if self.alternates else 'one'}"

    def words(self, names: Sequence[str]) -> str:
        """See `MatrixRules.words`."""
        who = f"the players offer in turn, {names[0]} first" if self.alternates else f"{names[0]} always offers"
        return f"There are {self.pool} to share in each round, and {who}."

    def proposer(self, number: int) -> int:
        """Who offers in round `number`."""
        return number % 2 if self.alternates else 0

    def deciding(self, decided: Decisions, number: int) -> tuple[int, ...]:
        """The proposer, then the other."""
        proposer = self.proposer(number)
        return () if len(decided) == 2 else ((1 - proposer,) if decided else (proposer,))

    def choices(self, seat: int, decided: Decisions) -> list[str]:
        """See `MatrixRules.choices`."""
        return ["accept", "reject"] if decided else [f"offer {part}" for part in range(self.pool + 1)]

    def default(self, seat: int, decided: Decisions) -> str:
        """See `MatrixRules.default`."""
        return "reject" if decided else "offer 0"

    def best_for_all(self, seat: int, decided: Decisions) -> str:
        """See `MatrixRules.best_for_all`."""
        return "accept" if decided else f"offer {self.pool // 2}"

    @staticmethod
    def offered(decided: Decisions) -> int:
        """What was offered."""
        return next(int(said.removeprefix("offer ")) for said in decided.values() if said.startswith("offer "))

    def payoffs(self, decided: Decisions) -> tuple[Fraction, ...]:
        """See `MatrixRules.payoffs`."""
        offered = self.offered(decided) if "accept" in decided.values() else None
        if offered is None:
            return Fraction(0), Fraction(0)
        responder = next(seat for seat, said in decided.items() if said == "accept")
        parts = (Fraction(self.pool - offered), Fraction(offered))
        return parts if responder == 1 else parts[::-1]

    def is_efficient(self, decided: Decisions) -> bool:
        """See `MatrixRules.is_efficient`."""
        return "accept" in decided.values()

    @property
    def bounds(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """See `MatrixRules.bounds`."""
        return ((Fraction(0), Fraction(self.pool)),) * 2

    @property
    def nash(self) -> tuple[int, ...]:
        """See `MatrixRules.nash`."""
        return (self.pool // 2,) * 2

    @property
    def best_total(self) -> Fraction:
        """See `MatrixRules.best_total`."""
        return Fraction(self.pool)

    def read(self, seat: int, decided: Decisions, text: str) -> str | None:
        """Also takes "[Offer: $3]"."""
        return super().read(seat, decided, _OFFER.sub(r"[offer \1]", text))


_OFFER = re.compile(r"\[\s?offer\s?:?\s?\$?\s?0{0,3}(\d{1,4})\s?\]", re.IGNORECASE | re.ASCII)


def prisoners_dilemma(rng: np.random.Generator, options: Mapping[str, Any]) -> TableGame:
    """Temptation > reward > punishment > sucker's payoff, and twice the reward is more than one of each other.

    `options["payoffs"]`: reward, temptation, sucker's payoff, punishment, such as (3, 5, 0, 1).
    """
    while True:
        sucker = int(rng.integers(0, 4))
        punishment = sucker + int(rng.integers(1, 4))
        reward = punishment + int(rng.integers(1, 4))
        temptation = reward + int(rng.integers(1, 4))
        if 2 * reward > temptation + sucker:
            break
    reward, temptation, sucker, punishment = options.get("payoffs", (reward, temptation, sucker, punishment))
    if not (temptation > reward > punishment > sucker and 2 * reward > temptation + sucker):
        raise ValueError(f"payoffs must be those of a dilemma, such as (3, 5, 0, 1), not {options['payoffs']}")
    table = (((reward, reward), (sucker, temptation)), ((temptation, sucker), (punishment, punishment)))
    return TableGame(("cooperate", "defect"), table)


def stag_hunt(rng: np.random.Generator, options: Mapping[str, Any]) -> TableGame:
    """Two pure equilibria: both hunt the stag, which is best for both, or both the hare, which is safe."""
    stag = int(rng.integers(4, 10))
    hares = int(rng.integers(1, stag))
    alone = int(rng.integers(hares, stag))
    failed = int(rng.integers(0, hares))
    return TableGame(("stag", "hare"), (((stag, stag), (failed, alone)), ((alone, failed), (hares, hares))))


def matching_pennies(rng: np.random.Generator, options: Mapping[str, Any]) -> ZeroSumGame:
    """The first seat wins the stake with equal sides, the second with unequal ones. Best play is uniform."""
    stake = int(rng.integers(1, 10))
    return ZeroSumGame(("tails", "heads"), _zero_sum([[stake, -stake], [-stake, stake]]))


def rock_paper_scissors(rng: np.random.Generator, options: Mapping[str, Any]) -> ZeroSumGame:
    """Paper beats rock, scissors beat paper, rock beats scissors. Best play is uniform."""
    stake = int(rng.integers(1, 10))
    rows = [[stake * ((mine - theirs + 1) % 3 - 1) for theirs in range(3)] for mine in range(3)]
    return ZeroSumGame(("rock", "paper", "scissors"), _zero_sum(rows))


def _zero_sum(rows: Iterable[Iterable[int]]) -> tuple[tuple[tuple[int, int], ...], ...]:
    return tuple(tuple((won, -won) for won in row) for row in rows)


def public_goods(rng: np.random.Generator, options: Mapping[str, Any], n_seats: int) -> PublicGoods:
    """An endowment of 4 to 20, and a factor in tenths between 1 and the number of seats; options of these names."""
    factor = Fraction(options.get("factor", Fraction(int(rng.integers(11, 10 * n_seats)), 10)))
    if not 1 < factor < n_seats:
        raise ValueError(f"factor must be between 1 and the {n_seats} seats, not {options['factor']}")
    return PublicGoods(n_seats, int(options.get("endowment", rng.integers(4, 21))), factor)


def ultimatum(rng: np.random.Generator, options: Mapping[str, Any]) -> Ultimatum:
    """A pool of 5 to 60, offered by one or in turn. `options["pool"]` and `options["alternates"]` fix them."""
    pool, alternates = int(rng.integers(5, 61)), bool(rng.integers(2))
    return Ultimatum(int(options.get("pool", pool)), bool(options.get("alternates", alternates)))


KINDS: Mapping[str, Callable[..., MatrixRules]] = {
    "prisoners_dilemma": prisoners_dilemma,
    "stag_hunt": stag_hunt,
    "matching_pennies": matching_pennies,
    "rock_paper_scissors": rock_paper_scissors,
    "public_goods": public_goods,
    "ultimatum": ultimatum,
}
"""What draws the payoffs of each kind: from a generator and options, public goods also from `n_seats`."""


def best_mixed_against(rules: TableGame, seat: int, mixed: Mapping[str, float]) -> float:
    """The most that the other seat of a `TableGame` earns a round on average against the seat's mixed choice.

    `mixed`: a probability for each choice. In a zero-sum game this is what the mixed choice can be exploited by.
    """
    earned = []
    for answer in rules.names:
        each = ((share, {seat: choice, 1 - seat: answer}) for choice, share in mixed.items())
        earned.append(sum(float(rules.payoffs(decided)[1 - seat]) * share for share, decided in each))
    return max(earned)
