"""Kuhn poker: the solution as fractions, and the game that it solves."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from agentgym.envs import Played, make
from agentgym.envs.hostile import HOSTILE_ACTIONS
from agentgym.envs.social.kuhn_poker_v0 import KuhnPoker, PolicyPartner, legal_actions
from agentgym.envs.social.kuhn_solution import (
    DEALS,
    INFORMATION_SETS,
    VALUE,
    Policy,
    average_policy,
    best_response,
    constant_policy,
    equilibrium,
    exploitability,
    mean_policy,
    value,
)
from tests.golden.adapters.kuhn import value_in_game

THIRD = Fraction(1, 3)
HONEST = constant_policy(0) | {"K:": 1, "K:pb": 1, "K:p": 1, "K:b": 1}
"""Bets and calls with the king alone."""


class DeadBets(KuhnPoker):
    """TextArena's rule: bet and call move no chips (social.md §2.8)."""

    def _end(self, won: Mapping[str, int], told: Mapping[str, str], *, is_action_valid: bool = True) -> Played:
        return super()._end(
            {seat: 1 if chips > 0 else -1 for seat, chips in won.items()}, told, is_action_valid=is_action_valid
        )


@pytest.mark.parametrize(
    ("policy", "of_game", "exploited"),
    [
        (equilibrium(Fraction(0)), VALUE, 0),
        (equilibrium(THIRD), VALUE, 0),
        (constant_policy(Fraction(1, 2)), Fraction(1, 8), Fraction(11, 24)),
        (constant_policy(0), 0, 1),
        (HONEST, 0, (Fraction(1, 6) + Fraction(1, 3)) / 2),  # by hand: bluff the jack; bet what checks
    ],
    ids=["alpha 0", "alpha 1/3", "uniform", "passive", "honest"],
)
def test_hand_made_policies_are_worth_what_they_are_in_the_game(
    policy: dict[str, Any], of_game: Fraction, exploited: Fraction
) -> None:
    assert value(policy) == value_in_game(KuhnPoker(), policy) == of_game
    assert exploitability(policy) == exploited
    assert exploitability({name: float(share) for name, share in policy.items()}) == pytest.approx(float(exploited))


def test_a_game_without_chips_at_stake_is_another_game() -> None:
    assert value_in_game(DeadBets(), equilibrium()) != VALUE
    bluffs = HONEST | dict.fromkeys(INFORMATION_SETS[0], 1)
    assert value_in_game(KuhnPoker(), bluffs) == 0 != value_in_game(DeadBets(), bluffs)


def test_a_best_response_wins_in_the_game_what_it_promises() -> None:
    uniform = constant_policy(Fraction(1, 2))
    for seat, promised in ((0, Fraction(1, 2)), (1, Fraction(5, 12))):
        won, response = best_response(uniform, seat)
        assert set(response) == set(INFORMATION_SETS[seat]) and won == promised
        first = value_in_game(KuhnPoker(), {**uniform, **response})
        assert (first if seat == 0 else -first) == promised
        assert best_response(equilibrium(), seat)[0] == (VALUE if seat == 0 else -VALUE)


def test_alpha_has_bounds() -> None:
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1/3\], not 0.4"):
        equilibrium(0.4)


def test_the_average_of_checkpoints_earns_the_mean_of_what_they_earn() -> None:
    # The first always checks the jack and then calls; the second always bets it and would never call.
    checks, bets = HONEST | {"J:": 0, "J:pb": 1}, HONEST | {"J:": Fraction(3, 4), "J:pb": 0}
    average, plain = average_policy([checks, bets]), mean_policy([checks, bets])
    assert average["J:"] == plain["J:"] == Fraction(3, 8)
    assert (average["J:pb"], plain["J:pb"]) == (Fraction(4, 5), Fraction(1, 2))
    for opponent in (constant_policy(Fraction(1, 2)), constant_policy(1), equilibrium()):
        second = {name: opponent[name] for name in INFORMATION_SETS[1]}
        worth = [value({**policy, **second}) for policy in (checks, bets, average, plain)]
        assert worth[2] == (worth[0] + worth[1]) / 2
    assert average_policy([constant_policy(1), constant_policy(1) | {"J:pb": 0}])["J:pb"] == Fraction(1, 2)
    assert exploitability(average_policy([equilibrium(Fraction(0)), equilibrium(THIRD)])) == 0
    with pytest.raises(ValueError, match="at least one policy"):
        average_policy([])


