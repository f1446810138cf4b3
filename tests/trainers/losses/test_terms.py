"""KL estimators, entropy smoothing, aggregation, and the losses of critics and reward models."""

from __future__ import annotations

from itertools import product
from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.trainers.losses import Aggregation, KLEstimator, get_loss, kl_to_reference, token_weights, weight_total
from agentgym.trainers.losses.critics import archer_critic_losses, clipped_value_loss
from agentgym.trainers.losses.implicit_rewards import trajectory_dpo
from agentgym.trainers.losses.regularisers import EntropyTokens, epo_phase_weight
from agentgym.trainers.signals.entropy_history import mean_by_index, past_mean

AGGREGATIONS: tuple[Aggregation, ...] = ("token-mean", "sequence-mean", "sequence-mean-token-sum", "constant")


# KL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "values", "gradients"),
    [
        ("k1", [log(2), 0, -log(2)], [1, 1, 1]),
        ("k2", [log(2) ** 2 / 2, 0, log(2) ** 2 / 2], [log(2), 0, -log(2)]),
        ("k3", [0.5 - 1 + log(2), 0, 2 - 1 - log(2)], [0.5, 0, -1]),  # 1 - r: towards the reference
        ("abs", [log(2), 0, log(2)], [1, 0, -1]),
    ],
)
def test_kl_by_hand(estimator: KLEstimator, values: list[float], gradients: list[float]) -> None:
    logp = torch.tensor([log(0.5), log(0.5), log(0.25)], requires_grad=True)
    kl = kl_to_reference(logp, torch.tensor([log(0.25), log(0.5), log(0.5)]), estimator)
    assert kl.tolist() == pytest.approx(values)
    (gradient,) = torch.autograd.grad(kl.sum(), logp)
    assert gradient.tolist() == pytest.approx(gradients)


def test_k1_and_k3_are_unbiased_and_k3_never_negative() -> None:
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logp, reference = torch.log_softmax(logits, -1)
    exact = (logp.exp() * (logp - reference)).sum()
    for estimator in ("k1", "k3"):
        torch.testing.assert_close((logp.exp() * kl_to_reference(logp, reference, estimator)).sum(), exact)
    assert (kl_to_reference(logp, reference) >= 0).all()


def test_the_clip_of_verl_bounds_k3() -> None:
    far = torch.tensor([-30.0, 3.0])
    assert kl_to_reference(far, torch.zeros(2), clip=True).tolist() == pytest.approx([10, exp(-3) + 2])
    assert kl_to_reference(far, torch.zeros(2))[0] > 1e12


# Aggregation ------------------------------------------------------------------------------------------

# Three tokens of trajectory 0, none of 1, two of 2.
TRAJECTORY_K = np.array([0, 0, 0, 2, 2])
LOSS_K = np.array([1.0, 2.0, 6.0, 10.0, 20.0])


@pytest.mark.parametrize(
    ("aggregation", "loss", "without_the_third"),
    [
        ("token-mean", 39 / 5, 33 / 4),
        ("sequence-mean", (9 / 3 + 30 / 2) / 2, (3 / 2 + 30 / 2) / 2),
        ("sequence-mean-token-sum", (9 + 30) / 2, (3 + 30) / 2),
        ("constant", (9 + 30) / 10 / 2, (3 + 30) / 10 / 2),
    ],
)
def test_aggregation_by_hand(aggregation: Aggregation, loss: float, without_the_third: float) -> None:
    weight_K = token_weights(TRAJECTORY_K, aggregation, max_episode_tokens=10)
    assert (weight_K * LOSS_K).sum() / weight_total(5, 2, aggregation) == pytest.approx(loss)
    trained_K = np.array([True, True, False, True, True])
    weight_K = token_weights(TRAJECTORY_K, aggregation, max_episode_tokens=10, trained_K=trained_K)
    assert (weight_K * LOSS_K).sum() / weight_total(4, 2, aggregation) == pytest.approx(without_the_third)


@given(st.lists(st.integers(1, 10), min_size=1, max_size=8))
def test_weights_sum_up(lengths: list[int]) -> None:
    trajectory_K = np.repeat(np.arange(len(lengths)), lengths)
    # A constant length is the most there can be, so that shorter trajectories count less.
    expected = {"constant": np.mean(lengths) / 10, "sequence-mean-token-sum": np.mean(lengths)}
    for aggregation in AGGREGATIONS:
        weight_K = token_weights(trajectory_K, aggregation, max_episode_tokens=10)
        share = weight_K.sum() / weight_total(len(weight_K), len(lengths), aggregation)
        assert share == pytest.approx(expected.get(aggregation, 1))
        assert (weight_K > 0).all()
    by_trajectory = token_weights(trajectory_K, "sequence-mean", max_episode_tokens=10)
    assert np.bincount(trajectory_K, by_trajectory) == pytest.approx(np.ones(len(lengths)))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_no_tokens(aggregation: Aggregation) -> None:
    assert token_weights(np.empty(0, np.int64), aggregation, max_episode_tokens=10).shape == (0,)


