"""SPIRAL's running baseline by seat."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from agentgym.agents.trajectory import Trajectory, Turn
from agentgym.trainers.credit import compute
from agentgym.trainers.experience import Experience
from agentgym.trainers.processes import Processes
from agentgym.trainers.signals.running_baseline import RunningBaseline
from agentgym.trainers.signals.signal import Resources

from ..compare import Report


def check_spiral(case: dict[str, Any], report: Report) -> None:
    """The baselines before and after each game, the advantage of each turn, and which turns are dropped.

    A scale of the rewards scales the baseline alike. Without a baseline it is 0.
    """
    params, games = case["params"], case["input"]["games"]
    assert params["discount_by_turns_of_the_player"]
    resources = cast(Resources, SimpleNamespace(processes=Processes()))
    signal = RunningBaseline(resources, frozenset(), decay=params["decay"])
    for number, (game, expected) in enumerate(zip(games, case["expected"]["games"], strict=True)):
        seats = [_seat(number, game, player, params["reward_scaling"]) for player in (0, 1)]
        experience = Experience.of(0, seats)
        columns = signal.compute(experience) if params["role_baseline"] else {"running_baseline_N": np.zeros(2)}
        batch = experience.with_columns(columns).batch
        credit = compute("spiral", batch, gamma=params["gamma"], drop_zeros=params["drop_zero_advantage"])
        report.number("baseline_before", columns["running_baseline_N"], expected["baseline_before"])
        kept, advantages = (batch.nest_turns(each) for each in (credit.parts["kept_T"], credit.turn_advantages(batch)))
        order = [(player, game["turn_player"][:t].count(player)) for t, player in enumerate(game["turn_player"])]
        report.number("turn_advantage", [advantages[p][t] for p, t in order], expected["turn_advantage"])
        report.same("turn_kept", [kept[p][t] for p, t in order], expected["turn_kept"])
        after = [signal.baselines.get(("golden", str(player)), 0.0) for player in (0, 1)]
        report.number("baseline_after", after, expected["baseline_after"])


def _seat(number: int, game: dict[str, Any], player: int, scale: float) -> Trajectory:
    """What a player has lived of a game; one without a turn has a turn more, which nobody asks about, to be paid in."""
    turns = [Turn("", "", "", response_ids=[1], prompt_ids=[1]) for each in game["turn_player"] if each == player]
    turns = turns or [Turn("", "", "", response_ids=[1], prompt_ids=[1])]
    turns[-1].reward = scale * game["reward"][player]
    return Trajectory("golden", 0, f"0/{number}", "", "", turns, seat=str(player))
