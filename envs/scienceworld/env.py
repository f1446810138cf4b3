"""ScienceWorld (`agentgym/ScienceWorld-v0`): thirty tasks of elementary science in a house with ten rooms.

The genuine simulator of Wang et al., "ScienceWorld: Is your Agent Smarter than a 5th Grader?"
(arXiv:2203.07540), from the package `scienceworld`, in one Java process for all environments.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from agentgym.envs.text_env import NoPlanError, NotInstalledError, TextEnv

if TYPE_CHECKING:
    from agentgym.envs.scienceworld.simulator import Situation

TASKS: tuple[str, ...] = (
    "boil", "change-the-state-of-matter-of", "chemistry-mix", "chemistry-mix-paint-secondary-color",
    "chemistry-mix-paint-tertiary-color", "find-animal", "find-living-thing", "find-non-living-thing",
    "find-plant", "freeze", "grow-fruit", "grow-plant", "identify-life-stages-1", "identify-life-stages-2",
    "inclined-plane-determine-angle", "inclined-plane-friction-named-surfaces",
    "inclined-plane-friction-unnamed-surfaces", "lifespan-longest-lived",
    "lifespan-longest-lived-then-shortest-lived", "lifespan-shortest-lived",
    "measure-melting-point-known-substance", "measure-melting-point-unknown-substance", "melt",
    "mendelian-genetics-known-plant", "mendelian-genetics-unknown-plant", "power-component",
    "power-component-renewable-vs-nonrenewable-energy", "test-conductivity",
    "test-conductivity-of-unknown-substances", "use-thermometer",
)  # fmt: skip
SIMPLIFICATIONS = (
    "easy", "noElectricalAction", "openContainers", "openDoors", "selfWateringFlowerPots", "teleportAction",
)  # fmt: skip

SUCCESS_REWARD = 10.0
_LONGEST_ACTION = 200
_NOT_UNDERSTOOD = "No known action matches that input."
"""The simulator's own words."""
_ROOMS = (
    "art studio", "bathroom", "bedroom", "foundry", "greenhouse", "hallway", "kitchen", "living room",
    "outside", "workshop",
)  # fmt: skip
_ALWAYS = ("look around", "inventory", "task", "wait", "wait1")


