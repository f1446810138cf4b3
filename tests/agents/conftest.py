"""A small language model with random weights, and environments that do as they are told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agentgym.agents.models import LoadedModel, load_model
from agentgym.trainers.tiny_model import make_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The built-in model's. Not to be changed: copy it."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def small_dir(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory. Large initial weights make the model's distributions far from uniform."""
    directory = tmp_path_factory.mktemp("small")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def small(small_dir: Path) -> LoadedModel:
    """The model of `small_dir`. Not to be changed: peft wraps a model in place."""
    return load_model(small_dir, dtype="float32")
