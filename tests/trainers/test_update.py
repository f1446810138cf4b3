"""The update: its loss and gradient against one written down token by token."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from agentgym.agents.models import LoadedModel, add_lora
from agentgym.agents.trajectory import Trajectory, Turn, share_prompts
from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.experience import Experience
from agentgym.trainers.losses import get_loss, losses
from agentgym.trainers.metrics import Sums
from agentgym.trainers.objective import Objective
from agentgym.trainers.policy import Policy, logprob
from agentgym.trainers.update import minibatch_losses
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
    share_prompts(made)
    return Trajectory("env", 0, "g", "task", "type", made)


PAST_ENTROPY = np.array([1.2, 2.9])
"""Of turns with the index 0 and 1."""


def experience_of(trajectories, model, **credit) -> Experience:
    """With random advantages, ratios and reference, and these columns."""
    experience = Experience.of(0, trajectories)
    n, rng = experience.batch.n_tokens, np.random.default_rng(1)
    advantage_K = rng.normal(size=n)
    now = Policy(model, max_tokens=100).read(experience.layout, {"logprob": logprob})["logprob"]
    columns = {
        "advantage_K": advantage_K,
        "trained_K": np.ones(n, bool),
        "group_number_N": np.zeros(len(trajectories), int),
        "old_logprob_K": now + rng.normal(size=n) * 0.3,
        "reference_logprob_K": now + rng.normal(size=n) * 0.3,
        "past_entropy.padded_T": PAST_ENTROPY[experience.batch.turn_index_T],
    }
    return experience.with_columns({**columns, **credit})


def without(experience: Experience, *names: str) -> Experience:
    columns = {name: values for name, values in experience.batch.columns.items() if name not in names}
    return replace(experience, batch=replace(experience.batch, columns=columns))


def gradient(model, experience, config, temperature: float = 1.0):
    model.zero_grad()
    policy = Policy(model, temperature=temperature, max_tokens=config.max_tokens_per_micro_batch)
    sums = Sums()
    losses = minibatch_losses(policy, Objective.of(config, MAX_TOKENS), experience, sums, seed=0)
    for loss in losses:
        loss.backward()
    return torch.cat([p.grad.flatten() for p in trainable(model)]), sums


def naive_tokens(model, trajectories, temperature: float):
    """log π and entropy of each token with its gradient, its turn, turn index and trajectory: one after the other."""
    found, n_turns = [], 0
    for i, trajectory in enumerate(trajectories):
        for t, (turn, prompt) in enumerate(zip(trajectory.turns, trajectory.prompts(), strict=True)):
            for position, token in enumerate(turn.response_ids):
                context = torch.tensor([prompt + turn.response_ids[:position]])
                log_probs = torch.log_softmax(model(input_ids=context).logits[0, -1] / temperature, -1)
                entropy = -(log_probs.exp() * log_probs).sum()
                found.append(SimpleNamespace(logp=log_probs[token], entropy=entropy, turn=n_turns, index=t, i=i))
            n_turns += 1
    return found


def mean(values):
    return sum(values) / len(values)


def naive_surrogates(name, tokens, old, advantage, scale, high=0.2):
    """The docstrings of trainers/losses for the trained tokens, with whole units differentiated at once."""
    log_ratio = [token.logp - old[k] for k, token in enumerate(tokens)]
    unit_of = {"gspo": "i", "gmpo": "i", "turn_clip": "turn"}.get(name)
    same_unit = [
        [j for j, other in enumerate(tokens) if unit_of and getattr(other, unit_of) == getattr(token, unit_of)]
        for token in tokens
    ]
    units = [unit or [k] for k, unit in enumerate(same_unit)]
    center = mean([token.logp.detach() for token in tokens]), mean(advantage)
    covariance = [(token.logp.detach() - center[0]) * (advantage[k] - center[1]) for k, token in enumerate(tokens)]
    losses = []
    for k, unit in enumerate(units):
        a, low, high_k = advantage[k], 0.2 * scale[k], high * scale[k]
        ratio = mean([log_ratio[j] for j in unit]).exp()
        clipped = -torch.min(ratio * a, ratio.clamp(1 - low, 1 + high_k) * a)
        if name in ("ppo", "gspo", "turn_clip"):
            losses.append(clipped)
        elif name == "dual_clip":
            losses.append(torch.min(clipped, torch.tensor(-1.2 * a)) if a < 0 else clipped)
        elif name == "awr":
            losses.append(-min(np.exp(a), 20.0) * tokens[k].logp)
        elif name == "reinforce":
            losses.append(-a * tokens[k].logp)
        elif name == "opmd":
            losses.append(-a * tokens[k].logp / 2)
        elif name == "cispo":
            losses.append(-ratio.detach().clamp(1 - low, 1 + high_k) * a * tokens[k].logp)
        elif name == "sapo":
            tau = 1.0 if a > 0 else 1.05
            losses.append(-4 / tau * torch.sigmoid(tau * (ratio - 1)) * a)
        elif name == "gmpo":
            held = [
                log_ratio[j].clamp(max=high * scale[j]) if advantage[j] > 0 else log_ratio[j].clamp(min=-0.2 * scale[j])
                for j in unit
            ]
            losses.append(-mean([advantage[j] for j in unit]) * mean(held).exp())
        elif name == "clip_cov":
            is_clipped = clipped > -ratio * a
            losses.append(clipped * 0 if not is_clipped and 0.1 < covariance[k] < 5 else clipped)
        elif name == "kl_cov":
            highest = sorted(range(len(tokens)), key=lambda j: -covariance[j])[: int(0.4 * len(tokens))]
            losses.append(-ratio * a + (0.7 * log_ratio[k].abs() if k in highest else 0))
    return losses


def naive_loss(model, trajectories, data, config, temperature: float = 1.0) -> torch.Tensor:
    """The whole minibatch's loss, from its definition."""
    everything = naive_tokens(model, trajectories, temperature)
    chosen = [k for k in range(len(everything)) if data.batch.columns["trained_K"][k]]
    tokens = [everything[k] for k in chosen]
    advantage = [float(data.batch.columns["advantage_K"][k]) for k in chosen]
    scale_K = data.batch.columns.get("clip_scale_K", np.ones(len(everything)))
    scale = [float(scale_K[k]) for k in chosen]
    old = data.batch.columns["old_logprob_K"][chosen]
    values = naive_surrogates(config.policy_loss, tokens, old, advantage, scale, config.epsilon_high or 0.2)
    aggregation = config.loss_aggregation or get_loss(config.policy_loss).aggregation
    n_of = Counter(token.i for token in tokens)
    loss = torch.zeros((), dtype=torch.float64)
    for k, (token, value) in enumerate(zip(tokens, values, strict=True)):
        from_reference = data.batch.columns["reference_logprob_K"][chosen[k]] - token.logp
        value = value + config.beta * (from_reference.exp() - 1 - from_reference)
        of_turn = mean([other.entropy for other in tokens if other.turn == token.turn])
        penalty = torch.zeros(())
        if config.entropy_smoothing:
            past = PAST_ENTROPY[token.index]
            penalty = (0.9 * past - of_turn).clamp(min=0) + (of_turn - 1.1 * past).clamp(min=0)
        value = value - config.entropy_coef * (token.entropy - penalty)
        share = {
            "token-mean": 1 / len(tokens),
            "sequence-mean": 1 / n_of[token.i] / len(n_of),
            "sequence-mean-token-sum": 1 / len(n_of),
            "constant": 1 / MAX_TOKENS / len(n_of),
        }
        loss = loss + value * share[aggregation]
    return loss


