"""Importance ratios of tokens, turns and trajectories, differentiable one token at a time.

The ratio of a unit is the geometric mean of its tokens' ratios, s = exp(mean (log π − log π_old)). Its tokens may
lie in several micro-batches, so each gets s with a gradient of its own (GSPO-token, arXiv:2507.18071, eq. 14):

    s_k = sg[s]·π_k/sg[π_k]

The value is s everywhere, and a mean over the unit's tokens of any function of s_k has the gradient of the function
of s: d s/d log π_k = s/n, of which every token contributes its own.
"""

from __future__ import annotations

import torch

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.choices import RatioLevel
from agentgym.trainers.segments import segment_sum

TOKEN_LIMIT = 20.0
"""log ρ of a token is clamped to ±20 before the exponential, as in verl: no overflow."""
UNIT_LIMIT = 10.0
"""log s of a turn or trajectory is clamped to at most 10, as in verl's GSPO."""


def anchored(constant_K: torch.Tensor, variable_K: torch.Tensor) -> torch.Tensor:
    """The values of `constant_K` with the gradient of `variable_K`: the stop-gradient trick."""
    return constant_K + (variable_K - variable_K.detach())


def ratio(log_ratio_K: torch.Tensor, level: RatioLevel) -> torch.Tensor:
    """exp of the log-ratio, clamped against overflow."""
    if level == "token":
        return log_ratio_K.clamp(-TOKEN_LIMIT, TOKEN_LIMIT).exp()
    return log_ratio_K.clamp(max=UNIT_LIMIT).exp()


def unit_mean(value_K: FloatArray, unit_K: IntArray, trained_K: BoolArray) -> FloatArray:
    """For each token the mean of the values over the trained tokens of its unit (0 where there is none)."""
    n_units = int(unit_K.max(initial=-1)) + 1
    trained = trained_K.astype(float)
    count = segment_sum(trained, unit_K, n_units)
    total = segment_sum(value_K * trained, unit_K, n_units)
    mean: FloatArray = (total / count.clip(min=1.0))[unit_K]
    return mean
