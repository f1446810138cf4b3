"""Credit schemes: who gets how much of the reward. `compute("gigpo", batch)` gives advantages.

`credit` is the decorator that registers a scheme, here or in your own code; `schemes` lists all of them. A scheme's
family is the folder that its module lies in.
"""

from importlib import import_module
from pkgutil import walk_packages

from agentgym.trainers.credit.registry import Credit, Scheme, compute, credit, get_scheme, schemes

__all__ = ["Credit", "Scheme", "compute", "credit", "get_scheme", "schemes"]

for _module in walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)  # which registers its schemes
