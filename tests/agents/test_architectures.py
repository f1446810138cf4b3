"""Architectures: what samples is what is trained, in each; or the model is refused in one line when it is loaded."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma3Config,
    Gemma3TextConfig,
    GptOssConfig,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    MixtralConfig,
    MptConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3_5TextConfig,
    Qwen3MoeConfig,
    RecurrentGemmaConfig,
)

from agentgym.agents.engines import SamplingParams, generate
from agentgym.agents.engines.transformers import TransformersEngine
from agentgym.agents.models import LoadedModel, ModelError, add_lora, load_model
from agentgym.trainers.layout import TokenSequence, share_sequences
from agentgym.trainers.policy import Policy, logprob
from agentgym.trainers.tiny_model import make_tokenizer

VOCABULARY = len(make_tokenizer())
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2} | {
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
PLAYABLE: dict[str, PreTrainedConfig] = {
    "mixtral": MixtralConfig(**SIZES, **EXPERTS),
    "qwen3-moe": Qwen3MoeConfig(**SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
    "gpt-oss": GptOssConfig(**SIZES, **EXPERTS, sliding_window=8),
    "qwen3.5": Qwen3_5TextConfig(**SIZES, **LINEAR, layer_types=["linear_attention", "full_attention"]),
    "lfm2": Lfm2Config(
        **{name: size for name, size in SIZES.items() if name != "head_dim"}, layer_types=["conv", "full_attention"]
    ),
    "gemma3": Gemma3Config(
        text_config=Gemma3TextConfig(**SIZES, sliding_window=8).to_dict(),
        vision_config=VISION,
    ),
    "bloom": BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3),
    "mpt": MptConfig(vocab_size=VOCABULARY, d_model=32, n_layers=2, n_heads=4, max_seq_len=512, initializer_range=0.3),
}
LORA: dict[str, Any] = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear", "seed": 0}


def save(config: PreTrainedConfig, tokenizer: Any, directory: Path) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(deepcopy(config)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("architecture", PLAYABLE)
def test_sampler_and_trainer_agree(architecture: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """With prompts of different lengths, siblings, an adapter that is merged while sampling, and early ends."""
    loaded = load_model(save(PLAYABLE[architecture], tokenizer, tmp_path), dtype="float32")
    assert loaded.context_length == (512 if architecture != "bloom" else tokenizer.model_max_length)
    model = add_lora(loaded, **LORA).model
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, VOCABULARY, n).tolist() for n in (5, 9, 23, 23, 30)]
    prompts.append(prompts[0])
    engine = TransformersEngine(model, range(60))
    with engine.serving(model, 0):
        samples = generate(engine, prompts, range(len(prompts)), SamplingParams(max_new_tokens=10))
    assert len({len(sample.ids) for sample in samples}) > 1, "some should stop early"

    layout = share_sequences(
        [
            TokenSequence((*prompt, *sample.ids), tuple(range(len(prompt), len(prompt) + len(sample.ids))))
            for prompt, sample in zip(prompts, samples, strict=True)
        ]
    )
    policy = Policy(model)
    engines = [value for sample in samples for value in sample.logprobs]
    np.testing.assert_allclose(policy.read(layout, {"logprob": logprob})["logprob"], engines, rtol=0, atol=1e-4)
    sum(each.logprob_K.sum() for each in policy.passes(layout)).backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in policy.parameters)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, state_size=8), "MambaForCausalLM"),
        (
            RecurrentGemmaConfig(
                vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
                lru_width=32, attention_window_size=16, head_dim=8,
            ),
            "RecurrentGemmaForCausalLM, which does not go on from a cache",
        ),
        (LlamaConfig(**SIZES | {"vocab_size": VOCABULARY - 1}), f"up to {VOCABULARY - 1}, and the model embeds"),
    ],
    ids=["mamba", "recurrent-gemma", "small-embedding"],
)  # fmt: skip
def test_what_cannot_be_played_is_refused(
    config: PreTrainedConfig, reason: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    refused(save(config, tokenizer, tmp_path), reason)


def test_a_template_that_shows_nothing_is_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    silent = deepcopy(tokenizer)
    silent.chat_template = "nothing"
    refused(save(LlamaConfig(**SIZES), silent, tmp_path), "the chat template shows no message of a user")


def test_special_tokens_that_nobody_writes_need_no_embedding(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Gemma 3's small models share a tokenizer that has a mark for images."""
    more = deepcopy(tokenizer)
    more.add_tokens(["<image>"], special_tokens=True)
    assert isinstance(load_model(save(LlamaConfig(**SIZES), more, tmp_path)), LoadedModel)


def refused(directory: Path, reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(directory)
    assert reason in str(caught.value) and str(directory) in str(caught.value) and "\n" not in str(caught.value)
