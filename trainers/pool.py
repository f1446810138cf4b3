"""A pool of the run's own past: partners that play as the policy did after every so many steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from agentgym.agents.agent import Agent
from agentgym.agents.run_files import pool_path
from agentgym.trainers.policy import Policy


class Pool:
    """The policy's adapters after 0, `every`, 2·`every`, … training steps, frozen, as partners. A part of the run.

    It begins with the start, the model before training, so that there is always somebody to play against. A member is
    drawn uniformly. Each holds an adapter in memory, and a file in the run directory that a resumed run reads it from.
    """

    per_process = False

    def __init__(self, policy: Policy, agent_of: Callable[[str | None, int], Agent], run_dir: Path, *, every: int):
        """`agent_of`: who plays with this adapter of the policy's model (None: with none), after so many steps."""
        self.policy, self.agent_of, self.run_dir, self.every = policy, agent_of, run_dir, every
        self._members: dict[str, tuple[int, Agent]] = {}
        """By name: finished steps, and who plays so."""

    @property
    def steps(self) -> list[int]:
        """How many training steps the members had finished, in order."""
        return [step for step, _ in self._members.values()]

    def add(self, step: int) -> None:
        """Take the policy in as it is after so many steps, if it is its turn. Called by all processes."""
        if step % self.every or step in self.steps:
            return
        if not step:
            self._join(0, None)
            return
        state = self.policy.adapter_state("default")
        if self.policy.processes.is_main:
            _write(pool_path(self.run_dir, step), state)
        self._join(step, state)

    def draw(self, seed: int) -> str:
        """See `Source.draw`."""
        names = list(self._members)
        return names[int(np.random.default_rng(seed).integers(len(names)))]

    def agent(self, name: str) -> Agent:
        """See `Source.agent`."""
        return self._members[name][1]

    def _join(self, step: int, state: Mapping[str, torch.Tensor] | None) -> None:
        name = f"pool: step {step}"
        adapter = None if state is None else f"pool-{step}"
        if adapter is not None and state is not None:
            self.policy.add_adapter(adapter, seed=0)
            self.policy.load_adapter_state(adapter, state)
        self._members[name] = step, self.agent_of(adapter, step)

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`. Reads the adapters from the run directory."""
        for step in state["steps"]:
            self._join(step, load_file(pool_path(self.run_dir, step)) if step else None)


def _write(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write an adapter at once, so that a kill leaves a whole file or none of this name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, unfinished)
    unfinished.replace(path)
