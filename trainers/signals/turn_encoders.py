"""Vectors that stand for a turn's situation and for its action: what a critic of whole turns reads its values off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from agentgym.agents.models import no_bar
from agentgym.agents.seeds import derived_seed
from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.layout import TokenSequence, share_sequences
from agentgym.trainers.policy import Pass, hidden
from agentgym.trainers.signals.second_model import SecondModel
from agentgym.trainers.signals.signal import Resources

Said: TypeAlias = tuple[Sequence[int], Sequence[int]]
"""A prompt and a response to it: tokens of the policy. The response may be empty."""
Head: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Values from vectors of states and of actions, (B, size) each: (B, values)."""


class TurnEncoder(Protocol):
    """Gives two vectors for each turn. What it learns by is among its `parameters`."""

    parameters: list[torch.nn.Parameter]
    size: int
    """The length of each vector."""

    def read(self, turns: Sequence[Said], head: Head) -> FloatArray:
        """What a head says of each turn, without gradient: (turns, values). Called by all processes."""
        ...

    def passes(self, turns: Sequence[Said]) -> Iterator[tuple[IntArray, torch.Tensor, torch.Tensor]]:
        """Some turns' indices and their vectors, with gradient, until all have been. Called by all processes.

        Differentiate each pass before the next.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `parts.Part`."""
        ...


class AdapterEncoder:
    """Hidden states of a second model (`SecondModel`): the state's at the prompt's end, the action's at the response's.

    The action is read in its situation; one pass over prompt and response gives both. A vector's entries have a root
    mean square of 1: how long hidden states are differs much from model to model.
    """

    def __init__(self, model: SecondModel):
        self.model, self.parameters, self.size = model, model.parameters, model.hidden_size

    def read(self, turns: Sequence[Said], head: Head) -> FloatArray:
        """See `TurnEncoder`."""

        def reading(each: Pass) -> torch.Tensor:
            return head(*_pairs(each)).repeat_interleave(2, 0)  # a reading is one for each token

        values = self.model.read(_layout(turns), {"values": reading}, with_logits=False)["values"]
        return values[::2] if len(turns) else np.zeros((0, 1))

    def passes(self, turns: Sequence[Said]) -> Iterator[tuple[IntArray, torch.Tensor, torch.Tensor]]:
        """See `TurnEncoder`."""
        for each in self.model.passes(_layout(turns), with_logits=False):
            yield each.index_K[::2] // 2, *_pairs(each)

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `parts.Part`."""
        self.model.load_state_dict(state)


def _layout(turns: Sequence[Said]) -> Any:
    """Two tokens for each turn: one read after its prompt, one after its response. Nobody has sampled them."""
    sequences = []
    for prompt, response in turns:
        said = response or (0,)  # so that the two places differ
        sequences.append(TokenSequence((*prompt, *said, 0), (len(prompt), len(prompt) + len(said))))
    return share_sequences(sequences)


def _pairs(each: Pass) -> tuple[torch.Tensor, torch.Tensor]:
    state_KH = hidden(each).float()
    state_KH = torch.nn.functional.rms_norm(state_KH, state_KH.shape[-1:])
    return state_KH[::2], state_KH[1::2]


class TextEncoder:
    """An encoder of texts, all of whose weights learn; state and action are encoded apart, as in ArCHer's code.

    The text of a state is that of the whole prompt. Both are cut on the left, to 512 tokens or what the encoder takes.
    A text's vector is the encoder's pooled output, or the mean of its last states where it has none. No dropout.
    """

    def __init__(self, resources: Resources, directory: str):
        """Raises `ValueError` in one line for a directory without an encoder and its tokenizer."""
        device = next(resources.policy.model.parameters()).device
        try:
            with no_bar(), torch.random.fork_rng(devices=[]):  # what the directory lacks, such as a pooler, is drawn
                torch.manual_seed(derived_seed(resources.seed, "encoder"))
                model = AutoModel.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
            self.tokenizer = AutoTokenizer.from_pretrained(
                directory, truncation_side="left", padding_side="right", local_files_only=True
            )
        except Exception as error:  # damaged files make transformers raise nearly anything
            reason = str(error).strip().splitlines()
            raise ValueError(
                f"twin_critic: encoder: {directory} cannot be loaded: {reason[0] if reason else type(error).__name__}"
            ) from error
        self.encoder = model.to(device).eval()
        self.said_by = resources.agent.tokenizer
        self.max_length = min(512, self.tokenizer.model_max_length)
        self.max_tokens = resources.policy.max_tokens
        self.parameters = list(model.parameters())
        self.size = int(model.config.hidden_size)

    def read(self, turns: Sequence[Said], head: Head) -> FloatArray:
        """See `TurnEncoder`."""
        with torch.no_grad():
            values = [head(state, action).double().cpu().numpy() for _, state, action in self.passes(turns)]
        return np.concatenate(values) if values else np.zeros((0, 1))

    def passes(self, turns: Sequence[Said]) -> Iterator[tuple[IntArray, torch.Tensor, torch.Tensor]]:
        """See `TurnEncoder`."""
        texts = [[self._text(said) for said in turn] for turn in turns]
        at_once = max(1, self.max_tokens // (2 * self.max_length))
        for start in range(0, len(turns), at_once):
            part = texts[start : start + at_once]
            states, actions = (self._encode(list(each)) for each in zip(*part, strict=True))
            yield np.arange(start, start + len(part)), states, actions

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.said_by.decode(list(tokens), skip_special_tokens=True)).strip()

    def _encode(self, texts: list[str]) -> torch.Tensor:
        """Vectors of texts: (texts, size)."""
        encoded = self.tokenizer(
            texts, return_tensors="pt", padding=True, truncation=True, max_length=self.max_length
        ).to(self.encoder.device)
        output = self.encoder(**encoded)
        pooled: torch.Tensor | None = getattr(output, "pooler_output", None)
        if pooled is None:
            mask = encoded["attention_mask"].unsqueeze(-1)
            pooled = (output.last_hidden_state * mask).sum(1) / mask.sum(1).clamp(min=1)
        return pooled

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {name: weight.detach().cpu().clone() for name, weight in self.encoder.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `parts.Part`."""
        self.encoder.load_state_dict(state)
