"""The processes of a run, as accelerate started them: what they tell one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, reduce

T = TypeVar("T")


class Processes:
    """All processes of a run, seen from one of them. Every method but the properties is to be called by all."""

    def __init__(self) -> None:
        self._state = PartialState(cpu=not torch.cuda.is_available())  # told so, accelerate joins them there too

    @property
    def index(self) -> int:
        """Which one this is, from 0."""
        return int(self._state.process_index)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._state.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes what there is to write once."""
        return bool(self._state.is_main_process)

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        gathered: list[T] = gather_object([value])
        return gathered

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes, in one collective operation; none is 0."""
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.count == 1:
            return
        flat = reduce(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]), reduction="sum")
        for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)

    def wait(self) -> None:
        """Return when all are here."""
        self._state.wait_for_everyone()
