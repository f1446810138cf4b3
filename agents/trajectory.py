"""Turns and trajectories: what a rollout records, and its JSONL form.

A trajectory file has one JSON object a line and is read back exactly as it was written: tokens as ids, floats at full
precision. One whose name ends in `.gz` is compressed. A turn keeps the tokens that its prompt *adds* to the turn
before, so that a dialogue's file grows with the dialogue and not with its square. Files of version 1, whose prompts are
whole, are read too.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

SUFFIXES = (".jsonl", ".jsonl.gz")
"""How the name of a trajectory file ends."""
_VERSION = 2


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
    continues: bool = False
    """Whether the prompt begins with all of the turn before: its whole prompt and its response."""
    prompt_ids: list[int] = field(default_factory=list)
    """The tokens that the prompt adds to the turn before; all of them where it does not continue that."""
    response_ids: list[int] = field(default_factory=list)
    """The tokens the engine sampled, the end-of-turn token included if it was sampled."""
    logprobs: list[float] = field(default_factory=list)
    """The sampled tokens' log-probabilities under the model at the sampling temperature."""
    parts: dict[str, str] = field(default_factory=dict)
    """What the response's format reads from it besides the action: `{"subgoal": "find a mug"}`."""
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where in `response_ids` the format's parts lie, marks included: first token and the one after the last."""
    fault: str = ""
    """What is wrong with the response's form, in words (`Parsed.fault`)."""
    policy_step: int = 0
    """Finished training steps of the policy that answered."""
    order: int = 0
    """In games of several seats: how many turns of all seats came before it in the episode."""


