"""A model that learns beside the policy: critics, reward models and the like are readings of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from agentgym.agents.models import add_lora, load_model
from agentgym.agents.seeds import derived_seed
from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.layout import Layout
from agentgym.trainers.policy import Pass, Policy, Reading
from agentgym.trainers.signals.signal import Resources


class SecondModel:
    """An adapter of its own on the policy's frozen base, or on a model of its own with the same tokenizer.

    It begins as the model that it adapts, and shares no trained weight with the policy.
    """

    def __init__(
        self,
        resources: Resources,
        name: str,
        *,
        model: str | None = None,
        lora_r: int | None = None,
        lora_dropout: float = 0.0,
    ):
        """`name`: the adapter's. `model`: what `load_model` takes; None stands for the policy's base.

        `lora_r`: the rank; None stands for that of the policy's adapter, with its α/r. Raises `ValueError` in one line
        for a model that cannot be loaded or has another tokenizer.
        """
        policy, seed = resources.policy, derived_seed(resources.seed, name)
        config = policy.model.peft_config["default"]
        r = lora_r or config.r
        alpha = max(1, round(config.lora_alpha * r / config.r))  # 0 would be an adapter that never learns
        if model is None:
            self.reader, self.adapter = policy, name
            self.parameters = policy.add_adapter(name, seed=seed, r=r, lora_alpha=alpha, lora_dropout=lora_dropout)
            return
        weight = next(policy.model.parameters())
        loaded = load_model(model, dtype=str(weight.dtype).removeprefix("torch."), device=weight.device)
        if loaded.tokenizer.get_vocab() != resources.agent.tokenizer.get_vocab():
            raise ValueError(f"{name}: {model} has another tokenizer than the policy, and could not read its tokens")
        adapted = add_lora(
            loaded, r=r, alpha=alpha, dropout=lora_dropout, target_modules=config.target_modules, seed=seed
        )
        self.reader = Policy(
            adapted.model,
            temperature=policy.temperature,
            max_tokens=policy.max_tokens,
            processes=resources.processes,
        )
        self.adapter, self.parameters = "default", self.reader.parameters

    @property
    def hidden_size(self) -> int:
        """The length of a hidden state."""
        return int(self.reader.model.get_output_embeddings().in_features)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.parameters[0].device

    def read(
        self, layout: Layout, readings: Mapping[str, Reading], *, with_logits: bool = True
    ) -> dict[str, FloatArray]:
        """See `Policy.read`."""
        return self.reader.read(layout, readings, adapter=self.adapter, with_logits=with_logits)

    def read_base(self, layout: Layout, readings: Mapping[str, Reading]) -> dict[str, FloatArray]:
        """`read`, of what it adapts: of itself before training."""
        return self.reader.read(layout, readings, adapter=None)

    def passes(self, layout: Layout, *, with_logits: bool = True) -> Iterator[Pass]:
        """See `Policy.passes`."""
        return self.reader.passes(layout, adapter=self.adapter, with_logits=with_logits)

    def state_dict(self) -> dict[str, Any]:
        """The adapter's weights."""
        return self.reader.adapter_state(self.adapter)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over weights that `state_dict` gave. Raises `AdapterError` for those of another shape."""
        self.reader.load_adapter_state(self.adapter, state)
