"""Bargaining over items, solved by the data set's official code; and TextArena's trades."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from agentgym.envs.social.bargaining_v0 import (
    NOUNS,
    Bargaining,
    Counts,
    Scenario,
    all_orders,
    divisions,
    scenarios,
    solve,
    worth,
)
from agentgym.envs.social.bargaining_v0 import Task as Items
from agentgym.envs.social.resource_trade_v0 import GOODS, Amounts, ResourceTrade, name, read_trade
from agentgym.envs.social.resource_trade_v0 import Task as Stocks

from ..compare import Case, Report


def bargaining(path: Path) -> Iterator[Case]:
    """The adapter of the folder: how many scenarios there are, and what each of some comes to."""
    golden = json.loads(path.read_text(encoding="utf-8"))
    yield Case("scenarios", partial(check_scenarios, golden["scenarios"]))
    for index, case in enumerate(golden["cases"]):
        yield Case(f"[{index}] {case['counts']} {case['values']}", partial(check_scenario, case))


def check_scenarios(count: int, report: Report) -> None:
    """How many ordered scenarios the generator's canonical forms stand for."""
    report.same("scenarios", sum(1 for scenario in scenarios(3) for _ in all_orders(scenario)), count)


def check_scenario(case: dict[str, Any], report: Report) -> None:
    """The references of a scenario, and what the game pays for the selections."""
    scenario = Scenario(tuple(case["counts"]), (tuple(case["values"][0]), tuple(case["values"][1])))
    known = {other.canonical() for other in scenarios(3)}
    report.same("is generated", scenario.canonical() in known, True)
    best, takes = solve(scenario), divisions(scenario.counts)
    totals = {take: sum(payoffs(scenario, take)) for take in takes}
    report.same("divisions", len(takes), case["divisions"])
    report.same("totals", sorted(set(totals.values())), case["totals"])
    report.number("best_own", best.best_own, case["best_own"])
    report.number("best_total", best.best_total, case["best_total"])
    report.number("best_minimum", best.best_minimum, case["best_minimum"])
    report.number("best_nash_product", best.best_product, case["best_nash_product"])
    report.number("pareto", list(best.frontier), case["pareto"])
    report.number("nash", best.nash, [min(point[i] for point in case["nash_points"]) for i in (0, 1)])
    at_best = sorted(list(take) for take, total in totals.items() if total == case["best_total"])
    report.same("divisions_of_best_total", at_best, sorted(case["divisions_of_best_total"]))
    for number, selection in enumerate(case["selections"]):
        check_selection(scenario, selection, f"selection {number}", report)


def check_selection(scenario: Scenario, selection: dict[str, Any], place: str, report: Report) -> None:
    """Claims that add up are a deal: proposed by the first and accepted by the second, they pay the same.

    Claims that do not are none here: the second's claim is then another proposal, and no deal stands.
    """
    first, second = (tuple(take) for take in selection["take"])
    game = Bargaining()
    game.reset(seed=0, options={"task": Items(scenario, NOUNS[: len(scenario.counts)]), "first": "ann"})
    game.step(f"propose: {game.table.name(first)}")
    agree = tuple(a + b for a, b in zip(first, second, strict=True)) == scenario.counts
    report.same(f"{place}: agree", agree, selection["agree"])
    game.step("accept" if agree else f"propose: {game.table.name(second)}")
    report.number(f"{place}: payoff", [game.infos[seat]["payoff"] for seat in ("ann", "ben")], selection["payoff"])
    worths = [worth(take, values) for take, values in zip((first, second), scenario.values, strict=True)]
    report.number(f"{place}: scores_if_agreed", worths, selection["scores_if_agreed"])


def payoffs(scenario: Scenario, take: Counts) -> tuple[int, int]:
    """What each seat has when the first takes `take`."""
    rest = tuple(map(int.__sub__, scenario.counts, take))
    return worth(take, scenario.values[0]), worth(rest, scenario.values[1])


SEATS = ("ann", "ben")


