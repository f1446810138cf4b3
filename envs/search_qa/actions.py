"""What an agent may write: `<search>…</search>` and `<answer>…</answer>`, or `search[…]` and `answer[…]`."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, cast

from agentgym.envs.storable import storable

MAX_CHARACTERS = 20_000
"""A longer query or answer is not understood: no person asks it, and no retriever should have to read it."""

HOW_TO_ACT = "Write <search> your query </search> to search, or <answer> your answer </answer> to answer."

# With no further mark inside, which keeps the search linear. The first complete element counts, as in Search-R1.
_TAGS = re.compile(r"<(search|answer)>((?:(?!</?(?:search|answer)>).)*)</\1>", re.DOTALL)
_BRACKETS = re.compile(r"(search|answer)\[(.*)\]", re.DOTALL)


class Action(NamedTuple):
    """An action that was understood."""

    kind: Literal["search", "answer"]
    text: str
    """The query or the answer: not blank, and storable as UTF-8."""


def parse_action(action: str) -> Action | str:
    """The action, or in words what is wrong with it.

    Text around tags is ignored. Brackets must be all that there is, as queries hold brackets too.
    """
    found = _TAGS.search(action) or _BRACKETS.fullmatch(action.strip())
    if found is None:
        return f"That is not an action. {HOW_TO_ACT}"
    kind = cast("Literal['search', 'answer']", found[1])
    text = found[2].strip()
    if not text:
        return f"The {'query' if kind == 'search' else 'answer'} is empty. {HOW_TO_ACT}"
    if len(text) > MAX_CHARACTERS:
        return f"That is longer than {MAX_CHARACTERS:,} characters: be brief. {HOW_TO_ACT}"
    return Action(kind, storable(text))
