"""What a seat says, as the others hear it: words are data, and no word can look like a line of the game.

In an observation every line of the game begins with a seat's name or one of the game's own words. What a seat says
stands behind its name; where it breaks the line, the next one begins with `CONTINUED`, so that nothing said begins a
line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from agentgym.envs.storable import storable

CONTINUED = "| "
"""The beginning of a line that goes on with what was said in the line above."""

_BREAK = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
"""Whatever `str.splitlines` takes for the end of a line."""


def said(speaker: str, words: str) -> str:
    """What `speaker` said, whole, on lines that nobody can take for another's or the game's.

    What UTF-8 cannot hold (lone surrogates) becomes question marks.
    """
    return f"{speaker} said: " + _BREAK.sub("\n" + CONTINUED, storable(words))


def entries(observation: str) -> Iterator[str]:
    """The game's lines of an observation, each with what was said on continued lines below it, as it was said."""
    entry: str | None = None
    for line in observation.split("\n"):
        if entry is not None and line.startswith(CONTINUED):
            entry += "\n" + line.removeprefix(CONTINUED)
            continue
        if entry is not None:
            yield entry
        entry = line
    if entry is not None:
        yield entry
