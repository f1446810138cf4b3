"""Games as official game files, which `alfworld` and every program made for it can play.

    from agentgym.envs.alfworld.official_files import read_logic, write_generated

    write_generated("my_games", "train", count=100, seed=0, logic=read_logic())

then `ALFWORLD_DATA=my_games`. A file holds ALFWorld's domain and grammar, which are not ours to ship: `read_logic`
takes them from the installed package `alfworld`, or from any genuine game.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.envs.alfworld import builtin
from agentgym.envs.alfworld.data import GAME_FILE, ROOT, Logic, Record, task_of, with_task
from agentgym.envs.alfworld.game import parse_game
from agentgym.envs.alfworld.generator import Size
from agentgym.envs.alfworld.goal import GoalPattern
from agentgym.envs.alfworld.planner import plan
from agentgym.envs.user_path import user_path

_FILES = (("domain.pddl", "grammar.twl2"), ("alfred.pddl", "alfred.twl2"))


def read_logic(path: str | Path | None = None) -> Logic:
    """ALFWorld's domain and grammar.

    `path`: a game file (`game.tw-pddl`), or a folder with `domain.pddl` and `grammar.twl2`, or with `alfred.pddl`
    and `alfred.twl2`; by default that of the installed package `alfworld`. Raises `ValueError` if there is none.
    """
    path = _installed() if path is None else user_path(path)
    try:
        logic = _logic_in_folder(path) if path.is_dir() else _logic_in_game(path)
        task_of(logic)  # whether it is ALFWorld's
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return logic


def logic_beside(data: Path | None) -> Logic:
    """The domain and grammar for compact files: the folder `logic` beside them, else the installed ones."""
    if data is not None:
        folder = (data if data.is_dir() else data.parent) / "logic"
        if folder.is_dir():
            return read_logic(folder)
    return read_logic()


def _installed() -> Path:
    package = importlib.util.find_spec("alfworld")  # found, not imported: importing it makes folders
    if package is None or package.origin is None:
        raise ValueError(
            "no domain and grammar of ALFWorld: give logic=, a genuine game.tw-pddl or a folder with domain.pddl and "
            "grammar.twl2, or install them: pip install --no-deps alfworld"
        )
    return Path(package.origin).parent / "data"


def _logic_in_folder(folder: Path) -> Logic:
    for names in _FILES:
        files = [folder / name for name in names]
        if all(file.is_file() for file in files):
            return Logic(*(file.read_text(encoding="utf-8") for file in files))
    raise ValueError(f"there is neither {' with '.join(_FILES[0])} in it nor {' with '.join(_FILES[1])}")


def _logic_in_game(file: Path) -> Logic:
    try:
        game = json.loads(file.read_bytes())
        return Logic(str(game["pddl_domain"]), str(game["grammar"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no ALFWorld game file: {type(error).__name__}: {error}") from None


def write_generated(
    directory: str | Path, split: str, *, count: int, seed: int, logic: Logic, size: Size = "full"
) -> list[Path]:
    """Write `count` different games of our own as `write_game` does. Returns their files."""
    if split not in builtin.SPLITS:
        raise ValueError(f"split must be one of {', '.join(builtin.SPLITS)}, not {split!r}")
    games, rng = builtin.games_of(split, size), np.random.default_rng(seed)
    written: dict[Path, None] = {}
    while len(written) < count:
        written[write_game(directory, split, games.record(games.draw(rng)), logic)] = None
    return list(written)


def write_game(directory: str | Path, split: str, record: Record, logic: Logic) -> Path:
    """Write a game as `directory/json_2.1.1/<split>/<task>/<trial>/game.tw-pddl`, with its `traj_data.json`.

    The last two parts of the game's id name its folders. The walkthrough is a shortest plan. `logic` is used for a
    record without its own. Returns the game's file. Raises `ValueError` for a problem that is none of ALFWorld's or
    cannot be solved, and for an id that names no folders.
    """
    game = parse_game(record.id, record.task, record.pddl_problem)
    steps = plan(game, game.first_state)
    if steps is None:
        raise ValueError(f"{game.id}: cannot be solved, and ALFWorld plays only what can be")
    domain, grammar = record.logic or logic
    content = {
        "pddl_domain": domain,
        "grammar": with_task(grammar, record.task),
        "pddl_problem": record.pddl_problem,
        "solvable": True,
        "walkthrough": [command for _, command in steps],
    }
    trajectory = {
        "task_id": record.id.split("/")[-1],
        "task_type": game.goal.pattern.task_type,
        "pddl_params": _parameters(game.goal.pattern, record.pddl_problem),
    }
    folder = Path(directory) / ROOT / split / _folders(record.id, game.goal.pattern.task_type)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "traj_data.json").write_text(json.dumps(trajectory, indent=1), encoding="utf-8")
    file = folder / GAME_FILE
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def _folders(game_id: str, task_type: str) -> str:
    """The folder below the split's; the task type stands in where an id has but one part."""
    parts = [task_type, *game_id.split("/")][-2:]
    if any(not part.strip(". ") or re.search(r'[\\:*?"<>|\0]', part) for part in parts):
        raise ValueError(f"a game's files need an id that can name folders, not {game_id!r}")
    if any(word in part for word in ("movable", "Sliced") for part in parts):
        raise ValueError(f"{game_id}: ALFWorld skips games with 'movable' or 'Sliced' in their names")
    return "/".join(parts)


def _parameters(pattern: GoalPattern, problem: str) -> dict[str, Any]:
    """What ALFRED calls the task's parameters, in the problem's own spelling: "SinkBasin" for "sinkbasintype"."""
    spelling = {f"{name}type".lower(): name for name in re.findall(r"(\w+)Type\b", problem)}

    def spelled(kind: str | None) -> str:
        return "" if kind is None else spelling.get(kind, kind)

    return {
        "object_target": spelled(pattern.object_type),
        "parent_target": spelled(pattern.receptacle_type),
        "toggle_target": spelled(pattern.lamp_type),
        "mrecep_target": "",
        "object_sliced": False,
    }
