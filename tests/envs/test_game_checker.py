"""Mutation tests of `check_game`: for every promise small games that break it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from agentgym.envs import Played, TextAECEnv, TextEnvError, check_game, make_game, registered_games
from agentgym.envs.checker import _name
from agentgym.envs.checks.games import GAME_CHECKS, check_game_second_process
from agentgym.envs.splits import split_of
from agentgym.envs.text_space import TextSpace
from tests.envs.haggle import Haggle


class Duel(TextAECEnv):
    """A correct game: both say high or low at once, of a number each holds; then left stays or swaps the numbers."""

    possible_agents: ClassVar[list[str]] = ["left", "right"]
    instructions: ClassVar[Mapping[str, str]] = dict.fromkeys(("left", "right"), "Answer with one of the words.")
    task_types = ("duel",)
    zero_sum = True
    partners: ClassVar[Mapping[str, Any]] = {"high": lambda: lambda observation, info: "high"}
    mixture: ClassVar[Mapping[str, float]] = {"high": 1.0}

    def __init__(self, *, split: str = "train", max_turns: int = 6, render_mode: str | None = None):
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        while True:
            held = (int(rng.integers(100, 1000)), int(rng.integers(100, 1000)))
            if split_of(str(held)) == self.split:
                break
        self.held = dict(zip(self.possible_agents, options.get("held", held), strict=True))
        self.claims: dict[str, str] = {}
        self.won = 0
        return {seat: f"{self.private(seat)} High or low?" for seat in self.possible_agents}

    def look_alikes(self, seat: str) -> list[dict[str, Any]]:
        mine = self.held[seat]
        return [{"held": (mine, other) if seat == "left" else (other, mine)} for other in (100, 500, 999)]

    def private(self, seat: str) -> str:
        return f"Your number is {self.held[seat]}."

    def _to_act(self) -> list[str]:
        return [seat for seat in self.possible_agents if seat not in self.claims] or ["left"]

    def words(self) -> list[str]:
        return ["high", "low"] if len(self.claims) < 2 else ["stay", "swap"]

    def _act(self, seat: str, action: str) -> Played:
        if action not in self.words():
            return Played({seat: f"Say {' or '.join(self.words())}."}, is_action_valid=False)
        if action in ("high", "low"):
            self.claims[seat] = action
            said = f"left says {self.claims.get('left')}, right says {self.claims.get('right')}."
            return Played(dict.fromkeys(self.possible_agents, said) if len(self.claims) == 2 else {})
        self.won = 1 if (self.held["left"] >= self.held["right"]) == (action == "stay") else -1
        told = dict.fromkeys(self.possible_agents, f"left does {action}.")
        return Played(told, {"left": float(self.won), "right": -float(self.won)}, terminated=True)

    def _situation(self, seat: str) -> dict[str, Any]:
        won = self.won if seat == "left" else -self.won
        claims = self.claims if len(self.claims) == 2 else {seat: self.claims.get(seat)}
        return {
            "success": won > 0,
            "task_id": f"duel/{self.held}",
            "task_type": "duel",
            "task": self.private(seat),
            "state_key": f"{self.held[seat]} {claims}",
            "admissible_actions": self.words() if seat in self._to_act() and not self.won else [],
        }

    def expert(self, seat: str) -> str:
        return self.words()[self.held[seat] < 550]


MUTANTS: list[Any] = []
"""(class, name of the check, what the verdict says)."""


def broken(check: str, verdict: str) -> Callable[[type[Duel]], type[Duel]]:
    def keep(cls: type[Duel]) -> type[Duel]:
        MUTANTS.append(pytest.param(cls, check, verdict, id=cls.__name__))
        return cls

    return keep


@broken("seats", r"expected instructions\['right'\] in words, received None")
class RulesForOne(Duel):
    instructions: ClassVar[Mapping[str, str]] = {"left": "Answer."}


@broken("seats", "expected the mixture's 'low' among partners")
class MixtureOfNobody(Duel):
    mixture: ClassVar[Mapping[str, float]] = {"low": 1.0}


@broken("seats", "expected one TextSpace for left at every call of observation_space")
class FreshSpaces(Duel):
    def observation_space(self, agent: str) -> TextSpace:
        return TextSpace()


@broken("told", r"expected rewards\['left'\] to be a finite number after act 1 .* received nan")
class NotANumber(Duel):
    def _act(self, seat: str, action: str) -> Played:
        return Played(rewards={"left": float("nan")})


@broken("told", "expected success of right only when terminated")
class EarlySuccess(Duel):
    def _situation(self, seat: str) -> dict[str, Any]:
        return super()._situation(seat) | {"success": seat == "right"}


@broken("who may act", "expected to_act to name seats of the game, each once")
class Twice(Duel):
    def _to_act(self) -> list[str]:
        return [*super()._to_act(), "left"]


@broken("who may act", "expected right to act still, as they were to at once")
class Forgetful(Duel):
    def _to_act(self) -> list[str]:
        return ["left"] if self.claims else ["left", "right"]


@broken("who may act", "expected step.None. of left, who is alive, to raise TypeError")
class TakesNone(Duel):
    def step(self, action: str | None) -> None:
        super().step("" if action is None and not self.is_over else action)


@broken("at once", "expected right, who decides at once with left, to be told nothing yet")
class TellsTooEarly(Duel):
    def _act(self, seat: str, action: str) -> Played:
        played = super()._act(seat, action)
        return played if played.told else Played({"right": f"left says {action}."})


@broken("at once", "to be told nothing yet")
class TellsInInfo(Duel):
    def _situation(self, seat: str) -> dict[str, Any]:
        return super()._situation(seat) | {"state_key": f"{self.held[seat]} {self.claims}"}


@broken("game end", "expected an end of the game after 12 acts")
class Endless(Duel):
    def _select(self) -> bool:
        super()._select()
        return True


@broken("dead seats", "expected last.. to have told left all of its -?1 earned, received 0")
class LosesTheLastReward(Duel):
    def _end_or_go_on(self, played: Played) -> None:
        super()._end_or_go_on(played)
        if self.is_over:
            self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)


@broken("dead seats", "expected step.'text'. of left, who is dead, to raise ValueError")
class DeadSpeak(Duel):
    def step(self, action: str | None) -> None:
        super().step(None if self.agents and self.is_over else action)


@broken("zero sum", "expected rewards that sum to 0")
class PaysInterest(Duel):
    def _act(self, seat: str, action: str) -> Played:
        played = super()._act(seat, action)
        rewards = {seat: reward + 0.1 * (seat == "left") for seat, reward in played.rewards.items()}
        return Played(played.told, rewards, terminated=played.terminated, is_action_valid=played.is_action_valid)


@broken("game seed", "expected seed 0 elsewhere to repeat")
class Unseeded(Duel):
    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        return super()._start(np.random.default_rng(), options)


@broken("game global randomness", "to stay untouched")
class Global(Duel):
    def _act(self, seat: str, action: str) -> Played:
        random.random()
        return super()._act(seat, action)


@broken("game instances", "with another one played beside it")
class SharedClaims(Duel):
    shared: ClassVar[dict[str, str]] = {}

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        told = super()._start(rng, options)
        self.claims = SharedClaims.shared
        self.claims.clear()
        return told


@broken("observe", "looked at by all seats after every act")
class CountsLooks(Duel):
    looks = 0

    def observe(self, agent: str) -> str:
        self.looks += 1
        return super().observe(agent)

    def _situation(self, seat: str) -> dict[str, Any]:
        return super()._situation(seat) | {"score": min(1.0, self.looks // 30)}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        self.looks = 0
        super().reset(seed, options)


@broken("observe", "looked at by all seats after every act")
class ExpertActs(Duel):
    def expert(self, seat: str) -> str:
        self.held[seat] = 999
        return super().expert(seat)


@broken("look alikes", "expected left to see the same of seed 0 whatever the others hold")
class HintsAtTheOther(Duel):
    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        told = super()._start(rng, options)
        return {**told, "left": f"{told['left']} Theirs is {'odd' if self.held['right'] % 2 else 'even'}."}


@broken("look alikes", "expected left to see the same")
class KeyOfBoth(Duel):
    def _situation(self, seat: str) -> dict[str, Any]:
        return super()._situation(seat) | {"state_key": f"{self.held} {seat} {seat in self.claims}"}


@broken("privacy", "expected left not to read the task of right")
class ShowsTheOtherLater(Duel):
    def _act(self, seat: str, action: str) -> Played:
        played = super()._act(seat, action)
        if len(self.claims) == 2 and not played.terminated and played.is_action_valid:
            return Played({**played.told, "left": f"{self.private('right')} {played.told['left']}"})
        return played


@broken("game snapshot", "restored in")
class ForgetsClaims(Duel):
    _shared_between_snapshots: ClassVar[frozenset[str]] = Duel._shared_between_snapshots | {"held"}


@broken("game copies", "copy.deepcopy to repeat")
class StaleCopies(Duel):
    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        twin = type(self)()
        twin.reset(seed=0)
        return twin


@broken("game admissible actions", "admissible action 'fold' to be valid")
class OffersTooMuch(Duel):
    def _situation(self, seat: str) -> dict[str, Any]:
        info = super()._situation(seat)
        return info | {"admissible_actions": [*info["admissible_actions"], "fold"]}


@broken("game hostile actions", "received ValueError: invalid literal")
class ParsesBlindly(Duel):
    def _act(self, seat: str, action: str) -> Played:
        if action == "None":
            int(action)
        return super()._act(seat, action)


@broken("game hostile actions", "that right can store")
class PassesOnSurrogates(Duel):
    def _act(self, seat: str, action: str) -> Played:
        played = super()._act(seat, action)
        return played if played.is_action_valid else Played({"right": action}, is_action_valid=False)

    def _to_act(self) -> list[str]:
        return ["left"]

    def words(self) -> list[str]:
        return ["stay", "swap"]


@broken("game splits", "in no other split")
class OneSplitForAll(Duel):
    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        kept, self.split = self.split, "train"
        told = super()._start(np.random.default_rng(int(rng.integers(3))), options)
        self.split = kept
        return told


@broken("game splits", "expected one task_id for all seats")
class TwoNames(Duel):
    def _situation(self, seat: str) -> dict[str, Any]:
        return super()._situation(seat) | {"task_id": f"duel/{self.held}/{seat}"}


@broken("game expert", "expected the expert's action 'pass' for left to be valid")
class BadExpert(Duel):
    def expert(self, seat: str) -> str:
        return "pass"


@broken("game second process", "in another process to repeat")
class HashOfStrings(Duel):
    def _situation(self, seat: str) -> dict[str, Any]:
        return super()._situation(seat) | {"state_key": f"{hash(self.private(seat))}"}


def test_a_correct_game_passes() -> None:
    check_game(Duel, second_process=True)
    check_game(Haggle)


@pytest.mark.parametrize(("game", "check", "verdict"), MUTANTS)
def test_a_broken_promise_is_found(game: type[Duel], check: str, verdict: str) -> None:
    with pytest.raises(TextEnvError, match=f"^{check}: .*{verdict}"):
        check_game(game, seeds=range(2), second_process=check == "game second process")


def test_every_check_has_a_mutant() -> None:
    assert {mutant.values[1] for mutant in MUTANTS} == {_name(c) for c in (*GAME_CHECKS, check_game_second_process)}


@pytest.mark.parametrize("env_id", [env_id for env_id in registered_games() if env_id.startswith("agentgym/")])
def test_every_promise_of_every_game(env_id: str) -> None:
    check_game(env_id, seeds=range(2), second_process=True)
    for split in make_game(env_id).splits:
        assert make_game(env_id, split=split).split == split


@pytest.mark.parametrize("game", [Haggle(), 3])
def test_what_it_takes(game: Any) -> None:
    with pytest.raises(TypeError, match="check_game takes an id, a class or a factory"):
        check_game(game)
    with pytest.raises(ValueError, match="no game of several seats"):
        check_game("agentgym/Sokoban-v0")
