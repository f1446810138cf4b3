"""Parts: whatever must survive a kill. A learner is the part that optimises some parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from transformers import get_scheduler

from agentgym.trainers.choices import ScheduleType
from agentgym.trainers.processes import Processes


class StepError(RuntimeError):
    """A training step that cannot be made; one line says why."""


class NotFiniteError(StepError):
    """A loss or gradient that is infinite or not a number: nothing has been changed by it."""


@runtime_checkable
class Part(Protocol):
    """Something with a state. The trainer saves and resumes all parts alike, and knows none of them."""

    @property
    def per_process(self) -> bool:
        """Whether each process has a state of its own; else that of the main process is every process's."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state: tensors, numbers, texts, and lists and dictionaries of them."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` gave."""
        ...


class Learner:
    """AdamW on some parameters, with a schedule, over all processes."""

    per_process = False

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        processes: Processes,
        *,
        learning_rate: float,
        num_steps: int,
        lr_scheduler_type: ScheduleType = "constant",
        warmup_steps: int = 0,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        max_grad_norm: float = 1.0,
    ):
        """`num_steps`: the optimizer steps after which a falling learning rate ends at 0."""
        self.parameters = list(parameters)
        self.processes = processes
        self.max_grad_norm = max_grad_norm
        self.optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay)
        self.schedule = get_scheduler(
            "constant_with_warmup" if lr_scheduler_type == "constant" else lr_scheduler_type,
            self.optimizer,
            num_warmup_steps=warmup_steps,
            num_training_steps=num_steps,
        )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step(self, losses: Iterable[torch.Tensor]) -> float:
        """One optimizer step on the sum of the losses, of all processes; return the gradient's norm before clipping.

        Each loss is differentiated as it comes, so that only one is in memory. Raises `NotFiniteError` before
        anything is changed if the gradient is not finite.
        """
        self.optimizer.zero_grad()
        for loss in losses:
            loss.backward()  # type: ignore[no-untyped-call]
        self.processes.sum_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm).item()
        if not norm < float("inf"):
            raise NotFiniteError(f"the gradient's norm is {norm}")
        self.optimizer.step()
        self.schedule.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """See `Part`. The parameters themselves belong to whoever has them."""
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Part`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


class Lagged:
    """Copies of parameters that follow them slowly: a target network."""

    per_process = False

    def __init__(self, parameters: Sequence[torch.nn.Parameter]):
        self.parameters = list(parameters)
        self.copies = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        """θ̄ ← (1 − τ) θ̄ + τ θ (Polyak averaging); `tau` in [0, 1]."""
        for copy, parameter in zip(self.copies, self.parameters, strict=True):
            copy.lerp_(parameter, tau)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Within, the parameters have the copies' values. Nothing may be optimised meanwhile."""
        present = [parameter.data for parameter in self.parameters]
        for parameter, copy in zip(self.parameters, self.copies, strict=True):
            parameter.data = copy
        try:
            yield
        finally:
            for parameter, data in zip(self.parameters, present, strict=True):
                parameter.data = data

    @torch.no_grad()
    def lag(self) -> float:
        """‖θ − θ̄‖₂ over all parameters."""
        pairs = zip(self.parameters, self.copies, strict=True)
        return float(torch.stack([(parameter - copy).norm() for parameter, copy in pairs]).norm())

    def state_dict(self) -> dict[str, Any]:
        """See `Part`."""
        return {"copies": [copy.detach().cpu().clone() for copy in self.copies]}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Part`."""
        for copy, saved in zip(self.copies, state["copies"], strict=True):
            copy.copy_(saved)
