"""What all games of two seats that talk their way to a deal share: proposals, acceptance, ends, payoffs, references.

The rules are those of every deal game here:

* Seats take turns and say what they like. In what they say stand acts in a small grammar: an offer, `accept`,
  `reject`, `withdraw`, `walk away`. The last one in a message counts; of several offers the last well-formed one. A
  verb is an act where it is a sentence of its own ("accept", "I accept.") or stands in brackets ("[accept]").
* A proposal stands until it is accepted, rejected, withdrawn or replaced, by whomever. Nobody accepts their own.
* An act that cannot be carried out is told to its speaker alone, with the reason, and changes nothing; the other hears
  the words all the same.
* Walking away and an acceptance end the game for both; running out of turns cuts it off, without a deal.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from agentgym.envs.multi_agent import Played, TextAECEnv
from agentgym.envs.social.deal_partners import MIXTURE, PARTNERS
from agentgym.envs.social.references import Payoffs, References, share_lost
from agentgym.envs.social.speech import said
from agentgym.envs.social.table import BadOffer, Knowledge, Offer, Table

TIME_IS_UP = "Time is up. There is no deal."

Verb = Literal["accept", "reject", "withdraw", "walk away"]


@dataclass(frozen=True)
class Grammar:
    """Where the acts are in what a seat says."""

    offer: str
    """A regular expression whose group "offer" is what is offered. Linear in the length of the text."""
    verbs: Mapping[str, Verb]
    """The words of the game for the acts."""
    offers: Mapping[str, Offer] = field(default_factory=dict)
    """Offers that have a word of their own, which stands where a verb does."""

    def compiled(self) -> re.Pattern[str]:
        """Finds all marks of a message in order: the group "offer" or "verb" of each."""
        words = "|".join(map(re.escape, [*self.verbs, *self.offers]))
        sentence = rf"(?:\A|(?<=[.!?;:\n]))[ \t]{{0,9}}(?:i[ \t])?(?P<verb>{words})(?=[ \t]{{0,9}}(?:[.!;\n]|\Z))"
        brackets = rf"\[[ \t]{{0,9}}(?P<bracketed>{words})[ \t]{{0,9}}\]"
        return re.compile(f"{self.offer}|{brackets}|{sentence}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Understood:
    """What a message comes to."""

    kind: Literal["propose", "accept", "reject", "withdraw", "walk away", "say"]
    offer: Offer = None
    fault: str | None = None
    """What is wrong with the last offer in the message; `kind` is "say" where there is no good one before it."""
    is_bare: bool = False
    """The message holds the act and no other word."""


class DealGame(TextAECEnv):
    """Base class of the deal games. A subclass draws tasks, reads and words offers, and knows what they are worth.

    The reward is given at the end, to both seats: the own payoff as a share of the own best (see `References`), from
    -1 to 1, 0 without a deal. `info` says more of the outcome, for reports; nothing of it is shown to a seat:

    * `payoff`: the own gain over no deal, in natural units; `agreement`: there is a deal.
    * `score`: the share of the own best, from 0 to 1; `joint`: the total of both as a share of the best total.
    * `success`: the deal is on the Pareto frontier and gives the seat no less than the least it would have at Nash's
      product, rounded down to whole numbers; where there is nothing to be gained, that somebody walked away.
      `pareto_distance`: the share that the seat lost to the nearest outcome that dominates the deal, 0 where none
      does; 1 without a deal.
    * `optimum`: what could be reached: `own`, `total`, `nash` (own), `minimum`. Once the game is over.
    """

    possible_agents: ClassVar[list[str]] = ["ann", "ben"]  # type: ignore[misc]
    partners = PARTNERS
    mixture = MIXTURE
    reservation: ClassVar[float] = 0.3
    """The share of the own best below which scripted partners do not go."""
    grammar: ClassVar[Grammar]
    offer_form: ClassVar[str]
    """An offer as an action, with {} for what is offered."""

    _marks: ClassVar[re.Pattern[str]]

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "grammar" in cls.__dict__:
            cls._marks = cls.grammar.compiled()

    # What a subclass implements ---------------------------------------------------------------------------

    @abstractmethod
    def _draw(self, rng: np.random.Generator, options: dict[str, Any]) -> Table:
        """Draw a task of the split, or take the one in `options["task"]`; return what lies open of it."""

    @abstractmethod
    def _opening(self, seat: str) -> str:
        """The seat's private part and what is public of the task, in words."""

    @abstractmethod
    def _task_id(self) -> str:
        """Names the task, whoever begins."""

    @abstractmethod
    def _task_type(self) -> str:
        """One of `task_types`."""

    def _check_offer(self, offer: Offer, seat: str) -> None:
        """Raise `BadOffer` where the private part of `seat` itself keeps it from making this offer."""

    @abstractmethod
    def _payoffs(self, offer: Offer) -> Payoffs:
        """What each seat gains by an offer that is carried out."""

    @abstractmethod
    def _find_references(self) -> References:
        """What could be reached in this task."""

    @abstractmethod
    def _nash_offer(self, seat: str) -> Offer:
        """An offer of the best product of gains; of several the one that is best for the other seat."""

    @abstractmethod
    def knowledge(self, seat: str) -> Knowledge:
        """What `seat` knows of the task and nothing else, for the partner that holds it. It never changes."""

    def _common_knowledge(self, seat: str) -> dict[str, Any]:
        """The fields of `Knowledge` that are the same in all games."""
        return {
            "seat": seat,
            "other": self.other(seat),
            "max_turns": self.max_turns,
            "reservation": self.reservation,
            "offer_form": self.offer_form,
            "accept": self._verb("accept"),
            "reject": self._verb("reject"),
        }

    # The game ---------------------------------------------------------------------------------------------

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        self.table = self._draw(rng, options)
        first = options.get("first") or self.possible_agents[int(rng.integers(2))]
        self._turn_of = first
        self._id = f"{self._task_id()}/{first}"
        self._type = self._task_type()
        self._standing: tuple[str, Offer] | None = None
        self._deal: Offer | None = None
        self._payoffs_reached: Payoffs = (0, 0)
        self._better: Payoffs | None = None
        self._has_left = False
        self._references: References | None = None
        self._history = ""
        self._task = {seat: self._opening(seat) for seat in self.possible_agents}
        return {
            seat: f"{text} {'You speak first.' if seat == first else f'{first} speaks first.'}"
            for seat, text in self._task.items()
        }

    def _to_act(self) -> tuple[str, ...]:
        return (self._turn_of,)

    def other(self, seat: str) -> str:
        """Who sits opposite."""
        first, second = self.possible_agents
        return second if seat == first else first

    def _act(self, seat: str, action: str) -> Played:
        other = self._turn_of = self.other(seat)
        played = self._carry_out(seat, other, action)
        if played.terminated or self.turns[other] < self.max_turns:
            return played
        told = {each: "\n".join(filter(None, (played.told.get(each), TIME_IS_UP))) for each in self.agents}
        return replace(played, told=told)

    def _carry_out(self, seat: str, other: str, action: str) -> Played:
        meant = self._understand(action, seat)
        fault = meant.fault or self._refusal(meant.kind, seat)
        told = {seat: f"This does not count: {fault}"} if fault else {}
        if fault and meant.kind != "propose":
            self._history += f"{seat} ?;"
            return Played({**told, other: self._said(seat, action)}, is_action_valid=False)
        self._history += f"{seat} {meant.kind} {'' if meant.offer is None else meant.offer};"
        heard = [] if meant.is_bare else [self._said(seat, action)]
        match meant.kind:
            case "propose":
                self._standing = seat, meant.offer
                heard.append(self._proposal(seat, meant.offer, other))
            case "reject" | "withdraw":
                self._standing = None
                heard.append(f"{seat} {meant.kind}s.")
            case "accept":
                return self._close_deal(seat, heard)
            case "walk away":
                self._has_left = True
                heard.append(f"{seat} walks away. There is no deal.")
                return Played({seat: "There is no deal.", other: "\n".join(heard)}, terminated=True)
        return Played({**told, other: "\n".join(heard)})

    def _understand(self, action: str, seat: str) -> Understood:
        """The last act of a message; where that is a bad offer, the last good offer before it."""
        fault: str | None = None
        for mark in reversed(list(self._marks.finditer(action))):
            verb = mark["verb"] or mark["bracketed"]
            if verb is not None and fault is not None:
                continue  # a bad offer takes back what was said before it
            if verb is not None:
                return self._spoken(verb.lower(), _is_all_of(action, mark))
            try:
                offer = self.table.read(mark["offer"], seat)
                self._check_offer(offer, seat)
            except BadOffer as error:
                fault = fault or str(error)
                continue
            return Understood("propose", offer, fault, is_bare=_is_all_of(action, mark))
        return Understood("say", fault=fault)

    def _spoken(self, word: str, is_bare: bool) -> Understood:
        if word in self.grammar.offers:
            return Understood("propose", self.grammar.offers[word], is_bare=is_bare)
        return Understood(self.grammar.verbs[word], is_bare=is_bare)

    def _refusal(self, kind: str, seat: str) -> str | None:
        """Why an act cannot be carried out now."""
        if kind in ("accept", "reject") and (self._standing is None or self._standing[0] == seat):
            return f"no proposal of {self.other(seat)} stands that you could {kind}."
        if kind == "withdraw" and (self._standing is None or self._standing[0] != seat):
            return "no proposal of yours stands."
        return None

    def _said(self, seat: str, words: str) -> str:
        return said(seat, words) if words.strip() else f"{seat} says nothing."

    def _proposal(self, seat: str, offer: Offer, hearer: str) -> str:
        more = self.table.explain(offer, hearer)
        return f"{seat} proposes: {self.table.word(offer, seat)}.{more and ' '}{more}"

    def _close_deal(self, seat: str, heard: list[str]) -> Played:
        assert self._standing is not None
        proposer, self._deal = self._standing
        words = f"Deal, as {proposer} proposed: {self.table.word(self._deal, proposer)}."
        told = {seat: words, self.other(seat): "\n".join([*heard, f"{seat} accepts. {words}"])}
        payoffs = self._payoffs_reached = self._payoffs(self._deal)
        self._better = self.references.nearest_better(payoffs)
        rewards = {each: self._share(payoffs[i], i) for i, each in enumerate(self.possible_agents)}
        return Played(told, rewards=rewards, terminated=True)

    # The outcome ------------------------------------------------------------------------------------------

    @property
    def references(self) -> References:
        """What could be reached in this task: found out once, when it is first asked for."""
        if self._references is None:
            self._references = self._find_references()
        return self._references

    def _share(self, payoff: float, seat: int) -> float:
        """A payoff as a share of the seat's best, from -1 to 1; where there is nothing to be gained a loss is -1."""
        best = self.references.best_own[seat]
        return max(-1.0, min(1.0, payoff / best)) if best > 0 else -float(payoff < 0)

    def _situation(self, seat: str) -> dict[str, Any]:
        info: dict[str, Any] = {
            "success": False,
            "task": self._task[seat],
            "task_id": self._id,
            "task_type": self._type,
            "state_key": f"{self._task[seat]} {self._history}",
            "score": 0.0,
            "joint": 0.0,
            "agreement": False,
            "payoff": 0.0,
        }
        if self.is_over:
            self._tell_outcome(info, self.possible_agents.index(seat))
        return info

    def _tell_outcome(self, info: dict[str, Any], seat: int) -> None:
        best = self.references
        info["optimum"] = {
            "own": float(best.best_own[seat]),
            "total": float(best.best_total),
            "nash": float(best.nash[seat]),
            "minimum": float(best.best_minimum),
        }
        payoffs = self._payoffs_reached
        info["agreement"] = self._deal is not None
        info["payoff"] = float(payoffs[seat])
        if best.best_total <= 0:  # nothing to be gained: to walk away is all there is to do
            info["score"] = info["joint"] = float(self._deal is None)
            info["success"] = self._has_left
            info["pareto_distance"] = float(self._deal is not None)
            return
        info["score"] = max(0.0, self._share(payoffs[seat], seat))
        info["joint"] = sum(payoffs) / best.best_total
        is_pareto = self._deal is not None and self._better is None
        info["success"] = is_pareto and payoffs[seat] >= int(best.nash[seat])
        lost = 0.0 if self._better is None else share_lost(payoffs[seat], self._better[seat])
        info["pareto_distance"] = 1.0 if self._deal is None else lost

    def expert(self, seat: str) -> str:
        """Accept what is a success; else propose Nash's point, and walk away where there is nothing to gain.

        It knows both sides' values and not how the other will answer. With its last turn it takes any gain.
        """
        if self.references.best_total <= 0:
            return self._verb("walk away")
        if self._standing is not None and self._standing[0] != seat and self._is_good(self._standing[1], seat):
            return self._verb("accept")
        return self.offer_form.format(self.table.word(self._nash_offer(seat), seat))

    def _is_good(self, offer: Offer, seat: str) -> bool:
        """The offer is a success for the seat, or a gain where it has no later turn."""
        number, payoffs = self.possible_agents.index(seat), self._payoffs(offer)
        if payoffs[number] > 0 and self.turns[seat] + 1 >= self.max_turns:
            return True
        return payoffs[number] >= int(self.references.nash[number]) and self.references.nearest_better(payoffs) is None

    def _verb(self, verb: Verb) -> str:
        return next(word for word, meaning in self.grammar.verbs.items() if meaning == verb)


def _is_all_of(action: str, mark: re.Match[str]) -> bool:
    return mark.start() == 0 and mark.end() >= len(action.rstrip(" .!\n\t"))
