"""TextWorld (`agentgym/TextWorld-v0`): text adventures from files or from TextWorld's own generators.

Côté et al., "TextWorld: A Learning Environment for Text-based Games" (arXiv:1806.11532), as the package
`textworld`, in one worker process for all environments.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from agentgym.envs.text_env import SPLITS, NoPlanError, NotInstalledError, TextEnv
from agentgym.envs.text_world.process import worker
from agentgym.envs.text_world.source import BadGameError, FileSource, GeneratedSource, Source, read_games

LEVELS = {"coin_collector": 300, "treasure_hunter": 30}
"""The highest level of each generator that has levels."""
COOKING = {"recipe": 1, "take": 1, "go": 1, "open": True, "cook": True, "cut": True, "drop": False}
"""Default settings of the cooking generator."""

_LONGEST_ACTION = 100
_COMMAND = re.compile(r"[A-Za-z0-9 .,'\"!?:;-]*[A-Za-z0-9][A-Za-z0-9 .,'\"!?:;-]*")
_FORBIDDEN = frozenset({
    "save", "restore", "restart", "quit", "q", "script", "unscript", "transcript", "recording",
    "replay", "actions", "rules", "showme", "trace", "purloin", "abstract", "gonear", "scope",
    "relations", "test", "showheap", "showverb", "restrict", "superbrief", "brief", "verbose",
})  # fmt: skip
"""Commands to the interpreter rather than in the game."""
_NOT_UNDERSTOOD = (
    "That's not a verb I recognise", "I didn't understand", "You can't see any such thing", "I beg your pardon",
    "That's not something", "I only understood you", "You seem to have said too little", "You used the word",
    "I don't know the word", "I don't understand", "You must supply", "You must name", "What do you want to",
    "Which do you mean", "You can't begin with a comma", "You excepted something", "Nothing to do",
    "This dangling prepositional", "You have to be more specific", "That sentence isn't one I recognize",
)  # fmt: skip


class TextWorldEnv(TextEnv):
    """Play a text adventure; the observations are the game's own, less banner, prompt and status line.

    Args:
        game: the generator for `data="builtin"`: "coin_collector", "treasure_hunter" or "cooking".
        level: the difficulty for coin_collector (1 to 300, at most 100 rooms) and treasure_hunter (1 to 30);
            by default 5. See TextWorld's documentation of its challenges.
        settings: for cooking, what differs from recipe 1 (ingredients, 1 to 5), take 1 (of these to be
            found), go 1 (rooms: 1, 6, 9 or 12), open, cook, cut True and drop False.
        data: "builtin" generates games; a path is a game file (.z1 to .z8, .json, or .ulx with its .json) or
            a directory of them. TextWorld's own games need their .json beside them for `score`,
            `admissible_actions` and `expert`.
        time_limit: seconds for a step; ten times that for a reset, which may make a game. Beyond it
            `TimeoutError` is raised, and the next episode gets a fresh worker process.
        split: "train", "valid" or "test". Generated games belong to the split that the hash of their content
            says, cooking games to TextWorld's own splits of foods and preparations. In a directory, the
            folders train, valid and test say it, else the hash. A single file has the split "train" only.
        max_turns: by default 100.

    A reward is the change of the points, in units of the game's highest score (1, where it is not known), so
    that the rewards of a won game sum to 1. `info["state_key"]` is the room's description and the inventory.
    """

    instructions = (
        "You are in a text adventure. Read your task in the first text, and do it.\n"
        "Usual commands: look, inventory, go north (south, east, west), open OBJ, close OBJ, examine OBJ, "
        "take OBJ, take OBJ from OBJ, drop OBJ, put OBJ on OBJ, insert OBJ into OBJ, unlock OBJ with OBJ, "
        "eat OBJ, cook OBJ with OBJ, chop (slice, dice) OBJ with OBJ, prepare meal.\n"
        "Answer with one command."
    )

    def __init__(
        self,
        *,
        game: str = "coin_collector",
        level: int | None = None,
        settings: Mapping[str, int | bool] | None = None,
        data: str | Path = "builtin",
        time_limit: float = 60.0,
        split: str = "train",
        max_turns: int = 100,
        render_mode: str | None = None,
    ):
        """See the class. Raises `ValueError` for arguments out of range, for bad files, without the package."""
        if importlib.util.find_spec("textworld") is None:
            raise NotInstalledError("TextWorld needs the package textworld: pip install 'agentgym[textworld]'")
        if time_limit <= 0:
            raise ValueError(f"time_limit must be above 0 seconds, not {time_limit}")
        generated = str(data) == "builtin"
        if not generated and Path(data).is_file():
            self.splits = SPLITS[:1]
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.data_source, self.time_limit = str(data), time_limit
        self._games: tuple[FileSource, ...] | None = None
        if generated:
            self._generator, self._settings = game, _checked_settings(game, level, settings)
            shown = "" if game == "cooking" else f", level {self._settings['level']}"
            self.task_types = (f"{game}{shown}",)
        else:
            self._games = read_games(Path(data))[split]
            if not self._games:
                raise BadGameError(f"{data} has no game of the split {split!r}")
            self.task_types = ("game file",)
        self.action_space.examples = ("look", "inventory", "go north", "go south", "go east", "go west")
        self._connect()

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {
        "_games", "_lease", "_session", "_settings", "time_limit",
    }  # fmt: skip

    def _connect(self) -> None:
        """Count among the users of the worker process. It starts with the first `reset`."""
        self._lease = worker.lease(self)
        self._session = worker.new_session()

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        if not self._lease.alive:  # closed, and now used again
            self._connect()
        self._source = self._draw(rng)
        self._actions: list[str] = []
        self._now = self._play(10 * self.time_limit)
        return str(self._now["text"])

    def _draw(self, rng: np.random.Generator) -> Source:
        if self._games is not None:
            return self._games[int(rng.integers(len(self._games)))]
        settings = json.dumps(self._settings, sort_keys=True)
        return GeneratedSource(self._generator, settings, self.split, int(rng.integers(2**31)))

    def _play(self, limit: float) -> dict[str, Any]:
        return worker.advance(self._session, self._source, self._actions, limit)

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        command = " ".join(action.split()) if len(action) <= _LONGEST_ACTION else ""
        if not _is_playable(command):
            return "That is no command in this game.", 0.0, False, False
        before = self._now
        self._actions.append(command)
        # Where the worker was ended meanwhile, it makes and replays the game first.
        self._now = self._play(10 * self.time_limit if len(self._actions) == 1 else self.time_limit)
        gained = (self._now["score"] - before["score"]) / (self._now["max_score"] or 1.0)
        valid = command in (before["actions"] or ()) or not self._now["text"].lstrip().startswith(_NOT_UNDERSTOOD)
        return str(self._now["text"]), gained, bool(self._now["done"]), valid

    def _situation(self) -> dict[str, Any]:
        now = self._now
        situation = {
            "success": bool(now["won"] and now["done"]),
            "score": min(1.0, max(0.0, now["score"] / now["max_score"])) if now["max_score"] else float(now["won"]),
            "task_id": f"textworld:{now['task']}",
            "task_type": self.task_types[0],
            "state_key": now["place"],
        }
        if now["actions"] is not None:
            situation["admissible_actions"] = list(now["actions"])
        return situation

    def expert(self) -> str:
        """The next command of the policy that TextWorld keeps up to date for its own games.

        Raises `NotImplementedError` for a game without a .json of TextWorld's, and `NoPlanError` where the
        game is over or cannot be won any more.
        """
        if self._over:
            raise NoPlanError("the episode has not begun or is over")
        policy = self._now["policy"]
        if policy is None:
            raise NotImplementedError(f"{self.data_source} has no .json of TextWorld's, thus no expert")
        if not policy:
            raise NoPlanError("TextWorld knows no way to win this game any more")
        return str(policy[0])

    def close(self) -> None:
        """Leave the worker process; it ends with its last environment."""
        self._lease()
        super().close()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lease", "_session")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()


def _is_playable(command: str) -> bool:
    """A command to the game, in characters that mean nothing to the interpreter (a backslash crashes it)."""
    words = re.split(r"[^\w-]+", command.lower())
    return bool(_COMMAND.fullmatch(command)) and not any(w in _FORBIDDEN or w.startswith("tw-") for w in words)


def _checked_settings(game: str, level: int | None, settings: Mapping[str, int | bool] | None) -> dict[str, int | bool]:
    if game == "cooking":
        if level is not None:
            raise ValueError("cooking has no level: it takes settings")
        return _checked_cooking({**COOKING, **(settings or {})})
    if game not in LEVELS:
        raise ValueError(f"game must be cooking, {' or '.join(LEVELS)}, not {game!r}")
    if settings is not None:
        raise ValueError(f"{game} takes no settings, only a level")
    level = 5 if level is None else level
    if not 1 <= level <= LEVELS[game]:
        raise ValueError(f"level must be in 1 to {LEVELS[game]} for {game}, not {level}")
    rooms = ((level - 1) // 100 + 1) * ((level - 1) % 100 + 1)
    if game == "coin_collector" and rooms > 100:
        raise ValueError(f"level {level} of coin_collector has {rooms} rooms; TextWorld can make at most 100")
    return {"level": level}


def _checked_cooking(settings: dict[str, int | bool]) -> dict[str, int | bool]:
    unknown = sorted(settings.keys() - COOKING.keys())
    if unknown:
        raise ValueError(f"settings of cooking are {', '.join(COOKING)}, not {unknown[0]!r}")
    if not 1 <= settings["recipe"] <= 5 or not 0 <= settings["take"] <= settings["recipe"]:
        raise ValueError(f"recipe must be 1 to 5 and take at most that, not {settings['recipe']}, {settings['take']}")
    if settings["go"] not in (1, 6, 9, 12):
        raise ValueError(f"go must be 1, 6, 9 or 12 rooms, not {settings['go']}")
    return settings