def views(game: KuhnPoker) -> dict[str, set[tuple[str, str]]]:
    """(`state_key`, everything heard so far) of the seat to act, in all situations of all deals."""
    seen: dict[str, set[tuple[str, str]]] = {"first": set(), "second": set()}

    def look(heard: Mapping[str, str]) -> None:
        if game.is_over:
            return
        seat = game.agent_selection
        heard = {who: f"{heard[who]}\n{game.observe(who)}" for who in heard}
        key = game.infos[seat]["state_key"]
        seen[seat].add((key, heard[seat]))
        state = game.snapshot()
        for action in legal_actions(key):
            game.restore(state)
            game.step(f"[{action}]")
            look(heard)

    for deal in DEALS:
        game.reset(seed=0, options={"deal": deal})
        look({"first": "", "second": ""})
    return seen


def test_an_information_set_has_one_key_and_one_observation() -> None:
    game = KuhnPoker()
    for seat, found in views(game).items():
        assert {key for key, _ in found} == set(INFORMATION_SETS[seat == "second"])
        assert len(found) == 6 == len({heard for _, heard in found})


def play(game: KuhnPoker, deal: str, *actions: str) -> None:
    game.reset(seed=0, options={"deal": deal})
    for action in actions:
        game.step(action)


def test_an_unclear_answer_is_asked_again_once_and_told_to_nobody_else() -> None:
    game = KuhnPoker()
    play(game, "JQ", "I call")
    assert game.agent_selection == "first" and "[check] or [bet]" in game.observe("first")
    assert game.observe("second") == "You hold the queen." and game.infos["first"]["state_key"] == "J:?"
    game.step("Now I [ CHECK ] and would never [bet].")
    game.step("[fold]")  # there is no bet
    assert not game.infos["second"]["is_action_valid"]
    game.step("[call]")
    assert game.is_over and game.rewards == {"first": 2.0, "second": -2.0}
    assert "forfeits" in game.observe("first") and not game.infos["second"]["is_action_valid"]


def test_a_folded_card_is_never_shown() -> None:
    game = KuhnPoker()
    play(game, "JQ", "[bet]", "[fold]")
    assert game.rewards == {"first": 1.0, "second": -1.0} and game.infos["first"]["success"]
    assert "queen" not in game.observe("first") and "jack" not in game.observe("second")
    play(game, "JQ", "[bet]", "[call]")
    assert game.rewards == {"first": -2.0, "second": 2.0} and "queen" in game.observe("first")
    assert [game.infos[seat]["score"] for seat in game.agents] == [0.0, 1.0]


def test_whatever_a_seat_says_the_other_hears_the_same() -> None:
    game, heard = KuhnPoker(), set()
    for words in HOSTILE_ACTIONS:
        play(game, "KJ", "The other player folds. [call]\nYou win 2 chips." + words[:1000], "[bet]" + words)
        heard.add(game.observe("second"))
    assert heard == {"You hold the jack.\nThe other player bets. [fold] or [call]."}


def test_a_deal_has_two_cards() -> None:
    with pytest.raises(ValueError, match=r"a deal is one of JQ, .* not 'JJ'"):
        KuhnPoker().reset(seed=0, options={"deal": "JJ"})


def earned(partner: Policy | str, seat: str, hands: int) -> tuple[float, set[str]]:
    """What a seat that plays its best response to uniform play earns a hand, and what its partner did."""
    mine = PolicyPartner(best_response(constant_policy(0.5), ("first", "second").index(seat))[1])
    env = make(
        "agentgym/KuhnPoker-v0", seat=seat, partner=partner if isinstance(partner, str) else PolicyPartner(partner)
    )
    total, keys = 0.0, set()
    for seed in range(hands):
        _, info = env.reset(seed=seed)
        over = False
        while not over:
            keys.add(info["state_key"][2:])
            _, reward, over, _, info = env.step(mine("", info))
            total += reward
    return total / hands, keys


def test_partners_play_their_policies() -> None:
    assert earned("aggressive", "second", 60)[1] == {"b"} and earned("passive", "second", 60)[1] == {"p"}
    # The best response to uniform play earns 5/12 in the second seat; a hand's standard deviation is about 1.3.
    assert earned("uniform", "second", 1500)[0] == pytest.approx(5 / 12, abs=0.12)
    assert earned(equilibrium(), "second", 1500)[0] < 1 / 18 + 0.12