def constant_over_units(data: Experience, name: str) -> Experience:
    """A unit's ratio is one number, so its advantage must be for the whole-unit formula to be the token's."""
    unit_K = {"gspo": data.batch.trajectory_K, "turn_clip": data.batch.turn_K}.get(name)
    if unit_K is None:
        return data
    first = np.array([np.flatnonzero(unit_K == unit)[0] for unit in unit_K])
    columns = data.batch.columns
    return data.with_columns({key: columns[key][first] for key in ("advantage_K", "clip_scale_K") if key in columns})


def assert_naive(model, played, data, config, temperature: float = 0.7):
    computed, sums = gradient(model, data, config, temperature=temperature)
    loss = naive_loss(model, played, data, config, temperature=temperature)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trainable(model))])
    # Logits are brought to float32 before the softmax: hence 1e-6 and not 1e-12.
    torch.testing.assert_close(computed, expected, rtol=1e-4, atol=1e-6)
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-6)
    assert sums["tokens"] == data.batch.columns["trained_K"].sum()
    assert sums["retokenized"] == 0
    assert expected.abs().max() > 1e-3
    return sums


@pytest.mark.parametrize("aggregation", ["token-mean", "sequence-mean", "sequence-mean-token-sum", "constant"])
@pytest.mark.parametrize("extras", [{}, {"beta": 0.3, "entropy_coef": 0.2, "epsilon": 0.2, "epsilon_high": 0.3}])
def test_loss_and_gradient_equal_the_naive_ones(model, aggregation, extras):
    config = TrainerConfig(loss_aggregation=aggregation, **extras)
    played = trajectories()
    assert assert_naive(model, played, experience_of(played, model), config)["clipped"] > 0


