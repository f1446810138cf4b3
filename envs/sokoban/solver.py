"""A Sokoban planner whose plans are optimal in moves: the shortest way to put every box on a target.

A* over pushes: a state is the boxes and the player's cell just after a push, an edge is a walk and one push
and costs its number of moves. Sets of cells are integers with one bit a cell, so that a walk's breadth-first
search and the search for frozen boxes handle the whole board in a few operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from agentgym.envs.sokoban.level import Level
from agentgym.envs.text_env import NoPlanError

#: With more boxes the bound is the sum of the distances to each box's nearest target: still admissible, and
#: cheap where a matching (exponential here) is not.
_MAX_MATCHED_BOXES = 6

_State = tuple[int, int]  # the boxes' bits, the player's bit


class SearchLimitExceeded(NoPlanError):  # noqa: N818 - the name says what happened, as StopIteration's does
    """The search for a plan was given up: neither a plan nor a proof that there is none was found."""


@dataclass(frozen=True, slots=True)
class _Board:
    """What the search needs to know of a level. Sets of cells are integers: bit `cell` is 1 if it is in."""

    width: int
    floor: int
    targets: int
    live: int
    """Cells from which a box alone on the board can be pushed to some target; the others are dead."""
    stuck_across: int
    """Cells where a box gains nothing by a push left or right: a wall beside it, or dead cells on both."""
    stuck_along: int
    """The same for pushes up or down."""
    pushes: dict[int, tuple[tuple[int, int], ...]]
    """For the bit of every live cell: (target's bit, pushes to it without other boxes), nearest first."""


def solve(level: Level, boxes: frozenset[int], player: int, *, max_expansions: int = 200_000) -> tuple[str, ...] | None:
    """The shortest plan that puts every box on a target, as moves "up", "down", "left" and "right".

    `boxes` and `player` are cells of `level` (its start, or any state reached from it). The plan is `()` if
    the state is solved and `None` if no plan exists. Raises `SearchLimitExceeded` if neither is known after
    `max_expansions` states, whose number grows steeply with the number of boxes.
    """
    board = _board(level)
    start = (_bits(boxes), 1 << player)
    pushes = _search(board, start, max_expansions)
    return None if pushes is None else tuple(_moves(board, start, pushes))


def _search(board: _Board, start: _State, max_expansions: int) -> list[_State] | None:
    """The states after each push of an optimal plan, or None."""
    bounds: dict[int, int | None] = {}  # of the boxes alone, which many states share
    moves = {start: 0}
    parents: dict[_State, _State] = {}
    closed: set[_State] = set()
    first = _bound(board, start[0])
    if first is None:
        return None
    # One list for every total length, the shortest tried first; the last state in is the deepest, so ties
    # go to the state that is nearest to a solution.
    queue: list[list[_State]] = [[] for _ in range(first)] + [[start]]
    length = first
    while length < len(queue):
        if not queue[length]:
            length += 1
            continue
        state = queue[length].pop()
        if state in closed:
            continue  # it was reached in fewer moves
        closed.add(state)
        boxes = state[0]
        if not boxes & ~board.targets:
            return _path(parents, state)
        if len(closed) > max_expansions:
            raise SearchLimitExceeded(f"no plan found within {max_expansions} states (max_expansions)")
        before = moves[state]
        for cost, box, destination in _possible_pushes(board, boxes, state[1]):
            moved = boxes ^ box ^ destination
            if moved in bounds:
                bound = bounds[moved]
            else:
                bound = bounds[moved] = _bound(board, moved)
            if bound is None:
                continue
            after = (moved, box)  # the player ends where the box was
            total = before + cost
            if total < moves.get(after, total + 1):
                moves[after] = total
                parents[after] = state
                while len(queue) <= total + bound:
                    queue.append([])
                queue[total + bound].append(after)
    return None


def _possible_pushes(board: _Board, boxes: int, player: int) -> list[tuple[int, int, int]]:
    """Every push to a live cell that the player can walk to: (moves, the box's bit, its new cell's bit)."""
    width = board.width
    free = board.floor & ~boxes
    goal = free & board.live
    # Where the player has to stand to push a box up, left, down and right.
    up = free & boxes << width & goal << 2 * width
    left = free & boxes << 1 & goal << 2
    down = free & boxes >> width & goal >> 2 * width
    right = free & boxes >> 1 & goal >> 2
    wanted = up | left | down | right
    found: list[tuple[int, int, int]] = []
    front, unseen, cost = player, free & ~player, 1
    while front:
        here = front & wanted
        if here:
            found.extend((cost, stand >> width, stand >> 2 * width) for stand in _split(here & up))
            found.extend((cost, stand >> 1, stand >> 2) for stand in _split(here & left))
            found.extend((cost, stand << width, stand << 2 * width) for stand in _split(here & down))
            found.extend((cost, stand << 1, stand << 2) for stand in _split(here & right))
            wanted ^= here
            if not wanted:
                break
        front = _neighbours(front, width) & unseen
        unseen ^= front
        cost += 1
    return found


def _bound(board: _Board, boxes: int) -> int | None:
    """A lower bound on the moves (the pushes alone) to solve `boxes`, or None if they cannot be solved."""
    rows = []
    for box in _split(boxes):
        if box not in board.pushes:
            return None
        rows.append(board.pushes[box])
    if _has_frozen_box_off_target(board, boxes):
        return None
    if len(rows) > _MAX_MATCHED_BOXES:
        return sum(row[0][1] for row in rows)
    # Minimum matching of boxes and targets: the cheapest way to use each set of targets, a box at a time.
    cheapest = {0: 0}
    for row in rows:
        extended: dict[int, int] = {}
        for used, cost in cheapest.items():
            for target, pushes in row:
                if not used & target:
                    key, total = used | target, cost + pushes
                    if total < extended.get(key, total + 1):
                        extended[key] = total
        cheapest = extended
    return min(cheapest.values(), default=None)


def _has_frozen_box_off_target(board: _Board, boxes: int) -> bool:
    """Whether some boxes can never be pushed again (but to a dead cell), and one of them is off target.

    The largest set of boxes of which each is held, in both directions, by walls, dead cells or the set.
    """
    frozen = boxes
    while frozen:
        across = board.stuck_across | frozen << 1 | frozen >> 1
        along = board.stuck_along | frozen << board.width | frozen >> board.width
        held = frozen & across & along
        if held == frozen:
            return bool(frozen & ~board.targets)
        frozen = held
    return False


def _moves(board: _Board, start: _State, states: list[_State]) -> Iterator[str]:
    """The walks and pushes that lead from `start` through `states`."""
    names = {-1: "left", 1: "right", -board.width: "up", board.width: "down"}
    boxes, player = start
    for after, box in states:
        destination = after & ~boxes
        step = destination.bit_length() - box.bit_length()
        stand = box >> step if step > 0 else box << -step
        yield from _walk(board, board.floor & ~boxes, player, stand)
        yield names[step]
        boxes, player = after, box


def _walk(board: _Board, free: int, player: int, goal: int) -> Iterator[str]:
    """The shortest walk from the bit `player` to the bit `goal` over the cells `free`."""
    layers, front, unseen = [goal], goal, free & ~goal
    while not front & player:
        front = _neighbours(front, board.width) & unseen
        unseen ^= front
        layers.append(front)
    for layer in layers[-2::-1]:
        for name, cell in (
            ("up", player >> board.width),
            ("down", player << board.width),
            ("left", player >> 1),
            ("right", player << 1),
        ):
            if cell & layer:
                yield name
                player = cell
                break


def _path(parents: dict[_State, _State], last: _State) -> list[_State]:
    """The states from the first push to `last`."""
    path = []
    while last in parents:
        path.append(last)
        last = parents[last]
    return path[::-1]


@lru_cache(maxsize=512)
def _board(level: Level) -> _Board:
    """Prepare a level. Kept for as many episodes as are likely to be played at once."""
    width = level.width
    walls = _bits(level.walls)
    floor = ~walls & (1 << level.height * width) - 1
    distances: dict[int, list[tuple[int, int]]] = {}
    for target in level.targets:
        for box, pushes in _pulls(floor, width, 1 << target):
            distances.setdefault(box, []).append((1 << target, pushes))
    live = _bits(box.bit_length() - 1 for box in distances)
    dead = ~live
    return _Board(
        width=width,
        floor=floor,
        targets=_bits(level.targets),
        live=live,
        stuck_across=walls << 1 | walls >> 1 | dead << 1 & dead >> 1,
        stuck_along=walls << width | walls >> width | dead << width & dead >> width,
        pushes={box: tuple(sorted(row, key=lambda entry: entry[1])) for box, row in distances.items()},
    )


def _pulls(floor: int, width: int, target: int) -> Iterator[tuple[int, int]]:
    """(a cell's bit, pushes needed) for all cells from which a lone box can be pushed to `target`.

    The player is taken to be wherever he is needed, so the numbers are lower bounds.
    """
    front, unseen, pushes = target, floor & ~target, 0
    while front:
        for box in _split(front):
            yield box, pushes
        # A box is pulled one cell when that cell and the next one, for the player, are floor.
        front = unseen & (
            front << 1 & floor >> 1
            | front >> 1 & floor << 1
            | front << width & floor >> width
            | front >> width & floor << width
        )
        unseen ^= front
        pushes += 1


def _neighbours(cells: int, width: int) -> int:
    """The cells beside `cells`. The border is wall, so nothing that is kept has crossed it."""
    return cells << 1 | cells >> 1 | cells << width | cells >> width


def _bits(cells: Iterable[int]) -> int:
    bits = 0
    for cell in cells:
        bits |= 1 << cell
    return bits


def _split(bits: int) -> Iterator[int]:
    """The bits one at a time."""
    while bits:
        low = bits & -bits
        yield low
        bits ^= low
