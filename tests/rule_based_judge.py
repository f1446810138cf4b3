"""A judge without a server, whose judgements follow from a rule, and who fails for some episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.trainers.experience import Experience
from agentgym.trainers.signals.signal import Signal


class RuleBasedJudge(Signal):
    """A turn is wrong that goes left or up; an episode of three turns cannot be judged."""

    gives = ("wrong_votes_T",)

    def compute(self, experience: Experience) -> Mapping[str, NDArray[Any]]:
        """Shares of one vote, NaN where there is none."""
        batch, turns = experience.batch, [turn for t in experience.trajectories for turn in t.turns]
        wrong_T = np.array([turn.action in ("left", "up") for turn in turns], np.float64)
        excluded_N = batch.n_turns_N == 3
        return {"wrong_votes_T": np.where(excluded_N[batch.trajectory_T], np.nan, wrong_T), "excluded_N": excluded_N}
