"""Kuhn poker: one hand an episode, with chips that are really bet. `kuhn_solution` says what best play earns.

There are only six deals, so the splits hash the number of the hand, a draw that makes two hands two tasks whatever is
dealt: every split has every deal. How good a policy is says its exploitability, which needs no held-out tasks.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np

from agentgym.envs.multi_agent import Partner, Played, TextAECEnv
from agentgym.envs.social.faces import faces
from agentgym.envs.social.kuhn_solution import DEALS, VALUE, Policy, constant_policy, equilibrium, payoff
from agentgym.envs.splits import split_of

SEATS = ("first", "second")
_OTHER = {"first": "second", "second": "first"}
_CARDS = {"J": "jack", "Q": "queen", "K": "king"}
_RULES = """\
Kuhn poker. The cards are jack < queen < king. You and the other player have each put 1 chip into the pot and hold one \
card. A player may [check] or [bet] 1 chip. After a bet the other may [fold], which loses the pot, or [call] with \
1 chip, and the higher card wins the pot. After two checks the higher card wins it too. You are the {seat} to act. \
Answer with one action in square brackets. Two answers in a row without a legal one lose 2 chips."""
_CHOICES = {
    "": "[check] or [bet].",
    "p": "The other player checks. [check] or [bet].",
    "b": "The other player bets. [fold] or [call].",
    "pb": "You checked, and the other player bets. [fold] or [call].",
}
"""What the seat that is to act is told, by history."""


def legal_actions(history: str) -> tuple[str, str]:
    """The passive and the aggressive action after a history of `kuhn_solution`."""
    return ("fold", "call") if history.endswith("b") else ("check", "bet")


class PolicyPartner:
    """A partner that plays a policy of `kuhn_solution` in either seat: any checkpoint's, or a best response to it."""

    def __init__(self, policy: Policy):
        self.policy = policy
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `StatefulPartner.reset`."""
        self._rng = random.Random(seed)

    def __call__(self, observation: str, info: dict[str, Any]) -> str:
        """See `Partner`."""
        name = info["state_key"]
        aggressive = self._rng.random() < self.policy[name]
        return f"[{legal_actions(name)[aggressive]}]"


class EquilibriumPartner(PolicyPartner):
    """A partner that plays an equilibrium, whose α is drawn for each hand."""

    def __init__(self) -> None:
        super().__init__({})

    def reset(self, seed: int) -> None:
        """See `StatefulPartner.reset`."""
        super().reset(seed)
        self.policy = equilibrium(self._rng.random() / 3)


class KuhnPoker(TextAECEnv):
    """One hand. A seat's reward is what it wins in chips, −2 to 2.

    The same information set has the same observation and the same `state_key`, which is its name in `kuhn_solution`,
    such as "J:pb". A refused answer is asked again, once: then the key has a question mark at its end.
    """

    possible_agents = list(SEATS)  # noqa: RUF012 - as in the base class
    instructions = {seat: _RULES.format(seat=seat) for seat in SEATS}  # noqa: RUF012
    task_types = ("kuhn poker",)
    zero_sum = True
    partners: ClassVar[Mapping[str, Callable[[], Partner]]] = {
        "equilibrium": EquilibriumPartner,
        "aggressive": partial(PolicyPartner, constant_policy(1)),
        "passive": partial(PolicyPartner, constant_policy(0)),
        "uniform": partial(PolicyPartner, constant_policy(0.5)),
    }
    mixture: ClassVar[Mapping[str, float]] = {"equilibrium": 0.4, "uniform": 0.2, "aggressive": 0.2, "passive": 0.2}

    def __init__(self, *, split: str = "train", max_turns: int = 4, render_mode: str | None = None):
        """`max_turns`: with 4, two decisions and for each an answer that was refused, every hand is played out."""
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        """`options["deal"]`, such as "JQ", gives the first seat's card and the second's."""
        while True:
            number = f"kuhn/{rng.integers(1_000_000)}"
            if split_of(number) == self.split:
                break
        self._deal = str(options.get("deal", DEALS[rng.integers(len(DEALS))]))
        if self._deal not in DEALS:
            raise ValueError(f"a deal is one of {', '.join(DEALS)}, not {self._deal!r}")
        self._task_id = f"{number}/{self._deal}"
        self._history = ""
        self._refused = False
        self._won: Mapping[str, int] | None = None
        return {"first": f"{self._private('first')} {_CHOICES['']}", "second": self._private("second")}

    def look_alikes(self, seat: str) -> list[dict[str, Any]]:
        """See `TextAECEnv.look_alikes`."""
        return [{"deal": deal} for deal in DEALS if deal[SEATS.index(seat)] == "Q"]

    def _to_act(self) -> tuple[str]:
        return (SEATS[len(self._history) % 2],)

    def _act(self, seat: str, action: str) -> Played:
        legal = legal_actions(self._history)
        said = _said(action)
        if said not in legal:
            return self._refuse(seat, legal)
        self._refused = False
        self._history += "b" if said == legal[1] else "p"
        won = payoff(self._deal, self._history)
        if won is None:
            return Played({_OTHER[seat]: _CHOICES[self._history]})
        if said == "fold":
            told = {_OTHER[seat]: "The other player folds.", seat: "You fold."}
        else:
            told = {who: f"The other player holds the {_CARDS[self._card(_OTHER[who])]}." for who in SEATS}
        return self._end({"first": won, "second": -won}, told)

    def _refuse(self, seat: str, legal: tuple[str, str]) -> Played:
        other = _OTHER[seat]
        if self._refused:
            # As much as the worst hand: were it one chip, whoever wants to fold might as well answer anything.
            told = {seat: "You forfeit.", other: "The other player forfeits."}
            return self._end({seat: -2, other: 2}, told, is_action_valid=False)
        self._refused = True
        told = {seat: f"Not understood: answer with [{legal[0]}] or [{legal[1]}]."}
        return Played(told, is_action_valid=False)

    def _end(self, won: Mapping[str, int], told: Mapping[str, str], *, is_action_valid: bool = True) -> Played:
        self._won = won
        return Played(
            {seat: f"{text} {_in_words(won[seat])}" for seat, text in told.items()},
            rewards={seat: float(chips) for seat, chips in won.items()},
            terminated=True,
            is_action_valid=is_action_valid,
        )

    def _situation(self, seat: str) -> dict[str, Any]:
        won = self._won[seat] if self._won else 0
        acts = self._won is None and seat == self._to_act()[0]
        return {
            "success": won > 0,
            "task_id": self._task_id,
            "task_type": "kuhn poker",
            "task": self._private(seat),
            "state_key": f"{self._card(seat)}:{self._history}{'?' * (acts and self._refused)}",
            "admissible_actions": [f"[{name}]" for name in legal_actions(self._history)] if acts else [],
            "score": (won + 2) / 4 if self._won else 0.0,
            "payoff": float(won),
            "optimum": {"value": float(VALUE if seat == "first" else -VALUE)},
        }

    def _private(self, seat: str) -> str:
        return f"You hold the {_CARDS[self._card(seat)]}."

    def _card(self, seat: str) -> str:
        return self._deal[SEATS.index(seat)]

    def expert(self, seat: str) -> str:
        """The equilibrium with α = 1/6; what it mixes is drawn from the task, so that asking twice changes nothing."""
        name = f"{self._card(seat)}:{self._history}"
        digest = blake2b(f"{self._task_id} {name}".encode(), digest_size=8).digest()
        aggressive = int.from_bytes(digest) / 2**64 < _EXPERT[name]
        return f"[{legal_actions(self._history)[aggressive]}]"


_EXPERT = equilibrium()


def _said(action: str) -> str:
    """The first action that stands in square brackets, in whatever case; "" where there is none."""
    found = re.search(r"\[\s?(check|bet|call|fold)\s?\]", action, re.IGNORECASE | re.ASCII)
    return found[1].lower() if found else ""


def _in_words(chips: int) -> str:
    return f"You {'win' if chips > 0 else 'lose'} {abs(chips)} chip{'s' * (abs(chips) > 1)}."


env, raw_env, parallel_env = faces(KuhnPoker)