PARAMETERS = {
    "dual_clip": {"dual_clip_c": 1.2},
    "gspo": {"epsilon": 0.2},
    "gmpo": {"epsilon": 0.2},
    "clip_cov": {"clip_cov_ratio": 1.0, "clip_cov_lb": 0.1},
    "kl_cov": {"kl_cov_ratio": 0.4, "ppo_kl_coef": 0.7},
}
MASK = np.array([1, 1, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 0], bool)
"""The single token of the third trajectory is not trained on, so that this trajectory counts nowhere."""


@pytest.mark.parametrize("size", [1, 12, 1000])
@pytest.mark.parametrize("name", [loss.name for loss in losses("policy")])
def test_every_loss_is_its_textbook_formula_however_it_is_cut_into_micro_batches(model, name, size):
    """Also with tokens that are not trained on and a clip scale for each, which are nothing to the formula."""
    config = TrainerConfig(
        policy_loss=name, policy_loss_kwargs=PARAMETERS.get(name, {}), max_tokens_per_micro_batch=size
    )
    played = trajectories()
    data = experience_of(played, model)
    assert_naive(model, played, constant_over_units(data, name), config)
    scale_K = np.random.default_rng(2).uniform(0.3, 2, size=len(MASK))
    masked = experience_of(played, model, trained_K=MASK, clip_scale_K=scale_K)
    assert_naive(model, played, constant_over_units(masked, name), config)


@pytest.mark.parametrize("size", [1, 1000])
def test_entropy_smoothing_over_turns_that_lie_in_several_micro_batches(model, size):
    smoothing = {"penalty": "hinge", "mask_mode": "seq", "min_ratio": 0.9, "max_ratio": 1.1, "phase_weight": False}
    config = TrainerConfig(
        entropy_coef=0.5,
        entropy_smoothing="epo",
        entropy_smoothing_kwargs=smoothing,
        max_tokens_per_micro_batch=size,
    )
    played = trajectories()
    sums = assert_naive(model, played, experience_of(played, model, trained_K=MASK), config)
    assert sums["entropy_penalty"] > 0


def test_official_entropy_smoothing_changes_the_loss_and_not_the_gradient(model):
    played = trajectories()
    plain, smooth = TrainerConfig(entropy_coef=0.5), TrainerConfig(entropy_coef=0.5, entropy_smoothing="epo",
        entropy_smoothing_kwargs={"max_ratio": 1.0})  # fmt: skip
    (one, without), (two, with_it) = (gradient(model, experience_of(played, model), c) for c in (plain, smooth))
    torch.testing.assert_close(one, two)
    assert with_it["loss"] > without["loss"] + 1e-3


def test_ratios_are_taken_of_what_the_configuration_says(model):
    played = trajectories()
    as_gspo = TrainerConfig(ratio_level="sequence", loss_aggregation="sequence-mean")
    data = experience_of(played, model)
    gspo = TrainerConfig(policy_loss="gspo", epsilon=0.2)
    assert torch.equal(gradient(model, data, as_gspo)[0], gradient(model, data, gspo)[0])
    assert not torch.allclose(gradient(model, data, as_gspo)[0], gradient(model, data, TrainerConfig())[0])


