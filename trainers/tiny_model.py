"""Make a built-in tiny model: `python -m agentgym.trainers.tiny_model [NAME]` (or `make tiny-model`).

Llamas of half a million to 1.8 million parameters with byte-level tokenizers, trained from nothing to clone an
imperfect demonstrator on training tasks only. The demonstrator plays the expert's action or, with probability
`noise`, a random one, so that the model knows its world but plays it badly: reinforcement learning has something
to gain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch.utils.data import DataLoader, IterableDataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agentgym.agents.agent import ExpertAgent, planned_action
from agentgym.agents.contexts import Context
from agentgym.agents.model_names import TINY_MODELS
from agentgym.envs import make
from agentgym.envs.webshop import builtin
from agentgym.trainers.cloning import Demonstration, clone, demonstrate
from agentgym.trainers.layout import TokenSequence

HEAD_SCALE = 4.0
SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one of the built-in models is made."""

    worlds: tuple[tuple[str, dict[str, object], float], ...]
    """What is demonstrated: environment, its arguments, and its share of the sequences."""
    noise: float
    """How often the demonstrator does something else than the expert would."""
    window: int | None
    """The turns that a prompt shows; None for the whole dialogue, which then is one sequence."""
    show_admissible_actions: bool = False
    """Whether a prompt ends with the list of actions that would be understood."""
    token: str
    """What a token can be at most, as a regular expression."""
    one_spelling: bool = False
    """Whether a word is one token wherever it stands: in lower case, and with a blank before it also where a bracket,
    a "$" or a line's end is. A model that looks for a word of the instruction on a page then looks for one token."""
    names: Callable[[], Iterable[str]] = tuple
    """Gives texts that are one token each, however long they are and whatever is around them."""
    vocabulary: int
    """The most tokens there may be."""
    tokenizer_episodes: int
    """Episodes of each world whose words the tokenizer learns."""
    tokenizer_texts: tuple[str, ...] = ()
    """What it learns besides, and the worlds' instructions."""
    hidden_size: int
    batch_size: int
    """Sequences a step."""
    copy_steps: int = 0
    """Steps before all others in which random tokens are repeated (`repetition`)."""
    steps: int
    observation_weight: float = 0.0
    """How much predicting what the world says counts beside what to do (`cloning.cloning_losses`)."""
    head_steps: int
    """Further steps with the widened head."""


WORDS = r" ?\p{L}+| ?\d|[\s\S]"


def product_codes() -> list[str]:
    """The codes of the built-in shop's products as they are on its pages."""
    return [product.asin.lower() for product in builtin.catalogue()]


RECIPES = {
    "tiny": Recipe(
        worlds=(
            ("agentgym/Sokoban-v0", {}, 0.85),
            ("agentgym/Sokoban-v0", {"size": 5}, 0.07),
            ("agentgym/Sokoban-v0", {"boxes": 2}, 0.08),
        ),
        noise=0.75,
        window=0,
        token=r" ?\p{Ll}+|[\s\S]",  # a cell of a board stays single
        vocabulary=512,
        tokenizer_episodes=0,
        tokenizer_texts=("up", "down", "left", "right") * 100 + ("√" * 100,),
        hidden_size=96,
        batch_size=256,
        steps=2500,
        head_steps=300,
    ),
    "tiny-household": Recipe(
        worlds=(("agentgym/ALFWorld-v0", {"size": "small", "max_turns": 24}, 1.0),),
        noise=0.4,
        window=None,
        token=WORDS,
        vocabulary=1024,
        tokenizer_episodes=300,
        hidden_size=96,
        batch_size=8,
        steps=3600,
        observation_weight=0.5,
        head_steps=200,
    ),
    "tiny-negotiator": Recipe(
        worlds=(
            ("agentgym/Bargaining-v0", {"seat": "ann"}, 0.5),
            ("agentgym/Bargaining-v0", {"seat": "ben"}, 0.5),
        ),
        noise=0.0,  # it makes mistakes enough of its own
        window=None,
        token=WORDS,
        vocabulary=512,
        tokenizer_episodes=300,
        hidden_size=96,
        batch_size=32,
        steps=1200,
        head_steps=100,
    ),
    "tiny-player": Recipe(
        worlds=(
            ("agentgym/KuhnPoker-v0", {"seat": "first", "partner": "uniform"}, 0.2),
            ("agentgym/KuhnPoker-v0", {"seat": "second", "partner": "uniform"}, 0.2),
            ("agentgym/TicTacToe-v0", {"seat": "O", "partner": "random"}, 0.3),
            ("agentgym/TicTacToe-v0", {"seat": "X", "partner": "random"}, 0.3),
        ),
        noise=0.8,
        window=0,
        token=WORDS,
        vocabulary=256,
        tokenizer_episodes=200,
        hidden_size=64,
        batch_size=80,
        steps=1000,
        head_steps=100,
    ),
    "tiny-searcher": Recipe(
        worlds=(("agentgym/SearchQA-v0", {"top_k": 1}, 1.0),),
        noise=0.3,
        window=None,
        token=WORDS,
        vocabulary=2048,
        tokenizer_episodes=300,
        hidden_size=128,
        batch_size=32,
        steps=850,
        observation_weight=1.0,
        head_steps=80,
    ),
    "tiny-shopper": Recipe(
        worlds=(("agentgym/WebShop-v0", {"observation": "compact"}, 1.0),),
        noise=0.3,
        window=0,
        token=r" ?\p{L}+| ?\d+| ?[\[$]|[\s\S]",
        one_spelling=True,
        names=product_codes,
        vocabulary=4096,
        tokenizer_episodes=600,
        hidden_size=96,
        batch_size=16,
        copy_steps=700,
        steps=2600,
        observation_weight=0.3,
        head_steps=150,
    ),
}
#: The template has no place for the system message: the tiny model cannot read instructions, and does
#: without them in a fraction of the time.
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer(name: str = "tiny") -> PreTrainedTokenizerFast:
    """A byte-level tokenizer, which can encode any text.

    Words of the environments' instructions, observations and actions are merged into tokens.
    """
    recipe = RECIPES[name]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(recipe.token), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    if recipe.one_spelling:
        blank_before = normalizers.Replace(Regex(r"(?<=[\[$\n])(?=[\p{L}\d])"), " ")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), blank_before])
        tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("[ ", "[")])
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text for env_id, kwargs, _ in recipe.worlds for text in _texts(env_id, kwargs, recipe.tokenizer_episodes)]
    names = list(recipe.names())
    if names:  # which have no pieces to be learned
        a_name = re.compile("|".join(map(re.escape, names)))
        texts = [a_name.sub("", text) for text in texts]
    tokenizer.train_from_iterator([*texts, *recipe.tokenizer_texts], trainer)
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=[AddedToken(mark, special=True) for mark in SPECIAL_TOKENS[2:]],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _texts(env_id: str, kwargs: dict[str, object], episodes: int) -> Iterator[str]:
    """The instructions of an environment, and what is seen and done in some episodes."""
    env = make(env_id, **kwargs)
    yield env.instructions
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        yield observation
        is_over = False
        while not is_over and (action := planned_action(env)) is not None:
            observation, _, terminated, truncated, _ = env.step(action)
            is_over = terminated or truncated
            yield from (action, observation)


