"""The update: its loss and gradient against one written down token by token."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from agentgym.agents.models import LoadedModel, add_lora
from agentgym.agents.trajectory import Trajectory, Turn
from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.losses import weight_total
from agentgym.trainers.update import TokenData, accumulate_gradient, log_probabilities
from tests.small_model import make_trainer

VOCABULARY = 16
MAX_TOKENS = 7


@pytest.fixture(scope="module")
def model():
    """A LoRA model in float64 whose adapter is not zero."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    loaded = LoadedModel(LlamaForCausalLM(config), SimpleNamespace(), "")  # type: ignore[arg-type]
    model = add_lora(loaded, r=2, alpha=4, dropout=0.0, target_modules="all-linear", seed=0).model.double()
    for parameter in trainable(model):
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def trainable(model):
    return [p for p in model.parameters() if p.requires_grad]


def trajectories(seed: int = 0) -> list[Trajectory]:
    """A dialogue, one with a window, one token alone, and a copy of the first."""
    rng = np.random.default_rng(seed)

    def ids(n: int) -> list[int]:
        return rng.integers(VOCABULARY, size=n).tolist()

    first, second = ids(3), ids(2)
    dialogue = [(first, ids(2))]
    dialogue.append(([*first, *dialogue[0][1], *second], ids(3)))
    windowed = [(ids(4), ids(1)), (ids(2), ids(2))]
    return [as_trajectory(turns) for turns in (dialogue, windowed, [(ids(1), ids(1))], dialogue)]


def as_trajectory(turns: list[tuple[list[int], list[int]]]) -> Trajectory:
    made = [Turn("o", "s", "a", prompt_ids=p, response_ids=r, logprobs=[-1.0] * len(r)) for p, r in turns]
    return Trajectory("env", 0, "g", "task", "type", made)


def token_data(trajectories, config, model) -> TokenData:
    n = sum(len(turn.response_ids) for t in trajectories for turn in t.turns)
    rng = np.random.default_rng(1)
    data = TokenData.of(trajectories, rng.normal(size=n), config, MAX_TOKENS)
    now = log_probabilities(model, data.batch, max_tokens=100, temperature=1.0)
    return replace(data, old_logp_K=now + rng.normal(size=n) * 0.3, reference_logp_K=now + rng.normal(size=n) * 0.3)


def gradient(model, data, config, temperature: float = 1.0):
    model.zero_grad()
    total = weight_total(len(data.advantage_K), data.n_trajectories, config.loss_aggregation)
    sums = accumulate_gradient(model, data, total, config, temperature=temperature)
    return torch.cat([p.grad.flatten() for p in trainable(model)]), sums


def naive_loss(model, trajectories, data, config, temperature: float = 1.0) -> torch.Tensor:
    """The docstrings of trainers/losses.py, one trajectory, turn and token after the other."""
    n_tokens = len(data.advantage_K)
    loss, k = torch.zeros((), dtype=torch.float64), 0
    for trajectory in trajectories:
        of_trajectory = sum(len(turn.response_ids) for turn in trajectory.turns)
        for turn in trajectory.turns:
            for position, token in enumerate(turn.response_ids):
                context = torch.tensor([turn.prompt_ids + turn.response_ids[:position]])
                log_probs = torch.log_softmax(model(input_ids=context).logits[0, -1] / temperature, -1)
                ratio = (log_probs[token] - data.old_logp_K[k]).exp()
                low, high = 1 - config.epsilon, 1 + (config.epsilon_high or config.epsilon)
                advantage = data.advantage_K[k]
                value = -torch.min(ratio * advantage, ratio.clamp(low, high) * advantage)
                of_reference = (data.reference_logp_K[k] - log_probs[token]).exp()
                value = value + config.beta * (of_reference - 1 - of_reference.log())
                value = value + config.entropy_coef * (log_probs.exp() * log_probs).sum()
                share = {
                    "token-mean": 1 / n_tokens,
                    "sequence-mean": 1 / of_trajectory / len(trajectories),
                    "constant": 1 / MAX_TOKENS / len(trajectories),
                }
                loss = loss + value * share[config.loss_aggregation]
                k += 1
    assert k == n_tokens
    return loss


