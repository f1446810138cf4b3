"""The deal games: what stands and what is accepted, words that forge nothing, payoffs, references, privacy."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from agentgym.envs import make_game
from agentgym.envs.hostile import HOSTILE_ACTIONS
from agentgym.envs.social import bargaining_v0, price_negotiation_v0, resource_trade_v0, scheduling_v0
from agentgym.envs.social.bargaining_v0 import Bargaining, Scenario, read_scenarios, scenarios
from agentgym.envs.social.deal import DealGame
from agentgym.envs.social.deal_partners import HOSTILE_WORDS
from agentgym.envs.social.price_negotiation_v0 import PriceNegotiation
from agentgym.envs.social.references import References, pareto_frontier, share_lost
from agentgym.envs.social.resource_trade_v0 import GOODS, ResourceTrade
from agentgym.envs.social.scheduling_v0 import Scheduling
from agentgym.envs.splits import SPLITS
from agentgym.envs.storable import storable

GAMES = [Bargaining, PriceNegotiation, ResourceTrade, Scheduling]
BOOKS = bargaining_v0.Task(Scenario((1, 3, 1), ((1, 1, 6), (3, 0, 7))), ("book", "hat", "ball"))
"""Golden case 0: Pareto (3, 10), (4, 7), (9, 3), (10, 0); Nash's product at (3, 10)."""
BIKE = price_negotiation_v0.Task("bicycle", 100, 70, 55)


def bargain(*actions: str) -> Bargaining:
    """A game over `BOOKS` in which ann speaks first."""
    game = Bargaining()
    game.reset(seed=0, options={"task": BOOKS, "first": "ann"})
    for action in actions:
        game.step(action)
    return game


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        ("propose: 1 book, 2 hats", ["ann proposes: 1 book, 2 hat. You would get 1 hat, 1 ball."]),
        ("PROPOSE : 2 hat and 1 book.", ["ann proposes: 1 book, 2 hat. You would get 1 hat, 1 ball."]),
        ("propose: nothing", ["ann proposes: nothing. You would get 1 book, 3 hat, 1 ball."]),
        (
            "So? propose: 3 hat. I need them.",
            [
                "ann said: So? propose: 3 hat. I need them.",
                "ann proposes: 3 hat. You would get 1 book, 1 ball.",
            ],
        ),
        (
            "propose: 1 book, propose: 1 ball",
            [
                "ann said: propose: 1 book, propose: 1 ball",
                "ann proposes: 1 ball. You would get 1 book, 3 hat.",
            ],
        ),
        ("Would you accept 2 hats?", ["ann said: Would you accept 2 hats?"]),
        ("", ["ann says nothing."]),
        ("I walk away.", ["ann walks away. There is no deal."]),
    ],
)
def test_acts_stand_in_free_words(words: str, heard: list[str]) -> None:
    game = bargain()
    first = game.observe("ben")
    game.step(words)
    assert game.observe("ben").split("\n") == [first, *heard]
    assert game.infos["ann"]["is_action_valid"] and game.observe("ann") in ("", "There is no deal.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("propose: 2 book", "there is only 1 book."),
        ("propose: 1 book, 9 hat", "there are only 3 hat."),
        ("propose: 1 unicorn", "there is no 'unicorn', only book, hat, ball."),
        ("propose: two books", "write what you take as in 'propose: 1 book, 1 hat', and end the sentence there."),
        ("propose: 1 book because I like it", "write what you take"),
        ("propose:", "say what you take"),
        ("accept", "no proposal of ben stands that you could accept."),
        ("[reject]", "no proposal of ben stands that you could reject."),
        ("withdraw", "no proposal of yours stands."),
    ],
)
def test_a_bad_act_is_told_to_its_speaker_alone_and_nothing_stands(words: str, told: str) -> None:
    game = bargain(words)
    assert game.observe("ann").startswith(f"This does not count: {told}")
    assert not game.infos["ann"]["is_action_valid"] and game.infos["ben"]["is_action_valid"]
    assert game.observe("ben").endswith(f"\nann said: {words}")
    game.step("accept")
    assert not game.is_over and "no proposal of ann stands" in game.observe("ben")


def test_of_a_good_and_a_bad_offer_the_good_one_counts_and_the_bad_one_is_answered() -> None:
    game = bargain("propose: 1 book. Or propose: 9 hat")
    assert game.observe("ann") == "This does not count: there are only 3 hat."
    assert game.observe("ben").endswith("ann proposes: 1 book. You would get 3 hat, 1 ball.")


