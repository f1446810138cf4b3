"""Cloning: the loss by hand, and micro-batches that change nothing."""

from __future__ import annotations

import math
from copy import deepcopy
from functools import partial
from itertools import count, islice

import pytest
import torch

from agentgym.agents.agent import ExpertAgent
from agentgym.agents.contexts import Context
from agentgym.agents.models import load_model
from agentgym.envs import make
from agentgym.trainers.cloning import clone, cloning_losses, demonstrate
from agentgym.trainers.policy import Policy
from tests.small_model import LAKE


@pytest.fixture(scope="module")
def cloned(cloned_model):
    """A small model and what it could clone: dialogues of different lengths."""
    loaded = load_model(cloned_model)
    lake = partial(make, LAKE, size=3, max_turns=6)
    stream = demonstrate(lake, ExpertAgent(0.5), loaded.tokenizer, Context(window=None), count(), "")
    demonstrations = list(islice(stream, 8))
    assert len({len(each.sequence.ids) for each in demonstrations}) > 1
    return loaded.model, demonstrations


@torch.no_grad()
def by_hand(model, demonstrations) -> tuple[float, float]:
    """The cross-entropies of responses and of everything else, token by token."""
    responses, others = [], []
    for each in demonstrations:
        ids, sampled = each.sequence.ids, each.sequence.sampled
        log_probs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), -1)
        for place in range(1, sampled[-1] + 1):
            logp = log_probs[place - 1]
            if place not in sampled:
                others.append(-logp[ids[place]].item())
            else:
                drawn_from = each.drawn_from[sampled.index(place)]
                responses.append(-sum(p * logp[token].item() for token, p in drawn_from.items()))
    return sum(responses) / len(responses), sum(others) / len(others)


def loss_of(model, demonstrations, observation_weight=0.0, max_tokens=100_000) -> float:
    losses = cloning_losses(Policy(model, max_tokens=max_tokens), demonstrations, observation_weight)
    return sum(loss.item() for loss in losses)


@pytest.mark.parametrize("max_tokens", [1, 100_000])
def test_the_loss_is_the_cross_entropy_of_responses_and_as_much_of_the_rest_as_is_wanted(cloned, max_tokens):
    model, demonstrations = cloned
    responses, others = by_hand(model, demonstrations)
    assert loss_of(model, demonstrations, 0.0, max_tokens) == pytest.approx(responses, rel=1e-4)
    assert loss_of(model, demonstrations, 0.5, max_tokens) == pytest.approx(responses + 0.5 * others, rel=1e-4)


def test_micro_batches_change_nothing(cloned):
    model, demonstrations = cloned

    def weights_after(max_tokens: int) -> torch.Tensor:
        copy = deepcopy(model)
        losses = list(
            clone(copy, [demonstrations] * 2, learning_rate=1e-3, num_steps=2, warmup_steps=0, max_tokens=max_tokens)
        )
        assert losses[1] < losses[0]
        return torch.cat([parameter.flatten() for parameter in copy.parameters()])

    # Adam's first steps have the size of the learning rate, however small the gradient.
    difference = (weights_after(100_000) - weights_after(150)).abs()
    assert (difference < 1e-6).float().mean() > 0.98


def test_the_tokens_of_a_response_are_as_probable_together_as_the_action():
    loaded = load_model("tiny-household")
    house = partial(make, "agentgym/ALFWorld-v0", size="small", max_turns=4)
    likely = 0
    for each in islice(demonstrate(house, ExpertAgent(0.5), loaded.tokenizer, Context(window=0), count(), ""), 60):
        played = [each.sequence.ids[place] for place in each.sequence.sampled]
        assert all(sum(drawn_from.values()) == pytest.approx(1) for drawn_from in each.drawn_from)
        probability = math.prod(d[token] for d, token in zip(each.drawn_from, played, strict=True))
        likely += probability > 0.5
        among = 0.5 / (probability - 0.5 * (probability > 0.5))  # the actions that the demonstrator's noise draws from
        assert among > 1
        assert among == pytest.approx(round(among))
    assert 20 < likely < 60
