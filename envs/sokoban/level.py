"""A Sokoban level, and the text formats it is read from and shown in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

#: The cells of the XSB format, which Boxoban's files use: (wall, target, box, player).
_XSB = {"#": "#", " ": "", "-": "", "_": "", ".": ".", "$": "$", "*": ".$", "@": "@", "+": ".@"}


@dataclass(frozen=True)
class Level:
    """The start of a task. Cells are numbered row by row: `cell = row * width + column`."""

    height: int
    width: int
    walls: frozenset[int]
    targets: frozenset[int]
    boxes: frozenset[int]
    player: int

    @classmethod
    def from_rows(cls, rows: Sequence[str]) -> Level:
        """Read rows in the XSB format (`#` wall, `.` target, `$` box, `*` both, `@` player, `+` both).

        Raises `ValueError` saying what is wrong with the level: an unknown character, rows of different
        lengths, not exactly one player, no box, other than one target for each box, or a border that is open.
        """
        if not rows:
            raise ValueError("the level has no rows")
        height, width = len(rows), len(rows[0])
        marks: dict[str, set[int]] = {"#": set(), ".": set(), "$": set(), "@": set()}
        for r, row in enumerate(rows):
            if len(row) != width:
                raise ValueError(f"row {r + 1} has {len(row)} cells where row 1 has {width}")
            for c, symbol in enumerate(row):
                if symbol not in _XSB:
                    raise ValueError(f"row {r + 1}, column {c + 1}: unknown character {symbol!r}")
                for mark in _XSB[symbol]:
                    marks[mark].add(r * width + c)
        if len(marks["@"]) != 1:
            raise ValueError(f"the level has {len(marks['@'])} players, not 1")
        if not marks["$"]:
            raise ValueError("the level has no box")
        if len(marks["$"]) != len(marks["."]):
            raise ValueError(f"the level has {len(marks['$'])} boxes and {len(marks['.'])} targets")
        border = {r * width + c for r in range(height) for c in range(width)
                  if r in (0, height - 1) or c in (0, width - 1)}  # fmt: skip
        if not border <= marks["#"]:
            cell = min(border - marks["#"])
            raise ValueError(f"the border is open at row {cell // width + 1}, column {cell % width + 1}")
        return cls(height, width, frozenset(marks["#"]), frozenset(marks["."]), frozenset(marks["$"]),
                   marks["@"].pop())  # fmt: skip

    def __deepcopy__(self, memo: dict[int, object]) -> Level:
        """Immutable, so a snapshot of an environment may share it."""
        return self

    @cached_property
    def neighbours(self) -> dict[int, tuple[int, int, int, int]]:
        """For every floor cell the cell above, below, left and right of it."""
        return {
            cell: (cell - self.width, cell + self.width, cell - 1, cell + 1)
            for cell in range(self.height * self.width)
            if cell not in self.walls
        }

    @cached_property
    def empty_board(self) -> list[str]:
        """What `board_text` shows of every cell without boxes and player: copy it, do not change it.

        The newlines belong to the last cells of the rows, which are wall and so are never replaced.
        """
        cells = ["_"] * (self.height * self.width)
        for cell in self.walls:
            cells[cell] = "#"
        for cell in self.targets:
            cells[cell] = "O"
        for row in range(1, self.height):
            cells[row * self.width - 1] += "\n"
        return cells


def board_text(level: Level, boxes: Iterable[int], player: int) -> str:
    """The board as RAGEN shows it: one character a cell, rows joined by newlines.

    `#` wall, `_` floor, `O` target, `X` box, `√` box on a target, `P` player, `S` player on a target.
    """
    cells = level.empty_board.copy()
    targets = level.targets
    for cell in boxes:
        cells[cell] = "√" if cell in targets else "X"
    cells[player] = "S" if player in targets else "P"
    return "".join(cells)
