"""The policy's own statistics, and the reference policy's: readings of the distributions that tokens were drawn from.

The policy is the one that acted: signals are computed before the first optimizer step on what it played.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.experience import Experience
from agentgym.trainers.policy import Reading, entropy, logprob, sum_pi_squared
from agentgym.trainers.signals.signal import Signal

_READINGS: dict[str, Reading] = {"entropy_K": entropy, "sum_pi_squared_K": sum_pi_squared}


class PolicyStatistics(Signal):
    """Entropy and sum of squares of each token's distribution, in one pass without gradient."""

    gives = tuple(_READINGS)

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        """Shapes (K,)."""
        return self.resources.policy.read(experience.layout, {name: _READINGS[name] for name in sorted(self.wanted)})


class Reference(Signal):
    """Each token's log-probability under the reference policy, the model without its adapter."""

    gives = ("reference_logprob_K",)

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        """Shape (K,), in nats."""
        return self.resources.policy.read(experience.layout, dict.fromkeys(self.gives, logprob), adapter=None)