def make_model(tokenizer: PreTrainedTokenizerFast, hidden_size: int, seed: int) -> LlamaForCausalLM:
    """The untrained network."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3,
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
    """An endless stream of batches, mixed from the recipe's worlds, no two sequences of a batch from one episode."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int):
        self.recipe, self.tokenizer, self.seed = recipe, tokenizer, seed

    def __iter__(self) -> Iterator[list[Demonstration]]:
        recipe = self.recipe
        expert, context = ExpertAgent(recipe.noise), Context(recipe.window, recipe.show_admissible_actions)
        worlds = [
            (env_id, kwargs) for env_id, kwargs, share in recipe.worlds for _ in range(round(share * recipe.batch_size))
        ]
        seeds = [count(self.seed + i, len(worlds)) for i in range(len(worlds))]
        streams = [
            demonstrate(partial(make, env_id, **kwargs), expert, self.tokenizer, context, own_seeds, "")
            for (env_id, kwargs), own_seeds in zip(worlds, seeds, strict=True)
        ]
        while True:
            yield [next(stream) for stream in streams]


class _Repetitions(IterableDataset[list[Demonstration]]):
    """An endless stream of batches of repetitions."""

    def __init__(self, vocabulary: int, seed: int):
        self.vocabulary, self.seed = vocabulary, seed

    def __iter__(self) -> Iterator[list[Demonstration]]:
        rng = np.random.default_rng(self.seed)
        while True:
            yield [repetition(rng, self.vocabulary) for _ in range(64)]


def repetition(rng: np.random.Generator, vocabulary: int) -> Demonstration:
    """8 to 40 random tokens, and the same once more, which the model is to foretell.

    To copy what stands in the prompt is a skill of its own, and a model that is made from nothing finds it late in a
    world where little is copied. Here there is nothing else to find.
    """
    length = int(rng.integers(8, 41))
    tokens = tuple(rng.integers(len(SPECIAL_TOKENS), vocabulary, length).tolist())
    # The first token of the second half could be any.
    foretold = tuple({token: 1.0} for token in tokens[1:])
    return Demonstration(TokenSequence(tokens + tokens, tuple(range(length + 1, 2 * length))), foretold)


def main(
    name: Annotated[str, typer.Argument(help=f"Which: {', '.join(RECIPES)}.")] = "tiny",
    out: Annotated[Path | None, typer.Option(help="Directory to write the model to.")] = None,
    seed: int = 1_000_000_000,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Train a built-in tiny model from nothing. Tasks come from the split "train", seeds from `seed` on."""
    if name not in RECIPES:
        raise typer.BadParameter(f"there is no {name!r}: {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    tokenizer = make_tokenizer(name)
    model = make_model(tokenizer, recipe.hidden_size, seed).to(device)
    if recipe.copy_steps:
        train(model, _Repetitions(len(tokenizer), seed), recipe.copy_steps, learning_rate=3e-3)
    weight = recipe.observation_weight
    train(model, _Demonstrations(recipe, tokenizer, seed), recipe.steps, 2e-3, weight)
    widen_head(model)
    # Other tasks than before: seeds of the two stages do not meet.
    train(model, _Demonstrations(recipe, tokenizer, seed + 2**28), recipe.head_steps, 1e-3, weight)
    out = out or Path("agents") / TINY_MODELS[name]
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def train(
    model: LlamaForCausalLM,
    demonstrations: IterableDataset[list[Demonstration]],
    steps: int,
    learning_rate: float,
    observation_weight: float = 0.0,
) -> None:
    """Clone the demonstrations, and print the running mean of the loss."""
    # A worker process plays while this one trains.
    batches = DataLoader(demonstrations, batch_size=None, num_workers=1)
    losses = clone(model, batches, learning_rate=learning_rate, num_steps=steps, observation_weight=observation_weight)
    mean = 0.0
    for step, loss in enumerate(track(losses, total=steps, description="cloning")):
        mean = loss if step == 0 else 0.98 * mean + 0.02 * loss
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}: loss {mean:.4f}", flush=True)


if __name__ == "__main__":
    typer.run(main)