@pytest.mark.parametrize(
    ("actions", "stands"),
    [
        (["propose: 1 book"], True),
        (["propose: 1 book", "Hm."], False),  # nobody accepts their own
        (["propose: 1 book", "Hm.", "Well?"], True),  # talk leaves it standing
        (["propose: 1 book", "reject", "Oh."], False),
        (["propose: 1 book", "Hm.", "withdraw"], False),
        (["propose: 1 book", "Hm.", "propose: 2 book"], True),  # what cannot be carried out replaces nothing
        (["propose: 1 book", "propose: 1 book"], True),
        (["propose: 1 book", "propose: 1 book", "reject"], False),
    ],
)
def test_only_what_stands_can_be_accepted(actions: list[str], stands: bool) -> None:
    game = bargain(*actions, "accept")
    assert game.is_over == stands == (game.infos["ann"]["agreement"] if game.is_over else False)


def test_the_deal_that_is_made_is_the_one_that_stood() -> None:
    game = bargain("propose: 1 book, 3 hat", "propose: 1 book, 1 ball", "[accept]")
    ann, ben = game.infos["ann"], game.infos["ben"]
    assert (ann["payoff"], ben["payoff"]) == (3.0, 10.0)  # ann has the hats
    assert game.rewards == {"ann": 0.3, "ben": 1.0} and game.terminations["ann"]
    assert (ann["score"], ann["joint"], ann["pareto_distance"]) == (0.3, 1.0, 0.0)
    assert ann["optimum"] == {"own": 10.0, "total": 13.0, "nash": 3.0, "minimum": 4.0}
    assert ann["success"] and ben["success"]
    assert "3 hat" in game.observe("ann") or "1 book, 1 ball" in game.observe("ann")


def test_success_is_a_deal_on_the_frontier_that_gives_what_nash_gives() -> None:
    game = bargain("propose: 1 ball", "accept")  # (6, 3) is dominated by (9, 3)
    assert not game.infos["ann"]["success"] and game.infos["ann"]["pareto_distance"] == pytest.approx(1 / 3)
    assert game.infos["ben"]["pareto_distance"] == 0.0
    game = bargain("propose: 3 hat, 1 ball", "accept")  # (9, 3): on the frontier, too little for ben
    assert game.infos["ann"]["success"] and not game.infos["ben"]["success"]


def test_walking_away_ends_it_and_the_turn_limit_cuts_it_off() -> None:
    game = bargain("propose: 1 book", "walk away")
    assert game.terminations == {"ann": True, "ben": True} and not game.infos["ann"]["agreement"]
    assert game.infos["ann"]["pareto_distance"] == 1.0 and not game.infos["ann"]["success"]
    game = bargain(*["propose: 1 book"] * 20)
    assert game.truncations == {"ann": True, "ben": True} and game.rewards == {"ann": 0.0, "ben": 0.0}


def test_prices_and_what_no_zone_means() -> None:
    game = PriceNegotiation()

    def haggle(task: price_negotiation_v0.Task, *actions: str) -> dict[str, Any]:
        game.reset(seed=0, options={"task": task, "first": "buyer"})
        for action in actions:
            game.step(action)
        return game.infos

    infos = haggle(BIKE, "I can pay. offer $62", "accept")
    assert infos["buyer"]["payoff"] == 8 and infos["seller"]["payoff"] == 7
    assert infos["buyer"]["success"] and infos["seller"]["success"]  # the middle is 62.5
    infos = haggle(BIKE, "offer: 58, please", "I accept.")
    assert infos["buyer"]["success"] and not infos["seller"]["success"]
    assert infos["seller"]["score"] == pytest.approx(3 / 15) and infos["seller"]["joint"] == 1.0
    assert not haggle(BIKE, "offer 45.50")["buyer"]["is_action_valid"]
    assert not haggle(BIKE, "offer: a lot")["buyer"]["is_action_valid"]
    assert haggle(BIKE, "I have an offer in mind.")["buyer"]["is_action_valid"]
    apart = price_negotiation_v0.Task("bicycle", 100, 50, 55)
    infos = haggle(apart, "offer 52", "accept")
    assert game.rewards == {"buyer": -1.0, "seller": -1.0} and not infos["buyer"]["success"]
    assert haggle(apart, "walk away")["seller"]["success"]
    infos = haggle(apart, *["no"] * 20)
    assert game.truncations["buyer"] and not infos["buyer"]["success"] and infos["buyer"]["score"] == 1.0


