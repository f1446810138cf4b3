"""Environments in processes of their own, which can be given up: `WorkerEnv`.

For worlds that may hang or crash, and for those that wait without being safe in threads. An environment whose time is
up is killed with its process; the next reset gets a fresh one.
"""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded

from agentgym.envs.text_env import TextEnv
from agentgym.envs.worker_pool import Answer, Worker, give_back, take

_SECONDS_TO_MAKE = 600.0
"""What making an environment may take at least: some build an index of their data first."""
_PLAN = 10
"""An expert may take so many times as long as a step."""


class WorkerEnv(TextEnv):
    """An environment in a worker process, with a limit of time for each reset and each step.

    It gives what the environment in it gives. A process that exceeds the limit is ended, with all that it has started,
    and `TimeoutError` is raised; one that ends by itself raises `EngineError`. The episode is lost then, and the next
    `reset` begins in a fresh process. Without a seed that one draws from another stream of tasks.
    """

    waits = True
    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {
        "_give_back", "_make_env", "_starts", "_timeout", "_worker",
    }  # fmt: skip

    def __init__(self, make_env: Callable[[], TextEnv], timeout: float):
        """The environment that `make_env` makes, a function that another process can import: `partial(make, env_id)`.

        `timeout`: seconds for a reset or a step; ten times that for the expert's plan. Raises what `make_env` raises,
        and `ValueError` for a function that cannot be imported elsewhere.
        """
        if timeout <= 0:
            raise ValueError(f"timeout must be above 0 seconds, not {timeout}")
        super().__init__(max_turns=1)  # until the environment tells its own
        self._make_env, self._timeout = make_env, timeout
        self._worker: Worker | None = None
        self._starts = 0
        self._make()
        self._seed: int | None = None
        self._info: dict[str, Any] = {}
        self._truncated = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """See `TextEnv.reset`. Raises `TimeoutError`, and `EngineError` where the process ends by itself."""
        self._seed = seed
        if not self._is_there():
            self._make()
        return super().reset(seed=seed, options=options)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        what = f"reset to seed {self._seed}"
        observation: str
        observation, self._info = self._call("reset", what=what, seed=self._seed, options=options)
        return observation

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        what = f"play turn {self.turn} of seed {self._seed}"
        observation, reward, terminated, self._truncated, self._info = self._call("step", action, what=what)
        return observation, reward, terminated, self._info["is_action_valid"]

    def _is_cut_off(self) -> bool:
        return self._truncated

    def _situation(self) -> dict[str, Any]:
        return dict(self._info)

    def expert(self) -> str:
        """See `TextEnv.expert`. Raises what `step` does."""
        plan: str = self._call("expert", what=f"plan turn {self.turn} of seed {self._seed}", times=_PLAN)
        return plan

    def render(self) -> str | None:
        """See `TextEnv.render`."""
        picture: str | None = self._call("render", what="render")
        return picture

    def snapshot(self) -> object:
        """See `TextEnv.snapshot`."""
        return super().snapshot(), self._ask("snapshot", what="copy its state")

    def restore(self, snapshot: object) -> None:
        """See `TextEnv.restore`."""
        if not isinstance(snapshot, tuple):
            raise TypeError(f"restore takes what snapshot() returned, not {type(snapshot).__name__}")
        own, inside = snapshot
        if not self._is_there():
            self._make()
        self._ask("restore", inside, what="restore a state")
        super().restore(own)

    def close(self) -> None:
        """Close the environment and give its process away. A reset afterwards begins in another."""
        try:
            if self._is_there():
                self._ask("close", what="close")
        finally:
            if self._worker is not None:
                self._give_back()
                self._worker = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (self._make_env, self._timeout, self.snapshot() if self._is_there() else None)

    def _is_there(self) -> bool:
        """Whether the process lives in which the environment was made."""
        worker = self._worker
        return worker is not None and worker.process is not None and worker.starts == self._starts

    def _make(self) -> None:
        if self._worker is None:
            self._worker = take()
            self._give_back = weakref.finalize(self, give_back, self._worker)
        try:
            factory = pickle.dumps(self._make_env)
        except Exception as error:  # pickle's own, and whatever the function's parts raise
            raise ValueError(f"a worker process cannot import what makes the environment: {error}") from None
        self._worker.name = "a worker process"
        limit = max(self._timeout, _SECONDS_TO_MAKE)
        answer = self._worker.ask("make", factory, limit=limit, what="make an environment")
        self._starts = self._worker.starts
        self._worker.name = f"the worker process of {self._heard(answer)}"

    def _call(self, method: str, *arguments: Any, what: str, times: int = 1, **named: Any) -> Any:
        """What a method of the environment returns."""
        return self._ask("call", method, arguments, named, what=what, times=times)

    def _ask(self, method: str, *arguments: Any, what: str, times: int = 1) -> Any:
        """What the host of the environment answers. `times`: as long as a step."""
        if self._worker is None or not self._is_there():
            raise ResetNeeded("the environment has ended with its process: call reset()")
        return self._heard(self._worker.ask(method, *arguments, limit=times * self._timeout, what=what))

    def _heard(self, answer: Answer) -> Any:
        """What was returned, or raised; and what the environment tells of itself becomes this one's."""
        returned, raised, news = answer
        self.__dict__.update(news)
        if raised is not None:
            raise raised
        return returned


def _copied(make_env: Callable[[], TextEnv], timeout: float, snapshot: object) -> WorkerEnv:
    env = WorkerEnv(make_env, timeout)
    if snapshot is not None:
        env.restore(snapshot)
    return env
