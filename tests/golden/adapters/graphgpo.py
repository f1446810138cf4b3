"""GraphGPO."""

from __future__ import annotations

from typing import Any

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute

from ..compare import Report


def check_graphgpo(case: dict[str, Any], report: Report) -> None:
    """Every array of a GraphGPO case: its rewards are those of success alone, and its scores those of episodes."""
    trajectories = [
        {**trajectory, "turns": [{"reward": 0.0, **turn} for turn in trajectory["turns"]]}
        for trajectory in case["input"]["trajectories"]
    ]
    batch = TurnBatch.from_dicts(trajectories)
    params = dict(case["params"])
    params["paper_exponent"] = {"reference": False, "paper": True}[params.pop("convention")]
    credit = compute("graphgpo", batch, **params)
    first_N = batch.turn_offsets_N[:-1]
    got = {name: credit.parts[f"{name}_T"] for name in ("distance_after", "graph_return", "graph_advantage")}
    got["episode_return_penalised"] = credit.parts["episode_score_N"]
    got["episode_advantage"] = credit.parts["episode_advantage_T"][first_N]
    got["advantage"] = credit.turn_advantages(batch)
    for name, expected in case["expected"].items():
        report.number(name, got[name], expected)