@dataclass(slots=True)
class Trajectory:
    """One episode as one of its seats has lived it, whole."""

    env_id: str
    seed: int
    group: str
    """Episodes of one group share the task and are compared with one another, seat by seat."""
    task_id: str
    task_type: str
    turns: list[Turn] = field(default_factory=list)
    stop_reason: StopReason | None = None
    score: float | None = None
    final_observation: str = ""
    final_state_key: str = ""
    """`info["state_key"]` after the last action; empty in files from before it was recorded."""
    error: str | None = None
    """The technical failure behind `StopReason.ENV_ERROR`."""
    task: str = ""
    """`info["task"]` of the first moment: what was asked, where the environment says it."""
    answers: list[str] = field(default_factory=list)
    """`info["answers"]`: the ground truth, where the environment tells it. The agent is not shown it."""
    episode: str = ""
    """Names the episode within its training step or evaluation: the trajectories of its seats have it in common."""
    seat: str = ""
    """Whose trajectory it is, in worlds with several seats."""
    player: str = ""
    """Who held the seat, by name, where players were drawn."""
    partner: str = ""
    """Who held the other seats, by name: `info["partner"]` in a world of which one seat is played. The same in all
    episodes of a group; nobody in the game is shown it."""
    outcome: dict[str, float] = field(default_factory=dict)
    """What games tell of their end: `payoff`, `joint`, `agreement` (0 or 1), `pareto_distance`."""
    greedy_return: float | None = None
    """The return of an episode of the same task whose every token was the likeliest, where one was played."""
    replayed: bool = False
    """Whether it was played in an earlier training step, and learned from again in this one."""
    pivot: int = 0
    """The first turn that is learned from: where an attempt and its retry part."""
    retry: str = ""
    """What it is of a second attempt: "guided", as it was played, told what to do better; "distilled", the same without
    that in its prompts; "reflection", what is told, the response of its only turn. "" for any other trajectory."""

    @property
    def success(self) -> bool:
        """Whether the task was solved."""
        return self.stop_reason is StopReason.SUCCESS

    @property
    def truncated(self) -> bool:
        """Whether the episode was cut off, by a limit, rather than ended."""
        return self.stop_reason in (StopReason.MAX_TURNS, StopReason.CONTEXT_OVERFLOW)

    @property
    def counts(self) -> bool:
        """Whether it says anything about the agent: all do but those of an environment that failed."""
        return self.stop_reason is not StopReason.ENV_ERROR

    @property
    def is_own_play(self) -> bool:
        """Whether the policy of its training step has played it, and on its own."""
        return not (self.replayed or self.retry)

    @property
    def total_reward(self) -> float:
        """The undiscounted return: the sum of the rewards of all turns."""
        return sum(turn.reward for turn in self.turns)

    def prompts(self) -> list[list[int]]:
        """The whole prompt of each turn, as the engine was given it."""
        prompts: list[list[int]] = []
        before: list[int] = []
        for turn in self.turns:
            prompts.append([*before, *turn.prompt_ids] if turn.continues else list(turn.prompt_ids))
            before = prompts[-1] + turn.response_ids
        return prompts

    def to_json(self) -> str:
        """One line of JSON."""
        # Not `dataclasses.asdict`: it copies the tokens one by one, ten times as long as all the rest takes.
        fields = {"version": _VERSION, **{name: getattr(self, name) for name in Trajectory.__slots__}}
        fields["turns"] = [{name: getattr(turn, name) for name in Turn.__slots__} for turn in self.turns]
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Trajectory:
        """The inverse of `to_json`. Raises `ValueError` for anything else than one trajectory's JSON."""
        try:
            fields: dict[str, Any] = json.loads(line)
            version = fields.pop("version", 1)
            if version not in (1, _VERSION):
                raise ValueError(f"version {version!r} of the format; this agentgym reads 1 and {_VERSION}")
            fields["turns"] = [_turn(turn) for turn in fields["turns"]]
            if version == 1:
                fields.pop("success", None)  # the stop reason says it
                share_prompts(fields["turns"])
            reason = fields["stop_reason"]
            fields["stop_reason"] = None if reason is None else StopReason(reason)
            return cls(**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a trajectory: {error}") from error


def tokens_through(turns: Sequence[Turn]) -> list[int]:
    """The whole prompt of the last turn and its response; nothing without a turn."""
    first = len(turns)
    while first > 0:
        first -= 1
        if not turns[first].continues:
            break
    return [token for turn in turns[first:] for token in (*turn.prompt_ids, *turn.response_ids)]


def added_prompt(before: list[int], prompt: list[int]) -> tuple[bool, list[int]]:
    """`Turn.continues` and `Turn.prompt_ids` of a whole prompt after a turn with these tokens (`tokens_through`)."""
    continues = bool(before) and prompt[: len(before)] == before
    return continues, prompt[len(before) :] if continues else prompt


def _turn(fields: dict[str, Any]) -> Turn:
    turn = Turn(**fields)
    turn.spans = {part: (start, end) for part, (start, end) in turn.spans.items()}
    return turn


def share_prompts(turns: Sequence[Turn]) -> None:
    """Make turns that have their prompts whole, as in files of version 1, into such as tell what each prompt adds."""
    before: list[int] = []
    for turn in turns:
        whole = [*turn.prompt_ids, *turn.response_ids]
        turn.continues, turn.prompt_ids = added_prompt(before, turn.prompt_ids)
        before = whole


def write_trajectories(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """Write one trajectory a line to `path`, replacing it; compressed if its name ends in `.gz`."""
    with path.open("wb") as raw, _packed(raw) if path.suffix == ".gz" else raw as file:
        for trajectory in trajectories:
            # UTF-8 has no half characters (lone surrogates): Python's escape for them is also JSON's.
            file.write((trajectory.to_json() + "\n").encode("utf-8", "backslashreplace"))


def _packed(raw: IO[bytes]) -> gzip.GzipFile:
    """A compressed file that depends on its content alone: no name and no time in it."""
    return gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0)


def read_trajectories(path: Path) -> Iterator[Trajectory]:
    """Yield the trajectories of a file, whose name says whether it is compressed.

    Raises `ValueError` naming file and line, also where the compressed data are damaged or end too early.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        number = 0
        while True:
            number += 1
            with _naming(f"{path}, line {number}"):
                line = file.readline()
                if not line:
                    return
                trajectory = Trajectory.from_json(line)
            yield trajectory


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Put the place before what is wrong there."""
    try:
        yield
    except EOFError:
        raise ValueError(f"{place}: the file ends too early, as if writing it had been broken off") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{place}: the compressed data are damaged: {error}") from None
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
