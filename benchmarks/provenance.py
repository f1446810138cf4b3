"""What every result file says of itself: the command, the date, the machine and the versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def named_from_here(word: str) -> str:
    """A path beside or below the repository as it is called from the repository: on other machines that is the same."""
    return os.path.relpath(word, ROOT) if Path(word).is_absolute() and Path(word).is_relative_to(ROOT.parent) else word


def provenance(core: int | None = None, packages: Iterable[str] = ()) -> dict[str, Any]:
    """`core`: the one that all runs are pinned to, if they are. `packages`: those whose versions matter here."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    pinned = {} if core is None else {"pinned_to_core": core}
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "command": shlex.join([Path(sys.executable).name, *map(named_from_here, sys.argv)]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": model,
            "cores": os.cpu_count(),
            **pinned,
            "load_average_at_start": os.getloadavg(),
            "system": platform.platform(),
        },
        **({"versions": {"python": platform.python_version(), **versions}} if versions else {}),
    }
