"""What a response looks like, and how the action is read from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A response format.

    `instructions` is added to the system prompt. `parse` takes a decoded response and returns the action
    for the environment; a response without one gives "", which the environment answers as invalid.
    `response_form` is the other way round: a shortest response that gives `{action}`.
    """

    name: str
    instructions: str
    parse: Callable[[str], str]
    response_form: str


#: With no further mark inside: thinking may have left one open. Forbidding them also keeps the search linear.
_ACTION = re.compile(r"<action>((?:(?!</?action>).)*)</action>", re.DOTALL)


def _tagged_action(response: str) -> str:
    """The content of the last `<action>` element: earlier ones may be part of the thinking."""
    actions = _ACTION.findall(response)
    return actions[-1].strip() if actions else ""


FORMATS = {
    "plain": Format("plain", "", str.strip, "{action}"),
    "think": Format(
        "think",
        "First think step by step inside <think> </think>. Then give exactly one action inside <action> </action>.",
        _tagged_action,
        # The thought is the one that IGPO's official code puts before a forced answer.
        "<think>Now there's enough information to answer.</think><action>{action}</action>",
    ),
}


def get_format(name: str) -> Format:
    """The format called `name`. Raises `ValueError` naming the known ones."""
    if name not in FORMATS:
        raise ValueError(f"unknown response format {name!r}: use one of {', '.join(FORMATS)}")
    return FORMATS[name]
