"""SOTOPIA: episodes, visibility, ends and odd utterances of the official code; judges' answers and their means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.envs.social.sotopia_replay import check_ends, check_episode, check_utterance, check_visibility

from ..compare import Case


def sotopia(path: Path) -> Iterator[Case]:
    """The adapter of the sotopia folder. A file's name says what its cases are."""
    given = json.loads(path.read_text(encoding="utf-8"))
    kind = path.stem.removeprefix("v014_").removeprefix("source_2026_01_").rstrip("_0123456789")
    if kind == "episode":
        yield Case("episode", partial(check_episode, given))
        return
    visibility = partial(check_visibility, own_only=given["sotopia"] != "0.1.4") if kind == "visibility" else None
    checks = {"visibility": visibility, "ends": check_ends, "utterances": check_utterance}
    for number, case in enumerate(given["cases"]):
        yield Case(f"case {number}", partial(checks[kind], case))
