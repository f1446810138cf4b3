"""ALFWorld (`agentgym/ALFWorld-v0`): do a chore in a house that is told in words.

Games of our own, or the genuine ones of ALFWorld (arXiv:2010.03768), with the texts and the admissible commands
of the official engine, byte for byte.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np

from agentgym.envs.alfworld import builtin
from agentgym.envs.alfworld.data import SYNONYMS, Record, find_splits, games_of
from agentgym.envs.alfworld.engine import NativeEngine
from agentgym.envs.alfworld.game import Game
from agentgym.envs.alfworld.generator import Size
from agentgym.envs.alfworld.goal import TASK_TYPES
from agentgym.envs.alfworld.official_files import logic_beside, read_logic
from agentgym.envs.alfworld.planner import plan
from agentgym.envs.alfworld.state import State
from agentgym.envs.alfworld.textworld_engine import TextworldEngine
from agentgym.envs.text_env import NoPlanError, TextEnv
from agentgym.envs.user_path import user_path

EngineName = Literal["native", "textworld"]
StateKey = Literal["observation", "state"]

SUCCESS_REWARD = 10.0
STEP_REWARD = 0.0
BUILTIN = "builtin"
DATA_VARIABLE = "ALFWORLD_DATA"
"""Names the genuine games where `data` does not."""


class GameSource(Protocol):
    """Where games come from."""

    damaged: dict[str, str]
    """The damaged games met so far, by name, and what is wrong with them."""

    def draw(self, rng: np.random.Generator) -> Game:
        """A game drawn with `rng`."""

    def check(self) -> None:
        """Raise `ValueError` if there is no game to draw."""

    def record(self, game: Game) -> Record:
        """The text of a game drawn here."""

    @property
    def have_logic(self) -> bool:
        """Each game's record has a domain and grammar of its own."""