# EPO --------------------------------------------------------------------------------------------------


def penalty(entropy: torch.Tensor, past: list[float], **params: object) -> torch.Tensor:
    """EPO's penalty of three tokens of turns 0, 0 and 1, the first two of them of one turn."""
    mean = torch.stack([entropy[:2].mean(), entropy[:2].mean(), entropy[2]])
    tokens = EntropyTokens(entropy, mean, torch.tensor([past[0], past[0], past[1]]).to(entropy), last_turn=1, step=0)
    loss = get_loss("epo")
    result: torch.Tensor = loss.function(tokens, **loss.check_parameters({"phase_weight": False, **params}))
    return result


def test_epo_by_hand() -> None:
    past = past_mean([[1.0, 2.0], [3.0, 4.0]], "padded").tolist()
    assert past == [2, 3]
    entropy = torch.tensor([1.0, 3.0, 4.0], dtype=torch.float64, requires_grad=True)
    wide = {"min_ratio": 0.6, "max_ratio": 1.3}  # 1.2 … 2.6 and 1.8 … 3.9
    assert penalty(entropy, past, **wide).tolist() == pytest.approx([0.1, 0.1, 0.1])
    assert penalty(entropy, past, **wide, mask_mode="seq").tolist() == pytest.approx([0, 0, 0.1])
    hinge = penalty(entropy, past, **wide, penalty="hinge", smooth_coef=2.0)
    assert hinge.tolist() == pytest.approx([0.4, 0.8, 0.2])
    (gradient,) = torch.autograd.grad(hinge.sum(), entropy)
    assert gradient.tolist() == [-2, 2, 2]  # descending brings entropies back into the range
    assert not penalty(entropy, past).requires_grad
    assert penalty(entropy, past, start_turn=2).tolist() == [0, 0, 0]


def test_epo_averages_steps_of_different_length_in_two_ways() -> None:
    steps = [[1.0, 2.0, 3.0], [5.0]]
    assert past_mean(steps, "per_turn").tolist() == [3, 2, 3]
    assert past_mean(steps, "padded").tolist() == [0.5, 1, 4]  # [1, 2, 3] and [0, 0, 5]
    parts = [(np.array([1.0]), np.array([2.0])), (np.array([2.0, 3.0]), np.array([1.0, 2.0]))]
    assert mean_by_index(parts) == [1.0, 1.5]  # of all turns of all processes


def test_the_phases_of_epo() -> None:
    weights = [epo_phase_weight(step, 150) for step in (0, 75, 76, 150, 200)]
    assert weights == pytest.approx([1, 0.8 + 0.2 * exp(-2), 0.8 * exp(-3 / 75), 0.8 * exp(-3), 0.8 * exp(-3)])


# Critics and reward models ----------------------------------------------------------------------------


def test_the_clipped_value_loss_by_hand() -> None:
    value = torch.tensor([1.0, 2.0, 0.0], requires_grad=True)
    loss, clipped = clipped_value_loss(value, torch.tensor([1.0, 1.0, 1.0]), torch.tensor([3.0, 3.0, 3.0]), epsilon=0.5)
    assert loss.tolist() == pytest.approx([2, 0.5 * 1.5**2, 4.5])
    assert clipped.tolist() == [False, True, False]
    (gradient,) = torch.autograd.grad(loss.sum(), value)
    assert gradient.tolist() == [-2, 0, -3]  # moved far enough: no gradient; the wrong way: always back


def test_critic_losses_want_a_target_each() -> None:
    one = torch.ones(2)
    assert archer_critic_losses({"q1": one * 3}, {"q1": one})["q1"].item() == 4
    with pytest.raises(ValueError, match="values of q1, but targets of q2"):
        archer_critic_losses({"q1": one}, {"q2": one})


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.booleans(), st.lists(st.floats(-3, 3), max_size=3)), min_size=1, max_size=6
    )
)
def test_trajectory_dpo_equals_the_naive_one(trajectories: list[tuple[int, bool, list[float]]]) -> None:
    terms = [
        log(1 + exp(-(np.mean(won[2]) - np.mean(lost[2]))))
        for won, lost in product(trajectories, trajectories)
        if won[0] == lost[0] and won[1] and not lost[1] and won[2] and lost[2]
    ]
    rewards = torch.tensor([reward for t in trajectories for reward in t[2]], dtype=torch.float64, requires_grad=True)
    offsets = np.cumsum([0, *(len(t[2]) for t in trajectories)])
    success = torch.tensor([t[1] for t in trajectories])
    loss = trajectory_dpo(rewards, offsets, np.array([t[0] for t in trajectories]), success)
    assert loss.item() == pytest.approx(np.mean(terms) if terms else 0)
    torch.autograd.grad(loss, rewards)