def test_gradient_does_not_depend_on_the_micro_batches(model):
    data = experience_of(trajectories(), model)
    whole, _ = gradient(model, data, TrainerConfig(max_tokens_per_micro_batch=1000, beta=0.1, entropy_coef=0.1))
    for size in (1, 8, 12):
        config = TrainerConfig(max_tokens_per_micro_batch=size, beta=0.1, entropy_coef=0.1)
        torch.testing.assert_close(gradient(model, data, config)[0], whole, rtol=1e-4, atol=1e-7)


def test_equal_sequences_count_as_often_as_they_were_played(model):
    dialogue = trajectories()[0]
    config = TrainerConfig()
    pair = without(experience_of([dialogue, dialogue], model), "old_logprob_K")
    assert len(pair.layout.sequences) == 1
    advantage_K = np.split(pair.batch.columns["advantage_K"], 2)[0]
    # Opposite advantages of the two copies cancel; equal ones are those of one copy.
    opposite = pair.with_columns({"advantage_K": np.concatenate([advantage_K, -advantage_K])})
    cancelled, _ = gradient(model, opposite, config)
    assert cancelled.abs().max() < 1e-7
    equal, _ = gradient(model, pair.with_columns({"advantage_K": np.tile(advantage_K, 2)}), config)
    one = without(experience_of([dialogue], model, advantage_K=advantage_K), "old_logprob_K")
    alone, _ = gradient(model, one, config)
    torch.testing.assert_close(equal, alone, rtol=1e-4, atol=1e-7)


def test_no_observation_token_is_trained_on(model):
    """The loss pulls on the logits of sampled tokens alone: on one for each, and at its place."""
    config = TrainerConfig()
    played = trajectories()
    data = experience_of(played, model)
    seen = []

    def remember(module, inputs, output):
        output.register_hook(seen.append)

    hook = model.get_output_embeddings().register_forward_hook(remember)
    try:
        gradient(model, without(data, "old_logprob_K"), config)
    finally:
        hook.remove()
    distinct = len({s.ids[:i] for s in data.layout.sequences for i in s.sampled})
    assert sum(int((g.abs().sum(-1) > 0).sum()) for g in seen) == distinct
    assert sum(g.shape[:-1].numel() for g in seen) == distinct  # observations get no logits at all


def test_lost_and_doubled_tokens_raise(model):
    experience = Experience.of(0, trajectories())
    assert experience.n_retokenized == 0
    token_K = experience.batch.token_K.copy()
    token_K[0] = (token_K[0] + 1) % VOCABULARY
    assert replace(experience, batch=replace(experience.batch, token_K=token_K)).n_retokenized == 1
    lost = replace(experience, layout=experience.layout.select(np.arange(1, len(token_K))))
    with pytest.raises(RuntimeError, match=f"{len(token_K)} tokens were sampled, {len(token_K) - 1} would be"):
        _ = lost.n_retokenized


def test_the_first_step_is_on_policy_and_later_ones_are_clipped(cloned_model, tmp_path):
    settings = {"num_iterations": 2, "num_minibatches": 2, "learning_rate": 3e-2, "max_steps": 1}
    (metrics,) = make_trainer(cloned_model, tmp_path / "several", **settings).train()
    assert metrics["clip_ratio"] > 0
    assert metrics["sampler_logp_difference/max"] < 1e-4  # of the first step alone
    (metrics,) = make_trainer(
        cloned_model, tmp_path / "one", **{**settings, "num_iterations": 1, "num_minibatches": 1}
    ).train()
    assert metrics["clip_ratio"] == 0


def test_metrics_of_a_run_count_every_sampled_token_once(cloned_model, tmp_path):
    for window in (0, 2, None):
        trainer = make_trainer(cloned_model, tmp_path / str(window), window=window, max_steps=1, beta=0.1)
        (metrics,) = trainer.train()
        assert metrics["tokens/trained"] == metrics["tokens/sampled"] > 0
        assert metrics["tokens/retokenized"] == 0
        assert metrics["sampler_logp_difference/max"] < 1e-4
        assert metrics["kl"] == pytest.approx(0, abs=1e-6)  # a fresh adapter is the reference
