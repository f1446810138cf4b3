"""Token sequences: every sampled token in its own context, once, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from agentgym.agents.models import LoadedModel, add_lora
from agentgym.agents.trajectory import Trajectory, Turn, share_prompts
from agentgym.trainers.layout import Layout, TokenSequence, lay_out, micro_batches
from agentgym.trainers.policy import Policy, hidden, logprob

VOCABULARY = 20


def trajectory(*turns: tuple[Sequence[int], Sequence[int]]) -> Trajectory:
    """Of turns given as (prompt, response)."""
    played = [Turn("", "", "", prompt_ids=list(p), response_ids=list(r)) for p, r in turns]
    share_prompts(played)
    return Trajectory("env", 0, "g", "t", "", played)


def dialogue(*turns: tuple[Sequence[int], Sequence[int]]) -> Trajectory:
    """Of turns given as (what is new in the prompt, response): every prompt begins with all before it."""
    said: list[int] = []
    prompts = []
    for new, response in turns:
        prompts.append([*said, *new])
        said = [*prompts[-1], *response]
    return trajectory(*zip(prompts, [response for _, response in turns], strict=True))


# The layout -----------------------------------------------------------------------------------------------


def test_a_dialogue_is_one_sequence() -> None:
    batch = lay_out([dialogue(([1, 2], [3, 4]), ([5], [6]), ([7, 8], [9]))])
    assert batch.sequences == [TokenSequence((1, 2, 3, 4, 5, 6, 7, 8, 9), (2, 3, 5, 8))]
    assert batch.slot_K.tolist() == [0, 1, 2, 3]
    assert batch.slot_offsets.tolist() == [0, 4]


def test_every_turn_of_a_window_is_a_sequence() -> None:
    batch = lay_out([trajectory(([1, 2], [3]), ([4, 3, 5], [6, 7]), ([4], [6]))])
    assert batch.sequences == [
        TokenSequence((1, 2, 3), (2,)),
        TokenSequence((4, 3, 5, 6, 7), (3, 4)),
        TokenSequence((4, 6), (1,)),
    ]
    assert batch.slot_K.tolist() == [0, 1, 2, 3]


def test_a_dialogue_that_lost_a_token_is_two_sequences() -> None:
    """A re-tokenised or shortened history is no continuation, however much alike."""
    batch = lay_out([trajectory(([1, 2], [3, 4]), ([1, 2, 3], [5]), ([1, 2, 9, 5, 6], [7]))])
    assert [s.ids for s in batch.sequences] == [(1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 9, 5, 6, 7)]


def test_equal_sequences_are_kept_once() -> None:
    one, other = dialogue(([1, 2], [3]), ([4], [5])), dialogue(([1, 2], [7]), ([4], [5]))
    batch = lay_out([one, other, one])
    assert len(batch.sequences) == 2
    assert batch.slot_K.tolist() == [0, 1, 2, 3, 0, 1]
    # What was sampled last is no model's input: drawn in one context, different tokens share a slot.
    batch = lay_out([one, dialogue(([1, 2], [3]), ([4], [6]))])
    assert (len(batch.sequences), batch.slot_K.tolist(), batch.token_K.tolist()) == (1, [0, 1, 0, 1], [3, 5, 3, 6])
    # The same tokens, of which others were sampled: not equal.
    assert len(lay_out([trajectory(([1, 2], [3])), trajectory(([1], [2, 3]))]).sequences) == 2


def test_nothing_sampled() -> None:
    for trajectories in ([], [trajectory()], [trajectory(([], []))]):
        batch = lay_out(trajectories)
        assert (batch.sequences, batch.slot_K.tolist(), batch.slot_offsets.tolist()) == ([], [], [0])


def test_a_response_without_a_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="env, seed 0, turn 1: a response without a prompt"):
        lay_out([trajectory(([1], [2]), ([], [3]))])


ids = st.lists(st.integers(0, 2), min_size=1, max_size=3)
turns = st.lists(st.tuples(ids, ids), max_size=4)
batches = st.lists(turns.map(lambda t: dialogue(*t)) | turns.map(lambda t: trajectory(*t)), max_size=6)


@settings(max_examples=200, deadline=None)
@given(batches)
def test_every_sampled_token_has_one_place_in_its_own_context(trajectories: list[Trajectory]) -> None:
    batch = lay_out(trajectories)
    places = [(s, i) for s in batch.sequences for i in s.sampled]
    drawn = [
        ([*prompt, *turn.response_ids[:j]], token)
        for t in trajectories
        for turn, prompt in zip(t.turns, t.prompts(), strict=True)
        for j, token in enumerate(turn.response_ids)
    ]
    assert len(batch.slot_K) == len(drawn)
    assert batch.token_K.tolist() == [token for _, token in drawn]
    for slot, (context, _) in zip(batch.slot_K, drawn, strict=True):
        sequence, i = places[slot]
        assert list(sequence.ids[:i]) == context
    # No place is anything but a sampled token's; so no token of an observation is ever trained on.
    assert np.unique(batch.slot_K).tolist() == list(range(len(places)))
    for sequence in batch.sequences:
        assert list(sequence.sampled) == sorted(set(sequence.sampled)) and min(sequence.sampled) > 0
    assert len({(s.context, s.sampled) for s in batch.sequences}) == len(batch.sequences)
    for t in trajectories:
        assert len(np.unique(lay_out([t, t]).slot_K)) == len(np.unique(lay_out([t]).slot_K))


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 100))
def test_micro_batches_partition_within_the_limit(lengths: list[int], max_tokens: int) -> None:
    sequences = [TokenSequence((0,) * n, ()) for n in lengths]
    chosen = micro_batches(sequences, max_tokens)
    assert sorted(i for batch in chosen for i in batch) == list(range(len(lengths)))
    for batch in chosen:
        width = max(lengths[i] for i in batch)
        assert width * len(batch) <= max_tokens or len(batch) == 1
    # Neighbours in length: no sequence of a batch is longer than any of the one before.
    for batch, following in pairwise(chosen):
        assert min(lengths[i] for i in batch) >= max(lengths[i] for i in following)


# The model ------------------------------------------------------------------------------------------------


@cache
def model_of(architecture: str) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if architecture == "gemma2":  # soft-caps its logits after the head
        config = Gemma2Config(**sizes, final_logit_softcapping=2.0, sliding_window=4)
        return Gemma2ForCausalLM(config).eval()
    if architecture == "gpt2":
        gpt2 = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=64, initializer_range=0.5)
        return GPT2LMHeadModel(gpt2).eval()
    llama = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    if architecture == "llama":
        return llama
    lora: dict[str, Any] = {"r": 2, "alpha": 2, "dropout": 0.0, "seed": 0}
    loaded = LoadedModel(llama, SimpleNamespace(), "")  # type: ignore[arg-type]
    adapted = add_lora(loaded, target_modules=["q_proj", "down_proj", "lm_head"], **lora).model.eval()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    return adapted


def some_trajectories() -> list[Trajectory]:
    """Dialogues and windows of several lengths, two of them equal."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> list[int]:
        return rng.integers(VOCABULARY, size=n).tolist()

    long = dialogue(*((draw(4), draw(2)) for _ in range(4)))
    short = dialogue((draw(3), draw(1)))
    return [long, trajectory((draw(7), draw(3)), (draw(2), draw(4))), short, long]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "lora on the head too"])
