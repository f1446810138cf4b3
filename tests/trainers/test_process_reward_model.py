"""Process reward models from a directory: what they say is what transformers says, and what has no head is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForTokenClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
)

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.experience import Experience
from tests.small_model import make_trainer

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "initializer_range": 0.3,
}


def reward_model(directory: Path, tokenizer_of: Path, kind: Any, num_labels: int, longest: int = 256) -> Any:
    """A random reward model of this kind, with a tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    torch.manual_seed(1)
    config = (BertConfig if "Bert" in kind.__name__ else LlamaConfig)(
        **SIZES, vocab_size=len(tokenizer), max_position_embeddings=longest, num_labels=num_labels, pad_token_id=0
    )
    model = kind(config).eval()
    torch.nn.init.normal_((model.score if hasattr(model, "score") else model.classifier).weight, std=0.3)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return model


@pytest.mark.parametrize("window", [None, 1])
@pytest.mark.parametrize(
    ("kind", "num_labels", "reward_range"),
    [
        (LlamaForTokenClassification, 2, None),
        (LlamaForTokenClassification, 2, [0.0, 1.0]),
        (LlamaForSequenceClassification, 1, None),
        (LlamaForSequenceClassification, 1, [-1.0, 1.0]),
    ],
)
def test_a_turn_is_scored_at_its_last_token(cloned_model, tmp_path, kind, num_labels, reward_range, window) -> None:
    model = reward_model(tmp_path / "prm", cloned_model, kind, num_labels)
    configured = {"process_reward_model": {"model": str(tmp_path / "prm"), "reward_range": reward_range}}
    settings = {"credit": "pure", "signals": configured, "window": window, "max_tokens_per_micro_batch": 128}
    trainer = make_trainer(cloned_model, tmp_path / "run", **settings)
    experience = Experience.of(0, trainer.rollouts.next(0, lambda *_: None).learned)
    expected = []
    for trajectory in experience.trajectories:
        for turn, prompt in zip(trajectory.turns, trajectory.prompts(), strict=True):
            with torch.no_grad():
                output = model(torch.tensor([prompt + turn.response_ids])).logits.double()
            if num_labels == 1:
                score = output[0, 0]
                expected.append(score.item() if reward_range is None else 2 * score.sigmoid().item() - 1)
            else:
                wrong, right = output[0, -1].softmax(-1).tolist()
                expected.append(right - wrong if reward_range is None else right)
    metrics = next(trainer.train())
    table = TurnBatch.load(tmp_path / "run" / "credit" / "step-000000.process-0.npz")
    assert table.columns["process_reward_T"] == pytest.approx(expected, abs=1e-4)
    assert np.std(expected) > 0.01 and metrics["process_reward_model/excluded"] == 0
    assert all(not parameter.requires_grad for parameter in trainer.signals[0].reader.model.parameters())


def test_what_is_too_long_for_it_is_excluded_and_counted(cloned_model, tmp_path) -> None:
    dialogue = {"window": None, "credit": "pure", "credit_kwargs": {"verifiable_weight": 1.0}, "groups_per_step": 4}
    probe = make_trainer(cloned_model, tmp_path / "probe", **dialogue | {"credit": "reinforce", "credit_kwargs": {}})
    lengths = [len(t.prompts()[-1] + t.turns[-1].response_ids) for t in probe.rollouts.next(0, lambda *_: None).learned]
    longest = int(np.median(lengths))
    reward_model(tmp_path / "prm", cloned_model, LlamaForTokenClassification, 2, longest)
    configured = {"process_reward_model": {"model": str(tmp_path / "prm")}}
    metrics = next(make_trainer(cloned_model, tmp_path / "run", **dialogue, signals=configured).train())
    assert metrics["process_reward_model/excluded"] == sum(length > longest for length in lengths) > 0
    assert metrics["episodes/excluded"] >= metrics["process_reward_model/excluded"]


def without_head(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("score")}
    save_file(kept, directory / "model.safetensors", {"format": "pt"})


def with_other_words(directory: Path) -> None:
    AutoTokenizer.from_pretrained(Path(__file__).parents[2] / "agents" / "tiny_model_shopper").save_pretrained(
        directory
    )


def test_directories_without_a_head_are_refused(cloned_model, tmp_path) -> None:
    def refused(message: str, directory: Path, **params: Any) -> None:
        configured = {"process_reward_model": {"model": str(directory), **params}}
        with pytest.raises(ValueError, match=message) as error:
            make_trainer(cloned_model, tmp_path / "run", credit="pure", signals=configured)
        assert "\n" not in str(error.value)

    refused("prm: .*no head that scores turns|holds no model", tmp_path / "prm")
    refused("is a LlamaForCausalLM with 2 outputs, and has no head that scores turns", cloned_model)
    for number, (kind, num_labels, message) in enumerate(
        [
            (LlamaForTokenClassification, 3, "is a LlamaForTokenClassification with 3 outputs"),
            (BertForTokenClassification, 2, "reads from left to right"),
        ]
    ):
        reward_model(tmp_path / str(number), cloned_model, kind, num_labels)
        refused(message, tmp_path / str(number))
    for spoil, message in ((without_head, "lacks score.bias, score.weight"), (with_other_words, "another tokenizer")):
        directory = tmp_path / spoil.__name__
        reward_model(directory, cloned_model, LlamaForTokenClassification, 2)
        spoil(directory)
        refused(message, directory)
    refused("reward_range goes from 1 to 0", directory, reward_range=[1.0, 0.0])
    refused("holds no model", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": None}))
    refused("no architecture", tmp_path)