class ScienceWorldEnv(TextEnv):
    """Solve a task in the simulated house. The observations are the simulator's own, word for word.

    Args:
        task: a task's name, several, or "all": the task is drawn first, then one of its variations, so that
            tasks with many variations are no more frequent than others.
        simplifications: the simulator's, comma-separated: "easy" for all that are harmless, or of
            teleportAction, openDoors, openContainers, noElectricalAction, selfWateringFlowerPots.
        reward: "score" (the simulator's): the change of the score, in units of the whole task, so that the
            rewards of a solved episode sum to 1, less what the start is already worth (0 to 0.1); a failed one
            ends with the score -1. "success": 10 where the task is solved, else 0, as in verl-agent's recipes.
        list_actions: put the simulator's list of valid actions into `info["admissible_actions"]`. It has
            about a thousand and costs ten times a step, so it is off by default; and it names things that
            cannot be reached (bees in a closed hive), which `step` then answers as not understood.
        time_limit: seconds for a reset or a step; ten times that for the expert's plan. Beyond it
            `TimeoutError` is raised, and the next episode gets a fresh Java process.
        split: the simulator's own train, dev (here "valid") and test variations of each task.
        max_turns: by default 100, the simulator's limit. Some solutions of the expert are longer
            (mendelian-genetics: up to 150), and need more turns.

    `info["score"]` is the simulator's score, 0 where it is negative: a wrong `focus on` fails the task at
    once. `info["success"]` is a score of 100 of 100. `info["state_key"]` is what one sees and holds (the
    lines of `look around` and `inventory`, sorted), which recurs, other than the answers to actions.
    """

    instructions = (
        "You are in a house where elementary science can be done: kitchen, workshop, greenhouse and others. "
        "Solve the task that you are given.\n"
        "Actions, with OBJ for the name of a thing that you see or hold: open OBJ, close OBJ, activate OBJ, "
        "deactivate OBJ, connect OBJ to OBJ, disconnect OBJ, use OBJ on OBJ, look around, look at OBJ, "
        "look in OBJ, read OBJ, move OBJ to OBJ, pick up OBJ, put down OBJ, pour OBJ in OBJ, dunk OBJ in OBJ, "
        "mix OBJ, go OBJ, eat OBJ, flush OBJ, focus on OBJ, inventory, task, wait (ten steps of time), wait1 "
        "(one); where the task allows it, teleport to ROOM.\n"
        "Doors are closed at first: open door to kitchen, go to kitchen. "
        "Focus only on what the task names: a wrong focus fails it at once.\n"
        "If a request is ambiguous, answer with the number of what you meant.\n"
        "Answer with one action."
    )

    def __init__(
        self,
        *,
        task: str | Sequence[str] = "all",
        simplifications: str = "",
        reward: Literal["score", "success"] = "score",
        list_actions: bool = False,
        time_limit: float = 60.0,
        split: str = "train",
        max_turns: int = 100,
        render_mode: str | None = None,
    ):
        """See the class. Raises `ValueError` for arguments out of range, and without the package or Java."""
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.task_types = _checked_tasks(task)
        self._simplifications = _checked_simplifications(simplifications)
        if reward not in ("score", "success"):
            raise ValueError(f"reward must be 'score' or 'success', not {reward!r}")
        if time_limit <= 0:
            raise ValueError(f"time_limit must be above 0 seconds, not {time_limit}")
        self._reward, self._list_actions, self.time_limit = reward, list_actions, time_limit
        self.data_source = "scienceworld"
        self.action_space.examples = _ALWAYS + tuple(f"{do} {room}" for room in _ROOMS for do in _DOOR_ACTIONS)
        self._connect()

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {
        "_engine", "_lease", "_simulator", "time_limit",
    }  # fmt: skip

    def _connect(self) -> None:
        """Count among the users of the Java process. It starts with the first `reset`."""
        if importlib.util.find_spec("scienceworld") is None:
            raise NotInstalledError("ScienceWorld needs the package scienceworld: pip install 'agentgym[scienceworld]'")
        from agentgym.envs.scienceworld import simulator

        simulator.find_java()
        self._engine = simulator
        self._lease = simulator.java.lease(self)
        self._simulator: simulator.Simulator | None = None

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        if not self._lease.alive:  # closed, and now used again
            self._connect()
        task = self.task_types[int(rng.integers(len(self.task_types)))]
        numbers = self._engine.variations(task, self.split, self.time_limit)
        variation = numbers[int(rng.integers(len(numbers)))]
        self._game = self._engine.Game(task, variation, self._simplifications)
        self._actions: list[str] = []
        self._understood: list[str] = []
        text, self._now = self._play()
        description = self._call(lambda simulator: simulator.task_description(), "describe the task")
        return f"{description}\n\n{text}"

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        if len(action) > _LONGEST_ACTION or not action.isprintable():
            return _NOT_UNDERSTOOD, 0.0, False, False
        before = self._now.score
        self._actions.append(action)
        try:
            text, self._now = self._play()
        except self._engine.ActionFailedError:
            self._actions.pop()  # the next action replays the game up to here
            return "The simulator cannot do that. Nothing happened.", 0.0, False, False
        understood = text != _NOT_UNDERSTOOD
        if understood:
            self._understood.append(action)
        over = self._now.completed or self._now.score < 0
        if self._reward == "score":
            return text, self._now.score - before, over, understood
        return text, SUCCESS_REWARD * self._is_solved, over, understood

    def _play(self) -> tuple[str, Situation]:
        """The last observation, and the situation, after all actions so far."""

        def play(simulator: Any) -> tuple[str, Situation]:
            text = simulator.advance(self._game, self._actions)
            return text, simulator.situation(list_actions=self._list_actions)

        answer: tuple[str, Situation] = self._call(play, f"play {self._game.task}, variation {self._game.variation}")
        return answer

    def _call(self, request: Any, what: str) -> Any:
        def call() -> Any:
            if self._simulator is None or self._simulator.is_lost:
                self._simulator = self._engine.Simulator()
            return request(self._simulator)

        return self._engine.java.call(call, self.time_limit, what)

    @property
    def _is_solved(self) -> bool:
        return self._now.score >= 1

    def _situation(self) -> dict[str, Any]:
        lines = [*self._now.look.splitlines(), *self._now.inventory.splitlines()]
        situation = {
            "success": self._is_solved,
            "score": max(0.0, self._now.score),
            "task_id": f"scienceworld:{self._game.task}:{self._game.variation}",
            "task_type": self._game.task,
            "state_key": "\n".join(sorted(line.strip() for line in lines if line.strip())),
        }
        if self._now.actions is not None:
            situation["admissible_actions"] = list(self._now.actions)
        return situation

    def expert(self) -> str:
        """The next action of the simulator's own solution (its "gold path").

        Inputs that the simulator did not understand have changed nothing and are forgiven. Raises
        `NoPlanError` where any other action is not that of the solution: the simulator has no second one.
        """
        if self._over:
            raise NoPlanError("the episode has not begun or is over")
        gold = self._engine.gold_path(self._game, 10 * self.time_limit)
        done = len(self._understood)
        if self._understood != gold[:done]:
            raise NoPlanError("the agent has left the simulator's only solution: there is no next action")
        if done == len(gold):
            raise NoPlanError(f"the simulator's own solution of {self._game.task} ended without success")
        return gold[done]

    def close(self) -> None:
        """Leave the Java process; it ends with its last environment."""
        self._simulator = None
        self._lease()
        super().close()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_engine", "_lease", "_simulator")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()


_DOOR_ACTIONS = ("open door to", "go to")


def _checked_tasks(task: str | Sequence[str]) -> tuple[str, ...]:
    names = TASKS if task == "all" else (task,) if isinstance(task, str) else tuple(task)
    unknown = [name for name in names if name not in TASKS]
    if unknown or not names:
        raise ValueError(f"task must be 'all' or of {', '.join(TASKS)}, not {(unknown or ['nothing'])[0]!r}")
    return tuple(sorted(set(names)))


def _checked_simplifications(text: str) -> str:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in SIMPLIFICATIONS:
            raise ValueError(f"simplifications must be of {', '.join(SIMPLIFICATIONS)}, not {name!r}")
    return ",".join(names)
