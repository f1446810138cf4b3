"""Metrics as curves: pooled where there are more steps than pixels, and smoothed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agentgym.agents.evaluation import wilson_interval
from agentgym.report.run_data import Metrics
from agentgym.trainers.arrays import FloatArray

MAX_POINTS = 300
"""Longer runs are pooled, so that a report stays small."""


@dataclass(frozen=True)
class Curve:
    """A metric over the steps."""

    step: FloatArray
    raw: FloatArray
    smooth: FloatArray
    low: FloatArray | None = None
    """The lower end of the interval about `smooth`, where there is one."""
    high: FloatArray | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is not one finite value."""
        return not np.isfinite(self.raw).any()

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last finite value of the smoothed curve; NaN if there is none."""
        finite = self.smooth[np.isfinite(self.smooth)]
        return (float(finite[0]), float(finite[-1])) if len(finite) else (float("nan"), float("nan"))


def steps_per_point(n_steps: int) -> int:
    """How many steps one point of a curve pools."""
    return max(1, -(-n_steps // MAX_POINTS))


def smoothing_window(n_points: int) -> int:
    """The width of the centred moving average: an odd number, a twelfth of the run."""
    return (n_points // 12) | 1


def metric_curve(metrics: Metrics, name: str) -> Curve:
    """A metric's curve: means over pooled steps, and their moving average."""
    value_S = metrics.column(name)
    finite_S = np.isfinite(value_S)
    count = _pool(finite_S.astype(np.float64))
    total = _pool(np.where(finite_S, value_S, 0.0))
    window = smoothing_window(len(count))
    smooth = _ratio(_moving_sum(total, window), _moving_sum(count, window))
    return Curve(_middle(metrics), _ratio(total, count), smooth)


def success_curve(metrics: Metrics) -> Curve:
    """The success rate of the training episodes; the smoothed curve pools episodes, as does its interval."""
    rate_S = np.clip(metrics.column("success_rate"), 0, 1)
    played_S = np.where(np.isfinite(rate_S), metrics.played_S, 0.0)
    successes, episodes = _pool(np.nan_to_num(rate_S) * played_S), _pool(played_S)
    window = smoothing_window(len(episodes))
    near_successes, near_episodes = _moving_sum(successes, window), _moving_sum(episodes, window)
    intervals = [wilson_interval(round(wins), round(n)) for wins, n in zip(near_successes, near_episodes, strict=True)]
    bounds = np.array(intervals, dtype=np.float64).reshape(-1, 2)
    smooth = _ratio(near_successes, near_episodes)
    return Curve(_middle(metrics), _ratio(successes, episodes), smooth, bounds[:, 0], bounds[:, 1])


def _middle(metrics: Metrics) -> FloatArray:
    """Where each point stands: the mean number of the steps that it pools."""
    return _pool(metrics.step_S) / _pool(np.ones(len(metrics)))


def _pool(value_S: FloatArray) -> FloatArray:
    """Sums of `steps_per_point` steps each."""
    if not len(value_S):
        return value_S
    return np.add.reduceat(value_S, np.arange(0, len(value_S), steps_per_point(len(value_S))))


def _moving_sum(value: FloatArray, window: int) -> FloatArray:
    """The sum of the `window` values about each; fewer at the ends."""
    return np.convolve(value, np.ones(window), mode="same") if len(value) else value


def _ratio(total: FloatArray, count: FloatArray) -> FloatArray:
    """NaN where there is nothing to divide by."""
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
