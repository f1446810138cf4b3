"""The model in training: the only place where it is run.

Whatever is computed from it, losses, signals, values, comes from a `Pass` over a few token sequences. Every process
makes equally many passes, however its tokens fall, so that collective operations inside the model always meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch

from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.layout import Layout, TokenSequence, micro_batches
from agentgym.trainers.processes import Processes


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass of the model: what it says where tokens were sampled.

    A slot is a place that a token was sampled for; tokens that were drawn in equal contexts share one.
    """

    logits: torch.Tensor
    """Of the distributions that the tokens were drawn from, at the temperature: (slots, vocabulary), float32."""
    hidden: torch.Tensor
    """What the output head was given: (slots, hidden size)."""
    index_K: IntArray
    """Which of the layout's tokens were drawn in these slots."""
    slot_K: torch.Tensor
    """Each token's slot."""
    token_K: torch.Tensor
    """Each token's id."""

    @cached_property
    def log_probs(self) -> torch.Tensor:
        """log π of every token of the vocabulary: (slots, vocabulary)."""
        with torch.set_grad_enabled(self.logits.requires_grad):  # whoever asks first may want no gradient
            return torch.log_softmax(self.logits, dim=-1)

    @cached_property
    def logprob_K(self) -> torch.Tensor:
        """log π of each token: (K,)."""
        with torch.set_grad_enabled(self.logits.requires_grad):
            return self.log_probs[self.slot_K, self.token_K]

    def pick(self, values_K: FloatArray) -> torch.Tensor:
        """The pass's share of a column, as a tensor beside its log-probabilities: (K,)."""
        return torch.from_numpy(values_K[self.index_K]).to(self.logits)


Reading: TypeAlias = Callable[[Pass], torch.Tensor]
"""What is read off a pass: one number, or one vector, for each of its tokens."""


def logprob(of: Pass) -> torch.Tensor:
    """log π of each token, in nats: (K,)."""
    return of.logprob_K


def entropy(of: Pass) -> torch.Tensor:
    """-Σ_v π(v) log π(v) of the distribution that each token was drawn from, in nats: (K,), ≥ 0."""
    entropy_of_slot: torch.Tensor = -(of.log_probs.exp() * of.log_probs).sum(-1)
    return entropy_of_slot[of.slot_K]


def sum_pi_squared(of: Pass) -> torch.Tensor:
    """Σ_v π(v)², the probability of drawing the same token twice: (K,), in (0, 1]."""
    return (2 * of.log_probs).exp().sum(-1)[of.slot_K]


def hidden(of: Pass) -> torch.Tensor:
    """The hidden state that each token was predicted from: (K, hidden size)."""
    return of.hidden[of.slot_K]


class Policy:
    """A causal language model with a LoRA adapter, of which the adapter is trained."""

    def __init__(
        self,
        model: Any,
        *,
        temperature: float = 1.0,
        max_tokens: int = 16384,
        gradient_checkpointing: bool = False,
        processes: Processes | None = None,
    ):
        """`temperature`: what tokens were sampled at. `max_tokens`: in a pass, padding counted."""
        self.model = model
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.processes = processes or Processes()
        self.parameters: list[torch.nn.Parameter] = [p for p in model.parameters() if p.requires_grad]
        if gradient_checkpointing:
            newer_name = getattr(model, "activation_checkpointing_enable", None)  # of transformers 5
            (newer_name or model.gradient_checkpointing_enable)()
            model.enable_input_require_grads()

    def read(
        self, layout: Layout, readings: Mapping[str, Reading], *, adapter: str | None = "default"
    ) -> dict[str, FloatArray]:
        """Each reading of every token of `layout`, without gradient or dropout: shapes (K,) or (K, …), float64.

        `adapter=None` reads the reference policy, the model without its adapter.
        """
        if adapter not in (None, "default"):
            raise ValueError(f"adapter must be None or 'default', not {adapter!r}")
        found: dict[str, FloatArray] = {}
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.model.disable_adapter() if adapter is None else nullcontext():
            for each in self._passes(layout):
                for name, reading in readings.items():
                    values = reading(each).double().cpu().numpy()
                    found.setdefault(name, np.zeros((len(layout.token_K), *values.shape[1:])))[each.index_K] = values
        self.model.train(was_training)
        return found or {name: np.zeros(0) for name in readings}

    def passes(self, layout: Layout) -> Iterator[Pass]:
        """The passes over all tokens of `layout`, with gradient and LoRA's dropout."""
        self.model.train()
        yield from self._passes(layout)

    def _passes(self, layout: Layout) -> Iterator[Pass]:
        """As many passes as the process with the most needs. Those that others need have no token."""
        chosen = micro_batches(layout.sequences, self.max_tokens)
        for i in range(max(self.processes.gather(len(chosen)))):
            yield self._run(layout, chosen[i]) if i < len(chosen) else self._run(_NOTHING, [0])

    def _run(self, layout: Layout, chosen: Sequence[int]) -> Pass:
        """The pass over the sequences with these numbers."""
        device = next(self.model.parameters()).device
        sequences = [layout.sequences[i] for i in chosen]
        start = np.full(len(layout.sequences), -1)
        start[chosen] = np.cumsum([0, *(len(sequence.sampled) for sequence in sequences[:-1])])
        index_K = np.flatnonzero(start[layout.sequence_K] >= 0)
        of_K = layout.sequence_K[index_K]
        slot_K = start[of_K] + layout.slot_K[index_K] - layout.slot_offsets[of_K]
        logits, states = self._sampled_logits(sequences, device)
        return Pass(
            logits,
            states,
            index_K,
            torch.from_numpy(slot_K).to(device),
            torch.from_numpy(layout.token_K[index_K]).to(device),
        )

    def _sampled_logits(
        self, sequences: Sequence[TokenSequence], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits that the sampled tokens were drawn from, and the hidden states that these come from.

        Padding is on the right, where causal attention never looks, so no attention mask is needed.
        """
        width = max(len(sequence.context) for sequence in sequences)
        input_ids = np.zeros((len(sequences), width), np.int64)
        predicts_sampled = np.zeros((len(sequences), width), bool)
        for row, sequence in enumerate(sequences):
            input_ids[row, : len(sequence.context)] = sequence.context
            predicts_sampled[row, np.array(sequence.sampled, np.int64) - 1] = True
        with _head_only_at(self.model, torch.from_numpy(predicts_sampled).to(device)) as states:
            output = self.model(input_ids=torch.from_numpy(input_ids).to(device), use_cache=False)
        return output.logits[0].float() / self.temperature, states[0]


_NOTHING = Layout([TokenSequence((0, 0), (1,))], np.zeros(0, np.int64), np.zeros(0, np.int64))
"""A sequence that no token is taken from: the pass of a process that has none left while others do."""


@contextmanager
def _head_only_at(model: Any, keep: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Within, the output head sees only the positions where `keep` (batch, length) is true; yields what it is given.

    Observations are most of a trajectory, and a vocabulary is large: their logits, never needed, would be
    most of the memory. Selecting before the head, not after, keeps whatever the model does around it
    (soft-capping, scaling).
    """
    states: list[torch.Tensor] = []

    def select(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states.append(inputs[0][keep])
        return (states[-1].unsqueeze(0), *inputs[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield states
    finally:
        hook.remove()
