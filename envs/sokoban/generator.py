"""Sokoban levels by reverse play: always solvable, and solvable within a given number of moves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TypeVar

from agentgym.envs.sokoban.level import Level

#: Boards kept for each number of moves. One box on a small board has fewer, so that the search is complete
#: and the number of moves exact; beyond, it is a random beam and the number an upper bound.
_BEAM = 48
_MAX_ATTEMPTS = 1000

_T = TypeVar("_T")
#: (player, boxes in ascending order)
_State = tuple[int, tuple[int, ...]]


class GenerationError(ValueError):
    """No level was found: the board is too small or too full for its boxes."""


def generate_level(rng: random.Random, *, height: int, width: int, boxes: int, walls: float, max_moves: int) -> Level:
    """Draw a level with `boxes` boxes, of which at least one is off its target.

    Inner cells become walls with probability `walls`. From the solved board the player walks backwards,
    pulling boxes, breadth first; a number of moves is drawn evenly among those that were reached, at most
    `max_moves`, then a board among those that far from the end.

    Only `rng.random()` is used: its stream is the same in every version of Python, unlike `choice`'s.
    Raises `GenerationError` when 1,000 boards in a row gave no level.
    """
    border = frozenset(
        cell for cell in range(height * width) if cell // width in (0, height - 1) or cell % width in (0, width - 1)
    )
    inner = [cell for cell in range(height * width) if cell not in border]
    for _ in range(_MAX_ATTEMPTS):
        inner_walls = [cell for cell in inner if rng.random() < walls]
        floor = [cell for cell in inner if cell not in inner_walls]
        if len(floor) < boxes + 1:
            continue
        targets = tuple(sorted(_sample(rng, floor, boxes)))
        depths = [
            [state for state in states if state[1] != targets]
            for states in _backwards(rng, width, frozenset(floor), targets, max_moves)
        ]
        depths = [states for states in depths if states]
        if depths:
            player, start = _pick(rng, _pick(rng, depths))
            walls_of_level = border.union(inner_walls)
            return Level(height, width, walls_of_level, frozenset(targets), frozenset(start), player)
    raise GenerationError(
        f"no level found in {_MAX_ATTEMPTS} tries for {height}x{width} cells, {boxes} boxes, "
        f"walls={walls}, {max_moves} moves: use a larger board, fewer boxes or fewer walls"
    )


def _backwards(
    rng: random.Random, width: int, floor: frozenset[int], targets: tuple[int, ...], max_moves: int
) -> Iterator[list[_State]]:
    """The states 1, 2, … `max_moves` moves before the end: new ones each time, at most `_BEAM`."""
    directions = (-width, width, -1, 1)
    # The last move of a solution is a push, so only the players who could have pushed are an end.
    frontier = [
        (box + direction, targets)
        for box in targets
        for direction in directions
        if box + direction in floor and box + direction not in targets
    ]
    seen = set(frontier)
    pulls_only = True
    for _ in range(max_moves):
        reached: list[_State] = []
        for player, boxes in frontier:
            for direction in directions:
                goal = player + direction
                if goal not in floor or goal in boxes:
                    continue
                before = []
                behind = player - direction
                if behind in boxes:
                    before.append((goal, tuple(sorted(player if b == behind else b for b in boxes))))
                if not pulls_only:
                    before.append((goal, boxes))
                for state in before:
                    if state not in seen:
                        seen.add(state)
                        reached.append(state)
        if not reached:
            return
        yield reached
        frontier = reached if len(reached) <= _BEAM else _sample(rng, reached, _BEAM)
        pulls_only = False


def _pick(rng: random.Random, items: list[_T]) -> _T:
    return items[int(rng.random() * len(items))]


def _sample(rng: random.Random, items: list[_T], count: int) -> list[_T]:
    """`count` different items, drawn evenly."""
    items = list(items)
    for i in range(count):
        j = i + int(rng.random() * (len(items) - i))
        items[i], items[j] = items[j], items[i]
    return items[:count]
