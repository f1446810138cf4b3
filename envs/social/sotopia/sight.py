"""Who sees what: characters by relationship (arXiv:2310.11667, §2), and the parts of texts that are one seat's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from agentgym.envs.social.sotopia.scenarios import Character

RELATIONSHIPS = ("stranger", "know_by_name", "acquaintance", "friend", "romantic_relationship", "family_member")
"""By level, 0 to 5."""
Visibility: TypeAlias = Literal["relationship", "omniscient", "lite"]
"""What is shown of others: by relationship, as in the paper; everything; or no background of anybody."""
UNKNOWN = "Unknown"

_OWN_PART = re.compile(r"""<p\s+viewer=["']([^"'>]*)["']\s*>(.*?)</p>""", re.DOTALL)
_HINT = re.compile(r"</?(?:extra_info|strategy_hint|clarification_hint)>")


def for_seat(text: str, index: int | None) -> str:
    """A text of the data as the seat of this index may read it, without marks; of None as nobody's part in it.

    `<p viewer='agent_0'>…</p>` is for that seat alone, and other viewers are nobody's. Never for what a seat says.
    """
    own = f"agent_{index}"
    return _HINT.sub("", _OWN_PART.sub(lambda part: part[2] if part[1] == own else "", text)).strip()


def background(character: Character, level: int, *, own: bool = False) -> str:
    """What is shown of a character to one in a relationship of this level, or to itself."""
    if own:
        return f"{_acquainted(character)} {character.personality} {character.name}'s secret: {character.secret}"
    if level >= 3:
        return f"{_acquainted(character)} {character.personality}".strip()
    if level == 2:
        return _acquainted(character)
    return character.name if level == 1 else UNKNOWN


def hidden_facts(character: Character, level: int) -> list[str]:
    """What is not shown of a character at this level, and is no secret: what one can learn of it, a sentence each."""
    if level >= 3:
        return []
    hidden = character.personality if level == 2 else f"{character.public} {character.personality}"
    return [sentence for each in re.split(r"(?<=[.!?])\s+", hidden) if (sentence := each.strip(" .!?"))]


def first_observation(
    scenario: str,
    goals: Sequence[str],
    characters: Sequence[Character],
    level: int,
    index: int,
    visibility: Visibility,
) -> str:
    """What the seat of this index is told at first: scenario, participants, backgrounds, goals.

    `level`: of the relationship that holds for each pair.
    """
    sees_all = visibility == "omniscient"
    names = [character.name for character in characters]
    lines = [for_seat(scenario, index), f"Participants: {_listed(names)}"]
    if visibility != "lite":
        for i, character in enumerate(characters):
            lines.append(f"Background of {names[i]}: {background(character, level, own=sees_all or i == index)}")
    for i, goal in enumerate(goals):
        lines.append(f"Goal of {names[i]}: {for_seat(goal, i) if sees_all or i == index else UNKNOWN}")
    return "\n".join([*lines, f"You are {names[index]}."])


def _acquainted(character: Character) -> str:
    return (
        f"{character.name}, {character.age} years old, {character.gender.lower()}, {character.occupation.lower()}. "
        f"Pronouns: {character.pronouns}. {character.public}"
    ).strip()


def _listed(names: Sequence[str]) -> str:
    """ "A and B"; "A, B, and C"."""
    return " and ".join(names) if len(names) == 2 else f"{', '.join(names[:-1])}, and {names[-1]}"
