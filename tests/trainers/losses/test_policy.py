"""Policy losses: values by hand, which way the gradient points, and what reduces to what."""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.trainers.losses import Minibatch, PolicyTokens, get_loss, losses
from agentgym.trainers.losses.covariance import token_covariances


def one_token(
    name: str, ratio: float, advantage: float, clip_scale: float = 1.0, **params: Any
) -> tuple[float, bool, float]:
    """Loss, whether it was clipped, and the loss's derivative by the log-probability, which is log ratio - 1."""
    loss = get_loss(name)
    checked = loss.check_parameters(params)
    logp = torch.tensor([log(ratio) - 1], dtype=torch.float64, requires_grad=True)
    one = np.ones(1)
    minibatch = Minibatch(
        one * (log(ratio) - 1),
        one * log(ratio),
        one * advantage,
        np.zeros(1, np.int64),
        one > 0,
        one * clip_scale,
        np.random.default_rng(0),
    )
    found = loss.minibatch_constants(minibatch, loss.ratio, checked)
    tokens = PolicyTokens(
        logp,
        -torch.ones(1, dtype=torch.float64),
        torch.tensor([advantage], dtype=torch.float64),
        loss.ratio,
        clip_scale,
        {key: torch.from_numpy(value) for key, value in found.items()},
    )
    result = loss.function(tokens, **checked)
    (gradient,) = torch.autograd.grad(result.loss_K.sum(), logp)
    return result.loss_K.item(), bool(result.clipped_K), gradient.item()


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
    for name in ("ppo", "gspo", "turn_clip"):  # of a trajectory of one token they are the same
        got = one_token(name, ratio, advantage, epsilon=0.2, epsilon_high=epsilon_high)
        assert got == (pytest.approx(loss), was_clipped, pytest.approx(gradient))


@pytest.mark.parametrize(
    ("name", "ratio", "advantage", "params", "loss", "was_clipped", "gradient"),
    [
        ("reinforce", 1.5, 2.0, {}, -2 * (log(1.5) - 1), False, -2.0),
        ("dual_clip", 5.0, -2.0, {"dual_clip_c": 3.0}, 6.0, False, 0.0),  # far enough
        ("dual_clip", 2.0, -2.0, {"dual_clip_c": 3.0}, 4.0, False, 4.0),
        ("dual_clip", 1.5, 2.0, {}, -2.4, True, 0.0),
        ("cispo", 1.5, 2.0, {}, -1.2 * 2 * (log(1.5) - 1), True, -2.4),  # clipped, yet with a gradient
        ("cispo", 1.5, -2.0, {"epsilon_high": 1.0}, 1.5 * 2 * (log(1.5) - 1), False, 3.0),
        ("sapo", 1.0, 2.0, {"tau_pos": 2.0}, -2.0, False, -2.0),  # at ρ = 1 the gradient is REINFORCE's
        ("sapo", 1.0, -2.0, {"tau_neg": 4.0}, 1.0, False, 2.0),
        ("gmpo", 1.1, 2.0, {}, -2.2, False, -2.2),
        ("gmpo", 2.0, 2.0, {}, -2 * exp(0.4), True, 0.0),
        ("gmpo", 2.0, -2.0, {}, 4.0, True, 4.0),  # outside the range, on the side that is not held
        ("kl_cov", 2.0, 3.0, {"kl_cov_ratio": 1.0, "ppo_kl_coef": 0.5}, -6 + 0.5 * log(2), True, -5.5),
        ("kl_cov", 2.0, 3.0, {"kl_cov_ratio": 0.0}, -6.0, False, -6.0),
        ("clip_cov", 1.1, 2.0, {"clip_cov_lb": -1.0}, 0.0, True, 0.0),
        ("clip_cov", 1.1, 2.0, {}, -2.2, False, -2.2),  # a covariance of 0 is not in (1, 5)
        ("clip_cov", 1.5, 2.0, {"clip_cov_lb": -1.0}, -2.4, False, 0.0),  # PPO's clip has taken it already
    ],
)
def test_the_others_by_hand(
    name: str, ratio: float, advantage: float, params: dict[str, float], loss: float, was_clipped: bool, gradient: float
) -> None:
    got = one_token(name, ratio, advantage, **params)
    assert got == (pytest.approx(loss), was_clipped, pytest.approx(gradient))