class AlfworldEnv(TextEnv):
    """Do a chore in a house, seen in words.

    Args:
        data: "builtin", games of our own (`generator`); or the genuine games: the directory that holds
            `json_2.1.1` (or that directory, or a split in it), a directory of compact files
            `<split>.jsonl(.gz)`, or one file of either kind. By default what the environment variable
            ALFWORLD_DATA names, else "builtin".
        size: of our own games: "full", about 20 receptacles and 20 objects as in the genuine ones, or "small",
            about 10 and 8.
        split: a split of the data: "train", "valid_seen" or "valid_unseen", and "valid_train" in genuine data;
            "valid" is "valid_seen" and "test" is "valid_unseen".
        max_turns: turns until truncation; 50 as in the official configuration.
        success_reward, step_reward: what the turn that reaches the goal earns, and any other turn. By default
            10 and 0, as in GiGPO's recipe (verl-agent); 1 and 0 give the official score.
        state_key: what `info["state_key"]` names. "observation": the observation's text, on which GiGPO's
            recipe groups; it is not one with the true state (an agent does not see what it forgot). "state":
            the true state, all that actions change.
        engine: "native", our own, or "textworld", the original, which says and does the same about a thousand
            times slower. It needs the package textworld with its planner, and runs in a process of its own,
            which all environments share.
        logic: for the textworld engine, where ALFWorld's domain and grammar are: a genuine `game.tw-pddl`, or a
            folder with `domain.pddl` and `grammar.twl2`. By default each game file's own; for compact files the
            folder `logic` beside them; else those of the installed package alfworld.
        time_limit: for the textworld engine, seconds for a reset or a step. Beyond it `TimeoutError` is raised.
        list_help: have `help` in `info["admissible_actions"]`, as in the official list. By default it is
            left out, as in GiGPO's recipe. It can be played in either case.
    """

    instructions = (
        "You are in a house and have one chore to do, with your own two hands. You know what there is only when "
        "you have been there: go to places, look into what can be opened, and remember what you saw.\n"
        "Each turn you answer with one of these actions, with the names and numbers that you were told:\n"
        "look\n"
        "inventory\n"
        "go to <place>\n"
        "open <place>\n"
        "close <place>\n"
        "take <object> from <place>\n"
        "move <object> to <place>\n"
        "examine <object or place>\n"
        "use <object>\n"
        "heat <object> with <place>\n"
        "cool <object> with <place>\n"
        "clean <object> with <place>\n"
        "slice <object> with <object>\n"
        "You can carry one object. An object is heated with a microwave, cooled with a fridge and cleaned with a "
        "sink, while you carry it; a lamp is turned on with use. Where an action is impossible, nothing happens."
    )
    task_types = TASK_TYPES

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {"_games"}

    def __init__(
        self,
        *,
        data: str | Path | None = None,
        size: Size = "full",
        split: str = "train",
        max_turns: int = 50,
        success_reward: float = SUCCESS_REWARD,
        step_reward: float = STEP_REWARD,
        state_key: StateKey = "observation",
        engine: EngineName = "native",
        logic: str | Path | None = None,
        time_limit: float = 60.0,
        list_help: bool = False,
        render_mode: str | None = None,
    ):
        """See the class. Raises `ValueError` for data without a good game and for arguments out of range."""
        choices = (("state_key", state_key, StateKey), ("size", size, Size), ("engine", engine, EngineName))
        for name, value, kind in choices:
            if value not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, not {value!r}")
        if not (math.isfinite(success_reward) and math.isfinite(step_reward)):
            raise ValueError(f"the rewards must be finite, not {success_reward} and {step_reward}")
        data = data if data is not None else os.environ.get(DATA_VARIABLE) or BUILTIN
        path = None if data == BUILTIN else user_path(data)
        self.splits = tuple(builtin.SPLITS if path is None else find_splits(path))
        if split not in self.splits:
            split = SYNONYMS.get(split, split)
        if split not in self.splits:
            raise ValueError(f"{data}: no split {split!r}, only {', '.join(self.splits)}")
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.data_source = str(data)
        self._games: GameSource = builtin.games_of(split, size) if path is None else games_of(path.absolute(), split)
        self._games.check()
        self._rewards = (step_reward, success_reward)
        self._key_is_state, self._list_help = state_key == "state", list_help
        self._engine: NativeEngine | TextworldEngine = NativeEngine()
        if engine == "textworld":
            found = None
            if logic is not None or not self._games.have_logic:
                found = logic_beside(path) if logic is None else read_logic(logic)
            self._engine = TextworldEngine(self._games.record, found, time_limit)
        self.action_space.examples = ("look", "inventory")

    @property
    def damaged_games(self) -> int:
        """How many damaged games of this split were met, and skipped, in this process."""
        return len(self._games.damaged)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self._game: Game = self._games.draw(rng)
        self._plan: dict[State, str] = {}
        self._text = self._engine.start(self._game)
        self._list_actions()
        return self._text

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        valid = self._engine.admits(action)
        self._text = self._engine.step(action)
        if valid:
            self._list_actions()
        won = self._engine.won
        return self._text, self._rewards[won], won, valid

    def _list_actions(self) -> None:
        self._actions = self._engine.admissible_commands
        if not self._list_help:
            self._actions.remove("help")

    def _situation(self) -> dict[str, Any]:
        won = self._engine.won
        return {
            "success": won,
            "score": float(won),
            "task": self._game.task,
            "task_id": self._game.id,
            "task_type": self._game.goal.pattern.task_type,
            "state_key": self._engine.state.key() if self._key_is_state else self._text,
            "admissible_actions": self._actions.copy(),
        }

    def close(self) -> None:
        """Let the engine's process end, if it has one."""
        self._engine.close()

    def expert(self) -> str:
        """The next command of a plan with the fewest commands, found by search (`planner.plan`).

        Raises `NoPlanError` when the goal cannot be reached: the game lacks what it takes, or the object in
        hand fits nowhere.
        """
        state = self._engine.state
        if state not in self._plan:
            steps = plan(self._game, state)
            if steps is None:
                raise NoPlanError(f"{self._game.id} cannot be solved from here: there is no next command")
            self._plan.update(steps or [(state, "look")])  # the goal holds from the start: any turn ends it
        return self._plan[state]