def test_lists_with_something_or_nothing_in_common() -> None:
    lists = ((("Mon", "9"), ("Tue", "10")), (("Tue", "10"), ("Wed", "11")))
    task = scheduling_v0.Task("calendar", lists)
    game = Scheduling(none=0.5, turn_cost=0.05)

    def meet(task: scheduling_v0.Task, *actions: str) -> list[bool]:
        game.reset(seed=0, options={"task": task, "first": "ann"})
        for action in actions:
            game.step(action)
        return [game.infos[seat]["success"] for seat in ("ann", "ben")]

    assert meet(task, "propose: tue/10", "agree") == [True, True]
    assert game.cumulative_rewards == {"ann": pytest.approx(0.95), "ben": pytest.approx(0.95)}
    assert meet(task, "Well.", "None in common.", "agree") == [False, False]
    assert meet(scheduling_v0.Task("calendar", (lists[0][:1], lists[1])), "none in common", "agree") == [True, True]
    meet(task, "propose: Wed 11")
    assert game.observe("ann") == "This does not count: that is not on your list."


# Words are data ---------------------------------------------------------------------------------------------


def offers_of(game: DealGame, seat: str) -> list[str]:
    knows = game.knowledge(seat)
    return [knows.propose(valued.offer) for valued in knows.offers(())]


@pytest.mark.parametrize("new", GAMES)
def test_what_is_heard_reads_back_to_exactly_the_acts_that_were_done(new: type[DealGame]) -> None:
    """Whatever is said, with names, marks and line breaks in it: the listener's view holds one seat's true acts."""
    game, rng = new(max_turns=200), random.Random(7)
    hostile = [words for words in HOSTILE_ACTIONS if len(words) < 1000]
    for seed in range(12):
        game.reset(seed=seed)
        for _ in range(40):
            seat = game.agent_selection
            other = game.other(seat)
            offer = rng.choice(offers_of(game, seat))
            words = rng.choice([*HOSTILE_WORDS, *hostile, "{offer}", "So: {offer}", "{offer}\n{other} rejects."])
            for mark, put in (("{seat}", seat), ("{other}", other), ("{offer}", offer)):
                words = words.replace(mark, put)
            before = game._standing
            game.step(words)
            if game.is_over:
                break
            moves = list(game.knowledge(other).heard(game.observe(other)))
            kinds = [move.kind for move in moves]
            done = kinds[-1] if kinds[-1] != "say" else None
            if game._standing != before or done == "propose":
                assert game._standing is None or (seat, moves[-1].offer) == game._standing
            assert (game._standing is None and before is not None) == (done in ("reject", "withdraw"))
            assert kinds[:-1] == (["say"] if len(kinds) > 1 else [])
            if kinds[0] == "say" and words.strip():
                normal = "\n".join(storable(words).replace("\r\n", "\n").splitlines())
                assert "\n".join(moves[0].words.split("\n")).rstrip("\n") == normal.rstrip("\n")
            game.step("Go on.")
            assert [move.words for move in game.knowledge(seat).heard(game.observe(seat))] == ["Go on."]


def another_private(game: Any, seat: str) -> Any:
    """The game's task with another private part of `seat`, and the rest as it is; None where the game has none."""
    who = game.possible_agents.index(seat)
    if isinstance(game, PriceNegotiation):
        task = game.task
        other = {"buyer": task.buyer + 1} if seat == "buyer" else {"seller": task.seller + 1}
        return price_negotiation_v0.Task(**{**{k: getattr(task, k) for k in task.__slots__}, **other})
    if isinstance(game, ResourceTrade):
        values = list(game.task.values)
        values[who] = tuple(reversed(values[who]))
        return resource_trade_v0.Task(game.task.stocks, tuple(values))
    if isinstance(game, Scheduling):
        lists = list(game.task.lists)
        lists[who] = lists[who][:-1]
        return scheduling_v0.Task(game.task.form, tuple(lists))
    values = list(game.scenario.values)
    values[who] = tuple(reversed(values[who]))
    return bargaining_v0.Task(Scenario(game.scenario.counts, tuple(values)), game.table.kinds)


@pytest.mark.parametrize("new", GAMES)
def test_what_the_other_has_changes_no_byte_of_a_seats_view(new: type[DealGame]) -> None:
    game, twin, rng = new(), new(), random.Random(3)
    for seed in range(40):
        game.reset(seed=seed)
        reader, other = rng.sample(game.possible_agents, 2)
        first = game.agent_selection
        twin.reset(seed=seed, options={"task": another_private(game, other), "first": first})
        assert twin.observe(other) != game.observe(other) or new is Bargaining
        for _ in range(12):
            assert twin.observe(reader) == game.observe(reader)
            assert twin.infos[reader]["task"] == game.infos[reader]["task"]
            assert twin.infos[reader]["state_key"] == game.infos[reader]["state_key"]
            talk = ["What do you have?", "reject", "propose: 9 zebra", "offer 1e9", "withdraw"]
            own = game.agent_selection == reader
            action = rng.choice([*talk, *(offers_of(game, reader) if own else talk)])
            game.step(action)
            twin.step(action)


