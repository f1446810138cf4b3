"""Turns and trajectories: what a rollout records, and its JSONL form.

A trajectory file has one JSON object a line and is read back exactly as it was written: tokens as ids,
floats at full precision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class StopReason(StrEnum):
    """Why an episode ended."""

    SUCCESS = "success"
    """The task was solved."""
    TERMINATED = "terminated"
    """The environment ended the episode without success."""
    MAX_TURNS = "max_turns"
    """The environment truncated the episode."""
    CONTEXT_OVERFLOW = "context_overflow"
    """The next prompt would not have fitted the model's context."""
    ENV_ERROR = "env_error"
    """The environment raised, twice. Excluded from every baseline and from the loss."""


@dataclass(slots=True)
class Turn:
    """One model call and what the environment made of it."""

    observation: str
    """What the agent saw before it acted."""
    state_key: str
    """`info["state_key"]` of that moment."""
    action: str
    """What was given to `env.step`."""
    reward: float = 0.0
    """What `env.step` returned for it."""
    is_action_valid: bool = True
    reward_parts: dict[str, float] = field(default_factory=dict)
    """`info["reward_parts"]` of this step: the named components of the reward, where the environment tells them."""
    duration: float | None = None
    """`info["duration"]` of this step: what the action took in seconds, where the environment tells it."""
    response: str = ""
    """The decoded response, for people. Training uses `response_ids`."""
    prompt_ids: list[int] = field(default_factory=list)
    """The tokens the engine was given."""
    response_ids: list[int] = field(default_factory=list)
    """The tokens the engine sampled, the end-of-turn token included if it was sampled."""
    logprobs: list[float] = field(default_factory=list)
    """The sampled tokens' log-probabilities under the model at the sampling temperature."""


@dataclass(slots=True)
class Trajectory:
    """One episode, whole."""

    env_id: str
    seed: int
    group: str
    """Episodes of one group share the task and are compared with one another."""
    task_id: str
    task_type: str
    turns: list[Turn] = field(default_factory=list)
    stop_reason: StopReason | None = None
    success: bool = False
    score: float | None = None
    final_observation: str = ""
    error: str | None = None
    """The technical failure behind `StopReason.ENV_ERROR`."""
    task: str = ""
    """`info["task"]` of the first moment: what was asked, where the environment says it."""
    answers: list[str] = field(default_factory=list)
    """`info["answers"]`: the ground truth, where the environment tells it. The agent is not shown it."""

    @property
    def total_reward(self) -> float:
        """The undiscounted return: the sum of the rewards of all turns."""
        return sum(turn.reward for turn in self.turns)

    def to_json(self) -> str:
        """One line of JSON."""
        # Not `dataclasses.asdict`: it copies the tokens one by one, ten times as long as all the rest takes.
        fields = {name: getattr(self, name) for name in Trajectory.__slots__}
        fields["turns"] = [{name: getattr(turn, name) for name in Turn.__slots__} for turn in self.turns]
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Trajectory:
        """The inverse of `to_json`. Raises `ValueError` for anything else than one trajectory's JSON."""
        try:
            fields: dict[str, Any] = json.loads(line)
            fields["turns"] = [Turn(**turn) for turn in fields["turns"]]
            reason = fields["stop_reason"]
            fields["stop_reason"] = None if reason is None else StopReason(reason)
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a trajectory: {error}") from error


def write_trajectories(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """Write one trajectory a line to `path`, replacing it."""
    # UTF-8 has no half characters (lone surrogates): Python's escape for them is also JSON's.
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(trajectory.to_json() + "\n" for trajectory in trajectories)


def read_trajectories(path: Path) -> Iterator[Trajectory]:
    """Yield the trajectories of a JSONL file. Raises `ValueError` naming file and line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield Trajectory.from_json(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
