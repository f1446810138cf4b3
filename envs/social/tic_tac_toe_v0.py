"""Tic-tac-toe, whose every position is solved (`tic_tac_toe_solution`). Under best play it is a draw.

All games begin with the empty board, so the splits hash the number of the game, a draw that makes two games two tasks
and seeds their partner. How good a player is say its losses against the exact one, and the share of its moves that keep
the position's value (`best_cells`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from agentgym.envs.multi_agent import Partner, Played, TextAECEnv
from agentgym.envs.social.faces import faces
from agentgym.envs.social.tic_tac_toe_solution import EMPTY, best_cells, free_cells, is_over, placed, winner
from agentgym.envs.splits import split_of

_OTHER = {"O": "X", "X": "O"}
_RULES = """\
Tic-tac-toe. The board shows each free cell as its number. O and X take turns to take one, O begins, and three in a \
row, column or diagonal win. You are {seat}. Answer with a free cell in square brackets, such as [4]. Two answers in a \
row without one lose the game."""


class CellPartner:
    """A partner that plays exactly with a probability, drawing among the cells that keep the value, else any free cell.

    It reads the board from its `state_key`, which is the board.
    """

    def __init__(self, exact: float):
        """`exact`: the probability of an exact move, in [0, 1]."""
        if not 0 <= exact <= 1:
            raise ValueError(f"exact must be a probability in [0, 1], not {exact}")
        self.exact = exact
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `StatefulPartner.reset`."""
        self._rng = random.Random(seed)

    def __call__(self, observation: str, info: dict[str, Any]) -> str:
        """See `Partner`."""
        board = info["state_key"]
        cells = best_cells(board) if self._rng.random() < self.exact else free_cells(board)
        return f"[{self._rng.choice(cells)}]"


class TicTacToe(TextAECEnv):
    """One game. A seat's reward at its end is 1 for a win, 0 for a draw, −1 for a loss.

    The `state_key` is the board; after an answer that was refused it has a question mark at its end.
    """

    possible_agents = ["O", "X"]  # noqa: RUF012 - as in the base class
    instructions = {seat: _RULES.format(seat=seat) for seat in "OX"}  # noqa: RUF012
    task_types = ("tic-tac-toe",)
    zero_sum = True
    partners: ClassVar[Mapping[str, Callable[[], Partner]]] = {
        "exact": partial(CellPartner, 1.0),
        "half_exact": partial(CellPartner, 0.5),
        "random": partial(CellPartner, 0.0),
    }
    mixture: ClassVar[Mapping[str, float]] = {"exact": 0.4, "half_exact": 0.3, "random": 0.3}

    def __init__(self, *, split: str = "train", max_turns: int = 10, render_mode: str | None = None):
        """`max_turns`: with 10, five moves and for each an answer that was refused, every game is played out."""
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        while True:
            self._task_id = f"tic-tac-toe/{rng.integers(1_000_000)}"
            if split_of(self._task_id) == self.split:
                break
        self._board = EMPTY
        self._mover = "O"
        self._refused = False
        self._won: Mapping[str, int] | None = None
        return {"O": f"{_drawn(EMPTY)}\nYou are O.", "X": f"{_drawn(EMPTY)}\nYou are X. O begins."}

    def _to_act(self) -> tuple[str]:
        return (self._mover,)

    def _act(self, seat: str, action: str) -> Played:
        cell = _said(action)
        if cell is None or cell not in free_cells(self._board):
            return self._refuse(seat)
        self._refused = False
        self._board = placed(self._board, cell)
        other = self._mover = _OTHER[seat]
        heard = f"{seat} takes {cell}.\n{_drawn(self._board)}\n"
        if not is_over(self._board):
            return Played({other: f"{heard}You are {other}."})
        won = int(winner(self._board) != "")
        told = {
            seat: f"{heard}{'You win.' if won else 'A draw.'}",
            other: f"{heard}{'You lose.' if won else 'A draw.'}",
        }
        return self._end({seat: won, other: -won}, told)

    def _refuse(self, seat: str) -> Played:
        other = _OTHER[seat]
        if self._refused:
            told = {seat: "No free cell again: you lose.", other: f"{seat} names no free cell: you win."}
            return self._end({seat: -1, other: 1}, told, is_action_valid=False)
        self._refused = True
        told = {seat: "That names no free cell. Answer with one that the board shows as a number, such as [4]."}
        return Played(told, is_action_valid=False)

    def _end(self, won: Mapping[str, int], told: Mapping[str, str], *, is_action_valid: bool = True) -> Played:
        self._won = won
        rewards = {seat: float(points) for seat, points in won.items()}
        return Played(told, rewards, terminated=True, is_action_valid=is_action_valid)

    def _situation(self, seat: str) -> dict[str, Any]:
        won = self._won[seat] if self._won else 0
        acts = self._won is None and seat == self._mover
        return {
            "success": won > 0,
            "task_id": self._task_id,
            "task_type": "tic-tac-toe",
            "task": f"You are {seat}.",
            "state_key": self._board + "?" * (acts and self._refused),
            "admissible_actions": [f"[{cell}]" for cell in free_cells(self._board)] if acts else [],
            "score": (won + 1) / 2 if self._won else 0.0,
            "payoff": float(won),
            "optimum": {"value": 0.0},
        }

    def expert(self, seat: str) -> str:
        """A cell that keeps the position's value; among several the one after which the other has most ways to err."""
        cells = best_cells(self._board)
        return f"[{min(cells, key=lambda cell: _ways_to_keep(placed(self._board, cell)))}]"


def _ways_to_keep(board: str) -> float:
    """The share of the next player's moves that keep what it has; 0 where the game is over."""
    return 0.0 if is_over(board) else len(best_cells(board)) / len(free_cells(board))


def _drawn(board: str) -> str:
    cells = [str(cell) if mark == "." else mark for cell, mark in enumerate(board)]
    return "\n".join(" ".join(cells[row : row + 3]) for row in (0, 3, 6))


def _said(action: str) -> int | None:
    """The first number that stands alone in square brackets, if it has one digit but for zeros before it."""
    found = re.search(r"\[\s*(\d+)\s*\]", action, re.ASCII)
    digits = (found[1].lstrip("0") or "0") if found else ""
    return int(digits) if len(digits) == 1 else None


env, raw_env, parallel_env = faces(TicTacToe)
