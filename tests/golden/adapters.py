"""What to do with the golden files of each folder: from a file to the cases in it.

A new folder costs one function from a case to comparisons and one line in `ADAPTERS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from agentgym.envs.sokoban.env import SokobanEnv
from agentgym.envs.sokoban.level import Level
from agentgym.trainers.batch import BoolArray, FloatArray, IntArray, TurnBatch
from agentgym.trainers.credit import compute
from agentgym.trainers.credit.blocks import segment_std

from .compare import RTOL, Case, Report

Adapter = Callable[[Path], Iterator[Case]]

# The files were made in float32, which loses digits where a std is small beside the numbers it is taken of.
NEARLY_EQUAL_RTOL = 2e-3


def algorithm(check: Callable[[dict[str, Any], Report], None]) -> Adapter:
    """The adapter of a folder whose files are one case each: `{"name", "params", "input", "expected"}`."""

    def cases(path: Path) -> Iterator[Case]:
        case = json.loads(path.read_text(encoding="utf-8"))
        if not case["expected"]:
            raise ValueError("the case expects nothing")
        yield Case(case["name"], partial(check, case))

    return cases


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


def nearly_equal(value_T: FloatArray, segment_T: IntArray) -> BoolArray:
    """The turns in a segment whose std is below 1 % of the value."""
    return segment_std(value_T, segment_T, len(value_T))[segment_T] < 0.01 * np.abs(value_T)


def sokoban(path: Path) -> Iterator[Case]:
    """The adapter of the Sokoban folder: a list of episodes of gym-sokoban in RAGEN's grid."""
    for index, trace in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        yield Case(f"[{index}] {trace['level']}", partial(check_sokoban, trace))


def check_sokoban(trace: dict[str, Any], report: Report) -> None:
    """Replay an episode. A "noop" is an action that is not understood: it costs a turn and moves nothing."""
    level = Level.from_rows(trace["rows"])
    env = SokobanEnv.from_level(level, max_turns=trace["max_steps"])
    observation, _ = env.reset(seed=0)
    report.same("first board", board(observation, level), trace["init"])
    for t, step in enumerate(trace["steps"]):
        observation, reward, terminated, truncated, info = env.step(step["a"])
        report.same(f"turn {t}: board", board(observation, level), step["obs"])
        report.number(f"turn {t}: reward", reward, step["r"])
        report.same(f"turn {t}: done", terminated or truncated, step["done"])
        report.same(f"turn {t}: success", info["success"], step["success"])


def board(observation: str, level: Level) -> str:
    """The board in an observation: its last lines."""
    return "\n".join(observation.split("\n")[-level.height :])


ADAPTERS: dict[str, Adapter] = {
    "gigpo": algorithm(check_gigpo),
    "sokoban": sokoban,
}