def test_sampled_logits_are_a_slice_of_all(architecture: str, temperature: float) -> None:
    model, layout = model_of(architecture), lay_out(some_trajectories())
    policy = Policy(model, temperature=temperature)
    logits = policy.read(layout, {"logits": lambda of: of.logits[of.slot_K]})["logits"]
    places = [(sequence, i) for sequence in layout.sequences for i in sequence.sampled]
    with torch.no_grad():
        for k, slot in enumerate(layout.slot_K):
            sequence, i = places[slot]  # each alone: without padding
            expected = model(input_ids=torch.tensor([sequence.ids])).logits[0, i - 1] / temperature
            np.testing.assert_allclose(logits[k], expected.double(), atol=1e-4)


def test_hidden_states_are_what_the_head_is_given() -> None:
    model, layout = model_of("llama"), lay_out(some_trajectories())
    states = Policy(model).read(layout, {"hidden": hidden})["hidden"]
    logits = Policy(model).read(layout, {"logits": lambda of: of.logits[of.slot_K]})["logits"]
    head = model.get_output_embeddings().weight.detach().double().numpy()
    np.testing.assert_allclose(states @ head.T, logits, atol=1e-4)


def test_some_tokens_of_a_layout_are_read_as_in_the_whole() -> None:
    model, layout = model_of("llama"), lay_out(some_trajectories())
    index_K = np.arange(len(layout.token_K))[3:-5:2]
    whole, some = (
        Policy(model).read(each, {"logprob": logprob})["logprob"] for each in (layout, layout.select(index_K))
    )
    np.testing.assert_allclose(some, whole[index_K], atol=1e-6)
    assert len(layout.select(index_K).sequences) <= len(layout.sequences)
    everything = layout.select(np.arange(len(layout.token_K)))
    assert everything.sequences == layout.sequences and (everything.slot_K == layout.slot_K).all()


def test_the_model_is_whole_afterwards() -> None:
    model = model_of("llama")
    broken = Layout([TokenSequence((VOCABULARY, 0), (1,))], np.zeros(1, int), np.zeros(1, int))
    with pytest.raises(IndexError):
        Policy(model).read(broken, {"logprob": logprob})  # no such token
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, VOCABULARY)


def gradients(model: Any, layout: Layout, weight_K: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    for each in Policy(model).passes(layout):
        (each.pick(weight_K.double().numpy()) * each.logprob_K).sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_sharing_equal_sequences_leaves_the_gradient_as_it_is() -> None:
    """Also where equal tokens have unequal advantages, as in episodes that part ways later."""
    model, trajectories = model_of("llama"), some_trajectories()
    together = lay_out(trajectories)
    weight_K = torch.from_numpy(np.random.default_rng(1).normal(size=len(together.slot_K))).float()
    shared = gradients(model, together, weight_K)
    total = [torch.zeros_like(g) for g in shared]
    for alone in map(lay_out, [[t] for t in trajectories]):
        own, weight_K = weight_K[: len(alone.slot_K)], weight_K[len(alone.slot_K) :]
        total = [t + g for t, g in zip(total, gradients(model, alone, own), strict=True)]
    assert len(weight_K) == 0
    assert len(together.sequences) < sum(len(lay_out([t]).sequences) for t in trajectories)
    for ours, theirs in zip(shared, total, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