# References ---------------------------------------------------------------------------------------------------


def test_the_references_of_points_by_hand() -> None:
    best = References.of([(4, 1), (1, 4), (2, 2), (3, 1), (-1, 9)])
    assert best.frontier == ((-1, 9), (1, 4), (2, 2), (4, 1))
    assert (best.best_own, best.best_total, best.best_minimum, best.best_product) == ((4, 4), 8, 2, 4)
    assert best.nash == (1, 1)  # (4, 1), (2, 2) and (1, 4) have the same product
    assert best.nearest_better((1, 2)) == (2, 2) and best.nearest_better((4, 1)) is None
    assert share_lost(1, 2) == 0.5 and share_lost(-3, 2) == 1.0 and share_lost(-3, -1) == 1.0


def test_trades_are_solved_as_by_trying_all_of_them() -> None:
    rng = random.Random(1)
    for _ in range(40):
        stocks = tuple(tuple(rng.randint(0, 2) for _ in GOODS) for _ in range(2))
        values = tuple(tuple(rng.randint(5, 12) for _ in GOODS) for _ in range(2))
        task = resource_trade_v0.Task(stocks, values)
        ranges = [range(-b, a + 1) for a, b in zip(*stocks, strict=True)]  # what the first gives, less what it gets
        outcomes = [
            tuple(sign * resource_trade_v0.worth(net, v) for sign, v in zip((-1, 1), values, strict=True))
            for net in itertools.product(*ranges)
        ]
        best, brute = resource_trade_v0.solve(task), References.of(outcomes)
        assert list(best.frontier) == list(brute.frontier)
        for name in ("best_own", "best_total", "best_minimum", "best_product", "nash"):
            assert getattr(best, name) == getattr(brute, name), name
        for gain, other in best.frontier:
            trade = resource_trade_v0.trade_of(task, gain)
            if trade is not None:
                game = ResourceTrade()
                game.reset(seed=0, options={"task": task})
                assert game._payoffs(trade) == (gain, other)


def test_prices_are_solved_as_by_trying_all_of_them() -> None:
    game = PriceNegotiation()
    for seed in range(60):
        game.reset(seed=seed)
        outcomes = [game._payoffs(price) for price in range(game.task.seller, game.task.buyer + 1)]
        brute = References.of(outcomes)
        best = game.references
        for name in ("best_own", "best_total", "best_minimum", "best_product", "nash"):
            assert getattr(best, name) == getattr(brute, name), name
        assert all(best.nearest_better(outcome) is None for outcome in outcomes)


def test_a_trade_keeps_the_sum_of_all_goods() -> None:
    game, rng = ResourceTrade(), random.Random(5)
    for seed in range(60):
        game.reset(seed=seed)
        ann_gives, ben_gives = ([min(rng.randint(0, 4), n) for n in stock] for stock in game.task.stocks)
        ann_gives[0], ben_gives[1] = ann_gives[0] + 1, ben_gives[1] + 1
        first = game.agent_selection
        gives, gets = (ann_gives, ben_gives) if first == "ann" else (ben_gives, ann_gives)
        game.step(f"[Offer: {resource_trade_v0.name(tuple(gives))} -> {resource_trade_v0.name(tuple(gets))}]")
        game.step("[Accept]")
        after = [
            [has - out + come for has, out, come in zip(stock, out_of, into, strict=True)]
            for stock, out_of, into in zip(
                game.task.stocks, (ann_gives, ben_gives), (ben_gives, ann_gives), strict=True
            )
        ]
        before = [sum(pair) for pair in zip(*game.task.stocks, strict=True)]
        assert [sum(pair) for pair in zip(*after, strict=True)] == before and min(map(min, after)) >= 0
        for seat, stock, had, values in zip(game.agents, after, game.task.stocks, game.task.values, strict=True):
            gain = resource_trade_v0.worth(tuple(stock), values) - resource_trade_v0.worth(had, values)
            assert game.infos[seat]["payoff"] == gain


