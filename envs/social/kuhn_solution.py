"""Kuhn poker solved: values, best responses, exploitability, equilibria and averages of policies, exactly.

H. W. Kuhn, "A simplified two-person poker", 1950. Three cards J < Q < K, one for each of two seats, an ante of 1 and
one bet of 1. A history is what was done, in order: p for a check or fold, b for a bet or call. An information set is
"CARD:HISTORY" as the seat that is to act knows it. The value of the game is −1/18 for the first seat.

A policy gives the probability of the aggressive action (bet or call) at each information set. All functions are exact:
with `Fraction`s in, `Fraction`s come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import permutations, product
from typing import TypeAlias

Number: TypeAlias = float | Fraction
Policy: TypeAlias = Mapping[str, Number]
"""The probability of the aggressive action by information set: of a seat's six, or of all twelve."""

CARDS = "JQK"
"""From the lowest to the highest."""
DEALS: tuple[str, ...] = tuple("".join(pair) for pair in permutations(CARDS, 2))
"""The first seat's card and the second's."""
HISTORIES: tuple[tuple[str, ...], tuple[str, ...]] = (("", "pb"), ("p", "b"))
"""The histories after which each seat acts."""
INFORMATION_SETS: tuple[tuple[str, ...], tuple[str, ...]] = (
    tuple(f"{card}:{history}" for card in CARDS for history in HISTORIES[0]),
    tuple(f"{card}:{history}" for card in CARDS for history in HISTORIES[1]),
)
"""The six of the first seat and the six of the second."""
VALUE = Fraction(-1, 18)
"""What the first seat earns on average where both play an equilibrium, in chips a hand."""


def payoff(deal: str, history: str) -> int | None:
    """What the first seat wins in chips once the hand is over, else None; the second seat loses as much."""
    if history == "bp":
        return 1
    if history == "pbp":
        return -1
    if history in ("pp", "bb", "pbb"):
        stake = 1 if history == "pp" else 2
        return stake if CARDS.index(deal[0]) > CARDS.index(deal[1]) else -stake
    return None


def value(policy: Policy) -> Number:
    """What the first seat wins on average in chips a hand. `policy` has all twelve information sets."""
    return _sum(_expected(deal, "", policy) for deal in DEALS) / len(DEALS)


def best_response(policy: Policy, seat: int) -> tuple[Number, dict[str, int]]:
    """The most that `seat` (0 or 1) can win on average against the other seat's `policy`, and a policy that does.

    Where both actions win as much the passive one is taken.
    """
    won: Number = Fraction(0)
    response: dict[str, int] = {}
    for card in CARDS:  # what is done with one card changes nothing of what another earns
        best, choice = max(
            ((_with_card(card, seat, {**policy, **pure}), pure) for pure in _pure_policies(card, seat)),
            key=lambda found: found[0],
        )
        won += best
        response |= choice
    return won, response


def exploitability(policy: Policy) -> Number:
    """How much a best response to each seat's part of `policy` wins on average: 0 exactly at equilibria.

    Half of NashConv: the two best responses' winnings are added and halved. `policy` has all twelve information sets.
    """
    return (best_response(policy, 0)[0] + best_response(policy, 1)[0]) / 2


def equilibrium(alpha: Number = Fraction(1, 6)) -> dict[str, Number]:
    """The equilibrium in which the first seat bets the jack with probability `alpha`, in [0, 1/3]: there is one each.

    The second seat plays the same in all of them. Raises `ValueError` for another `alpha`.
    """
    if not 0 <= alpha <= Fraction(1, 3):
        raise ValueError(f"alpha must be in [0, 1/3], not {alpha}")
    third = Fraction(1, 3)
    first: dict[str, Number] = {"J:": alpha, "J:pb": 0, "Q:": 0, "Q:pb": alpha + third, "K:": 3 * alpha, "K:pb": 1}
    second: dict[str, Number] = {"J:p": third, "J:b": 0, "Q:p": 0, "Q:b": third, "K:p": 1, "K:b": 1}
    return first | second


def constant_policy(aggressive: Number) -> dict[str, Number]:
    """The policy that bets or calls with one probability, whatever it holds: 0 never, 1 always, 1/2 uniform."""
    return dict.fromkeys(INFORMATION_SETS[0] + INFORMATION_SETS[1], aggressive)


def average_policy(policies: Sequence[Policy]) -> dict[str, Number]:
    """The policy that plays as if one of `policies` were drawn before each hand and kept for it.

    This is the average that fictitious play and CFR converge with: at an information set each policy weighs as much as
    it is likely to get there by its own earlier acts (its realization weight). Only the first seat acts twice, so only
    its "pb" sets weigh, by the probability of the check; where no policy ever checks, plainly. It earns against any
    other policy exactly the mean of what `policies` earn. Raises `ValueError` without any policy.
    """
    return {name: _mean(policies, name, by_realization=True) for name in _common(policies)}


def mean_policy(policies: Sequence[Policy]) -> dict[str, Number]:
    """The plain mean of the tables: what social.md §2.8 measured of self-play.

    It differs from `average_policy` at the first seat's "pb" sets alone. Raises `ValueError` without any policy.
    """
    return {name: _mean(policies, name, by_realization=False) for name in _common(policies)}


def _common(policies: Sequence[Policy]) -> Iterator[str]:
    if not policies:
        raise ValueError("an average needs at least one policy")
    return iter(policies[0])


def _mean(policies: Sequence[Policy], name: str, *, by_realization: bool) -> Number:
    card, _, history = name.partition(":")
    weights: list[Number] = [1] * len(policies)
    if by_realization and history == "pb":
        weights = [1 - policy[f"{card}:"] for policy in policies]
        if not any(weights):
            weights = [1] * len(policies)
    return _sum(w * policy[name] for w, policy in zip(weights, policies, strict=True)) / _sum(iter(weights))


def _expected(deal: str, history: str, policy: Policy) -> Number:
    won = payoff(deal, history)
    if won is not None:
        return won
    aggressive = policy[f"{deal[len(history) % 2]}:{history}"]
    passive = 1 - aggressive
    # A branch that is never taken is not entered: a policy need not say what it would do there.
    return (aggressive * _expected(deal, history + "b", policy) if aggressive else 0) + (
        passive * _expected(deal, history + "p", policy) if passive else 0
    )


def _with_card(card: str, seat: int, policy: Policy) -> Number:
    """What `seat` wins with `card`, weighted by how often it holds it."""
    won = _sum(_expected(deal, "", policy) for deal in DEALS if deal[seat] == card) / len(DEALS)
    return -won if seat else won


def _pure_policies(card: str, seat: int) -> Iterator[dict[str, int]]:
    names = [f"{card}:{history}" for history in HISTORIES[seat]]
    for actions in product((0, 1), repeat=len(names)):
        yield dict(zip(names, actions, strict=True))


def _sum(values: Iterator[Number]) -> Number:
    total: Number = Fraction(0)
    for added in values:
        total += added
    return total
