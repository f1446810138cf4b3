"""Make the built-in tiny model: `python -m agentgym.trainers.tiny_model` (or `make tiny-model`), in half an hour.

A Llama of half a million parameters with a byte-level tokenizer of 512 tokens, trained from nothing to clone an
imperfect demonstrator on training levels only. The demonstrator plays the expert's move with probability
1 - NOISE and any move otherwise, so that the model knows the boards but plays them badly: reinforcement
learning has something to gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import track
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.utils.data import DataLoader, IterableDataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agentgym.agents.agent import ExpertAgent
from agentgym.agents.contexts import Context
from agentgym.envs import make
from agentgym.trainers.cloning import Demonstration, clone, demonstrate

NOISE = 0.75
VOCABULARY = 512
HEAD_SCALE = 4.0
#: What is demonstrated, and its share of the decisions.
CURRICULUM: tuple[tuple[str, dict[str, object], float], ...] = (
    ("agentgym/Sokoban-v0", {}, 0.85),
    ("agentgym/Sokoban-v0", {"size": 5}, 0.07),
    ("agentgym/Sokoban-v0", {"boxes": 2}, 0.08),
)
#: The template has no place for the system message: the tiny model cannot read instructions, and does
#: without them in a fraction of the time.
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: any text can be encoded, and a cell of a board is one token.

    Words of the environments' instructions are merged into tokens; everything that is no lower-case word
    (board cells, digits, punctuation) stays single.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\p{Ll}+|[\s\S]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [make(env_id, **kwargs).instructions for env_id, kwargs, _ in CURRICULUM]
    actions = ["up", "down", "left", "right"] * 100
    tokenizer.train_from_iterator([*texts, *actions, "√" * 100], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=[AddedToken(mark, special=True) for mark in special[2:]],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """The untrained network."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def widen_head(model: LlamaForCausalLM) -> None:
    """Give the output head its own weights, `HEAD_SCALE` times the embeddings, and freeze it with the last norm.

    The last norm fixes the size of what the head sees, so the head's own size bounds how sure the model can
    be. A head that has only ever seen a hesitant demonstrator is small, and an adapter, which leaves head and
    norm alone, could never make the model decided: measured, cloning the flawless expert with LoRA then ends
    at 60 % success.
    """
    head = model.get_input_embeddings().weight.detach() * HEAD_SCALE
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(head, requires_grad=False)
    model.model.norm.weight.requires_grad_(False)


class _Demonstrations(IterableDataset[list[Demonstration]]):
    """An endless stream of batches, mixed from the curriculum, no two decisions of a batch from one episode."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, batch_size: int, seed: int):
        self.tokenizer, self.batch_size, self.seed = tokenizer, batch_size, seed

    def __iter__(self) -> Iterator[list[Demonstration]]:
        expert, context = ExpertAgent(NOISE), Context(window=0)
        worlds = [
            (env_id, kwargs) for env_id, kwargs, share in CURRICULUM for _ in range(round(share * self.batch_size))
        ]
        streams = [
            demonstrate(make(env_id, **kwargs), expert, self.tokenizer, context, seeds, "")
            for (env_id, kwargs), seeds in zip(worlds, self._seeds(len(worlds)), strict=True)
        ]
        while True:
            yield [next(stream) for stream in streams]

    def _seeds(self, streams: int) -> list[Iterator[int]]:
        """For every stream its own endless sequence of seeds."""
        return [count(self.seed + i, streams) for i in range(streams)]


def main(
    out: Annotated[Path, typer.Option(help="Directory to write the model to.")] = Path("agents/tiny_model"),
    steps: Annotated[int, typer.Option(help="Training steps.")] = 2500,
    head_steps: Annotated[int, typer.Option(help="Further steps with the widened head.")] = 300,
    batch_size: Annotated[int, typer.Option(help="Decisions a step.")] = 256,
    seed: int = 1_000_000_000,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Train the built-in tiny model from nothing. Levels come from the split "train", seeds from `seed` on."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed).to(device)
    train(model, _Demonstrations(tokenizer, batch_size, seed), steps, learning_rate=2e-3)
    widen_head(model)
    # Other levels than before: seeds of the two stages do not meet.
    train(model, _Demonstrations(tokenizer, batch_size, seed + 2**28), head_steps, learning_rate=1e-3)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def train(model: LlamaForCausalLM, demonstrations: _Demonstrations, steps: int, learning_rate: float) -> None:
    """Clone the demonstrations, and print the running mean of the loss."""
    # A worker process plays while this one trains.
    batches = DataLoader(demonstrations, batch_size=None, num_workers=1)
    losses = clone(model, batches, learning_rate=learning_rate, num_steps=steps)
    mean = 0.0
    for step, loss in enumerate(track(losses, total=steps, description="cloning")):
        mean = loss if step == 0 else 0.98 * mean + 0.02 * loss
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}: loss {mean:.4f}", flush=True)


if __name__ == "__main__":
    typer.run(main)
