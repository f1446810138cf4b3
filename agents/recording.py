"""What is recorded of an episode, and what an environment is kept to while it is.

A reward that is no finite number, an observation that is no text or an info without its keys is a failure of the
environment, as an exception is.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

from agentgym.agents.agent import Decision, View
from agentgym.agents.trajectory import StopReason, Trajectory, Turn

_KEYS: dict[str, tuple[type, ...]] = {
    "success": (bool, np.bool_),
    "task_id": (str,),
    "task_type": (str,),
    "state_key": (str,),
    "is_action_valid": (bool, np.bool_),
}
"""What every info has."""
OUTCOMES = ("payoff", "joint", "agreement", "pareto_distance")
"""What the info of some games tells of their end, as numbers."""


class BrokenPromiseError(RuntimeError):
    """An environment gave what none may give."""


def check_moment(observation: object, info: object) -> None:
    """Raise `BrokenPromiseError` unless these are an observation and an info."""
    if not isinstance(observation, str):
        raise BrokenPromiseError(f"the observation is {observation!r:.80}, not a str")
    if not isinstance(info, Mapping):
        raise BrokenPromiseError(f"info is {info!r:.80}, not a dict")
    missing = [key for key in _KEYS if key not in info]
    if missing:
        raise BrokenPromiseError(f"info lacks {', '.join(map(repr, missing))}")
    for key, kinds in _KEYS.items():
        if not isinstance(info[key], kinds):
            raise BrokenPromiseError(f"info[{key!r}] is {info[key]!r:.80}, not a {kinds[0].__name__}")
    actions = info.get("admissible_actions", ())
    if not all(isinstance(action, str) for action in actions):
        raise BrokenPromiseError(f"info['admissible_actions'] are {actions!r:.80}, not all of them str")
    for text in (observation, *actions):
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise BrokenPromiseError(f"{text!r:.80} holds a lone surrogate, which no UTF-8 text can")


def opened(env_id: str, seed: int, group: str, episode: str, seat: str, info: Mapping[str, Any]) -> Trajectory:
    """A trajectory without turns yet. `info`: of its first moment."""
    return Trajectory(
        env_id,
        seed,
        group,
        info["task_id"],
        info["task_type"],
        task=info.get("task", ""),
        answers=list(info.get("answers", ())),
        episode=episode,
        seat=seat,
        partner=str(info.get("partner", "")),
    )


def begun_turn(view: View, decision: Decision) -> Turn:
    """A turn whose outcome is not known yet."""
    return Turn(
        observation=view.observation,
        state_key=view.info["state_key"],
        action=decision.action,
        response=decision.response,
        continues=decision.continues,
        prompt_ids=decision.prompt_ids,
        response_ids=decision.response_ids,
        logprobs=decision.logprobs,
        parts=decision.parts,
        spans=decision.spans,
        fault=decision.fault,
        policy_step=decision.policy_step,
    )


def complete(turn: Turn, reward: Any, info: Mapping[str, Any]) -> None:
    """Record what came of a turn. A NumPy number would not be JSON, so all become Python's."""
    turn.reward = finite(reward, "the reward")
    turn.is_action_valid = bool(info["is_action_valid"])
    parts = info.get("reward_parts", {}).items()
    turn.reward_parts = {part: finite(value, f"reward_parts[{part!r}]") for part, value in parts}
    duration = info.get("duration")
    turn.duration = None if duration is None else finite(duration, "duration")


def end_reason(terminated: bool, info: Mapping[str, Any]) -> StopReason:
    """Why an episode ended that the environment has terminated or else truncated."""
    if not terminated:
        return StopReason.MAX_TURNS
    return StopReason.SUCCESS if info["success"] else StopReason.TERMINATED


def close(trajectory: Trajectory, stop_reason: StopReason, observation: str, info: Mapping[str, Any]) -> None:
    """Record how an episode ended."""
    trajectory.stop_reason = stop_reason
    score = info.get("score")
    trajectory.score = None if score is None else finite(score, "the score")
    trajectory.outcome = {name: finite(info[name], name) for name in OUTCOMES if name in info}
    trajectory.final_observation = observation
    trajectory.final_state_key = info["state_key"]


def finite(value: Any, what: str) -> float:
    """A number, as Python's. Raises `BrokenPromiseError` for what is none, or is not finite."""
    try:
        number = float("nan") if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number):
        raise BrokenPromiseError(f"{what} is {value!r:.80}, not a finite number")
    return number
