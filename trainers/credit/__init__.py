"""Credit schemes: who gets how much of the reward. `compute("gigpo", batch)` gives advantages.

`credit` is the decorator that registers a scheme, here or in your own code; `schemes` lists all of them.
"""

from agentgym.trainers.credit import episode, gigpo  # noqa: F401  (importing a module registers its schemes)
from agentgym.trainers.credit.registry import Credit, Scheme, compute, credit, get_scheme, schemes

__all__ = ["Credit", "Scheme", "compute", "credit", "get_scheme", "schemes"]