@pytest.mark.parametrize("name", [loss.name for loss in losses("policy") if loss.clips])
def test_a_clip_scale_widens_the_range(name: str) -> None:
    narrow, wide = ({"epsilon": epsilon, "epsilon_high": None} for epsilon in (0.1, 0.2))
    assert one_token(name, 1.15, 1.0, clip_scale=2.0, **narrow) == one_token(name, 1.15, 1.0, **wide)
    assert one_token(name, 1.15, 1.0, clip_scale=2.0, **narrow) != one_token(name, 1.15, 1.0, **narrow)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([loss.name for loss in losses("policy") if loss.name != "kl_cov"]),
    st.floats(0.05, 20),
    st.floats(-5, 5, allow_subnormal=False),  # torch may flush them to zero
)
def test_descending_never_makes_good_tokens_less_likely(name: str, ratio: float, advantage: float) -> None:
    loss, _, gradient = one_token(name, ratio, advantage)
    if name == "awr":  # all that was done becomes likelier, what was good more so, whoever did it
        assert gradient == pytest.approx(-min(np.exp(advantage), 20))
        return
    assert gradient * advantage <= 1e-12
    assert np.isfinite([loss, gradient]).all()
    on_policy = one_token(name, 1.0, advantage)[2]
    if name not in ("clip_cov", "sapo"):  # SAPO's slope at 1 is A too, but for rounding
        assert on_policy == -advantage / (2 if name == "opmd" else 1)


@given(st.floats(0.01, 100), st.floats(-5, 5), st.floats(0.01, 0.9), st.none() | st.floats(0.01, 5))
def test_ppo_is_a_lower_bound_with_a_trust_region(
    ratio: float, advantage: float, epsilon: float, epsilon_high: float | None
) -> None:
    loss, was_clipped, gradient = one_token("ppo", ratio, advantage, epsilon=epsilon, epsilon_high=epsilon_high)
    assert gradient == pytest.approx(0 if was_clipped else -ratio * advantage)
    assert loss >= -ratio * advantage - 1e-12
    inside = 1 - epsilon < ratio < 1 + (epsilon if epsilon_high is None else epsilon_high)
    assert not (inside and was_clipped)


def minibatch_of(logp: list[float], advantage: list[float], trained: list[bool], seed: int = 0) -> Minibatch:
    n = len(logp)
    zeros, rng = np.zeros(n), np.random.default_rng(seed)
    arrays = np.array(logp), zeros, np.array(advantage), np.arange(n), np.array(trained), np.ones(n)
    return Minibatch(*arrays, rng)


def test_covariances_by_hand() -> None:
    minibatch = minibatch_of([-1, -3, -2, -100], [2, -2, 0, 50], [True, True, True, False])
    assert token_covariances(minibatch).tolist() == [2, 2, 0, -np.inf]  # means -2 and 0, of trained tokens


def test_kl_cov_takes_the_highest_covariances() -> None:
    loss = get_loss("kl_cov")
    minibatch = minibatch_of([-1, -4, -2.5, -2.5, 9], [1, -3, 1, 1, 9], [True] * 4 + [False])
    found = loss.minibatch_constants(minibatch, "token", loss.check_parameters({"kl_cov_ratio": 0.25}))
    assert found["penalised_K"].tolist() == pytest.approx([0, 1, 0, 0, 0])
    two = loss.minibatch_constants(minibatch, "token", loss.check_parameters({"kl_cov_ratio": 0.6}))
    assert two["penalised_K"].tolist() == pytest.approx([1, 1, 0, 0, 0])


def test_clip_cov_draws_among_the_candidates_alike_for_one_seed() -> None:
    loss = get_loss("clip_cov")
    params = loss.check_parameters({"clip_cov_ratio": 0.1, "clip_cov_lb": 0.5, "clip_cov_ub": 5})
    logp, advantage = [-1.0, -3.0] * 20 + [-2.0] * 20, [1.0, -1.0] * 20 + [0.0] * 20

    def drawn(seed: int) -> list[float]:
        minibatch = minibatch_of(logp, advantage, [True] * 60, seed)
        return loss.minibatch_constants(minibatch, "token", params)["detached_K"].tolist()

    assert sum(drawn(0)) == 6 and sum(drawn(0)[40:]) == 0
    assert drawn(0) == drawn(0) != drawn(1)


def test_the_list_of_losses() -> None:
    names = "awr cispo clip_cov dual_clip gmpo gspo kl_cov opmd ppo reinforce sapo turn_clip"
    assert [loss.name for loss in losses("policy")] == names.split()
    assert [loss.name for loss in losses("regulariser")] == ["epo"]
    for loss in losses():
        described = loss.describe()
        assert described["paper"] and described["differences"]
        assert str(described["summary"]).endswith((".", ":"))


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("gsop", {}, "unknown policy loss 'gsop': did you mean 'gspo'? there is awr, cispo, clip_cov"),
        ("epo", {}, "unknown policy loss 'epo'"),
        ("ppo", {"epsilom": 0.1}, "ppo: unknown parameter 'epsilom': did you mean 'epsilon' or 'epsilon_high'?"),
        ("ppo", {"epsilon": -1.0}, "ppo: epsilon should be greater than 0, not -1.0"),
        ("reinforce", {"epsilon": 0.2}, "reinforce: unknown parameter 'epsilon': there is none"),
    ],
)
def test_errors_are_one_line_and_name_what_is_wrong(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as failure:
        get_loss(name, "policy").check_parameters(params)
    assert str(failure.value).startswith(message)
    assert "\n" not in str(failure.value)
