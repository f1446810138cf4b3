"""Games of several seats as dialogues: who said what in which order, who had been told what, and who got the credit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.agents.trajectory import Trajectory, Turn
from agentgym.report.credited import Credited
from agentgym.report.formatting import clip, number


@dataclass(frozen=True)
class Limit:
    """How much of a dialogue is shown."""

    turns: int
    characters: int


@dataclass(frozen=True)
class Seat:
    """One seat of an episode."""

    number: int
    """Its place among the game's seats, from 0: tells its colour."""
    trajectory: Trajectory
    takes_part: bool
    """Whether it was learned from."""
    outcome: str
    """What the game tells of its end, in words."""
    last_heard: str
    """What it was told after its last act."""


@dataclass(frozen=True)
class Act:
    """One turn of one seat."""

    number: int
    """Its place among the turns of all seats, from 1."""
    seat: Seat
    turn: Turn
    heard: str
    """What the seat was told since its last act, and nobody else."""
    response: str
    """Empty where it says no more than the action."""
    said: str
    advantage: float | None
    parts: list[tuple[str, float]]
    skipped_before: int
    """Acts between the one before and this one that are not shown."""


@dataclass(frozen=True)
class Dialogue:
    """One episode, all its seats together."""

    number: int
    """Its place in the group as played, from 1."""
    seats: list[Seat]
    acts: list[Act]
    error: str


def dialogues(group: Sequence[Credited], limit: Limit) -> list[Dialogue]:
    """The episodes of a group, those first in which the learners earned most."""
    of_episode: dict[tuple[str, bool], list[Credited]] = {}
    for each in group:
        of_episode.setdefault((each.trajectory.episode, each.trajectory.replayed), []).append(each)
    numbered = list(enumerate(of_episode.values(), start=1))
    best_first = sorted(numbered, key=lambda item: _earned(item[1]), reverse=True)
    return [_dialogue(number, episode, limit) for number, episode in best_first]


def _earned(episode: Sequence[Credited]) -> float:
    """What the first seat that was learned from has earned: in a game without a winner all together earn nothing."""
    own = [each.trajectory.total_reward for each in episode if each.advantages is not None]
    return own[0] if own else float("-inf")


def _dialogue(number: int, episode: Sequence[Credited], limit: Limit) -> Dialogue:
    # A group's own seats come first in a file, and partners' after them: their names' order is the same everywhere.
    in_order = sorted(episode, key=lambda each: each.trajectory.seat)
    seats = [_seat(i, each, limit) for i, each in enumerate(in_order) if each.trajectory.seat]
    acts = sorted(
        (
            (turn.order, seat, credited, t)
            for seat, credited in zip(seats, (each for each in in_order if each.trajectory.seat), strict=True)
            for t, turn in enumerate(credited.trajectory.turns)
        ),
        key=lambda act: act[0],
    )
    shown = [*enumerate(acts)]
    if len(shown) > limit.turns:
        shown = [*shown[: limit.turns - limit.turns // 2], *shown[len(shown) - limit.turns // 2 :]]
    cards: list[Act] = []
    for place, (_, seat, credited, t) in shown:
        cards.append(_act(place, seat, credited, t, cards[-1].number if cards else 0, limit))
    error = next((each.trajectory.error for each in episode if each.trajectory.error), "")
    return Dialogue(number, seats, cards, clip(error or "", limit.characters))


def _seat(number_: int, credited: Credited, limit: Limit) -> Seat:
    trajectory = credited.trajectory
    outcome = ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in trajectory.outcome.items())
    last = clip(trajectory.final_observation, limit.characters)
    return Seat(number_, trajectory, credited.advantages is not None, outcome, last)


def _act(place: int, seat: Seat, credited: Credited, t: int, before: int, limit: Limit) -> Act:
    turn = credited.trajectory.turns[t]
    response = "" if turn.response.strip() == turn.action.strip() else turn.response
    return Act(
        number=place + 1,
        seat=seat,
        turn=turn,
        heard=clip(turn.observation, limit.characters),
        response=clip(response, limit.characters),
        said=clip(turn.action, limit.characters),
        advantage=None if credited.advantages is None else credited.advantages[t],
        parts=[(name, values[t]) for name, values in credited.parts.items()],
        skipped_before=place - before,
    )
