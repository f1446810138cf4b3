"""Tic-tac-toe solved: the value of each of the 5,478 positions, by search from the empty board.

A board is nine characters, O, X or "." for a free cell, row by row; O begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

EMPTY = "." * 9
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


def to_move(board: str) -> str:
    """O or X: whose turn it is."""
    return "O" if board.count("O") == board.count("X") else "X"


def free_cells(board: str) -> list[int]:
    """The cells that may be taken, 0 to 8."""
    return [cell for cell, mark in enumerate(board) if mark == "."]


def placed(board: str, cell: int) -> str:
    """The board after the player to move has taken a cell."""
    return board[:cell] + to_move(board) + board[cell + 1 :]


def winner(board: str) -> str:
    """O or X if either has a line of three, else ""."""
    for a, b, c in LINES:
        if board[a] != "." and board[a] == board[b] == board[c]:
            return board[a]
    return ""


def is_over(board: str) -> bool:
    """Won, or full."""
    return "." not in board or winner(board) != ""


@cache
def value(board: str) -> int:
    """What best play of both earns the player to move: 1 a win, 0 a draw, −1 a loss."""
    if winner(board):
        return -1  # the other's last move made the line
    return max((-value(placed(board, cell)) for cell in free_cells(board)), default=0)


def best_cells(board: str) -> list[int]:
    """The cells that keep the position's value."""
    return [cell for cell in free_cells(board) if -value(placed(board, cell)) == value(board)]


def positions() -> Iterator[str]:
    """Every position that can occur, from the empty board on, each once."""
    known, ahead = {EMPTY}, [EMPTY]
    while ahead:
        board = ahead.pop()
        yield board
        if not is_over(board):
            new = {placed(board, cell) for cell in free_cells(board)} - known
            known |= new
            ahead += sorted(new)
