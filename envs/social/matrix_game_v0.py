"""Matrix games over some rounds: the prisoner's dilemma and five others, with or without talk.

Those who decide at once are told nothing before all have decided. Before each decision there may be rounds of talk, in
which all say something at once; what is said beside a decision nobody hears.

The splits hash the payoffs of a game, and of matching pennies and rock paper scissors, which have a handful, the number
of the game.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np

from agentgym.envs.multi_agent import Partner, Played, TextAECEnv
from agentgym.envs.social.faces import faces
from agentgym.envs.social.matrix_partners import (
    Cooperative,
    Mixed,
    Selfish,
    TitForTat,
    Uniform,
    WinStayLoseShift,
)
from agentgym.envs.social.matrix_rules import KINDS
from agentgym.envs.social.speech import said
from agentgym.envs.splits import split_of

_RULES = {
    "prisoners_dilemma": ("prisoner's dilemma", "Choose [cooperate] or [defect]"),
    "stag_hunt": ("stag hunt", "Choose [stag] or [hare]"),
    "matching_pennies": (
        "matching pennies",
        "Choose [heads] or [tails]: player_0 wins if both choose the same, else player_1",
    ),
    "rock_paper_scissors": (
        "rock paper scissors",
        "Choose [rock], [paper] or [scissors]: paper beats rock, scissors paper, rock scissors",
    ),
    "public_goods": ("public goods", "Give to all what you like of what you have, in whole numbers, such as [3]"),
    "ultimatum": (
        "ultimatum",
        "One offers the other a part of the pool, such as [offer 3]. The other says [accept], and both have their "
        "parts, or [reject], and both have nothing",
    ),
}
"""The name of each kind and what one does in it."""
_MOST_ROUNDS = 5


class MatrixGame(TextAECEnv):
    """Some rounds of one of the games. A seat's reward is what it earns, round by round.

    In `info`: `score`, the mean payoff between that without agreement (0) and the best (1); `optimum` as in the deal
    games, or the `value` of a zero-sum game. Where the game is not zero-sum: `joint`, the total of all as a share of
    the best, and `agreement`, that it is the best. `success` in a zero-sum game is to have won more than lost;
    elsewhere that every round was efficient and the seat earned what it would where the product of gains is best.

    The `state_key` has the payoffs, the decisions that were told, and the seat's own that is not told yet; what was
    said is not in it. An unclear answer is asked again once, with a question mark in the key; then the game's default
    counts.
    """

    partners: ClassVar[Mapping[str, Callable[[], Partner]]] = {
        "cooperative": Cooperative,
        "half_cooperative": partial(Mixed, 0.5),
        "random": Uniform,
        "selfish": Selfish,
        "tit_for_tat": TitForTat,
        "win_stay_lose_shift": WinStayLoseShift,
    }
    mixture: ClassVar[Mapping[str, float]] = {
        "tit_for_tat": 0.4,
        "win_stay_lose_shift": 0.2,
        "selfish": 0.2,
        "cooperative": 0.1,
        "random": 0.1,
    }

    def __init__(
        self,
        *,
        kind: str = "prisoners_dilemma",
        rounds: int | None = None,
        talk: int = 0,
        seats: int | None = None,
        split: str = "train",
        max_turns: int | None = None,
        render_mode: str | None = None,
    ):
        """`kind`: one of `matrix_rules.KINDS`. `rounds`: 1 to 5 by the task unless given. `talk`: rounds of talk before
        each decision. `seats`: of public goods, 3 unless given; the others have two. `max_turns`: what the rounds need
        unless given. Raises `ValueError` for another kind, and for numbers that do not fit.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        n_seats = seats or (3 if kind == "public_goods" else 2)
        if n_seats < 2 or (n_seats != 2 and kind != "public_goods"):
            raise ValueError(f"{kind} has {'2 or more' if kind == 'public_goods' else '2'} seats, not {seats}")
        if talk < 0 or (rounds is not None and rounds < 1):
            raise ValueError(f"rounds must be at least 1 and talk at least 0, not rounds={rounds}, talk={talk}")
        self.possible_agents = [f"player_{number}" for number in range(n_seats)]
        self.kind, self.rounds, self.talk = kind, rounds, talk
        self.task_types = (_RULES[kind][0],)
        self.instructions = {seat: self._rules_for(seat) for seat in self.possible_agents}
        self.zero_sum = kind in ("matching_pennies", "rock_paper_scissors")
        if max_turns is None:
            max_turns = (rounds or _MOST_ROUNDS) * (talk + 2)  # each decision may be asked for twice
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)

    def _rules_for(self, seat: str) -> str:
        title, choice = _RULES[self.kind]
        at_once = "" if self.kind == "ultimatum" else ", without knowing what the others choose"
        talk = " Before each choice you may talk; nobody is bound by what is said." if self.talk else ""
        return (
            f"{title.capitalize()} for {len(self.possible_agents)}. You are {seat}. {choice}{at_once}.{talk} "
            "The last choice in square brackets counts. Earn as much as you can over all rounds."
        )

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        """`options`: "rounds", and what the rules of the game take (`matrix_rules`)."""
        arguments = {"n_seats": len(self.possible_agents)} if self.kind == "public_goods" else {}
        while True:
            self.rules = KINDS[self.kind](rng, {}, **arguments)
            number = int(rng.integers(1_000_000))
            if split_of(f"{self.kind} {number if self.zero_sum else self.rules.task}") == self.split:
                break
        if options:
            self.rules = KINDS[self.kind](rng, options, **arguments)
        self._rounds = int(options.get("rounds", self.rounds or rng.integers(1, _MOST_ROUNDS + 1)))
        task = f"{self.rules.task}/{number}" if self.zero_sum else self.rules.task
        self._task_id = f"{self.kind}/{task}/{self._rounds}"
        self.history: list[dict[int, str]] = []
        """What was decided in the rounds that are over, by seat's number."""
        self.totals = [Fraction(0)] * len(self.possible_agents)
        self._optima = [self._optimum(index) for index in range(len(self.possible_agents))]
        self._joint, self._agreement = 0.0, False
        self._task = f"{self.rules.words(self.possible_agents)} Rounds: {self._rounds}."
        self._begin_round()
        return dict.fromkeys(self.possible_agents, f"{self._task}\n{self._asked()}")

    def _begin_round(self) -> None:
        self._talks = 0
        self._said: dict[int, str] = {}
        self._decided: dict[int, str] = {}
        self._told: dict[int, str] = {}
        self._refused: set[int] = set()
        self._await_next()

    def _await_next(self) -> None:
        everybody = tuple(range(len(self.possible_agents)))
        self._awaited = everybody if self.is_talking else self.rules.deciding(self._told, len(self.history))

    @property
    def is_talking(self) -> bool:
        """Whether this is a round of talk, not of decisions."""
        return self._talks < self.talk

    @property
    def told_decisions(self) -> Mapping[int, str]:
        """What was decided in this round and told to all, by seat's number: an offer that is to be answered."""
        return self._told

    def _to_act(self) -> list[str]:
        return [self.possible_agents[index] for index in self._awaited]

    def _asked(self) -> str:
        """What is asked of those who are to act, for all to hear."""
        where = f"Round {len(self.history) + 1} of {self._rounds}"
        if self.is_talking:
            return f"{where}, talk {self._talks + 1} of {self.talk}: say something."
        choices = [f"[{choice}]" for choice in self.rules.choices(self._awaited[0], self._told)]
        listed = " or ".join(choices) if len(choices) <= _LISTED else f"{choices[0]} to {choices[-1]}"
        return f"{where}: {f'{self._to_act()[0]} is to say ' if self.kind == 'ultimatum' else ''}{listed}."

    def _act(self, seat: str, action: str) -> Played:
        index, is_valid = self.possible_agents.index(seat), True
        if self.is_talking:
            self._said[index] = action
        else:
            choice = self.rules.read(index, self._told, action)
            is_valid = choice is not None
            if choice is None and index not in self._refused:
                self._refused.add(index)
                return Played({seat: f"That is no choice. {self._asked()}"}, is_action_valid=False)
            self._decided[index] = choice or self.rules.default(index, self._told)
        self._awaited = tuple(who for who in self._awaited if who != index)
        if self._awaited:
            return Played(is_action_valid=is_valid)
        return self._tell_words() if self.is_talking else self._tell_decisions(is_valid)

    def _tell_words(self) -> Played:
        lines = [self._line(index) for index in range(len(self.possible_agents))]
        self._said = {}
        self._talks += 1
        self._await_next()
        told = {}
        for index, seat in enumerate(self.possible_agents):
            told[seat] = "\n".join([*lines[:index], *lines[index + 1 :], self._asked()])
        return Played(told)

    def _line(self, index: int) -> str:
        seat, words = self.possible_agents[index], self._said[index]
        return said(seat, words) if words.strip() else f"{seat} says nothing."

    def _tell_decisions(self, is_valid: bool) -> Played:
        new = {index: choice for index, choice in sorted(self._decided.items()) if index not in self._told}
        text = ", ".join(f"{self.possible_agents[index]} chose {choice}" for index, choice in new.items())
        self._told = dict(self._decided)
        self._await_next()
        if self._awaited:  # an offer that is to be answered
            return Played(self._to_all(f"{text}.\n{self._asked()}"), is_action_valid=is_valid)
        earned = self.rules.payoffs(self._decided)
        self.totals = [total + just for total, just in zip(self.totals, earned, strict=True)]
        self.history.append(self._decided)
        best = self.rules.best_total * self._rounds
        self._joint = float(sum(self.totals) / best) if best else 0.0
        self._agreement = sum(self.totals) == best and self._has_ended()
        text += f". Earned: {_listed(earned)}. In all: {_listed(self.totals)}."
        rewards = {seat: float(just) for seat, just in zip(self.possible_agents, earned, strict=True)}
        if self._has_ended():
            told = self._to_all(f"{text}\nThe game is over.")
            return Played(told, rewards, terminated=True, is_action_valid=is_valid)
        self._begin_round()
        return Played(self._to_all(f"{text}\n{self._asked()}"), rewards, is_action_valid=is_valid)

    def _to_all(self, text: str) -> dict[str, str]:
        return dict.fromkeys(self.possible_agents, text)

    def _has_ended(self) -> bool:
        return len(self.history) == self._rounds

    def _situation(self, seat: str) -> dict[str, Any]:
        index = self.possible_agents.index(seat)
        acts = index in self._awaited
        info: dict[str, Any] = {
            "success": self._has_ended() and self._succeeded(index),
            "task_id": self._task_id,
            "task_type": self.task_types[0],
            "task": self._task,
            "state_key": self._key(index),
            "score": self._score(index),
            "payoff": float(self.totals[index]),
            "optimum": dict(self._optima[index]),
        }
        if not acts or not self.is_talking:
            choices = self.rules.choices(index, self._told) if acts else []
            info["admissible_actions"] = [f"[{choice}]" for choice in choices]
        if not self.zero_sum:
            info["joint"], info["agreement"] = self._joint, self._agreement
        return info

    def _key(self, index: int) -> str:
        rounds = " ".join("/".join(past[who] for who in sorted(past)) for past in self.history)
        told = "/".join(self._told.values())
        own = self._decided.get(index, "") if not self.is_talking else "spoken" * (index in self._said)
        asked = "?" * (index in self._refused and index in self._awaited)
        number = f"{len(self.history) + 1} of {self._rounds}.{self._talks}"
        return f"{self.kind} {self.rules.task} | {rounds} | {number} {told} | {own}{asked}"

    def _succeeded(self, index: int) -> bool:
        if self.zero_sum:
            return self.totals[index] > 0
        fair = self.totals[index] >= self.rules.nash[index] * self._rounds
        return fair and all(map(self.rules.is_efficient, self.history))

    def _score(self, index: int) -> float:
        if not self._has_ended():
            return 0.0
        least, most = self.rules.bounds[index]
        share = (self.totals[index] / self._rounds - least) / (most - least)
        return float(min(max(share, Fraction(0)), Fraction(1)))

    def _optimum(self, index: int) -> dict[str, float]:
        if self.zero_sum:
            return {"value": 0.0}
        each = {
            "own": self.rules.bounds[index][1],
            "total": self.rules.best_total,
            "nash": Fraction(self.rules.nash[index]),
        }
        return {name: float(value * self._rounds) for name, value in each.items()}

    def expert(self, seat: str) -> str:
        """Uniform in a zero-sum game, drawn from the task; else tit for tat, which accepts any offer above nothing."""
        if self.is_talking:
            return TitForTat.words
        index = self.possible_agents.index(seat)
        choices = self.rules.choices(index, self._told)
        if self.zero_sum:
            digest = blake2b(f"{self._task_id} {len(self.history)} {seat}".encode(), digest_size=8).digest()
            return f"[{choices[int.from_bytes(digest) % len(choices)]}]"
        responds = self.kind == "ultimatum" and self._told
        partner = Selfish() if responds else TitForTat()
        return f"[{partner.decide(self.rules, index, self.history, self._told)}]"


_LISTED = 3
"""So many choices are named one by one."""


def _listed(values: Sequence[Fraction]) -> str:
    return ", ".join(f"{float(value):.6g}" for value in values)


env, raw_env, parallel_env = faces(MatrixGame)
