"""What a seat does in its turn, read from free words, and the line by which the others are told of it."""

from __future__ import annotations

import re
from typing import NamedTuple

from agentgym.envs.storable import storable

NONE, SPEAK, GESTURE, ACTION, LEAVE = "none", "speak", "non-verbal communication", "action", "leave"
"""SOTOPIA's types of action (arXiv:2310.11667, §2)."""
_MARKED = re.compile(r"\s*(?:(?P<leave>leave)[.!]?[^\S\n]*(?:\n|$)|(?P<mark>do|gesture):)", re.IGNORECASE)
_MARKS = {"do": ACTION, "gesture": GESTURE}
_CONTINUED = "\n    "
"""How a line break inside somebody's words is shown: what follows it never stands at the beginning of a line."""


class Act(NamedTuple):
    """One seat's act."""

    kind: str
    """One of SOTOPIA's types of action."""
    argument: str = ""
    """What was said or done, whole."""


def read_act(text: str) -> Act:
    """The act that a response means: `leave` on the first line, `do: …`, `gesture: …`, nothing, else words."""
    text = storable(text)
    marked = _MARKED.match(text)
    if marked and marked["leave"]:
        return Act(LEAVE)
    argument = text[marked.end() :].strip() if marked else text
    if not argument.strip():
        return Act(NONE)
    return Act(_MARKS[marked["mark"].lower()] if marked else SPEAK, argument)


def line_of(name: str, act: Act) -> str:
    """How an act is told; "" for none. The words pass whole: no mark in them means anything to a reader."""
    if act.kind == NONE:
        return ""
    if act.kind == LEAVE:
        return f"{name} left the conversation"
    argument = _CONTINUED.join(act.argument.splitlines())
    return f'{name} said: "{argument}"' if act.kind == SPEAK else f"{name} [{act.kind}] {argument}"
