"""FrozenLake (`agentgym/FrozenLake-v0`): cross the ice to the goal without falling into a hole.

gymnasium's own world with a text face; the characters are verl-agent's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv as GymFrozenLake
from gymnasium.envs.toy_text.frozen_lake import generate_random_map

from agentgym.envs.discrete import DiscreteTextEnv, task_hash
from agentgym.envs.splits import SPLITS, split_of

ACTIONS = ("left", "down", "right", "up")
"""In the order of gymnasium's action numbers."""

_ICE = 0.8
"""The probability that a cell of a random map is no hole: gymnasium's default."""

_RULES = (
    "You are on a frozen lake. Walk to the goal without falling into a hole.\n"
    "The lake: P you, _ ice, O hole, G goal; at the end X is you in a hole, √ is you on the goal.\n"
    "You move one cell left, down, right or up; at the border you stay where you are.\n"
)
_SLIPPERY = (
    "The ice is slippery: you move where you want in one of three cases, else to the one or the other side of it.\n"
)
_GRAMMAR = "Answer with one action: left, down, right or up."


class FrozenLakeEnv(DiscreteTextEnv):
    """Cross the ice, seen as a grid of characters. The goal earns 1, anything else 0.

    Args:
        size: rows and columns of the random maps, at least 3.
        is_slippery: one moves where one wants in one of three cases only, else to one of its sides.
        map: rows of `S` start, `F` ice, `H` hole and `G` goal for a fixed map, instead of random ones. A
            fixed map is one task, so it has one split, "train", whatever its hash.
        split: "train", "valid" or "test". The hash of a map's rows says where it belongs.
        max_turns: by default 10 for a 4x4 map (4 more turns than the shortest way there could be, and 4 more
            for each further row), 25 for each row if slippery. Every random map can be crossed within it,
            if it is not slippery.
    """

    def __init__(
        self,
        *,
        size: int = 4,
        is_slippery: bool = False,
        map: Sequence[str] | None = None,
        split: str = "train",
        max_turns: int | None = None,
        render_mode: str | None = None,
    ):
        """See the class. Raises `ValueError` for a map that is not one, or that cannot be crossed."""
        if size < 3:
            raise ValueError(f"size must be at least 3, not {size}: smaller lakes are too few for three splits")
        self._map = None if map is None else _checked_map(map)
        self.splits = SPLITS if self._map is None else SPLITS[:1]
        rows, columns = (len(self._map), len(self._map[0])) if self._map else (size, size)
        shortest = shortest_way(self._map) if self._map else 2 * (size - 1)
        if max_turns is None:
            usual = 25 * max(rows, columns) if is_slippery else 2 * (rows + columns) - 6
            max_turns = max(usual, shortest)
        if max_turns < shortest:
            raise ValueError(f"max_turns must be at least {shortest}, the shortest way, not {max_turns}")
        self._size, self._is_slippery = size, is_slippery
        super().__init__(
            # Without a fixed map this one only stands for the action space: each task brings its own.
            GymFrozenLake(desc=self._map, is_slippery=is_slippery),
            actions=ACTIONS,
            describe=lake_text,
            instructions=_RULES + _SLIPPERY * is_slippery + _GRAMMAR,
            name=f"{rows}x{columns}{', slippery' if is_slippery else ''}",
            split=split,
            max_turns=max_turns,
            render_mode=render_mode,
        )

    def _new_task(self, rng: np.random.Generator) -> int:
        if self._map is None:
            rows = self._draw_map(rng)
            self.env = GymFrozenLake(desc=rows, is_slippery=self._is_slippery)
        else:
            rows = self._map
        self._task_id = f"frozen-lake:{task_hash(_joined(rows))}"
        return int(rng.integers(2**31))

    def _draw_map(self, rng: np.random.Generator) -> list[str]:
        """Draw maps until one belongs to this split and can be crossed in time."""
        while True:
            rows = generate_random_map(self._size, _ICE, seed=int(rng.integers(2**31)))
            if split_of(_joined(rows)) == self.split and shortest_way(rows) <= self.max_turns:
                return rows


def lake_text(state: int, lake: GymFrozenLake) -> str:
    """The lake with the player on it, one character a cell, rows joined by newlines."""
    cells = ["O" if cell == b"H" else "G" if cell == b"G" else "_" for cell in np.ravel(lake.desc)]
    cells[state] = {"O": "X", "G": "√", "_": "P"}[cells[state]]
    return "\n".join("".join(cells[start : start + lake.ncol]) for start in range(0, len(cells), lake.ncol))


def shortest_way(rows: Sequence[str]) -> int:
    """The fewest moves from `S` to a `G` around the holes. Raises `ValueError` if there is no way."""
    cells = {(r, c): cell for r, row in enumerate(rows) for c, cell in enumerate(row) if cell != "H"}
    here = {place for place, cell in cells.items() if cell == "S"}
    seen, moves = set(here), 0
    while here:
        if any(cells[place] == "G" for place in here):
            return moves
        around = {(r + dr, c + dc) for r, c in here for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0))}
        here = (around & cells.keys()) - seen
        seen |= here
        moves += 1
    raise ValueError(f"map must have a way from S to G around the holes, not {list(rows)}")


def _checked_map(rows: Sequence[str]) -> list[str]:
    """`rows`, if they are a map."""
    if isinstance(rows, str) or not rows or not all(isinstance(row, str) for row in rows):
        raise ValueError(f"map must be a list of rows such as ['SF', 'FG'], not {rows!r}")
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"the rows of map must have one length, not {[len(row) for row in rows]}")
    text = "".join(rows)
    if not set(text) <= set("SFHG"):
        raise ValueError(f"map must consist of S, F, H and G, not {sorted(set(text) - set('SFHG'))}")
    if text.count("S") != 1:
        raise ValueError(f"map must have one S, not {text.count('S')}")
    shortest_way(rows)
    return list(rows)


def _joined(rows: Sequence[str]) -> str:
    return "\n".join(rows)
