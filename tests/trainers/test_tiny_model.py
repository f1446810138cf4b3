"""What the built-in models' recipes promise of their tokens and of their first task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agentgym.agents.models import load_model
from agentgym.envs.webshop import builtin
from agentgym.trainers.tiny_model import RECIPES, SPECIAL_TOKENS, main, repetition


def test_a_product_code_is_the_same_tokens_wherever_it_is_copied_to() -> None:
    tokenizer = load_model("tiny-shopper").tokenizer

    def tokens_of(code: str, text: str) -> list[str]:
        tokens = tokenizer.tokenize(text)
        start = tokens.index("[") + 1
        inside = tokens[start : tokens.index("]")]
        assert "".join(inside) == code
        return inside

    for product in builtin.catalogue():
        code = product.asin.lower()
        on_page = tokens_of(code, f"Page 1, 9 results in all\n[{code}] A title $17.99")
        assert on_page == tokens_of(code, f"click[{code}]")


def test_the_second_half_of_a_repetition_can_be_told_from_the_first() -> None:
    rng, vocabulary = np.random.default_rng(0), 50
    for _ in range(100):
        sequence = repetition(rng, vocabulary).sequence
        half = len(sequence.ids) // 2
        assert sequence.sampled == tuple(range(half + 1, 2 * half))
        assert all(sequence.ids[i] == sequence.ids[i - half] for i in sequence.sampled)
        assert all(len(SPECIAL_TOKENS) <= token < vocabulary for token in sequence.ids)


@pytest.mark.parametrize("name", ["tiny-household", "tiny-shopper"])
def test_every_stage_of_a_recipe_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES[name]
    short = {"copy_steps": min(recipe.copy_steps, 1), "steps": 1, "head_steps": 1}
    monkeypatch.setitem(RECIPES, name, replace(recipe, tokenizer_episodes=10, batch_size=4, hidden_size=16, **short))
    main(name, tmp_path, seed=1_000_000_000, device="cpu")
    loaded = load_model(tmp_path)
    assert loaded.model.config.vocab_size == len(loaded.tokenizer)
    head, embeddings = loaded.model.get_output_embeddings().weight, loaded.model.get_input_embeddings().weight
    assert head.std() > 3 * embeddings.std()  # widened, and no longer tied
