"""Scripted partners of matrix games. They know what everybody knows: what was decided in earlier rounds."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from agentgym.envs.social.matrix_rules import Decisions, MatrixRules, Ultimatum


class MatrixPartner(ABC):
    """A partner that decides by a rule, and says one sentence where there is talk."""

    words: str = ""

    def __init__(self) -> None:
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `StatefulPartner.reset`."""
        self.rng = random.Random(seed)

    def sit(self, game: Any, seat: str) -> None:
        """See `SeatedPartner.sit`."""
        self._game, self._seat = game, game.possible_agents.index(seat)

    def __call__(self, observation: str, info: dict[str, Any]) -> str:
        """See `Partner`."""
        if self._game.is_talking:
            return self.words
        # Of this round it looks at what has been told: an offer, never what is decided at once with it.
        return f"[{self.decide(self._game.rules, self._seat, self._game.history, self._game.told_decisions)}]"

    @abstractmethod
    def decide(self, rules: MatrixRules, seat: int, history: Sequence[Decisions], decided: Decisions) -> str:
        """One of `rules.choices(seat, decided)`. `history`: the rounds that are over."""


class Cooperative(MatrixPartner):
    """Does its part in the best total, shared evenly; accepts whatever it is offered."""

    words = "Let us both do what is best for both."

    def decide(self, rules: MatrixRules, seat: int, history: Sequence[Decisions], decided: Decisions) -> str:
        """See `MatrixPartner.decide`."""
        return rules.best_for_all(seat, decided)


class Selfish(MatrixPartner):
    """Plays what is best in the last round whatever the other does: defects, gives nothing, offers 1, accepts 1."""

    words = "I look after myself."

    def decide(self, rules: MatrixRules, seat: int, history: Sequence[Decisions], decided: Decisions) -> str:
        """See `MatrixPartner.decide`."""
        if isinstance(rules, Ultimatum):
            return _accept_from(1, rules, decided) if decided else "offer 1"
        return rules.default(seat, decided)


class Uniform(MatrixPartner):
    """Draws among its choices."""

    def decide(self, rules: MatrixRules, seat: int, history: Sequence[Decisions], decided: Decisions) -> str:
        """See `MatrixPartner.decide`."""
        return self.rng.choice(rules.choices(seat, decided))


class Always(MatrixPartner):
    """Decides the same in every round."""

    def __init__(self, choice: str):
        self.choice = choice
        super().__init__()

    def decide(self, rules: MatrixRules, seat: int, history: Sequence[Decisions], decided: Decisions) -> str:
        """See `MatrixPartner.decide`."""
        return self.choice if self.choice in rules.choices(seat, decided) else rules.default(seat, decided)


class Mixed(MatrixPartner):
    """Does its part in the best total with a probability, else its default."""

    def __init__(self, probability: float):
        """`probability` in [0, 1]."""
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], not {probability}")
        self.probability = probability
        super().__init__()

    def decide(self, rules: MatrixRules, seat: int, history: Sequence[Decisions], decided: Decisions) -> str:
        """See `MatrixPartner.decide`."""
        return (rules.best_for_all if self.rng.random() < self.probability else rules.default)(seat, decided)


class TitForTat(MatrixPartner):
    """Begins with its part in the best total, and then does what was done to it in the round before.

    Among several others it gives what they gave on average. It offers what it was offered last, and accepts no less.
    """

    words = "I do to you as you do to me."

    def decide(self, rules: MatrixRules, seat: int, history: Sequence[Decisions], decided: Decisions) -> str:
        """See `MatrixPartner.decide`."""
        if isinstance(rules, Ultimatum):
            fair = next((rules.offered(past) for past in reversed(history) if _responds(seat, past)), rules.pool // 2)
            return _accept_from(fair, rules, decided) if decided else f"offer {fair}"
        if not history:
            return rules.best_for_all(seat, decided)
        others = [done for who, done in history[-1].items() if who != seat]
        return others[0] if len(others) == 1 else str(round(sum(map(int, others)) / len(others)))


class WinStayLoseShift(MatrixPartner):
    """Decides as in the round before if that earned it its share of the best total, or in a game of luck anything.

    Else it changes: to the next of its choices, from all to nothing; after a rejection it offers 1 more, and it accepts
    1 less than it last refused.
    """

    words = "I go on with what works."

    def decide(self, rules: MatrixRules, seat: int, history: Sequence[Decisions], decided: Decisions) -> str:
        """See `MatrixPartner.decide`."""
        mine = [past for past in history if not isinstance(rules, Ultimatum) or _responds(seat, past) == bool(decided)]
        if isinstance(rules, Ultimatum):
            if decided:
                refused = sum(past[seat] == "reject" for past in mine)
                return _accept_from(max(1, rules.pool // 2 - refused), rules, decided)
            rejected = sum("reject" in past.values() for past in mine)
            return f"offer {min(rules.pool, 1 + rejected)}"
        if not mine:
            return rules.best_for_all(seat, decided)
        last = mine[-1][seat]
        earned = rules.payoffs(mine[-1])[seat]
        if earned > 0 if rules.zero_sum else earned >= rules.nash[seat]:
            return last
        ends = [rules.best_for_all(seat, decided), rules.default(seat, decided)]
        choices = rules.choices(seat, decided) if rules.zero_sum else ends
        return choices[(choices.index(last) + 1) % len(choices)] if last in choices else choices[0]


def _responds(seat: int, past: Decisions) -> bool:
    return past[seat] in ("accept", "reject")


def _accept_from(least: int, rules: Ultimatum, decided: Decisions) -> str:
    return "accept" if rules.offered(decided) >= least else "reject"
