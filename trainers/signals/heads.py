"""Heads that read numbers off hidden states, whatever the size of the rewards that these numbers stand for."""

from __future__ import annotations

import torch

GAIN = 10.0
"""The length of what a head reads: with Adam V then moves by 10·√(hidden size)·(learning rate) a step at most, a
twentieth of its range for a model with 2,048 at 1e-4, which suits the adapter below it."""


class ValueHead(torch.nn.Module):
    """V = s·(10 W h/|h| + b), float32, with s the largest target seen: what is learned stays within about ±1.

    As in PopArt (arXiv:1602.07714), W and b are changed with s so that every V stays what it was. W and b begin as 0:
    who has seen nothing expects nothing. How long hidden states are differs much from model to model.
    """

    scale: torch.Tensor

    def __init__(self, hidden_size: int, n_outputs: int, device: torch.device):
        super().__init__()
        self.linear = torch.nn.Linear(hidden_size, n_outputs, device=device)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)
        self.register_buffer("scale", torch.zeros((), device=device))

    @property
    def unit(self) -> float:
        """s; 1 as long as nothing but 0 has been seen."""
        return self.scale.item() or 1.0

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """V / s for hidden states of shape (…, hidden size): (…, outputs)."""
        output: torch.Tensor = self.linear(GAIN * torch.nn.functional.normalize(states.float(), dim=-1))
        return output

    @torch.no_grad()
    def widen(self, largest: float) -> None:
        """See a target of this size, ≥ 0."""
        if largest > self.scale.item():
            before = self.unit
            self.scale.fill_(largest)
            self.linear.weight.mul_(before / self.unit)
            self.linear.bias.mul_(before / self.unit)


class TwinHeads(torch.nn.Module):
    """Q1, Q2 of a state and an action, V1, V2 of a state: perceptrons with two hidden layers, as in ArCHer's code.

    They begin as 0 everywhere, by their last layers, and differ in the layers before: twins that were equal would stay
    equal.
    """

    NAMES = ("q1", "q2", "v1", "v2")

    def __init__(self, size: int, device: torch.device):
        """`size`: of the vectors of states and of actions."""
        super().__init__()
        width = min(size, 768)  # RoBERTa's, as there
        self.heads = torch.nn.ModuleDict(
            {name: _perceptron(2 * size if name.startswith("q") else size, width) for name in self.NAMES}
        ).to(device)

    def forward(self, state_BH: torch.Tensor, action_BH: torch.Tensor) -> torch.Tensor:
        """The values in the order of `NAMES`: (B, 4)."""
        seen = {"q": torch.cat([state_BH, action_BH], dim=-1).float(), "v": state_BH.float()}
        return torch.cat([self.heads[name](seen[name[0]]) for name in self.NAMES], dim=-1)


def _perceptron(n_inputs: int, width: int) -> torch.nn.Sequential:
    last = torch.nn.Linear(width, 1)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return torch.nn.Sequential(
        torch.nn.Linear(n_inputs, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU(), last
    )
