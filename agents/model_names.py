"""Names of models: the built-in ones, directories and hub ids, told apart without loading any and without torch."""

from __future__ import annotations

import re
from pathlib import Path

from agentgym.envs.names import unknown

TINY_MODELS = {
    "tiny": "tiny_model",
    "tiny-household": "tiny_model_household",
    "tiny-negotiator": "tiny_model_negotiator",
    "tiny-player": "tiny_model_player",
    "tiny-searcher": "tiny_model_searcher",
    "tiny-shopper": "tiny_model_shopper",
}
"""The built-in tiny models and their folders here. They know the built-in Sokoban, ALFWorld, SearchQA and WebShop; the
player knows Kuhn poker and tic-tac-toe, the negotiator bargaining."""
BUILTIN = (*TINY_MODELS, "smollm2")
"""Names that stand for a model whatever directories there are."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


class ModelError(ValueError):
    """A model that cannot be loaded; the message says what was looked for, where, and what to do."""


def check_model_name(name: str, *others: str) -> None:
    """Raise `ModelError` in one line for a name that is no built-in model, no directory and no hub id.

    `others` are further names that are right where this one was given.
    """
    if name in BUILTIN or Path(name).is_dir():
        return
    if _is_path(name):
        raise ModelError(f"there is no directory {name}: give a run, a model or an adapter, or a hub id like org/name")
    if not _HUB_ID.fullmatch(name):
        what = "there is no agent" if others else "there is no model"
        raise ModelError(f"{unknown(what, name, (*others, *BUILTIN))}, a directory, or a hub id like org/name")


def _is_path(name: str) -> bool:
    """Whether `name` can only have been meant as a path: hub ids are `org/name`."""
    return (
        name[:1] in "./~" or name.count("/") > 1 or name.endswith("/") or ("/" in name and Path(name).parent.is_dir())
    )
