"""What a model says of sampled tokens, without gradient: one pass over their sequences, in micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from agentgym.trainers.batch import FloatArray, IntArray
from agentgym.trainers.layout import SequenceBatch, TokenSequence, micro_batches

Reading: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(log-probabilities of shape (slots, vocabulary), each token's slot, each token's id) → one number a token."""


@dataclass(frozen=True)
class MicroBatch:
    """A few sequences, and the tokens that have their slots in them."""

    sequences: list[TokenSequence]
    index_K: IntArray
    """Which of the minibatch's tokens these are."""
    slot_K: IntArray
    """Each token's slot among the slots of `sequences`."""
    token_K: IntArray
    """Each token's id."""

    def drawn(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`slot_K` and `token_K` on the device of `like`: where in (slots, vocabulary) each token was drawn."""
        return torch.from_numpy(self.slot_K).to(like.device), torch.from_numpy(self.token_K).to(like.device)

    def pick(self, values_K: FloatArray, like: torch.Tensor) -> torch.Tensor:
        """The tokens' values as a tensor of `like`'s kind."""
        return torch.from_numpy(values_K[self.index_K]).to(like)


def split(batch: SequenceBatch, max_tokens: int) -> Iterator[MicroBatch]:
    """The micro-batches of at most `max_tokens` tokens, padding counted."""
    offsets = batch.slot_offsets
    sequence_K = np.searchsorted(offsets, batch.slot_K, side="right") - 1
    for chosen in micro_batches(batch.sequences, max_tokens):
        starts = np.full(len(batch.sequences), -1)
        starts[chosen] = np.cumsum([0, *(len(batch.sequences[i].sampled) for i in chosen[:-1])])
        index_K = np.flatnonzero(starts[sequence_K] >= 0)
        of = sequence_K[index_K]
        slot_K = starts[of] + batch.slot_K[index_K] - offsets[of]
        yield MicroBatch([batch.sequences[i] for i in chosen], index_K, slot_K, batch.token_K[index_K])


def read_tokens(
    model: Any, batch: SequenceBatch, readings: Mapping[str, Reading], *, max_tokens: int, temperature: float
) -> dict[str, FloatArray]:
    """Each reading of every sampled token under `model`, without gradient or dropout: shapes (K,)."""
    read: dict[str, FloatArray] = {name: np.zeros(len(batch.slot_K)) for name in readings}
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for micro in split(batch, max_tokens):
            logits, _ = sampled_logits(model, micro.sequences, temperature=temperature)
            log_probs = torch.log_softmax(logits, dim=-1)
            for name, reading in readings.items():
                read[name][micro.index_K] = reading(log_probs, *micro.drawn(log_probs)).double().cpu().numpy()
    model.train(was_training)
    return read


def log_probabilities(model: Any, batch: SequenceBatch, *, max_tokens: int, temperature: float) -> FloatArray:
    """The log-probability of every sampled token under `model`, without gradient or dropout: shape (K,)."""
    readings = {"logp": logprob_of_token}
    return read_tokens(model, batch, readings, max_tokens=max_tokens, temperature=temperature)["logp"]


def logprob_of_token(log_probs: torch.Tensor, slot_K: torch.Tensor, token_K: torch.Tensor) -> torch.Tensor:
    """log π of the token."""
    return log_probs[slot_K, token_K]


def sampled_logits(
    model: torch.nn.Module, sequences: Sequence[TokenSequence], *, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits that the sampled tokens were drawn from, and those tokens.

    Returns logits (slots, vocabulary) in float32, divided by `temperature`, and token ids (slots,). Padding
    is on the right, where causal attention never looks, so no attention mask is needed.
    """
    device = next(model.parameters()).device
    width = max(len(sequence.context) for sequence in sequences)
    input_ids = np.zeros((len(sequences), width), np.int64)
    predicts_sampled = np.zeros((len(sequences), width), bool)
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence.context)] = sequence.context
        predicts_sampled[row, np.array(sequence.sampled, np.int64) - 1] = True
    tokens = np.concatenate([np.array(s.ids, np.int64)[list(s.sampled)] for s in sequences])
    with _head_only_at(model, torch.from_numpy(predicts_sampled).to(device)):
        output = model(input_ids=torch.from_numpy(input_ids).to(device), use_cache=False)
    return output.logits[0].float() / temperature, torch.from_numpy(tokens).to(device)


@contextmanager
def _head_only_at(model: Any, keep: torch.Tensor) -> Iterator[None]:
    """Within, the output head sees only the positions where `keep` (batch, length) is true.

    Observations are most of a trajectory, and a vocabulary is large: their logits, never needed, would be
    most of the memory. Selecting before the head, not after, keeps whatever the model does around it
    (soft-capping, scaling).
    """

    def select(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0][keep].unsqueeze(0), *inputs[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()
