"""Kuhn poker solved: values, best responses and exploitability as fractions, by the formulas and by the game's tree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from agentgym.envs.social.kuhn_poker_v0 import KuhnPoker, legal_actions
from agentgym.envs.social.kuhn_solution import DEALS, best_response, exploitability, value

from ..compare import Case, Report


def kuhn(path: Path) -> Iterator[Case]:
    """The adapter of a folder of pairs of policies."""
    for case in json.loads(path.read_text(encoding="utf-8")):
        yield Case(case["name"], partial(check_kuhn, case))


def check_kuhn(case: dict[str, Any], report: Report) -> None:
    """Equal as fractions; in floating point within the tolerance of all golden numbers."""
    policy = {name: Fraction(share) for name, share in (case["policy_0"] | case["policy_1"]).items()}
    report.same("value_0", value(policy), Fraction(case["value_0"]))
    report.same("value of the game's tree", value_in_game(KuhnPoker(), policy), Fraction(case["value_0"]))
    against = [best_response(policy, 1)[0], best_response(policy, 0)[0]]
    for seat in (0, 1):
        report.same(f"best_response_to_{seat}", against[seat], Fraction(case[f"best_response_to_{seat}"]))
    report.same("nash_conv", sum(against), Fraction(case["nash_conv"]))
    report.same("exploitability", exploitability(policy), Fraction(case["exploitability"]))
    rounded = exploitability({name: float(share) for name, share in policy.items()})
    report.number("exploitability", float(rounded), float(Fraction(case["exploitability"])))


def value_in_game(game: KuhnPoker, policy: dict[str, Fraction]) -> Fraction:
    """What the first seat earns on average in the game itself: all deals, all ways to play them."""
    total = Fraction(0)
    for deal in DEALS:
        game.reset(seed=0, options={"deal": deal})
        total += _from_here(game, policy)
    return total / len(DEALS)


def _from_here(game: KuhnPoker, policy: dict[str, Fraction]) -> Fraction:
    if game.is_over:
        return Fraction(game.infos["first"]["payoff"])
    aggressive = policy[name := game.infos[game.agent_selection]["state_key"]]
    state, total = game.snapshot(), Fraction(0)
    for share, action in zip((1 - aggressive, aggressive), legal_actions(name), strict=True):
        game.restore(state)
        game.step(f"[{action}]")
        total += share * _from_here(game, policy)
    return total
