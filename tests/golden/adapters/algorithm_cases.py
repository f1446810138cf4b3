"""What adapters share: a folder of algorithm cases, and tolerances for float32 files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.segments import segment_std

from ..compare import Case, Report

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


def nearly_equal(value_T: FloatArray, segment_T: IntArray) -> BoolArray:
    """The turns in a segment whose std is below 1 % of the value."""
    return segment_std(value_T, segment_T, len(value_T))[segment_T] < 0.01 * np.abs(value_T)