def check_simple_negotiation(trace: dict[str, Any], report: Report) -> None:
    """The grammar of offers, what a trade moves and is worth, and who wins by the larger change.

    A game of ours ends with its first trade, so each offer and each trade is played in one of its own, with the stocks
    of that moment. Not compared: which of two offers in a message counts (ours: the last), and offers that ask for
    more than the other has (ours refuses them at once, stocks lying open).
    """
    values = (amounts(trace["start"]["values"]["0"]), amounts(trace["start"]["values"]["1"]))
    stocks = resources(trace["start"])
    standing: dict[str, Any] | None = None
    changes = [0, 0]
    for t, turn in enumerate(trace["turns"]):
        place = f"turn {t}"
        if resources(turn) != stocks:
            assert standing is not None
            after, gains = traded(Stocks(stocks, values), standing)
            report.same(f"{place}: stocks", after, resources(turn))
            changes = [a + b for a, b in zip(changes, gains, strict=True)]
            stocks = resources(turn)
        report.number(f"{place}: value_change", changes, turn["value_change"])
        action = turn["action"].lower()
        if action.count("[offer") == 1 and "[accept]" not in action:
            check_offer(Stocks(stocks, values), turn, place, report)
        standing = turn["offer"]
    if not any(info["invalid_move"] for info in trace["info"].values()):
        sign = (changes[0] > changes[1]) - (changes[0] < changes[1])
        report.number("rewards", [sign, -sign], [trace["rewards"]["0"], trace["rewards"]["1"]])


def check_offer(task: Stocks, turn: dict[str, Any], place: str, report: Report) -> None:
    """An offer is understood as there, or refused as there."""
    player = turn["player"]
    game = ResourceTrade()
    game.reset(seed=0, options={"task": task, "first": SEATS[player]})
    game.step(turn["action"])
    refused = not game.infos[SEATS[player]]["is_action_valid"]
    offer = turn["offer"]
    if turn["invalid"]:
        report.same(f"{place}: refused", refused, True)
        return
    given, asked = amounts(offer["offered_resources"]), amounts(offer["requested_resources"])
    if any(n > has for n, has in zip(asked, task.stocks[1 - player], strict=True)):
        report.same(
            f"{place}: read", read_trade(turn["action"].partition("ffer:")[2].partition("]")[0]), (given, asked)
        )
        return
    report.same(f"{place}: refused", refused, False)
    moves = game.knowledge(SEATS[1 - player]).heard(game.observe(SEATS[1 - player]))
    trades = [move.offer for move in moves if move.kind == "propose"]
    report.same(f"{place}: offer", trades, [(given, asked) if player == 0 else (asked, given)])


def traded(task: Stocks, offer: dict[str, Any]) -> tuple[tuple[Amounts, ...], list[float]]:
    """The stocks and each seat's gain after an offer was accepted, in a game of its own."""
    player = offer["from_player"]
    game = ResourceTrade()
    game.reset(seed=0, options={"task": task, "first": SEATS[player]})
    given, asked = amounts(offer["offered_resources"]), amounts(offer["requested_resources"])
    game.step(f"[Offer: {name(given)} -> {name(asked)}]")
    game.step("[Accept]")
    net = [a - b for a, b in zip(given, asked, strict=True)]
    moved = [-n for n in net] if player == 0 else net  # what the first seat gets
    after = tuple(
        tuple(has + sign * n for has, n in zip(stock, moved, strict=True))
        for sign, stock in zip((1, -1), task.stocks, strict=True)
    )
    return after, [game.infos[seat]["payoff"] for seat in SEATS]


def resources(moment: dict[str, Any]) -> tuple[Amounts, Amounts]:
    """Both seats' stocks."""
    return amounts(moment["resources"]["0"]), amounts(moment["resources"]["1"])


def amounts(of_goods: dict[str, int]) -> Amounts:
    """Goods by name, in our order."""
    return tuple(of_goods.get(good, 0) for good in GOODS)
