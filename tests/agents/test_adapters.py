"""Adapters: merged, they are the policy that is trained; one that does not fit is refused; noise is LoRA's alone."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM as AutoModel
from transformers import (
    BloomConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    MptConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from agentgym.agents.adapters import acting_with, adapter_merged, without_adapter
from agentgym.agents.models import LoadedModel, ModelError, add_lora, load_model

IDS = torch.tensor([[2, 51, 66, 202, 66, 1, 3, 80]])
LORA: dict[str, Any] = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear", "seed": 0}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def with_adapter(directory: Path | str, trained: float, **lora: Any) -> LoadedModel:
    """`trained`: how far the adapter is from zero."""
    loaded = add_lora(load_model(directory, dtype="float32"), **{**LORA, **lora})
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            parameter.data.fill_(trained)
    return loaded


# Merged ---------------------------------------------------------------------------------------------------


def test_a_merged_adapter_leaves_no_trace(small_dir: Path) -> None:
    model = with_adapter(small_dir, trained=0.3).model
    weights, expected = deepcopy(model.state_dict()), logits(model)
    with pytest.raises(KeyError), adapter_merged(model):
        torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-4)
        assert not torch.equal(logits(model), expected), "nothing was merged"
        raise KeyError
    assert torch.equal(logits(model), expected)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


TIED = [["q_proj", "embed_tokens"], ["q_proj", "lm_head"], ["embed_tokens", "lm_head"]]


@pytest.mark.parametrize("targets", TIED)
def test_tied_weights_are_not_merged(small_dir: Path, targets: list[str]) -> None:
    """What one of the modules learned would appear in the other."""
    model = with_adapter(small_dir, 0.3, target_modules=targets).model
    expected = logits(model)
    with adapter_merged(model):
        torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-4)
    assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("targets", TIED)
def test_a_second_run_on_tied_weights_begins_as_the_first_ended(
    small_dir: Path, tmp_path: Path, targets: list[str]
) -> None:
    first = with_adapter(small_dir, 0.3, target_modules=targets).model
    first.save_pretrained(tmp_path / "first", save_embedding_layers=False)
    expected = logits(first)
    torch.testing.assert_close(logits(without_adapter(first)), expected, rtol=0, atol=1e-4)
    second = with_adapter(tmp_path / "first", -0.2, target_modules=targets).model
    with second.disable_adapter():
        torch.testing.assert_close(logits(second), expected, rtol=0, atol=1e-4)
    second.save_pretrained(tmp_path / "second", save_embedding_layers=False)
    assert torch.equal(logits(load_model(tmp_path / "second").model), logits(second))


# A partner on the same weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("targets", ["all-linear", *TIED])
def test_a_partner_never_sees_the_adapter_in_training(small_dir: Path, targets: str | list[str]) -> None:
    """Merged or not, with an adapter of its own or none; and the learner is bit by bit what it was."""
    start = logits(load_model(small_dir, dtype="float32").model)
    past = with_adapter(small_dir, -0.2, target_modules=targets).model
    model = with_adapter(small_dir, 0.3, target_modules=targets).model
    model.add_adapter("past", model.peft_config["default"])
    set_peft_model_state_dict(model, get_peft_model_state_dict(past, save_embedding_layers=False), adapter_name="past")
    model.set_adapter("default")
    expected, trained = logits(model), [name for name, p in model.named_parameters() if p.requires_grad]
    with adapter_merged(model):
        merged = logits(model)
        for _ in range(2):
            with acting_with(model, None):
                assert torch.equal(logits(model), start)
            with acting_with(model, "past"):
                assert torch.equal(logits(model), logits(past))
            assert torch.equal(logits(model), merged)
    with acting_with(model, None):
        assert torch.equal(logits(model), start)
    assert torch.equal(logits(model), expected) and not torch.equal(expected, start)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == trained


# An adapter that does not fit -----------------------------------------------------------------------------


def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"other.{name}": tensor for name, tensor in weights.items()}


def without_one(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(list(weights.items())[1:])


def with_one_more(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights | {"base_model.model.more.lora_A.weight": torch.zeros(4, 32)}


def of_another_rank(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor[:2] if "lora_A" in name else tensor[:, :2].clone() for name, tensor in weights.items()}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (renamed, "is missing (and "),
        (without_one, "lora_A.weight is missing"),
        (with_one_more, "base_model.model.more.lora_A.weight is not known"),
        (of_another_rank, "size mismatch"),
    ],
)
def test_an_adapter_that_does_not_fit(
    small_dir: Path, tmp_path: Path, damage: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], reason: str
) -> None:
    with_adapter(small_dir, 0.3).model.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    save_file(damage(load_file(file)), file)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    assert reason in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


# Noise ----------------------------------------------------------------------------------------------------

NOISY: list[PreTrainedConfig] = [
    GPT2Config(n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5),
    LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, attention_dropout=0.5
    ),
    OPTConfig(
        hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32, layerdrop=0.5,
        dropout=0.5, attention_dropout=0.5,
    ),
    BloomConfig(hidden_size=32, n_layer=2, n_head=4, hidden_dropout=0.5, attention_dropout=0.5),
    MptConfig(d_model=32, n_layers=2, n_heads=4, emb_pdrop=0.5, resid_pdrop=0.5),
    MixtralConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        num_local_experts=4, router_jitter_noise=0.5, attention_dropout=0.5,
    ),
]  # fmt: skip


@pytest.mark.parametrize("config", NOISY, ids=lambda config: config.model_type)
@pytest.mark.parametrize("checkpointed", [False, True])
def test_only_loras_dropout_is_on_in_training(
    config: PreTrainedConfig, checkpointed: bool, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = deepcopy(config)
    config.vocab_size = len(tokenizer)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    acting = load_model(tmp_path, dtype="float32").model
    expected = logits(acting)
    if checkpointed:
        acting.gradient_checkpointing_enable()
    assert torch.equal(logits(acting.train()), expected)
    lora = {"target_modules": ["q_proj"]} if config.model_type == "mixtral" else {}
    trained = with_adapter(tmp_path, 0.3, dropout=0.5, **lora).model
    assert not torch.equal(logits(trained.train()), logits(trained.eval()))
