"""The model in training: the only place where it is run.

Whatever is computed from it, losses, signals, values, comes from a `Pass` over a few token sequences. Every process
makes equally many passes, however its tokens fall, so that collective operations inside the model always meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from agentgym.agents.adapters import check_fit
from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.layout import Layout, TokenSequence, micro_batches
from agentgym.trainers.processes import Processes


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass of the model: what it says where tokens were sampled.

    A slot is a place that a token was sampled for; tokens that were drawn in equal contexts share one.
    """

    logits: torch.Tensor
    """Of the distributions that the tokens were drawn from, at the temperature: (slots, vocabulary), float32. Without
    a slot where only hidden states were asked for."""
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

    def add_adapter(self, name: str, *, seed: int, **changed: Any) -> list[torch.nn.Parameter]:
        """Give the frozen model one more LoRA adapter, drawn from `seed` and zero at first; return its parameters.

        It adapts the modules that the policy's own does, with the same rank and so on but for what is `changed`, by
        PEFT's names. The policy stays what it is: an adapter acts in the passes that name it alone.
        """
        config = replace(self.model.peft_config["default"], **changed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model.add_adapter(name, config)
        self.model.set_adapter("default")  # PEFT has made the new one trainable too
        return [p for key, p in self.model.named_parameters() if f".{name}." in key]

    def adapter_state(self, name: str) -> dict[str, torch.Tensor]:
        """The weights of an adapter, copied to the CPU."""
        state = get_peft_model_state_dict(self.model, adapter_name=name, save_embedding_layers=False)
        return {key: weight.detach().cpu().clone() for key, weight in state.items()}

    def load_adapter_state(self, name: str, state: Mapping[str, torch.Tensor]) -> None:
        """Take over the weights that `adapter_state` gave. Raises `AdapterError` for others, before any is changed."""
        check_fit(self.model, state, adapter=name)
        set_peft_model_state_dict(self.model, dict(state), adapter_name=name)

    @contextmanager
    def _acting(self, adapter: str | None) -> Iterator[None]:
        """Within, the model acts with this adapter; with None as it was before training."""
        if adapter is None:
            with self.model.disable_adapter():
                yield
            return
        if adapter == "default":
            yield
            return
        self.model.set_adapter(adapter)
        try:
            yield
        finally:
            self.model.set_adapter("default")

    def read(
        self,
        layout: Layout,
        readings: Mapping[str, Reading],
        *,
        adapter: str | None = "default",
        with_logits: bool = True,
    ) -> dict[str, FloatArray]:
        """Each reading of every token of `layout`, without gradient or dropout: shapes (K,) or (K, …), float64.

        `adapter=None` reads the reference policy, the model without its adapter; a name, one that `add_adapter` gave.
        `with_logits=False` spares the output head where readings look at hidden states alone.
        """
        found: dict[str, FloatArray] = {}
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self._acting(adapter):
            for each in self._passes(layout, with_logits):
                for name, reading in readings.items():
                    values = reading(each).double().cpu().numpy()
                    found.setdefault(name, np.zeros((len(layout.token_K), *values.shape[1:])))[each.index_K] = values
        self.model.train(was_training)
        return found or {name: np.zeros(0) for name in readings}

    def passes(self, layout: Layout, *, adapter: str = "default", with_logits: bool = True) -> Iterator[Pass]:
        """The passes over all tokens of `layout`, with gradient for this adapter and with LoRA's dropout.

        `with_logits` as for `read`. Differentiate each pass before the next.
        """
        self.model.train()
        with self._acting(adapter):
            yield from self._passes(layout, with_logits)

    def _passes(self, layout: Layout, with_logits: bool) -> Iterator[Pass]:
        """As many passes as the process with the most needs. Those that others need have no token."""
        chosen = micro_batches(layout.sequences, self.max_tokens)
        for i in range(max(self.processes.gather(len(chosen)))):
            yield self._run(*((layout, chosen[i]) if i < len(chosen) else (_NOTHING, [0])), with_logits)

    def _run(self, layout: Layout, chosen: Sequence[int], with_logits: bool) -> Pass:
        """The pass over the sequences with these numbers."""
        device = next(self.model.parameters()).device
        sequences = [layout.sequences[i] for i in chosen]
        start = np.full(len(layout.sequences), -1)
        start[chosen] = np.cumsum([0, *(len(sequence.sampled) for sequence in sequences[:-1])])
        index_K = np.flatnonzero(start[layout.sequence_K] >= 0)
        of_K = layout.sequence_K[index_K]
        slot_K = start[of_K] + layout.slot_K[index_K] - layout.slot_offsets[of_K]
        logits, states = self._sampled_logits(sequences, device, with_logits)
        return Pass(
            logits,
            states,
            index_K,
            torch.from_numpy(slot_K).to(device),
            torch.from_numpy(layout.token_K[index_K]).to(device),
        )

    def _sampled_logits(
        self, sequences: Sequence[TokenSequence], device: torch.device, with_logits: bool
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
        with _head_only_at(self.model, torch.from_numpy(predicts_sampled).to(device), with_logits) as states:
            output = self.model(input_ids=torch.from_numpy(input_ids).to(device), use_cache=False)
        return output.logits[0].float() / self.temperature, states[0]


_NOTHING = Layout([TokenSequence((0, 0), (1,))], np.zeros(0, np.int64), np.zeros(0, np.int64))
"""A sequence that no token is taken from: the pass of a process that has none left while others do."""


@contextmanager
def _head_only_at(model: Any, keep: torch.Tensor, with_logits: bool) -> Iterator[list[torch.Tensor]]:
    """Within, the output head sees only the positions where `keep` (batch, length) is true; yields their states.

    Without logits it sees none of them.

    Observations are most of a trajectory, and a vocabulary is large: their logits, never needed, would be
    most of the memory. Selecting before the head, not after, keeps whatever the model does around it
    (soft-capping, scaling).
    """
    states: list[torch.Tensor] = []

    def select(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states.append(inputs[0][keep])
        return (states[-1].unsqueeze(0)[:, : None if with_logits else 0], *inputs[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield states
    finally:
        hook.remove()
