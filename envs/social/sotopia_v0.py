"""SOTOPIA: characters with goals, secrets and a relationship talk (arXiv:2310.11667).

Seats are `agent_1`, `agent_2`, …; the characters who sit there are the task's. Where a scenario's goals can be scored
by a rule (a price, a split, an appointment) a deal is worth what it is worth; other goals are left to a judge
(`trainers/signals/judge.py`), and their rewards are 0. docs/sotopia.md says how it differs from the official code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from agentgym.envs.multi_agent import Played, TextAECEnv
from agentgym.envs.social.faces import faces
from agentgym.envs.social.sotopia.acts import LEAVE, NONE, SPEAK, Act, line_of, read_act
from agentgym.envs.social.sotopia.deals import Deal, Offer
from agentgym.envs.social.sotopia.partners import MIXTURE, PARTNERS
from agentgym.envs.social.sotopia.scenarios import find_tasks
from agentgym.envs.social.sotopia.sight import (
    RELATIONSHIPS,
    Visibility,
    background,
    first_observation,
    for_seat,
    hidden_facts,
)
from agentgym.envs.text_env import NoPlanError

Goals = Literal["rule", "judged", "all"]
Order = Literal["round-robin", "simultaneous", "random"]

_RULES = (
    "You play a character in a conversation: reach your goal, as the character would. What you answer is what you say. "
    "Begin with `do:` for something you do, with `gesture:` for a gesture or a look; `leave` alone ends your part; an "
    "empty answer is silence."
)
_DEAL_RULES = (
    " Where there is something to agree on, a line with `offer:` makes an offer, and `accept` or `reject` on a line of "
    "its own answers the last offer of the other, which stands until then. The form of an offer is in your task."
)
_MARK = re.compile(
    r"\boffer:((?:(?!\boffer:)[^\n])*)|^[^\S\n]*(accept|reject)[^\S\n]*[.!]?[^\S\n]*$", re.IGNORECASE | re.MULTILINE
)

_MOST_MARKS = 20
"""In what is said in one turn, the last ones, that are looked at."""


class Sotopia(TextAECEnv):
    """Two characters or more talk until somebody leaves, all fall silent, time is up, or a deal is made.

    - `data`: "builtin" for scenarios of our own, or a directory with SOTOPIA's files.
    - `goals`: "rule" for the scenarios whose goals a rule scores, "judged" for those left to a judge, "all" for both.
    - `seats`: how many characters; only scenarios of so many are played.
    - `order`: "round-robin"; "simultaneous", where all act before any is told; "random", drawn with the task's seed.
    - `visibility`: what is shown of others: by "relationship" as in the paper, "omniscient" everything, "lite" no
      background of anybody.
    - `stale_turns`: the conversation is cut off when all who are present have done nothing in each of so many of their
      last turns. Whoever left stays away; fewer than two end it.

    Terminated: a deal, or fewer than two are present. Truncated: time is up, or nobody does anything.
    """

    partners = PARTNERS
    mixture = MIXTURE
    task_types = ("price", "split", "appointment", "judged")

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextAECEnv._shared_between_snapshots | {
        "tasks", "instructions", "possible_agents",
    }  # fmt: skip

    def __init__(
        self,
        *,
        split: str = "train",
        max_turns: int = 10,
        render_mode: str | None = None,
        data: str | Path = "builtin",
        goals: Goals = "rule",
        seats: int = 2,
        order: Order = "round-robin",
        visibility: Visibility = "relationship",
        stale_turns: int = 1,
    ):
        """Raises `ValueError` in one line for arguments that are none, and for data that cannot be used."""
        for name, value, known in (
            ("goals", goals, Goals),
            ("order", order, Order),
            ("visibility", visibility, Visibility),
        ):
            if value not in get_args(known):
                raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, not {value!r}")
        for name, number, lowest in (("seats", seats, 2), ("stale_turns", stale_turns, 1)):
            if number < lowest:
                raise ValueError(f"{name} must be at least {lowest}, not {number}")
        self.possible_agents = [f"agent_{number}" for number in range(1, seats + 1)]
        self.instructions = dict.fromkeys(self.possible_agents, _RULES + _DEAL_RULES * (goals != "judged"))
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.data_source = "builtin" if data == "builtin" else str(data)
        self.tasks = list(find_tasks(data, seats, goals, split).values())
        """Of the split, by scenario."""
        self.order, self.visibility, self.stale_turns = order, visibility, stale_turns
        self.moves_at_once = order == "simultaneous"  # type: ignore[misc]  # here it depends on an argument

    # The task -----------------------------------------------------------------------------------------------

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        of_scenario = self.tasks[int(rng.integers(len(self.tasks)))]
        self.task = of_scenario[int(rng.integers(len(of_scenario)))]
        scenario, self.characters = (
            self.task.scenario,
            dict(zip(self.possible_agents, self.task.characters, strict=True)),
        )
        """Who sits in each seat."""
        self.deal: Deal | None = scenario.rule.draw(rng) if scenario.rule else None
        self._kind = scenario.rule.kind if scenario.rule else "judged"
        text, goals = scenario.text, list(scenario.goals)
        if self.deal is not None:
            text = _filled(text, self.deal.told(None))
            goals = [_filled(goal, self.deal.told(i)) for i, goal in enumerate(goals)]
        self.names = {seat: character.name for seat, character in self.characters.items()}
        self._index = {seat: i for i, seat in enumerate(self.possible_agents)}
        self._order_rng = np.random.default_rng(int(rng.integers(2**31))) if self.order == "random" else None
        self.present = list(self.possible_agents)
        """Who has not left."""
        self.transcript: list[list[Any]] = []
        """All acts so far: turn from 0, name, type, argument."""
        self.offer: Offer | None = None
        """The offer that stands."""
        self.agreed: Offer | None = None
        """The offer that was accepted."""
        self._turn = 0
        self._silent = dict.fromkeys(self.possible_agents, 0)
        self._acts: dict[str, Act] = {}
        self._last = len(self.possible_agents) - 1
        self._round = self._next_round()
        first = {
            seat: first_observation(text, goals, self.task.characters, scenario.level, i, self.visibility)
            for i, seat in enumerate(self.possible_agents)
        }
        form = "" if self.deal is None else f"\nAn offer is written so: {self.deal.form}"
        self._tasks = {
            seat: f"{for_seat(text, i)} You are {self.names[seat]}. Your goal: {for_seat(goals[i], i)}{form}"
            for i, seat in enumerate(self.possible_agents)
        }
        self._dossier = self._of_all(text, goals)
        # The numbers that were drawn belong to the task's name, which nobody is shown.
        drawn = blake2b("\0".join([text, *goals]).encode(), digest_size=4).hexdigest()
        self._task_id = f"sotopia/{self.task.id}" + (f"/{drawn}" if self.deal is not None else "")
        self._key = self._task_id
        return {seat: words + form for seat, words in first.items()}

    def _of_all(self, text: str, goals: Sequence[str]) -> dict[str, Any]:
        """What a judge is told of the task: all of it."""
        level = self.task.scenario.level
        return {
            "scenario": re.sub(r"<[^<>]*>", "", text),
            "relationship": RELATIONSHIPS[level],
            "characters": [
                {
                    "name": character.name,
                    "background": background(character, level, own=True),
                    "goal": for_seat(goal, i),
                    "secret": character.secret,
                    "facts": hidden_facts(character, level),
                }
                for i, (character, goal) in enumerate(zip(self.task.characters, goals, strict=True))
            ],
            "transcript": [],
        }

    def facts_of(self, seat: str) -> list[str]:
        """What the others are not shown of the character in a seat and may learn of it."""
        facts: list[str] = self._dossier["characters"][self._index[seat]]["facts"]
        return facts

    # Turns ----------------------------------------------------------------------------------------------------

    def _next_round(self) -> list[str]:
        """The seats that act next, before any of them is told of another."""
        if self.order == "simultaneous":
            return list(self.present)
        if self._order_rng is not None:
            return [self.present[int(self._order_rng.integers(len(self.present)))]]
        number = len(self.possible_agents)
        for _ in range(number):
            self._last = (self._last + 1) % number
            if self.possible_agents[self._last] in self.present:
                break
        return [self.possible_agents[self._last]]

    def _to_act(self) -> tuple[str, ...]:
        return tuple(self._round)

    def _act(self, seat: str, action: str) -> Played:
        self._acts[seat] = read_act(action)
        self._round.remove(seat)
        if self._round:
            return Played()
        acts, self._acts = self._acts, {}
        lines = {each: line_of(self.names[each], act) for each, act in acts.items()}
        label = f"Turn #{self._turn}:"
        told: dict[str, list[str]] = {}
        for hearer in self.present:
            heard = [line for each, line in lines.items() if line and each != hearer]
            if heard or any(each != hearer for each in acts):
                told[hearer] = ["\n".join([label, *heard]) if heard else f"{label} silence"]
        for each, act in acts.items():
            self.transcript.append([self._turn, self.names[each], *act])
            self._silent[each] = self._silent[each] + 1 if act.kind == NONE else 0
            if act.kind == LEAVE:
                self.present.remove(each)
        self._turn += 1
        self._dossier |= {"transcript": list(self.transcript)}
        self._key = blake2b(f"{self._key}\0{lines}".encode(), digest_size=8).hexdigest()
        valid = True
        for each, act in acts.items():
            if self.deal is not None and act.kind == SPEAK and self.agreed is None:
                fault = self._bargain(each, act.argument, told)
                valid = valid and not (fault and each == seat)
                if fault:
                    told.setdefault(each, []).append(f"Your words stand, your offer does not: {fault}")
        return self._outcome({hearer: "\n".join(heard) for hearer, heard in told.items()}, valid)

    def _bargain(self, seat: str, words: str, told: dict[str, list[str]]) -> str:
        """Carry out the last mark in somebody's words that can be; tell what happened. Returns what is wrong, or ""."""
        assert self.deal is not None
        fault = ""
        for mark in list(_MARK.finditer(words))[: -_MOST_MARKS - 1 : -1]:
            try:
                news = self._carry_out(seat, mark)
            except ValueError as error:
                fault = fault or str(error)
                continue
            for hearer in self.present:
                told.setdefault(hearer, []).append(news)
            self._key = blake2b(f"{self._key}\0{news}".encode(), digest_size=8).hexdigest()
            return ""
        return fault

    def _carry_out(self, seat: str, mark: re.Match[str]) -> str:
        """What an offer, an acceptance or a rejection changes, in words for all. Raises `ValueError` if it may not."""
        assert self.deal is not None
        index, name = self._index[seat], self.names[seat]
        if mark[2] is None:
            self.offer = self.deal.read(mark[1].strip(), index)
            return f"{name}'s offer stands: {self.offer.words}"
        if self.offer is None or self.offer.by == index:
            raise ValueError(f"there is no offer of the other to {mark[2].lower()}")
        offer, self.offer = self.offer, None
        other = self.names[self.possible_agents[offer.by]]
        if mark[2].lower() == "reject":
            return f"{name} rejected {other}'s offer: {offer.words}"
        self.agreed = offer
        return f"{name} accepted {other}'s offer: {offer.words}"

    def _outcome(self, told: Mapping[str, str], valid: bool) -> Played:
        if self.agreed is not None:
            rewards = {seat: self._reward(seat) for seat in self.possible_agents}
            return Played(told, rewards=rewards, terminated=True, is_action_valid=valid)
        if len(self.present) < 2:
            return Played(told, terminated=True, is_action_valid=valid)
        stale = all(self._silent[seat] >= self.stale_turns for seat in self.present)
        self._round = self._next_round()
        return Played(told, truncated=stale, is_action_valid=valid)

    def _reward(self, seat: str) -> float:
        """The payoff as a share of the seat's best, from −1, for a loss, to 1."""
        return max(-1.0, self.payoff(seat) / self.deal.best[self._index[seat]]) if self.deal is not None else 0.0

    def payoff(self, seat: str) -> float:
        """What a seat has of the deal, in the task's own units; 0 without one."""
        return 0.0 if self.agreed is None else self.agreed.payoffs[self._index[seat]]

    def share(self, seat: str, offer: Offer) -> float:
        """What an offer gives a seat, as a share of the most it may hope for, knowing its own part alone."""
        assert self.deal is not None
        return self.deal.share(self._index[seat], offer)

    def _situation(self, seat: str) -> dict[str, Any]:
        deal, agreed, index = self.deal, self.agreed, self._index[seat]
        situation = {
            "success": agreed is not None and deal is not None and deal.is_success(agreed, index),
            "task_id": self._task_id,
            "task_type": self._kind,
            "state_key": self._key,
            "task": self._tasks[seat],
            "dossier": self._dossier | {"judged": self.names[seat]},
        }
        if deal is None:
            return situation
        payoff, best = self.payoff(seat), deal.best[index]
        joint = 0.0 if agreed is None else max(0.0, sum(agreed.payoffs)) / deal.best_joint
        return situation | {
            "score": min(1.0, max(0.0, payoff / best)),
            "joint": joint,
            "agreement": agreed is not None,
            "payoff": payoff,
            "optimum": {"payoff": best, "joint": deal.best_joint, "nash": deal.nash[index]},
        }

    def expert(self, seat: str) -> str:
        """Accepts what is a success, and else proposes, of all such deals, the one that leaves the other most.

        Raises `NoPlanError` where goals are left to a judge. It knows both seats' parts of the task.
        """
        deal, index = self.deal, self._index[seat]
        if deal is None:
            raise NoPlanError("goals that are left to a judge have no expert")
        if self.offer is not None and self.offer.by != index and deal.is_success(self.offer, index):
            return "accept"
        good = [offer for words in deal.choices(index) if deal.is_success(offer := deal.read(words, index), index)]
        if not good:
            raise NoPlanError("no offer of its own is a success")
        return f"offer: {max(good, key=lambda offer: offer.payoffs[1 - index]).words}"


def _filled(text: str, told: Mapping[str, str]) -> str:
    for name, value in told.items():
        text = text.replace(f"{{{name}}}", value)
    return text


env, raw_env, parallel_env = faces(Sotopia)
