"""Which turn got the credit: episodes of one task, turn by turn, with their advantages.

A *panel* is a group of siblings as it is shown. There is one scale of colours for all panels, so that steps
can be compared.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agentgym.agents.trajectory import Trajectory, Turn
from agentgym.report.credited import Credited, CreditedStep
from agentgym.report.dialogues import Dialogue, Limit, dialogues
from agentgym.report.formatting import clip

T = TypeVar("T")

_BOARD_WIDTH = 28
"""Observations whose lines are no longer are taken for boards, and get narrow cards."""


@dataclass(frozen=True)
class Limits:
    """How much of the trajectories a report shows."""

    groups: int
    """In each step."""
    episodes: int
    """In each group."""
    turns: int
    """In each episode."""
    characters: int
    """In each text."""


@dataclass(frozen=True)
class TurnCard:
    """One turn as it is shown."""

    number: int
    turn: Turn
    observation: str
    response: str
    """Empty where it says no more than the action."""
    action: str
    advantage: float | None
    parts: list[tuple[str, float]]
    state: int
    """Numbers the group's states in order of first appearance."""
    same_state: int
    """How many turns of the group began in this state."""
    skipped_before: int
    """Turns between the card before and this one that are not shown."""


@dataclass(frozen=True)
class EpisodeRow:
    """One episode as it is shown."""

    number: int
    """Its place in the group as played, from 1."""
    trajectory: Trajectory
    takes_part: bool
    cards: list[TurnCard]
    final_observation: str
    error: str


@dataclass(frozen=True)
class GroupPanel:
    """One group as it is shown, its best episode first."""

    step: int
    task_id: str
    task_type: str
    rows: list[EpisodeRow]
    """None in games of several seats."""
    dialogues: list[Dialogue]
    """The episodes of games of several seats."""
    n_episodes: int
    n_successes: int
    is_board: bool


@dataclass(frozen=True)
class StepPanels:
    """What is shown of one training step."""

    step: int
    panels: list[GroupPanel]
    n_groups: int
    problem: str | None
    file_names: list[str]


def step_panels(step: CreditedStep, limits: Limits) -> StepPanels:
    """The groups of a step whose episodes differ most, within limits."""
    groups: dict[str, list[Credited]] = defaultdict(list)
    for episode in step.episodes:
        groups[episode.trajectory.group].append(episode)
    chosen = sorted(groups.values(), key=_contrast, reverse=True)[: limits.groups]
    return StepPanels(
        step.files.step,
        [_panel(step.files.step, group, limits) for group in chosen],
        len(groups),
        step.problem,
        [path.name for path in step.files.paths],
    )


def advantage_scale(steps: Sequence[StepPanels]) -> float:
    """The largest advantage that is shown, up or down: the strongest colour. 1 if all are zero."""
    shown = [
        abs(card.advantage)
        for step in steps
        for panel in step.panels
        for row in panel.rows
        for card in row.cards
        if card.advantage is not None
    ]
    shown += [
        abs(act.advantage)
        for step in steps
        for panel in step.panels
        for dialogue in panel.dialogues
        for act in dialogue.acts
        if act.advantage is not None
    ]
    return max(shown, default=0.0) or 1.0


def _contrast(group: Sequence[Credited]) -> tuple[int, bool, int]:
    """Groups with as many successes as failures first, then those with a spread, then those that saw most."""
    played = [e.trajectory for e in group if e.trajectory.counts]
    successes = sum(t.success for t in played)
    has_spread = len({t.total_reward for t in played}) > 1
    states = {turn.state_key for t in played for turn in t.turns}
    return min(successes, len(played) - successes), has_spread, len(states)


def _panel(step: int, group: Sequence[Credited], limits: Limits) -> GroupPanel:
    if any(episode.trajectory.seat for episode in group):
        return _panel_of_game(step, group, limits)
    turns = [turn for episode in group for turn in episode.trajectory.turns]
    states = Counter(turn.state_key for turn in turns)
    state_numbers = {key: number for number, key in enumerate(states)}
    best_first = sorted(enumerate(group, start=1), key=lambda item: item[1].trajectory.total_reward, reverse=True)
    first = group[0].trajectory
    return GroupPanel(
        step=step,
        task_id=first.task_id,
        task_type=first.task_type,
        rows=[
            _row(number, episode, states, state_numbers, limits)
            for number, episode in _both_ends(best_first, limits.episodes)
        ],
        dialogues=[],
        n_episodes=len(group),
        n_successes=sum(episode.trajectory.success for episode in group),
        is_board=sum(_is_board(turn.observation) for turn in turns) > len(turns) / 2,
    )


def _panel_of_game(step: int, group: Sequence[Credited], limits: Limits) -> GroupPanel:
    """A group of a game; its episodes count once for each seat that is learned in."""
    own = [e.trajectory for e in group if e.advantages is not None] or [e.trajectory for e in group]
    found = dialogues(group, Limit(limits.turns, limits.characters))
    return GroupPanel(
        step=step,
        task_id=own[0].task_id,
        task_type=own[0].task_type,
        rows=[],
        dialogues=_both_ends(found, limits.episodes),
        n_episodes=len(own),
        n_successes=sum(trajectory.success for trajectory in own),
        is_board=False,
    )


def _row(
    number: int,
    episode: Credited,
    states: Mapping[str, int],
    state_numbers: Mapping[str, int],
    limits: Limits,
) -> EpisodeRow:
    trajectory = episode.trajectory
    cards: list[TurnCard] = []
    for t, turn in _both_ends(list(enumerate(trajectory.turns)), limits.turns):
        response = "" if turn.response.strip() == turn.action.strip() else turn.response
        cards.append(
            TurnCard(
                number=t + 1,
                turn=turn,
                observation=clip(turn.observation, limits.characters),
                response=clip(response, limits.characters),
                action=clip(turn.action, limits.characters),
                advantage=None if episode.advantages is None else episode.advantages[t],
                parts=[(name, values[t]) for name, values in episode.parts.items()],
                state=state_numbers[turn.state_key],
                same_state=states[turn.state_key],
                skipped_before=t - (cards[-1].number if cards else 0),
            )
        )
    return EpisodeRow(
        number=number,
        trajectory=trajectory,
        takes_part=episode.advantages is not None,
        cards=cards,
        final_observation=clip(trajectory.final_observation, limits.characters),
        error=clip(trajectory.error or "", limits.characters),
    )


def _both_ends(items: Sequence[T], limit: int) -> list[T]:
    """At most `limit` items: the first and the last ones."""
    if len(items) <= limit:
        return list(items)
    return [*items[: limit - limit // 2], *items[len(items) - limit // 2 :]]


def _is_board(text: str) -> bool:
    lines = text.split("\n")
    return len(lines) > 1 and max(map(len, lines)) <= _BOARD_WIDTH
