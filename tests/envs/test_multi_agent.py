"""TextAECEnv: PettingZoo's own tests, and what it promises beyond them; OneSeat."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pettingzoo
import pytest
from gymnasium.error import ResetNeeded
from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test
from pettingzoo.utils import aec_to_parallel, turn_based_aec_to_parallel

from agentgym.envs import (
    OneSeat,
    Played,
    TextAECEnv,
    check_text_env,
    make,
    make_game,
    register,
    register_game,
    registered_games,
)
from agentgym.envs.hostile import HOSTILE_ACTIONS
from tests.envs.haggle import Haggle, Moody, accepting
from tests.envs.in_dict import InDict


class Pennies(TextAECEnv):
    """Matching pennies: both seats choose before either is told."""

    possible_agents: ClassVar[list[str]] = ["even", "odd"]
    instructions: ClassVar[Mapping[str, str]] = {"even": "Say h or t: the same wins.", "odd": "Say h or t."}
    task_types = ("pennies",)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        self.choices: dict[str, str] = {}
        self.points = 0
        return dict.fromkeys(self.possible_agents, "Choose.")

    def _to_act(self) -> list[str]:
        return [seat for seat in self.possible_agents if seat not in self.choices]

    def _act(self, seat: str, action: str) -> Played:
        self.choices[seat] = action
        if len(self.choices) == 1:
            return Played()
        even = 1.0 if self.choices["even"] == self.choices["odd"] else -1.0
        told = dict.fromkeys(self.agents, f"even: {self.choices['even']!r}, odd: {self.choices['odd']!r}")
        self.choices = {}
        return Played(told, {"even": even, "odd": -even})

    def _situation(self, seat: str) -> dict[str, Any]:
        return {"success": False, "task_id": "pennies", "task_type": "pennies", "state_key": str(self.points)}


def pennies(max_cycles: int = 4) -> Pennies:
    return Pennies(max_turns=max_cycles)


# PettingZoo's own tests -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning:pettingzoo")  # it recommends arrays, and names like player_0
@pytest.mark.parametrize("new", [Haggle, pennies])
def test_pettingzoo_api(new: Any) -> None:
    api_test(InDict(new()), num_cycles=100)
    seed_test(new, num_cycles=50)


@pytest.mark.filterwarnings("ignore::UserWarning:pettingzoo")
@pytest.mark.parametrize(
    "new",
    [lambda: turn_based_aec_to_parallel(Haggle()), lambda: aec_to_parallel(pennies())],
    ids=["turns", "at once"],
)
def test_pettingzoo_parallel(new: Any) -> None:
    parallel_api_test(new(), num_cycles=30)
    parallel_seed_test(new, num_cycles=30)


def test_pettingzoo_max_cycles() -> None:
    class Module:
        env = staticmethod(pennies)

        @staticmethod
        def parallel_env(max_cycles: int) -> Any:
            return aec_to_parallel(pennies(max_cycles))

    max_cycles_test(Module)


# Turns, what is heard, rewards and ends -------------------------------------------------------------------


def seed_that_begins(seat: str) -> int:
    game = Haggle()
    for seed in range(50):
        game.reset(seed=seed)
        if game.agent_selection == seat:
            return seed
    raise AssertionError(f"{seat} never begins")


def test_each_seat_hears_what_it_was_told_since_it_acted() -> None:
    game = Haggle()
    game.reset(seed=seed_that_begins("buyer"))
    first = game.observe("seller")
    game.step("offer 7")
    assert game.observe("buyer") == "" and game.observe("seller") == f"{first}\nThe buyer offers 7."
    game.step("nonsense")
    assert game.observe("seller") == "That was no offer."
    assert game.observe("buyer") == "The seller says nothing."
    assert not game.infos["seller"]["is_action_valid"] and game.infos["buyer"]["is_action_valid"]


def test_a_reward_reaches_the_seat_that_is_not_to_act() -> None:
    game = Haggle()
    game.reset(seed=seed_that_begins("buyer"))
    game.step(f"offer {game.cost + 3}")
    game.step("accept")
    surplus = float(game.value - game.cost)
    assert game.is_over and all(game.terminations.values()) and not any(game.truncations.values())
    assert game.cumulative_rewards == {"buyer": surplus - 3, "seller": 3.0}
    assert game.infos["buyer"]["reward_parts"] == {"surplus": surplus - 3}
    last = {}
    for seat in game.agent_iter():
        last[seat] = game.last()[:3]
        game.step(None)
    sold = f"Sold for {game.cost + 3}."
    assert last == {"buyer": (sold, surplus - 3, True), "seller": (sold, 3.0, True)}
    with pytest.raises(ResetNeeded):
        game.step(None)


def test_reward_parts_add_up_as_rewards_do() -> None:
    class Paid(Haggle):
        def _act(self, seat: str, action: str) -> Played:
            self.turn_of = self.other(seat)
            return Played(rewards={"buyer": 0.5}, reward_parts={"buyer": {"wage": 0.5}})

    game = Paid()
    game.reset(seed=seed_that_begins("buyer"))
    for _ in range(2):
        game.step("")  # the buyer's turn, then the seller's
    assert game.cumulative_rewards == {"buyer": 1.0, "seller": 0.0}
    assert game.infos["buyer"]["reward_parts"] == {"wage": 1.0}
    assert "reward_parts" not in game.infos["seller"]


def test_no_seat_has_more_than_max_turns() -> None:
    game = Haggle(max_turns=3)
    game.reset(seed=0)
    played = 0
    while not game.is_over:
        game.step("")
        played += 1
    assert played == 6 and game.turns == {"buyer": 3, "seller": 3}
    assert all(game.truncations.values()) and not any(game.terminations.values())


def test_seats_that_choose_at_once_are_named_and_not_told() -> None:
    game = pennies()
    game.reset(seed=0)
    assert game.to_act == ("even", "odd")
    game.step("h")
    assert game.to_act == ("odd",) and game.observe("odd") == "Choose."
    game.step("h")
    assert game.observe("even") == game.observe("odd").removeprefix("Choose.\n") == "even: 'h', odd: 'h'"
    assert game.rewards == {"even": 1.0, "odd": -1.0}


@pytest.mark.parametrize("action", [None, b"accept", 3])
def test_a_living_seat_answers_with_a_string(action: Any) -> None:
    game = Haggle()
    game.reset(seed=seed_that_begins("buyer"))
    with pytest.raises(TypeError, match="buyer is to act: its action must be a str"):
        game.step(action)
    assert game.turns == {"buyer": 0, "seller": 0}


def test_a_game_that_has_not_begun() -> None:
    with pytest.raises(ResetNeeded):
        Haggle().step("accept")


def test_any_string_is_answered() -> None:
    game = Haggle(max_turns=len(HOSTILE_ACTIONS))
    game.reset(seed=0)
    for action in HOSTILE_ACTIONS:
        game.step(action)
        assert not game.is_over


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"split": "dev"}, "split must be one of"), ({"max_turns": 0}, "at least 1"), ({"render_mode": "human"}, "ansi")],
)
def test_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Haggle(**settings)


def test_render_gives_the_view_of_the_seat_to_act() -> None:
    game = Haggle(render_mode="ansi")
    game.reset(seed=0)
    assert game.render() == game.observe(game.agent_selection)
    assert Haggle().render_mode is None and isinstance(game, pettingzoo.AECEnv)


def test_snapshots_branch_a_game() -> None:
    game, fresh = Haggle(), Haggle()
    game.reset(seed=3)
    game.step("offer 12")
    state = game.snapshot()

    def future(game: Haggle) -> list[Any]:
        game.restore(state)
        seen = []
        for action in ("nonsense", "offer 20", "accept"):
            game.step(action)
            seen.append((game.agent_selection, {s: game.observe(s) for s in game.agents}, game.rewards, game.infos))
        game.reset()
        return [*seen, game.infos]

    assert future(game) == future(game) == future(fresh)
    with pytest.raises(TypeError, match="restore takes what snapshot"):
        game.restore(None)


# One seat ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seat", ["buyer", "seller"])
@pytest.mark.parametrize("partner", [accepting, Moody()])
def test_one_seat_keeps_every_promise_of_a_text_env(seat: str, partner: Any) -> None:
    new = partial(OneSeat, Haggle, seat=seat, partners={Haggle.other(seat): partner})
    check_text_env(new, second_process=partner is accepting, expert_success_rate=0.0, tasks_per_split=10)


def test_one_seat_under_an_id_of_its_own() -> None:
    register("tests/Haggle-v0", OneSeat, game=Haggle, seat="seller", partners={"buyer": accepting})
    env = make("tests/Haggle-v0", max_turns=3, split="valid")
    assert env.max_turns == 3 and env.split == "valid" and "You are the seller." in env.instructions
    seed = seed_that_begins("seller")
    observation, _ = env.reset(seed=seed)
    game = Haggle(split="valid")
    game.reset(seed=seed)
    assert observation == game.observe("seller")  # the seed's task, whichever face the game has
    observation, reward, terminated, truncated, info = env.step("offer 500")
    assert observation == "Sold for 500." and reward == 500 - game.cost  # earned in the partner's turn
    assert terminated and not truncated and not info["success"] and info["reward_parts"] == {"surplus": reward}
    with pytest.raises(ResetNeeded):
        env.step("")


def test_partners_play_before_the_first_observation() -> None:
    env = OneSeat(Haggle, seat="seller", partners={"buyer": accepting})
    observation, _ = env.reset(seed=seed_that_begins("buyer"))
    assert observation.endswith("The buyer offers 40.")


def test_a_game_that_is_over_before_the_seats_first_turn() -> None:
    class Sealed(Haggle):
        def _act(self, seat: str, action: str) -> Played:
            return Played({"seller": "The buyer has left."}, {"seller": -1.0}, terminated=True)

    env = OneSeat(Sealed, seat="seller", partners={"buyer": accepting})
    observation, info = env.reset(seed=seed_that_begins("buyer"))
    assert "The buyer has left." in observation and info["is_action_valid"]
    assert env.step("offer 3")[1:4] == (-1.0, True, False)


def test_the_partner_of_a_seed_is_the_same_whatever_was_played_before() -> None:
    env, other = (OneSeat(Haggle, seat="buyer", partners={"seller": Moody()}) for _ in range(2))
    other.reset(seed=1)
    other.step("offer 3")
    runs = [[e.reset(seed=5), e.step("offer 1"), e.step("offer 2")] for e in (env, other)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seat": "broker"}, "the seats are buyer, seller"),
        ({"partners": {"buyer": accepting}}, "the seats are buyer, seller"),
        ({}, "Haggle has no mixture"),
        ({"partner": "acceptin"}, "unknown partner 'acceptin': did you mean 'accepting'"),
        ({"partner": {"accepting": 0}}, "weights above 0"),
    ],
)
def test_seats_and_partners_must_fit(settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Haggle, "partners", {"accepting": lambda: accepting})
    with pytest.raises(ValueError, match=message):
        OneSeat(Haggle, **settings)


class Mirror:
    """A partner that sits in the game: it offers what it would cost itself, by the game's own state."""

    def sit(self, game: Haggle, seat: str) -> None:
        self.game, self.seat = game, seat

    def __call__(self, observation: str, info: dict[str, Any]) -> str:
        return f"offer {self.game.value if self.seat == 'buyer' else self.game.cost}"


