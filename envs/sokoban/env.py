"""Sokoban (`agentgym/Sokoban-v0`): push every box onto a target.

Rules, rewards and board text are gym-sokoban's and RAGEN's: every turn costs 0.1, a box on a target earns
1, a box off it costs 1, and the last box earns 10 more.
"""

from __future__ import annotations

import random
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from agentgym.envs.sokoban.boxoban import NamedLevel, read_levels
from agentgym.envs.sokoban.generator import generate_level
from agentgym.envs.sokoban.level import Level, board_text
from agentgym.envs.sokoban.solver import solve
from agentgym.envs.splits import split_of
from agentgym.envs.text_env import SPLITS, NoPlanError, TextEnv

ACTIONS = ("up", "down", "left", "right")
_DIRECTION = {action: index for index, action in enumerate(ACTIONS)}

STEP_REWARD = -0.1
BOX_ON_TARGET_REWARD = 1.0
BOX_OFF_TARGET_REWARD = -1.0
SOLVED_REWARD = 10.0

#: gym-sokoban's limit, for levels from files; generated levels take verl-agent's.
_FILE_MAX_TURNS = 120
_GENERATED_MAX_TURNS = 15


class SokobanEnv(TextEnv):
    """Push every box onto a target, seen as a grid of characters.

    Args:
        size: rows and columns of the generated board, its border of walls included; a number for a square.
        boxes: boxes (and targets) of a generated level.
        walls: probability that an inner cell of a generated level is a wall, in [0, 1).
        data: "builtin" generates levels by reverse play; a path is a Boxoban level file (.txt, .txt.gz) or
            a directory of them. A level whose name has a folder train, valid or test belongs to that split;
            any other, and every generated one, to the split that its own hash says.
        split: "train", "valid" or "test".
        max_turns: turns until truncation; by default 15 for generated levels (as in verl-agent; every one
            can be solved within it) and 120 for files (as in gym-sokoban).
    """

    instructions = (
        "You are solving a Sokoban puzzle. Push every box onto a target.\n"
        "The board: # wall, _ floor, O target, X box, √ box on target, P you, S you on a target.\n"
        "You move one cell up, down, left or right. Walking into a box pushes it, if the cell behind it is "
        "neither a wall nor another box. Boxes cannot be pulled.\n"
        "Answer with one action: up, down, left or right."
    )

    def __init__(
        self,
        *,
        size: int | tuple[int, int] = 6,
        boxes: int = 1,
        walls: float = 0.2,
        data: str | Path = "builtin",
        split: str = "train",
        max_turns: int | None = None,
        render_mode: str | None = None,
    ):
        """See the class. Raises `ValueError` for arguments out of range and for unreadable level files."""
        self._height, self._width = (size, size) if isinstance(size, int) else size
        if min(self._height, self._width) < 4:
            raise ValueError(f"size must be at least 4, not {size}: the border takes two rows and columns")
        if boxes < 1:
            raise ValueError(f"boxes must be at least 1, not {boxes}")
        if not 0 <= walls < 1:
            raise ValueError(f"walls must be in [0, 1), not {walls}")
        generated = str(data) == "builtin"
        if max_turns is None:
            max_turns = _GENERATED_MAX_TURNS if generated else _FILE_MAX_TURNS
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.action_space.examples = ACTIONS
        self._boxes_wanted, self._walls = boxes, walls
        self.data_source = str(data)
        self._levels = None if generated else _levels_of_split(Path(data), split)
        types = {_task_type(self._height, self._width, boxes)}
        if self._levels is not None:
            types = {_task_type(lv.height, lv.width, len(lv.boxes)) for lv in self._levels}
        self.task_types = tuple(sorted(types))

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {"_levels"}

    @classmethod
    def from_level(cls, level: Level, *, max_turns: int = _FILE_MAX_TURNS) -> Self:
        """An environment whose only task is `level`."""
        env = cls(max_turns=max_turns)
        env._levels = (level,)
        env.task_types = (_task_type(level.height, level.width, len(level.boxes)),)
        return env

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        if self._levels is not None:
            self._level = self._levels[int(rng.integers(len(self._levels)))]
            board = board_text(self._level, self._level.boxes, self._level.player)
        else:
            self._level, board = self._generate(random.Random(int(rng.integers(2**63))))
        self._task_id = f"sokoban:{blake2b(board.encode(), digest_size=8).hexdigest()}"
        self._task_type = _task_type(self._level.height, self._level.width, len(self._level.boxes))
        self._boxes, self._player = self._level.boxes, self._level.player
        self._plan: dict[tuple[frozenset[int], int], str] = {}
        self._board = board
        return board

    def _generate(self, rng: random.Random) -> tuple[Level, str]:
        """Draw levels until one belongs to this split."""
        while True:
            level = generate_level(
                rng,
                height=self._height,
                width=self._width,
                boxes=self._boxes_wanted,
                walls=self._walls,
                max_moves=self.max_turns,
            )
            board = board_text(level, level.boxes, level.player)
            if split_of(board) == self.split:
                return level, board

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        direction = _DIRECTION.get(action.strip().lower()) if len(action) < 100 else None
        if direction is None:
            shown = action if len(action) <= 40 else action[:40] + "…"
            hint = f"{shown!r} is not an action. Answer with one of: {', '.join(ACTIONS)}."
            return f"{hint}\n{self._board}", STEP_REWARD, False, False
        before = self._boxes
        self._boxes, self._player = move(self._level, before, self._player, direction)
        reward = STEP_REWARD
        if self._boxes is not before:
            change = len(self._boxes & self._level.targets) - len(before & self._level.targets)
            reward += BOX_ON_TARGET_REWARD * (change > 0) + BOX_OFF_TARGET_REWARD * (change < 0)
        solved = self._boxes == self._level.targets
        if solved:
            reward += SOLVED_REWARD
        self._board = board_text(self._level, self._boxes, self._player)
        return self._board, reward, solved, True

    def _situation(self) -> dict[str, Any]:
        on_target = len(self._boxes & self._level.targets)
        return {
            "success": on_target == len(self._boxes),
            "score": on_target / len(self._boxes),
            "task_id": self._task_id,
            "task_type": self._task_type,
            "state_key": self._board,
            "admissible_actions": list(ACTIONS),
        }

    def expert(self) -> str:
        """The next move of a plan with the fewest moves, found by search (`solver.solve`).

        Raises `NoPlanError` when the boxes can no longer be brought onto the targets.
        """
        state = self._boxes, self._player
        if state not in self._plan:
            plan = solve(self._level, *state)
            if not plan:
                reason = "is solved" if plan == () else "cannot be solved any more"
                raise NoPlanError(f"the board {reason}: there is no next move")
            for action in plan:
                self._plan[state] = action
                state = move(self._level, *state, _DIRECTION[action])
        return self._plan[self._boxes, self._player]


