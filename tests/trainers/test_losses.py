"""Losses: values by hand, and which way the gradient points."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym.trainers.losses import (
    Aggregation,
    clipped_policy_loss,
    kl_to_reference,
    token_weights,
    weight_total,
)

AGGREGATIONS: tuple[Aggregation, ...] = ("token-mean", "sequence-mean", "constant")


def clipped(
    ratio: float, advantage: float, epsilon: float = 0.2, epsilon_high: float | None = None
) -> tuple[float, bool, float]:
    """Loss, whether it was clipped, and the loss's derivative by the log-probability."""
    logp = torch.tensor([log(ratio) - 1], dtype=torch.float64, requires_grad=True)
    loss, was_clipped = clipped_policy_loss(
        logp,
        torch.tensor([-1.0], dtype=torch.float64),
        torch.tensor([advantage], dtype=torch.float64),
        epsilon=epsilon,
        epsilon_high=epsilon_high,
    )
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    return loss.item(), bool(was_clipped), gradient.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "epsilon_high", "loss", "was_clipped", "gradient"),
    [
        (1.0, 2.0, None, -2.0, False, -2.0),
        (1.0, -2.0, None, 2.0, False, 2.0),
        (1.1, 2.0, None, -2.2, False, -2.2),
        (1.5, 2.0, None, -2.4, True, 0.0),  # likely enough: no further up
        (0.5, -2.0, None, 1.6, True, 0.0),  # unlikely enough: no further down
        (1.5, -2.0, None, 3.0, False, 3.0),  # but always back
        (0.5, 2.0, None, -1.0, False, -1.0),
        (1.25, 1.0, 0.28, -1.25, False, -1.25),
        (1.5, 1.0, 0.28, -1.28, True, 0.0),
        (0.5, -1.0, 0.28, 0.8, True, 0.0),  # the lower half stays epsilon
        (1.5, 0.0, None, 0.0, False, 0.0),
    ],
)
def test_the_clipped_loss_by_hand(
    ratio: float, advantage: float, epsilon_high: float | None, loss: float, was_clipped: bool, gradient: float
) -> None:
    got = clipped(ratio, advantage, epsilon_high=epsilon_high)
    assert got == (pytest.approx(loss), was_clipped, pytest.approx(gradient))


@given(st.floats(0.01, 100), st.floats(-5, 5), st.floats(0.01, 0.9), st.none() | st.floats(0.01, 5))
def test_descending_makes_good_tokens_likelier(
    ratio: float, advantage: float, epsilon: float, epsilon_high: float | None
) -> None:
    loss, was_clipped, gradient = clipped(ratio, advantage, epsilon, epsilon_high)
    assert gradient == pytest.approx(0 if was_clipped else -ratio * advantage)
    assert loss >= -ratio * advantage - 1e-12  # a lower bound of the surrogate
    inside = 1 - epsilon < ratio < 1 + (epsilon if epsilon_high is None else epsilon_high)
    assert not (inside and was_clipped)


def test_kl_by_hand() -> None:
    logp = torch.tensor([log(0.5), log(0.5), log(0.25)], requires_grad=True)
    kl = kl_to_reference(logp, torch.tensor([log(0.25), log(0.5), log(0.5)]))
    assert kl.tolist() == pytest.approx([0.5 - 1 + log(2), 0, 2 - 1 - log(2)])
    (gradient,) = torch.autograd.grad(kl.sum(), logp)
    assert gradient.tolist() == pytest.approx([0.5, 0, -1])  # 1 - r: towards the reference


def test_kl_is_unbiased_and_never_negative() -> None:
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logp, reference = torch.log_softmax(logits, -1)
    kl = kl_to_reference(logp, reference)
    assert (kl >= 0).all()
    exact = (logp.exp() * (logp - reference)).sum()
    torch.testing.assert_close((logp.exp() * kl).sum(), exact)


# Three tokens of trajectory 0, none of 1, two of 2.
TRAJECTORY_K = np.array([0, 0, 0, 2, 2])
LOSS_K = np.array([1.0, 2.0, 6.0, 10.0, 20.0])


@pytest.mark.parametrize(
    ("aggregation", "loss"),
    [
        ("token-mean", 39 / 5),
        ("sequence-mean", (9 / 3 + 30 / 2) / 2),
        ("constant", (9 + 30) / 10 / 2),
    ],
)
def test_aggregation_by_hand(aggregation: Aggregation, loss: float) -> None:
    weight_K = token_weights(TRAJECTORY_K, aggregation, max_tokens=10)
    assert (weight_K * LOSS_K).sum() / weight_total(5, 2, aggregation) == pytest.approx(loss)


@given(st.lists(st.integers(1, 10), min_size=1, max_size=8))
def test_weights_sum_up(lengths: list[int]) -> None:
    trajectory_K = np.repeat(np.arange(len(lengths)), lengths)
    for aggregation in AGGREGATIONS:
        weight_K = token_weights(trajectory_K, aggregation, max_tokens=10)
        share = weight_K.sum() / weight_total(len(weight_K), len(lengths), aggregation)
        # A constant length is the most there can be, so that shorter trajectories count less.
        assert share == pytest.approx(np.mean(lengths) / 10 if aggregation == "constant" else 1)
        assert (weight_K > 0).all()
    by_trajectory = token_weights(trajectory_K, "sequence-mean", max_tokens=10)
    assert np.bincount(trajectory_K, by_trajectory) == pytest.approx(np.ones(len(lengths)))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_no_tokens(aggregation: Aggregation) -> None:
    assert token_weights(np.empty(0, np.int64), aggregation, max_tokens=10).shape == (0,)
