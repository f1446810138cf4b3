"""What a signal is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from numpy.typing import NDArray

from agentgym.agents.llm_agent import LLMAgent
from agentgym.envs.told import Told
from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.registry import Credit
from agentgym.trainers.experience import Experience
from agentgym.trainers.policy import Policy
from agentgym.trainers.processes import Processes

Fits: TypeAlias = Literal["never", "before", "after"]


@dataclass(frozen=True)
class Resources:
    """All that a signal may draw on."""

    policy: Policy
    agent: LLMAgent
    told: Told
    """What the environment tells."""
    processes: Processes
    seed: int
    """Of the run; `derived_seed` makes one's own of it."""
    directory: Path
    """The run directory."""
    max_steps: int
    """Training steps of the run."""
    give_credit: Callable[[TurnBatch], Credit]
    """The run's credit scheme: what gives targets to a signal that fits before credit is given."""
    learning_rate: float
    """The policy's, at its highest."""


class Signal:
    """A part that adds columns to every experience, before credit is given."""

    gives: ClassVar[tuple[str, ...]]
    """The names of its columns, in `signal_names` or of its own; with a star for a name that depends on parameters.

    One may always be given besides: `excluded_N`, which trajectories cannot be learned from because the signal failed
    for them, whatever it gives in place of them. They leave the experience, and what is left of a group with them if
    it is too few to compare. `compute` and `fit` may see different trajectories therefore.
    """
    needs: ClassVar[tuple[str, ...]] = ()
    """What it works on: other signals, or what environments tell. Those that give it come first."""
    fits: Fits = "never"
    """When it learns: never, before it is computed, or after credit has been given."""
    per_process: bool = False
    free_on_resume: ClassVar[tuple[str, ...]] = ()
    """Parameters that a resumed run may have otherwise: those that change nothing of what is learned."""

    @classmethod
    def needs_of(cls, params: Mapping[str, Any]) -> tuple[str, ...]:
        """What it needs with these parameters: those that were given, checked."""
        return cls.needs

    @classmethod
    def check(cls, params: Mapping[str, Any], told: Told) -> None:
        """Raise `ValueError` in one line for what can be seen to be wrong before a model is loaded.

        `params`: all of its parameters, of the right types.
        """

    def __init__(self, resources: Resources, wanted: frozenset[str]):
        """`wanted`: which of its columns somebody needs. Parameters of its own are keyword-only with defaults."""
        self.resources = resources
        self.wanted = wanted

    def compute(self, experience: Experience) -> Mapping[str, NDArray[Any]]:
        """Its columns of this process's experience. Called by all processes."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is computed")

    def report(self) -> dict[str, float]:
        """Metrics of what was computed last. Called by all processes after each `compute`."""
        return {}

    def fit(self, experience: Experience, targets: Mapping[str, FloatArray]) -> dict[str, float]:
        """Learn from an experience; return metrics. Called by all processes.

        `targets`: by the name of the column that the scheme wants nearer to them (`{"value_T": return_T}`), of the
        signal's own columns; empty where it fits before credit is given, or the scheme wants nothing of it.
        """
        raise NotImplementedError(f"{type(self).__name__} fits {self.fits}, but does not say how")

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`. Nothing unless it learns or remembers."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