def move(level: Level, boxes: frozenset[int], player: int, direction: int) -> tuple[frozenset[int], int]:
    """The boxes and the player after a move in `direction`, an index into `ACTIONS`.

    A move into a wall, and a push into a wall or a second box, changes nothing: the same objects return.
    """
    goal = level.neighbours[player][direction]
    if goal in level.walls:
        return boxes, player
    if goal not in boxes:
        return boxes, goal
    beyond = level.neighbours[goal][direction]
    if beyond in level.walls or beyond in boxes:
        return boxes, player
    return boxes - {goal} | {beyond}, goal


def _task_type(height: int, width: int, boxes: int) -> str:
    return f"{height}x{width}, {boxes} {'box' if boxes == 1 else 'boxes'}"


@lru_cache(maxsize=8)
def _levels_of_split(path: Path, split: str) -> tuple[Level, ...]:
    """The levels of a Boxoban file or directory that belong to `split`."""
    levels = tuple(named.level for named in read_levels(path) if _split_of_named(named) == split)
    if not levels:
        raise ValueError(f"{path} has no level of the split {split!r}")
    return levels


def _split_of_named(named: NamedLevel) -> str:
    folders = named.name.split("/")
    for split in SPLITS:
        if split in folders:
            return split
    return split_of(board_text(named.level, named.level.boxes, named.level.player))
