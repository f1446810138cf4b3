"""The policy's own statistics, and the reference policy's: readings of the distributions that tokens were drawn from.

The policy is the one that acted, or of others' trajectories the present one: signals are computed before the first
optimizer step of a training step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.experience import Experience
from agentgym.trainers.policy import Reading, entropy, logprob, sum_pi_squared
from agentgym.trainers.signals.signal import Signal

_READINGS: dict[str, Reading] = {
    "entropy_K": entropy,
    "sum_pi_squared_K": sum_pi_squared,
    "policy_logprob_K": logprob,
}


class PolicyStatistics(Signal):
    """Each token's log-probability, and entropy and sum of squares of its distribution: one pass without gradient."""

    gives = tuple(_READINGS)

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        """Shapes (K,)."""
        return self.resources.policy.read(experience.layout, {name: _READINGS[name] for name in sorted(self.wanted)})


class Reference(Signal):
    """Each token's log-probability under the reference policy, the model without its adapter, and its perplexity."""

    gives = ("reference_logprob_K", "perplexity_K")

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        """Shapes (K,): in nats, and exp of their negatives."""
        logprob_K = self.resources.policy.read(experience.layout, {"logprob": logprob}, adapter=None)["logprob"]
        given = {"reference_logprob_K": logprob_K, "perplexity_K": np.exp(-logprob_K)}
        return {name: given[name] for name in sorted(self.wanted)}


class Positions(Signal):
    """Where each token stands in all that its trajectory read and wrote, from 0: prompts count as they were added."""

    gives = ("position_K",)

    def compute(self, experience: Experience) -> Mapping[str, IntArray]:
        """Shape (K,)."""
        return {"position_K": np.concatenate([np.zeros(0, np.int64), *map(_positions, experience.trajectories)])}


def _positions(trajectory: Trajectory) -> IntArray:
    read_and_wrote = [(len(turn.prompt_ids), len(turn.response_ids)) for turn in trajectory.turns]
    is_sampled = np.repeat([False, True] * len(read_and_wrote), np.array(read_and_wrote, np.int64).ravel())
    return np.flatnonzero(is_sampled)
