"""Response formats: what a response looks like, and what is read from it.

A format of one's own is any object with the members of `Format`; the configuration names it `my_module:my_format`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agentgym.envs.names import named


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a format reads from a response."""

    action: str
    """For the environment; "" where there is none, which the environment answers as invalid."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """What the response says besides the action, by name: `{"switch": "KEEP", "subgoal": "find a mug"}`; "" for what it
    lacks, so that a batch has the column also where no response says it."""
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Where in the response which part lies, marks included: its first character and the one after its last. Where
    two overlap the later one in this order counts."""
    fault: str = ""
    """What is wrong with the response's form, in words; "" where nothing is."""


class Format(Protocol):
    """A response format."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        ...

    @property
    def instructions(self) -> str:
        """Added to the system prompt."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the parts that it can give: those of `Parsed.parts` and of `Parsed.spans`."""
        ...

    def parse(self, response: str) -> Parsed:
        """Read a decoded response, whatever is in it."""
        ...

    def write(self, action: str, **parts: str) -> str:
        """A shortest response that gives this action: for demonstrations and forced answers."""
        ...


_ACTION = re.compile(r"<action>((?:(?!</?action>).)*)</action>", re.DOTALL)
"""A pair of tags and what is between them, with no further such tag inside: thinking may have left one open.

Forbidding them also keeps the search linear.
"""


@dataclass(frozen=True)
class Plain:
    """The response is the action."""

    name: str = "plain"
    instructions: str = ""
    reads: tuple[str, ...] = ()

    def parse(self, response: str) -> Parsed:
        """See `Format.parse`."""
        action = response.strip()
        return Parsed(action, fault="" if action else "the response is empty")

    def write(self, action: str, **parts: str) -> str:
        """See `Format.write`."""
        return action


@dataclass(frozen=True)
class Think:
    """Thinking, and then the action in tags: the last complete ones, for earlier ones may be part of the thinking."""

    name: str = "think"
    instructions: str = (
        "First think step by step inside <think> </think>. Then give exactly one action inside <action> </action>."
    )
    reads: tuple[str, ...] = ("think", "action")

    def parse(self, response: str) -> Parsed:
        """See `Format.parse`."""
        spans = {}
        if thought := re.match(r"\s*(<think>.*</think>)", response, re.DOTALL):
            spans["think"] = thought.span(1)
        actions = list(_ACTION.finditer(response))
        if not actions:
            return Parsed("", spans=spans, fault="no <action>…</action>")
        action = actions[-1][1].strip()
        return Parsed(action, spans=spans | {"action": actions[-1].span()}, fault="" if action else "an empty action")

    def write(self, action: str, **parts: str) -> str:
        """See `Format.write`. The thought is the one that IGPO's official code puts before a forced answer."""
        thought = parts.get("think", "Now there's enough information to answer.")
        return f"<think>{thought}</think><action>{action}</action>"


@dataclass(frozen=True)
class Hiper:
    """HiPER's (arXiv:2602.16165): whether to go on with the present sub-goal, the sub-goal, the action.

    Of each kind the first opening tag and the first closing one after it count, written small, as in the official
    code's trainer. What is missing or wrong is a fault, for which an invalid action's penalty is due, and never an
    end: without a switch the sub-goal is kept, and a response without an action is action tokens throughout, but for
    the parts that it does have. Which sub-goal is the present one stands in the response before, which a dialogue
    shows, and a window of at least one turn; the official prompt repeats it instead.

    The official code has a second parser, for the environment, and here there is one for both. That one finds
    `<ACTION>` too; without an action it has the last 30 characters (WebShop: 20) stand for it, here the environment is
    told that there is none; and it takes a response with Chinese characters for invalid, here the environment says.
    """

    name: str = "hiper"
    instructions: str = (
        "Answer with exactly three things and nothing else: <switch>KEEP</switch> to go on with your present sub-goal "
        "or <switch>SWITCH</switch> to choose a new one; <subgoal> </subgoal> with the sub-goal, word for word the "
        "present one if you keep it; and <action> </action> with exactly one action."
    )
    reads: tuple[str, ...] = ("switch", "subgoal", "action")

    def parse(self, response: str) -> Parsed:
        """See `Format.parse`."""
        spans = {part: span for part in self.reads if (span := _tagged(part, response))}
        texts = dict.fromkeys(self.reads, "") | {
            part: response[start + len(f"<{part}>") : end - len(f"</{part}>")].strip()
            for part, (start, end) in spans.items()
        }
        texts["switch"] = texts["switch"].upper()
        faults = [f"no <{part}>…</{part}>" for part in self.reads if part not in spans]
        if "switch" in spans and texts["switch"] not in ("KEEP", "SWITCH"):
            faults.append(f"the switch is {texts['switch']!r:.40}, not KEEP or SWITCH")
        if "action" in spans and not texts["action"]:
            faults.append("an empty action")
        if "action" not in spans:
            spans = {"action": (0, len(response)), **spans}
        return Parsed(texts.pop("action"), texts, spans, "; ".join(faults))

    def write(self, action: str, **parts: str) -> str:
        """See `Format.write`. Parts are `switch` ("SWITCH" if not given) and `subgoal`."""
        switch, subgoal = parts.get("switch", "SWITCH"), parts.get("subgoal", "")
        return f"<switch>{switch}</switch><subgoal>{subgoal}</subgoal><action>{action}</action>"


def _tagged(tag: str, response: str) -> tuple[int, int] | None:
    """Where the first pair of these tags lies, whatever is inside."""
    start = response.find(f"<{tag}>")
    end = response.find(f"</{tag}>", start)
    return (start, end + len(f"</{tag}>")) if 0 <= start <= end else None


_MEMBERS = ("name", "instructions", "reads", "parse", "write")
"""Those of `Format`."""

FORMATS: dict[str, Format] = {format.name: format for format in (Plain(), Think(), Hiper())}
"""The built-in formats by name."""


def get_format(name: str) -> Format:
    """The format of this name, or of one's own as "module:name".

    Raises `ValueError` in one line: with the nearest names, or for what is no format.
    """
    found: Format = named("response format", name, FORMATS)
    if isinstance(found, type):
        raise ValueError(f"the response format {name!r} is a class: name an object of it ({found.__name__}())")
    if lacking := [member for member in _MEMBERS if not hasattr(found, member)]:
        raise ValueError(f"the response format {name!r} is none: it has no {', '.join(lacking)}")
    return found
