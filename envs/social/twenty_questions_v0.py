"""Twenty questions about an everyday thing, answered by rule from a knowledge base of our own (`knowledge`).

After LMRL-Gym (arXiv:2311.18232), whose answers come from a model. There is one seat: whoever answers is the rule.
The splits hash the thing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from agentgym.envs.multi_agent import Played, TextAECEnv
from agentgym.envs.social.faces import faces
from agentgym.envs.social.knowledge import built_in
from agentgym.envs.splits import split_of

_RULES = """\
Twenty questions. Find out which of {things} everyday things is meant. Each turn either ask what it is, such as \
"ask: is it {example}?", or guess it, such as "guess: dog". A question and a wrong guess cost a turn each. You may ask \
whether it is {attributes}."""
_SEAT = "guesser"


class TwentyQuestions(TextAECEnv):
    """One thing to be guessed. The reward is 1 for the right guess, and 0 before it.

    `info["optimum"]` holds turns, guess included: `turns` that a greedy halving of all things takes for this one, and
    `expected_turns` that it takes on average. The `state_key` is what is known so far, in whatever order it was asked.
    """

    possible_agents = [_SEAT]  # noqa: RUF012 - as in the base class
    task_types = ("soon told apart", "late told apart")
    """Whether the greedy halving takes no more turns than on average."""
    answer_form = "guess: {answer}"

    def __init__(self, *, split: str = "train", max_turns: int = 20, render_mode: str | None = None):
        base = built_in()
        rules = _RULES.format(
            things=len(base.things), example=base.attributes[1], attributes="; ".join(base.attributes)
        )
        self.instructions: Mapping[str, str] = {_SEAT: rules}
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        """`options["thing"]` names the thing. Raises `ValueError` for one that is not known."""
        base = built_in()
        while True:
            thing = base.things[rng.integers(len(base.things))]
            if split_of(f"twenty questions/{thing}") == self.split:
                break
        thing = options.get("thing", thing)
        if thing not in base.things:
            raise ValueError(f"{thing!r} is none of the {len(base.things)} things")
        self._thing = base.things.index(thing)
        self._facts: dict[int, bool] = {}
        self._wrong: frozenset[str] = frozenset()
        self._found = False
        return {_SEAT: "What is it? Ask or guess."}

    def _to_act(self) -> tuple[str]:
        return (_SEAT,)

    def _act(self, seat: str, action: str) -> Played:
        verb, body = _read(action)
        base = built_in()
        if verb == "ask" and body in _ASKED:
            which = _ASKED[body]
            holds = self._facts[which] = which in base.true_of[self._thing]
            return self._say(f"{'Yes' if holds else 'No'}, it is {'' if holds else 'not '}{base.attributes[which]}.")
        if verb == "guess" and body in _NAMED:
            name = base.things[_NAMED[body]]
            self._found = _NAMED[body] == self._thing
            if self._found:
                return Played({seat: f"Yes, it is the {name}."}, {seat: 1.0}, terminated=True)
            self._wrong |= {name}
            return self._say(f"No, it is not the {name}.")
        faults = {
            "": 'Not understood. Say "ask: is it ...?" or "guess: ...".',
            "ask": "That cannot be asked. Ask whether it is one of the attributes that the rules name.",
            "guess": "That is none of the things.",
        }
        return Played({seat: faults[verb]}, is_action_valid=False)

    def _say(self, text: str) -> Played:
        return Played({_SEAT: text})

    def _situation(self, seat: str) -> dict[str, Any]:
        base = built_in()
        turns = base.turns[self._thing]
        known = " ".join(f"{'+' if holds else '-'}{which}" for which, holds in sorted(self._facts.items()))
        name = base.things[self._thing]
        return {
            "success": self._found,
            "task_id": f"twenty questions/{name}",
            "task_type": self.task_types[turns > base.expected_turns],
            "state_key": f"{known} {' '.join(sorted(self._wrong))} {'found' * self._found}",
            "admissible_actions": [] if self._found else list(_ACTIONS),
            "answers": [name],
            "score": float(self._found),
            "payoff": float(self._found),
            "optimum": {"turns": turns, "expected_turns": base.expected_turns},
        }

    def expert(self, seat: str) -> str:
        """The question that splits what still fits most evenly; of two things or one, a guess."""
        base = built_in()
        fitting = base.fitting(self._facts, self._wrong)
        which = base.best_question(fitting)
        return _guess(base.things[fitting[0]]) if which is None else _ask(base.attributes[which])


def _ask(attribute: str) -> str:
    return f"ask: is it {attribute}?"


def _guess(thing: str) -> str:
    return f"guess: {thing}"


def _plain(words: str) -> str:
    """In lower case, without an article before it, marks after it, or blanks in excess."""
    return re.sub(r"\A(?:an?|the) ", "", " ".join(words.lower().split()).rstrip("?.! "))


_ASKED = {_plain(attribute): which for which, attribute in enumerate(built_in().attributes)}
_NAMED = {_plain(thing): number for number, thing in enumerate(built_in().things)}
_ACTIONS = [*map(_ask, built_in().attributes), *map(_guess, built_in().things)]
_LONGEST = 200
"""Characters of a line that can be a question or a guess."""


def _read(action: str) -> tuple[str, str]:
    """The last question or guess, each on a line of its own: ("ask" or "guess", of what), or two empty strings."""
    for line in reversed(action.splitlines()):
        verb, colon, body = line[:_LONGEST].strip().partition(":")
        verb = verb.lower()
        if colon and verb in ("ask", "guess"):
            is_it = re.match(r"\s*is it\s", body, re.IGNORECASE) if verb == "ask" else None
            return verb, _plain(body[is_it.end() :] if is_it else body)
    return "", ""


env, raw_env, parallel_env = faces(TwentyQuestions)
