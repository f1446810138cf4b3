"""The register of losses, like that of credit schemes: `get_loss("cispo")`, `losses()`.

A policy loss is a *surrogate*, a function of the tokens' ratios and advantages, with the *ratio* and the
*aggregation* that its paper takes; the configuration may pair it with others. A regulariser is a term added to it.
Parameters are keyword-only with defaults; their names, types and defaults are read from the signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch

from agentgym.envs.names import unknown
from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.choices import Aggregation, RatioLevel
from agentgym.trainers.losses.ratios import anchored, ratio, unit_mean
from agentgym.trainers.parameters import read_parameters
from agentgym.trainers.registry import Registered

Kind: TypeAlias = Literal["policy", "regulariser"]
F = TypeVar("F", bound=Callable[..., object])

UNIT_LOG_RATIO = "unit_log_ratio_K"
"""The statistic that turn and sequence ratios need: the mean log-ratio over the unit's tokens."""


@dataclass(frozen=True)
class PolicyTokens:
    """What a policy loss is computed from: some tokens of a minibatch, as tensors of shape (K,)."""

    logprob_K: torch.Tensor
    """log π, differentiable."""
    old_logprob_K: torch.Tensor
    """log π_old."""
    advantage_K: torch.Tensor
    level: RatioLevel = "token"
    """Of what the ratio is taken."""
    clip_scale_K: torch.Tensor | float = 1.0
    """What the clip range of each token is multiplied by (c in `Credit.clip_scale_T`)."""
    constants: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """What is known of the whole minibatch: constants, one for each token (see `minibatch_constants`)."""

    @property
    def token_log_ratio_K(self) -> torch.Tensor:
        """log π − log π_old of the token itself, differentiable."""
        return self.logprob_K - self.old_logprob_K

    @property
    def log_ratio_K(self) -> torch.Tensor:
        """The logarithm of the ratio of the token, or of its turn or trajectory, differentiable."""
        if self.level == "token":
            return self.token_log_ratio_K
        return anchored(self.constants[UNIT_LOG_RATIO], self.logprob_K)

    @property
    def ratio_K(self) -> torch.Tensor:
        """ρ, differentiable."""
        return ratio(self.log_ratio_K, self.level)

    def clip_range(
        self, epsilon: float, epsilon_high: float | None
    ) -> tuple[torch.Tensor | float, torch.Tensor | float]:
        """1 − ε·c and 1 + ε_high·c; ε_high is ε unless given (DAPO, arXiv:2503.14476, eq. 10)."""
        high = epsilon if epsilon_high is None else epsilon_high
        return 1 - epsilon * self.clip_scale_K, 1 + high * self.clip_scale_K


class TokenLosses(NamedTuple):
    """The result of a policy loss, each of shape (K,)."""

    loss_K: torch.Tensor
    clipped_K: torch.Tensor
    """Where the clip was active."""
    bounded_K: torch.Tensor | None = None
    """Where the second bound of dual clipping was active; None in losses without it."""


@dataclass(frozen=True)
class Minibatch:
    """All tokens of one optimizer step, of all processes, in an order that does not depend on the processes."""

    logprob_K: FloatArray
    """log π of the present policy."""
    log_ratio_K: FloatArray
    """log π − log π_old of each token."""
    advantage_K: FloatArray
    unit_K: IntArray
    """Numbers the units that the loss takes its ratio of: tokens, turns or trajectories."""
    trained_K: BoolArray
    clip_scale_K: FloatArray
    rng: np.random.Generator
    """Equal in all processes."""

    def unit_mean(self, value_K: FloatArray) -> FloatArray:
        """For each token the mean of the values over the trained tokens of its unit."""
        return unit_mean(value_K, self.unit_K, self.trained_K)


ConstantsFunction: TypeAlias = Callable[..., dict[str, FloatArray]]
"""`(Minibatch, **parameters)` → constants for each token, by name."""


@dataclass(frozen=True, kw_only=True)
class Loss(Registered):
    """A registered loss."""

    kind: Kind
    ratio: RatioLevel
    """Of what its paper takes the ratio."""
    aggregation: Aggregation
    """How its paper averages."""
    constants: ConstantsFunction | None
    """What must be known of the whole minibatch before its first gradient; takes the same parameters."""

    @property
    def clips(self) -> bool:
        """Whether it has a clip range that a credit scheme could scale."""
        return "epsilon" in self.parameters

    def describe(self) -> dict[str, object]:
        """Everything about the loss as JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "summary": self.summary,
            "paper": self.paper,
            "ratio": self.ratio,
            "aggregation": self.aggregation,
            "differences": self.differences,
            "parameters": {p.name: {"type": p.type, "default": p.default} for p in self.parameters.values()},
        }

    def minibatch_constants(
        self, minibatch: Minibatch, level: RatioLevel, params: Mapping[str, Any]
    ) -> dict[str, FloatArray]:
        """The constants of each token that the loss needs before the first gradient of the minibatch."""
        of_units = {} if level == "token" else {UNIT_LOG_RATIO: minibatch.unit_mean(minibatch.log_ratio_K)}
        return of_units | (self.constants(minibatch, **params) if self.constants else {})

    def needs_constants(self, level: RatioLevel) -> bool:
        """Whether `minibatch_constants` has anything to say."""
        return level != "token" or self.constants is not None

    def check_parameters(self, params: Mapping[str, object]) -> dict[str, Any]:
        """All parameters, those given and the others' defaults, checked. Raises `ValueError` in one line."""
        given = super().check_parameters(params)
        return self.defaults | given


_LOSSES: dict[str, Loss] = {}


def policy_loss(
    name: str,
    *,
    paper: str,
    ratio: RatioLevel = "token",
    aggregation: Aggregation = "token-mean",
    constants: ConstantsFunction | None = None,
) -> Callable[[F], F]:
    """Register the decorated surrogate, `(PolicyTokens, *, …) → TokenLosses`, as the policy loss `name`."""
    return _register(name, "policy", paper, ratio, aggregation, constants)


def regulariser(name: str, *, paper: str) -> Callable[[F], F]:
    """Register the decorated function as the regulariser `name`: a term that is added to any policy loss."""
    return _register(name, "regulariser", paper, "token", "token-mean", None)


def _register(
    name: str,
    kind: Kind,
    paper: str,
    ratio: RatioLevel,
    aggregation: Aggregation,
    constants: ConstantsFunction | None,
) -> Callable[[F], F]:
    def register(function: F) -> F:
        parameters = read_parameters(function)
        _LOSSES[name] = Loss(
            name=name,
            function=function,
            paper=paper,
            parameters=parameters,
            kind=kind,
            ratio=ratio,
            aggregation=aggregation,
            constants=constants,
        )
        return function

    return register


def losses(kind: Kind | None = None) -> list[Loss]:
    """All registered losses, by name; or those of one kind."""
    return [_LOSSES[name] for name in sorted(_LOSSES) if kind in (None, _LOSSES[name].kind)]


def get_loss(name: str, kind: Kind | None = None) -> Loss:
    """The loss of this name, of one kind if given. Raises `ValueError` with the nearest names."""
    known = [loss.name for loss in losses(kind)]
    if name not in known:
        raise ValueError(
            unknown(f"unknown {kind} loss" if kind == "policy" else f"unknown {kind or 'loss'}", name, known)
        )
    return _LOSSES[name]
