"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(given: str | Path) -> Path:
    """The path with the home directory for ~; unlike `Path.expanduser`, unchanged where that is nobody's."""
    return Path(os.path.expanduser(given))  # noqa: PTH111 - see above
