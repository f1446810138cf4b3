"""GiGPO."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute

from ..compare import RTOL, Report
from .algorithm_cases import NEARLY_EQUAL_RTOL, nearly_equal


def check_gigpo(case: dict[str, Any], report: Report) -> None:
    """Every array of a GiGPO case. Its parameters have the official names, which the scheme understands."""
    batch = TurnBatch.from_dicts(case["input"]["trajectories"])
    credit = compute("gigpo", batch, **case["params"])
    parts = {name[:-2]: values for name, values in credit.parts.items()}  # without the axis suffix
    parts["advantage"] = credit.turn_advantages(batch)
    rtol_T = np.full(batch.n_turns, RTOL)
    if case["params"].get("mode") == "mean_std_norm":
        rtol_T[nearly_equal(parts["episode_score_penalised"], batch.group_T)] = NEARLY_EQUAL_RTOL
        rtol_T[nearly_equal(parts["step_return_penalised"], parts["step_group"])] = NEARLY_EQUAL_RTOL
    rtol: dict[str, ArrayLike] = {"step_group": 0.0}
    rtol |= dict.fromkeys(["episode_advantage", "step_advantage", "advantage"], rtol_T)
    for name, expected in case["expected"].items():
        report.number(name, parts[name], expected, rtol.get(name, RTOL))