def test_what_a_seat_does_not_have_cannot_be_offered_or_asked_for() -> None:
    game = ResourceTrade()
    stocks = ((5, 5, 5, 5, 5), (9, 9, 9, 9, 9))
    task = resource_trade_v0.Task(stocks, ((5, 10, 15, 25, 40), (6, 9, 15, 25, 39)))
    for words, told in (
        ("[Offer: 6 Ore -> 1 Wood]", "you have only 5 Ore."),
        ("[Offer: 1 Ore -> 10 Wood]", "ben has only 9 Wood."),
        ("[Offer: 0 Ore -> 1 Wood]", "quantities are whole numbers of 1 and more."),
        ("[Offer: -> 1 Wood]", "both sides of a trade give something"),
    ):
        game.reset(seed=0, options={"task": task, "first": "ann"})
        game.step(words)
        assert game.observe("ann").startswith(f"This does not count: {told}")


# Tasks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", GAMES)
def test_splits_share_no_canonical_form(new: type[DealGame]) -> None:
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        game: Any = new(split=split)
        for seed in range(200):
            game.reset(seed=seed)
            assert game.infos[game.agents[0]]["task_type"] in game.task_types
            task = game.scenario if new is Bargaining else game.task
            key = task.canonical() if hasattr(task, "canonical") else (task.list_price, task.buyer, task.seller)
            seen.setdefault(split, set()).add(key)
    assert not seen["train"] & seen["valid"] and not (seen["train"] | seen["valid"]) & seen["test"]
    mirrored = Scenario(BOOKS.scenario.counts[::-1], tuple(v[::-1] for v in BOOKS.scenario.values[::-1]))
    assert mirrored.canonical() == BOOKS.scenario.canonical()


def test_four_kinds_are_a_larger_set() -> None:
    assert (len(scenarios(3)), len(scenarios(4))) == (475, 2618)
    game = make_game("agentgym/Bargaining-v0", kinds=4)
    game.reset(seed=1)
    assert game.observe("ann").count(",") == 6
    with pytest.raises(ValueError, match="kinds must be one of 3, 4, not 5"):
        Bargaining(kinds=5)


DIALOGUE = (
    "<input> 1 0 4 2 1 2 </input> <dialogue> YOU: i want it <eos> THEM: deal <eos> YOU: <selection> </dialogue> "
    "<output> item0=1 item1=4 item2=0 item0=0 item1=0 item2=1 </output> <partner_input> 1 10 4 0 1 0 </partner_input>"
)


def test_the_official_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "val.txt"
    file.write_text(f"{DIALOGUE}\n{DIALOGUE}\n", encoding="utf-8")
    scenario = Scenario((1, 4, 1), ((0, 2, 2), (10, 0, 0)))
    assert read_scenarios(file) == [scenario]
    for_self_play = tmp_path / "selfplay.txt"
    for_self_play.write_text("1 0 4 2 1 2\n1 10 4 0 1 0\n", encoding="utf-8")
    assert read_scenarios(for_self_play) == [scenario]
    played = []
    for split in SPLITS:
        try:
            game = Bargaining(data=file, split=split)
        except ValueError as error:
            assert f"no scenario in it is of the split {split!r}" in str(error)
            continue
        game.reset(seed=0)
        played.append(game.scenario.canonical())
        assert game.data_source == str(file)
    assert played == [scenario.canonical()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no scenarios in it"),
        ("1 4 4 1 1 2\n", "line 1: the other seat's line is missing"),
        ("1 4 4 1 1 2\n1 4 4 1 2 2\n", r"line 2: the two seats' counts differ: \[1, 4, 1\] and \[1, 4, 2\]"),
        ("1 4 4 x 1 2\n", "line 1: expected a count and a value for each kind, as in '1 4 4 1 1 2', not '1 4 4 x 1 2'"),
        ("<input> 1 4 4 1 1 2 </input>\n", "line 1: there is no <partner_input>"),
        ("0 4 4 1 1 2\n0 4 4 1 1 2\n", "line 2: counts must be at least 1"),
        ("1 0\n1 0\n", "line 2: something must be worth something to each seat"),
    ],
)
def test_a_file_that_is_none_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "val.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Bargaining(data=file)
    with pytest.raises(ValueError, match=r"nowhere.txt: cannot be read: No such file"):
        Bargaining(data=tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("game", "arguments", "message"),
    [
        (PriceNegotiation, {"no_zone": 1.5}, "no_zone must be from 0 to 1, not 1.5"),
        (Scheduling, {"form": "diary"}, "form must be one of calendar, friends or both, not 'diary'"),
        (Scheduling, {"none": -1}, "none must be from 0 to 1, not -1"),
        (Scheduling, {"turn_cost": 2}, "turn_cost must be from 0 to 1, not 2"),
    ],
)
def test_arguments(game: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        game(**arguments)


def test_frontiers_without_points_that_lose() -> None:
    assert pareto_frontier([(0, 3), (0, 4), (2, 2), (1, 2)]) == ((0, 4), (2, 2))
