"""A language model of a few ten thousand parameters, and trainers of it, for tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from agentgym.agents.agent import ExpertAgent
from agentgym.agents.contexts import Context
from agentgym.build import make_agent, make_model
from agentgym.build import make_trainer as build_trainer
from agentgym.config import RunConfig
from agentgym.envs import TextEnv, make
from agentgym.trainers.cloning import clone, demonstrate
from agentgym.trainers.tiny_model import make_tokenizer
from agentgym.trainers.trainer import Trainer

LAKE = "agentgym/FrozenLake-v0"
SETTINGS: dict[str, Any] = {
    "env_id": LAKE,
    "env_kwargs": {"size": 3},
    "window": 0,
    "max_new_tokens": 2,
    "groups_per_step": 2,
    "group_size": 4,
    "max_steps": 3,
    "learning_rate": 1e-2,
    "lora_r": 4,
    "lora_alpha": 8,
    "eval_episodes": 0,
}
"""A run of a second or two."""


SMALL_LAKE = partial(make, LAKE, size=3)


def save_cloned_model(
    directory: Path,
    *,
    steps: int = 100,
    noise: float = 0.3,
    make_env: Callable[[], TextEnv] = SMALL_LAKE,
) -> Path:
    """Write a small Llama that walks a frozen lake of 3 rows, badly: trained for 3 seconds on imperfect moves."""
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    demonstrations = demonstrate(make_env, ExpertAgent(noise), tokenizer, Context(window=0), count(), "")
    batches = iter(lambda: list(islice(demonstrations, 64)), None)
    for _ in clone(model, batches, learning_rate=1e-2, num_steps=steps, warmup_steps=5):
        pass
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


_directory = TemporaryDirectory(prefix="agentgym-test-model-")
"""Removed when the tests end."""


@cache
def _cloned_model() -> Path:
    return save_cloned_model(Path(_directory.name))


@pytest.fixture(scope="session")
def cloned_model() -> Path:
    """The directory of `save_cloned_model`, made once in a test session. Not to be written to."""
    return _cloned_model()


def make_trainer(model_dir: Path, run_dir: Path, **settings: Any) -> Trainer:
    """The trainer of a run with `SETTINGS` and these."""
    config = RunConfig.model_validate({**SETTINGS, "model": str(model_dir), "dtype": "float32", **settings})
    loaded = make_model(config)
    return build_trainer(config, loaded, make_agent(config, loaded, config.temperature), run_dir)
