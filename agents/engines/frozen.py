"""The engine of a partner that shares its weights with the policy in training, but not its adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agentgym.agents.adapters import acting_with
from agentgym.agents.engines import Sample
from agentgym.agents.engines.transformers import TransformersEngine


class FrozenEngine(TransformersEngine):
    """Samples from the model that another engine trains on, with a frozen adapter in place of the one in training.

    It may sample while the other serves: what that has merged into the weights is out of them meanwhile.
    """

    def __init__(self, of: TransformersEngine, adapter: str | None):
        """`adapter`: of the same model; None for the model as it was before training."""
        super().__init__(of.model, of.stop_ids, max_batch_tokens=of.max_batch_tokens)
        self.adapter = adapter

    @contextmanager
    def serving(self, model: Any, step: int) -> Iterator[None]:
        """See `Engine.serving`: nothing changes."""
        yield

    def collect(self) -> list[Sample]:
        """See `Engine.collect`."""
        if not self._waiting:
            return []
        with acting_with(self.model, self.adapter):
            return super().collect()
