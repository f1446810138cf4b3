"""The text environment: a `gymnasium.Env` whose observations and actions are strings.

A subclass implements `_start`, `_act` and `_situation`; this class counts turns, truncates, fills `info`
and keeps all randomness private. `agentgym.envs.check_text_env` checks everything promised here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NotRequired, TypeAlias, TypedDict

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded

from agentgym.envs.snapshots import Snapshots
from agentgym.envs.text_space import TextSpace

Split: TypeAlias = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


_N_PLAYED = 4
"""Values that `TextEnv._act` returns."""


class NotInstalledError(ValueError):
    """An environment cannot be made for want of a package or a program; the message says which, and how to get it."""


class NoPlanError(RuntimeError):
    """From where the environment is, its expert knows no way to success."""


class Info(TypedDict):
    """What `reset` and `step` return as `info`."""

    success: bool
    """The task is solved. True only together with `terminated`."""
    task_id: str
    """Names the task: two episodes with one `task_id` start in the same state."""
    task_type: str
    """The kind of task, for success rates by kind."""
    state_key: str
    """Names the situation the agent is in: GiGPO's anchor state (arXiv:2505.10978, §4.2)."""
    is_action_valid: bool
    """The last action was understood and legal (True at reset)."""
    admissible_actions: NotRequired[list[str]]
    """The actions that would be understood now, where they can be listed."""
    task: NotRequired[str]
    """What is asked of the agent, in words: for prompts that no longer show the first observation."""
    score: NotRequired[float]
    """A graded success in [0, 1]."""
    answers: NotRequired[list[str]]
    """Ground truth (IGPO's signal). Never shown to an agent."""
    reward_parts: NotRequired[dict[str, float]]
    """The components of the last reward by name."""
    duration: NotRequired[float]
    """What the last action took in seconds, where that is worth weighing (`duration_weighted`)."""


def expect_settings(splits: Sequence[str], split: str, max_turns: int, render_mode: str | None) -> None:
    """Raise `ValueError` for constructor arguments that no text environment takes."""
    if split not in splits:
        raise ValueError(f"split must be one of {', '.join(splits)}, not {split!r}")
    if max_turns < 1:
        raise ValueError(f"max_turns must be at least 1, not {max_turns}")
    if render_mode not in (None, "ansi"):
        raise ValueError(f"render_mode must be None or 'ansi', not {render_mode!r}")


class TextEnv(Snapshots, gymnasium.Env[str, str]):
    """Base class of all environments in agentgym.

    The same class, arguments and `seed` give the same task and the same first observation in every process
    and on every machine. Any string may be given to `step`; one that is not understood costs a turn and is
    answered with an observation that says so.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012 - as in the base class
    observation_space: TextSpace
    action_space: TextSpace
    instructions: str
    """The rules and the action grammar in words, for the system prompt."""
    task_types: tuple[str, ...]
    """Every value that `info["task_type"]` may take."""
    splits: tuple[str, ...] = SPLITS
    """The splits this environment has. No task is in two of them."""
    answer_form: str = "{answer}"
    """Where `info` has `answers`: how one of them is given as an action."""
    data_source: str = "builtin"
    """Where the tasks come from: "builtin", or the path that was given as `data`."""
    waits: bool = False
    """`reset` and `step` spend their time waiting (for a server, a tool, a browser) and may be called in any thread,
    one call at a time: such environments are played side by side, all others one after another."""

    _shared_between_snapshots: ClassVar[frozenset[str]] = frozenset({"observation_space", "action_space", "spec"})

    def __init__(self, *, split: str = "train", max_turns: int, render_mode: str | None = None):
        """`max_turns`: the episode is truncated after this many calls of `step`, whatever they were."""
        expect_settings(self.splits, split, max_turns, render_mode)
        self.split = split
        self.max_turns = max_turns
        self.render_mode = render_mode
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self.turn = 0
        self._observation: str | None = None
        self._over = True

    # What a subclass implements ---------------------------------------------------------------------------

    @abstractmethod
    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        """Begin a task drawn with `rng` alone; return the first observation."""

    @abstractmethod
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        """Carry out `action`; return (observation, reward, terminated, whether the action was valid)."""

    @abstractmethod
    def _situation(self) -> dict[str, Any]:
        """The keys of `Info` for the present state, all but `is_action_valid`."""

    def expert(self) -> str:
        """A good next action in the present state, found by planning.

        Raises `NotImplementedError` where an environment has no expert, and `NoPlanError` where no plan
        leads to success any more.
        """
        raise NotImplementedError(f"{type(self).__name__} has no expert")

    # gymnasium's interface --------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode. Without `seed` the next task of the private generator is taken."""
        super().reset(seed=seed)
        self.turn = 0
        self._over = False
        self._observation = self._start(self.np_random, options or {})
        info = self._situation()
        info["is_action_valid"] = True
        return self._observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one turn. Raises `ResetNeeded` before the first `reset` and after the episode's end."""
        if self._over:
            raise ResetNeeded("the episode has not begun or is over: call reset() before step()")
        played: Any = self._act(action)
        if not isinstance(played, tuple) or len(played) != _N_PLAYED:
            raise TypeError(
                f"{type(self).__name__}._act must return (observation, reward, terminated, whether the action was "
                f"valid), not {played!r:.80}"
            )
        self._observation, reward, terminated, valid = played
        self.turn += 1
        truncated = not terminated and self._is_cut_off()
        self._over = terminated or truncated
        info = self._situation()
        info["is_action_valid"] = valid
        return self._observation, reward, terminated, truncated, info

    def _is_cut_off(self) -> bool:
        """Whether an episode that has not terminated ends after this turn all the same."""
        return self.turn >= self.max_turns

    def render(self) -> str | None:
        """The last observation in the render mode "ansi", else None."""
        return self._observation if self.render_mode == "ansi" else None
