"""docs/social.md: its code runs and prints what the page shows, and its tables name what is registered."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from agentgym.envs import games, registered_games
from agentgym.envs import registration as own
from agentgym.envs.social.deal_partners import PARTNERS

PAGE = Path(__file__).parents[3] / "docs" / "social.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", TEXT, re.DOTALL)


def test_the_code_runs_and_prints_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(games, "_games", dict(games._games))
    monkeypatch.setattr(own, "_ours", set(own._ours))
    names: dict[str, object] = {"__name__": "page"}
    printed = ""
    for language, block in BLOCKS:
        if language == "text":
            assert block == printed
            continue
        if block.startswith("# nim.py"):
            (tmp_path / "nim.py").write_text(block, encoding="utf-8")
            continue
        with redirect_stdout(StringIO()) as out:
            exec(compile(block, str(PAGE), "exec"), names)
        printed = out.getvalue()


def test_a_game_of_ones_own_takes_forty_lines() -> None:
    (block,) = [block for _, block in BLOCKS if "class Nim" in block]
    game, _, _ = block.partition("def takes_one")
    assert len([line for line in game.splitlines() if line.strip()]) <= 40


def test_games_and_partners_on_the_page_exist() -> None:
    ids = re.findall(r"^\| `(agentgym/[\w-]+)` ", TEXT, re.MULTILINE)
    assert len(ids) >= 4 and set(ids) <= set(registered_games())
    assert set(PARTNERS) <= set(re.findall(r"`(\w+)`", TEXT))
