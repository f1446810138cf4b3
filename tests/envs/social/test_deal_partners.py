"""Scripted partners keep what they promise, in every deal game."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from agentgym.envs import make
from agentgym.envs.social.bargaining_v0 import Bargaining
from agentgym.envs.social.deal import DealGame
from agentgym.envs.social.deal_partners import (
    MIXTURE,
    PARTNERS,
    Boulware,
    Conceder,
    DealPartner,
    Exponential,
    TimeDependent,
)
from agentgym.envs.social.price_negotiation_v0 import PriceNegotiation
from agentgym.envs.social.resource_trade_v0 import ResourceTrade
from agentgym.envs.social.scheduling_v0 import Scheduling

GAMES = [Bargaining, PriceNegotiation, ResourceTrade, Scheduling]
IDS = {
    Bargaining: "agentgym/Bargaining-v0",
    PriceNegotiation: "agentgym/PriceNegotiation-v0",
    ResourceTrade: "agentgym/ResourceTrade-v0",
    Scheduling: "agentgym/Scheduling-v0",
}


def play(game: DealGame, seed: int, *names: str, options: dict[str, Any] | None = None) -> dict[str, DealPartner]:
    """Play a game between two kinds of partners; return them by seat."""
    game.reset(seed=seed, options=options)
    players = {seat: PARTNERS[name]() for seat, name in zip(game.possible_agents, names, strict=True)}
    for number, (seat, player) in enumerate(players.items()):
        player.sit(game, seat)
        player.reset(seed + number)
    while not game.is_over:
        seat = game.agent_selection
        game.step(players[seat](game.observe(seat), game.infos[seat]))
        assert game.infos[seat]["is_action_valid"] or isinstance(players[seat], PARTNERS["hostile"])  # type: ignore[arg-type]
    return players


def targets(kind: type[TimeDependent], beta: float, turns: int = 2) -> float:
    """α at half the time."""
    partner = kind()
    partner.beta = beta  # type: ignore[misc]
    return partner.alpha(1 / turns)


@pytest.mark.parametrize(
    ("kind", "beta", "alpha"),
    [
        *((TimeDependent, beta, (0.5) ** (1 / beta)) for beta in (0.2, 1.0, 5.0)),
        (Exponential, 0.2, 0.074),
        (Exponential, 1.0, 0.224),
        (Exponential, 5.0, 0.911),
    ],
)
def test_the_share_of_the_way_at_half_time(kind: type[TimeDependent], beta: float, alpha: float) -> None:
    assert targets(kind, beta) == pytest.approx(alpha, abs=5e-4)


def test_the_polynomial_form_with_what_is_conceded_at_once() -> None:
    """social.md §2.9: 0.080, 0.525 and 0.877 with k = 0.05."""
    for beta, alpha in ((0.2, 0.080), (1.0, 0.525), (5.0, 0.877)):
        partner = TimeDependent()
        partner.beta, partner.k = beta, 0.05  # type: ignore[misc]
        assert partner.alpha(0.5) == pytest.approx(alpha, abs=5e-4)


@pytest.mark.parametrize("new", GAMES)
def test_a_conceder_yields_earlier_than_a_boulware_at_every_turn(new: type[DealGame]) -> None:
    game, yields_more = new(), 0
    for seed in range(20):
        offers: dict[type[TimeDependent], list[float]] = {}
        for kind in (Conceder, TimeDependent, Boulware):
            game.reset(seed=seed)
            seat = game.agent_selection
            partner = kind()
            partner.sit(game, seat)
            offers[kind] = []
            while not game.is_over:
                game.step(partner(game.observe(seat), game.infos[seat]))
                if not game.is_over:
                    offers[kind].append(partner.knows.own(game._standing[1]))  # type: ignore[index]
                    game.step("Not enough.")
            shares = [partner.target(t) for t in range(game.max_turns + 1)]
            assert shares[0] == 1.0 and shares[-1] == pytest.approx(game.reservation) and shares == sorted(shares)[::-1]
        for quick, slow in ((Conceder, TimeDependent), (TimeDependent, Boulware)):
            assert all(a <= b for a, b in zip(offers[quick], offers[slow], strict=True))
            yields_more += offers[quick] != offers[slow]
    assert yields_more > 10 or new is Scheduling  # there nobody has anything to yield


@pytest.mark.parametrize("new", GAMES)
def test_greedy_never_takes_less(new: type[DealGame]) -> None:
    game, deals = new(), 0
    for seed in range(60):
        other = sorted(PARTNERS)[seed % len(PARTNERS)]
        greedy = play(game, seed, "greedy", other)[game.possible_agents[0]]
        if game._deal is not None:
            deals += 1
            assert greedy.share(game._deal) >= 0.9 - 1e-9
    assert deals


@pytest.mark.parametrize("new", GAMES)
def test_a_cooperative_pair_reaches_the_best_total(new: type[DealGame]) -> None:
    game = new(none=0.5) if new is Scheduling else new()  # type: ignore[call-arg]
    for seed in range(60):
        play(game, seed, "cooperative", "cooperative")
        info = game.infos[game.possible_agents[0]]
        best = game.references
        if best.best_total <= 0:
            assert not info["agreement"] and info["success"]  # they have walked away
            continue
        without_loss = max(a + b for a, b in best.frontier if min(a, b) >= 0)
        reached = info["joint"] * best.best_total
        # A trade's goods are divided along the frontier of divisible ones: a unit may be missing.
        assert reached >= without_loss * (0.9 if new is ResourceTrade else 1) - 1e-9
        assert sum(game.turns.values()) <= 4


def test_tit_for_tat_answers_concessions_with_concessions() -> None:
    game, yielded = Bargaining(), 0
    for seed in range(20):
        game.reset(seed=seed)
        seat = game.agent_selection
        other = game.other(seat)
        partner = PARTNERS["tit_for_tat"]()
        partner.sit(game, seat)
        offers = sorted(game.knowledge(other).offers(()), key=lambda o: partner.knows.own(o.offer))
        few, more = offers[len(offers) // 4], offers[len(offers) // 2]
        mine = []
        for answer in (few, more, more, None):
            game.step(partner(game.observe(seat), game.infos[seat]))
            mine.append(partner.target)  # type: ignore[attr-defined]
            if game.is_over or answer is None:
                break
            game.step(game.knowledge(other).propose(answer.offer))
        gave, gives = partner.knows.own(few.offer), partner.knows.own(more.offer)
        expected = max(0.3, gave / gives) if gives else 1.0
        assert mine[:2] == [1.0, 1.0] and mine[2:] == pytest.approx([expected] * len(mine[2:]))
        yielded += len(mine) > 2 and expected < 1
    assert yielded > 10


@pytest.mark.parametrize("new", GAMES)
def test_the_odd_ones(new: type[DealGame]) -> None:
    """Silent, stubborn, lying and leaving partners are what their names say."""
    game = new(max_turns=6)
    first = game.possible_agents[0]
    for seed in range(20):
        play(game, seed, "silent", "silent")
        assert game.truncations[first] and not game.infos[first]["agreement"]
        stubborn = play(game, seed, "stubborn", "silent")[first]
        assert len(set(stubborn.proposed)) == 1 and stubborn.share(stubborn.proposed[0]) >= 0.7 - 1e-9
        play(game, seed, "leaver", "silent")
        assert game.terminations[first] and 2 <= game.turns[first] <= 6
        lying = PARTNERS["lying"]()
        game.reset(seed=seed)
        lying.sit(game, first)
        said = lying(game.observe(first), game.infos[first])
        assert lying.knows.claim() not in said and said.startswith(lying.knows.claim()[:9])


@pytest.mark.parametrize("new", GAMES)
def test_what_a_partner_does_depends_on_its_own_part_alone(new: type[DealGame]) -> None:
    """Before the other has said a word its private part changes nothing of what any partner says."""
    from tests.envs.social.test_deals import another_private

    game, twin = new(), new()
    for seed in range(10):
        for name in PARTNERS:
            game.reset(seed=seed)
            seat = game.agent_selection
            twin.reset(seed=seed, options={"task": another_private(game, game.other(seat)), "first": seat})
            words = []
            for each in (game, twin):
                partner = PARTNERS[name]()
                partner.sit(each, seat)
                partner.reset(seed)
                words.append([partner(each.observe(seat) if t == 0 else "", {}) for t in range(5)])
            assert words[0] == words[1], name


@pytest.mark.parametrize("new", GAMES)
def test_all_pairs_play_to_an_end(new: type[DealGame]) -> None:
    game = new()
    for number, (one, other) in enumerate((a, b) for a in PARTNERS for b in PARTNERS):
        play(game, number, one, other)
        for info in game.infos.values():
            assert 0 <= info["score"] <= 1 and info["joint"] <= 1 + 1e-9 and 0 <= info["pareto_distance"] <= 1
            assert math.isfinite(info["payoff"]) and not (info["success"] and not all(game.terminations.values()))


@pytest.mark.parametrize("new", GAMES)
def test_a_partner_plays_on_from_a_branch_as_it_would_have(new: type[DealGame]) -> None:
    env = make(IDS[new], partner={"random": 1, "tit_for_tat": 1, "lying": 1})
    for seed in range(6):
        env.reset(seed=seed)
        env.step("What would you like?")
        branch = env.snapshot()
        once = [env.step("And then?")[0] for _ in range(3) if not env._over]
        env.restore(branch)
        assert [env.step("And then?")[0] for _ in range(3) if not env._over] == once


def test_the_mixture_is_drawn_by_its_weights() -> None:
    env = make(IDS[Scheduling])
    met = Counter(env.reset(seed=seed)[1]["partner"] for seed in range(1000))
    assert met.keys() == MIXTURE.keys() <= PARTNERS.keys() and sum(MIXTURE.values()) == pytest.approx(1)
    assert all(abs(met[name] / 1000 - weight) < 0.05 for name, weight in MIXTURE.items())
