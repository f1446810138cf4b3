"""What the built-in models' recipes promise of their tokens and of their first task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agentgym.agents.agent import planned_action
from agentgym.agents.models import load_model
from agentgym.envs import make
from agentgym.envs.webshop import builtin
from agentgym.trainers.tiny_model import RECIPES, SPECIAL_TOKENS, main, repetition


def test_the_shopper_reads_a_word_or_a_code_as_one_token_wherever_it_stands() -> None:
    tokenizer = load_model("tiny-shopper").tokenizer

    def tokens(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    for product in builtin.catalogue():
        code = product.asin.lower()
        assert tokens(f"click[{code}]")[2:-1] == [tokenizer.convert_tokens_to_ids(code)]
        for values in product.options.values():
            for value in values:
                asked, on_page, chosen = (
                    tokens(f" with color: {value}, and"),
                    tokens(f" [{value}]"),
                    tokens(f"[{value}]"),
                )
                assert asked[3:-2] == on_page[1:-1] == chosen[1:-1]


def test_what_the_shopper_would_write_is_read_as_it_was_meant() -> None:
    tokenizer = load_model("tiny-shopper").tokenizer
    env = make("agentgym/WebShop-v0", observation="compact")
    for seed in range(5):
        _, info = env.reset(seed=seed)
        done = False
        while not done:
            written = [planned_action(env), *info["admissible_actions"]]
            assert [tokenizer.decode(tokenizer.encode(action)) for action in written] == written
            _, _, terminated, truncated, info = env.step(written[0])
            done = terminated or truncated


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