@pytest.mark.parametrize("aggregation", ["token-mean", "sequence-mean", "constant"])
@pytest.mark.parametrize("extras", [{}, {"beta": 0.3, "entropy_coef": 0.2, "epsilon": 0.1, "epsilon_high": 0.3}])
def test_loss_and_gradient_equal_the_naive_ones(model, aggregation, extras):
    config = TrainerConfig(loss_aggregation=aggregation, **extras)
    played = trajectories()
    data = token_data(played, config, model)
    computed, sums = gradient(model, data, config, temperature=0.7)
    loss = naive_loss(model, played, data, config, temperature=0.7)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trainable(model))])
    # Logits are brought to float32 before the softmax: hence 1e-6 and not 1e-12.
    torch.testing.assert_close(computed, expected, rtol=1e-4, atol=1e-6)
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-6)
    assert sums["tokens"] == len(data.advantage_K)
    assert sums["retokenized"] == 0
    assert sums["clipped"] > 0


def test_gradient_does_not_depend_on_the_micro_batches(model):
    data = token_data(trajectories(), TrainerConfig(), model)
    whole, _ = gradient(model, data, TrainerConfig(max_tokens_per_micro_batch=1000, beta=0.1, entropy_coef=0.1))
    for size in (1, 8, 12):
        config = TrainerConfig(max_tokens_per_micro_batch=size, beta=0.1, entropy_coef=0.1)
        torch.testing.assert_close(gradient(model, data, config)[0], whole, rtol=1e-4, atol=1e-7)


def test_equal_sequences_count_as_often_as_they_were_played(model):
    dialogue = trajectories()[0]
    config = TrainerConfig()
    pair = token_data([dialogue, dialogue], config, model)
    assert len(pair.batch.sequences) == 1
    n = len(pair.advantage_K) // 2
    # Opposite advantages of the two copies cancel; equal ones are those of one copy.
    opposite = np.concatenate([pair.advantage_K[:n], -pair.advantage_K[:n]])
    on_policy = replace(pair, old_logp_K=None, reference_logp_K=None)
    cancelled, _ = gradient(model, replace(on_policy, advantage_K=opposite), config)
    assert cancelled.abs().max() < 1e-7
    equal, _ = gradient(model, replace(on_policy, advantage_K=np.tile(pair.advantage_K[:n], 2)), config)
    one = replace(token_data([dialogue], config, model), advantage_K=pair.advantage_K[:n])
    alone, _ = gradient(model, replace(one, old_logp_K=None, reference_logp_K=None), config)
    torch.testing.assert_close(equal, alone, rtol=1e-4, atol=1e-7)


def test_no_observation_token_is_trained_on(model):
    """The loss pulls on the logits of sampled tokens alone: on one for each, and at its place."""
    config = TrainerConfig()
    played = trajectories()
    data = token_data(played, config, model)
    seen = []

    def remember(module, inputs, output):
        output.register_hook(seen.append)

    hook = model.get_output_embeddings().register_forward_hook(remember)
    try:
        gradient(model, replace(data, old_logp_K=None, reference_logp_K=None), config)
    finally:
        hook.remove()
    distinct = len({s.ids[:i] for s in data.batch.sequences for i in s.sampled})
    assert sum(int((g.abs().sum(-1) > 0).sum()) for g in seen) == distinct
    assert sum(g.shape[:-1].numel() for g in seen) == distinct  # observations get no logits at all


def test_lost_and_doubled_tokens_raise(model):
    data = token_data(trajectories(), TrainerConfig(), model)
    from agentgym.trainers.update import count_retokenized

    ids = [i for t in trajectories() for turn in t.turns for i in turn.response_ids]
    assert count_retokenized(data.batch, ids) == 0
    assert count_retokenized(data.batch, [(ids[0] + 1) % VOCABULARY, *ids[1:]]) == 1
    with pytest.raises(RuntimeError, match=f"{len(ids) - 1} tokens were sampled"):
        count_retokenized(data.batch, ids[1:])


def test_the_first_step_is_on_policy_and_later_ones_are_clipped(cloned_model, tmp_path):
    trainer = make_trainer(cloned_model, tmp_path, num_iterations=2, num_minibatches=2, learning_rate=3e-2)
    minibatches = list(trainer.minibatches(trainer.assign_credit(trainer.collect())))
    assert len(minibatches) == 4
    first = trainer.update(minibatches[:1])
    assert first["clipped"] == 0
    assert first["logp_difference_max"] < 1e-4
    assert trainer.update(minibatches[1:])["clipped"] > 0


def test_metrics_of_a_run_count_every_sampled_token_once(cloned_model, tmp_path):
    for window in (0, 2, None):
        trainer = make_trainer(cloned_model, tmp_path / str(window), window=window, max_steps=1, beta=0.1)
        (metrics,) = trainer.train()
        assert metrics["tokens/trained"] == metrics["tokens/sampled"] > 0
        assert metrics["tokens/retokenized"] == 0
        assert metrics["sampler_logp_difference/max"] < 1e-4
        assert metrics["kl"] == pytest.approx(0, abs=1e-6)  # a fresh adapter is the reference