def test_a_mixture_is_drawn_with_the_tasks_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Haggle, "partners", {"accepting": lambda: accepting, "moody": Moody, "mirror": Mirror})
    monkeypatch.setattr(Haggle, "mixture", {"accepting": 1, "moody": 1, "mirror": 2})
    env, other = OneSeat(Haggle), OneSeat(Haggle)
    drawn = [env.reset(seed=seed)[1]["partner"] for seed in range(40)]
    assert drawn[::-1] == [other.reset(seed=seed)[1]["partner"] for seed in reversed(range(40))]
    assert drawn.count("mirror") > max(drawn.count("accepting"), drawn.count("moody")) > 0


def test_a_partner_that_sits_in_the_game_plays_on_in_a_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Haggle, "partners", {"mirror": Mirror})
    env, other = (OneSeat(Haggle, partner="mirror") for _ in range(2))
    env.reset(seed=seed_that_begins("buyer"))
    env.step("offer 1")
    state = env.snapshot()
    other.restore(state)
    assert other.partners["seller"].game is other.game  # type: ignore[attr-defined]
    assert env.step("offer 2") == other.step("offer 2")


def test_a_game_under_an_id() -> None:
    register_game("tests/Haggle-v1", "tests.envs.haggle:Haggle", max_turns=4)
    register_game("tests/Haggle-v1", Haggle, max_turns=4)
    assert "tests/Haggle-v1" in registered_games()
    assert isinstance(make_game("tests/Haggle-v1"), Haggle) and make_game("tests/Haggle-v1").max_turns == 4
    aec = pettingzoo.make("aec", "tests/Haggle-v1", split="valid")
    assert aec.unwrapped.split == "valid" and aec.unwrapped.max_turns == 4
    parallel = pettingzoo.make("parallel", "tests/Haggle-v1", max_cycles=3)
    assert parallel.reset(seed=0)[0].keys() == {"buyer", "seller"}
    one = make("tests/Haggle-v1", partner="tests.envs.haggle:new_accepting")
    assert isinstance(one, OneSeat) and one.max_turns == 4
    with pytest.raises(ValueError, match=r"takes no argument 'bonus', only .*partner, .*max_turns"):
        make("tests/Haggle-v1", partner=accepting, bonus=1)
    with pytest.raises(ValueError, match="takes no argument 'bonus', only split"):
        make_game("tests/Haggle-v1", bonus=1)
    with pytest.raises(ValueError, match="takes no argument 'bonus:1', only"):
        make("tests/Haggle-v1", partner=accepting, **{"bonus:1": None})  # YAML's {bonus:1}
    with pytest.raises(ValueError, match=r"Sokoban-v0'.* it has one seat"):
        make_game("agentgym/Sokoban-v0")
    with pytest.raises(ValueError, match="did you mean 'tests/Haggle-v1'"):
        make_game("tests/Hagle-v1")


def test_an_act_that_is_none_is_told_what_it_must_return(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Pennies(max_turns=3)
    env.reset(seed=0)
    monkeypatch.setattr(env, "_act", lambda seat, action: ("seen", 0.0, False, True))
    with pytest.raises(TypeError, match=r"Pennies\._act must return a Played, not \('seen'"):
        env.step("h")
