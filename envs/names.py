"""Names that people give in a configuration: one of ours, or "module:name" for what is in a module of their own."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from agentgym.envs.faults import import_own


def named(what: str, name: str, known: Mapping[str, Any] | None = None) -> Any:
    """What stands in `known` under a name, or in a module of anybody's as "module:name".

    Raises `ValueError` in one line with the nearest names, or for a module without it.
    """
    module, _, attribute = name.rpartition(":")
    if not module:
        if name not in (known or {}):
            raise ValueError(unknown(f"unknown {what}", name, known or {}) + ', or one of yours as "module:name"')
        return (known or {})[name]
    found = import_own(module, f"the {what} {name!r}")
    try:
        return getattr(found, attribute)
    except AttributeError:
        raise ValueError(f"the {what} {name!r}: there is no {attribute!r} in {module}") from None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist, with the nearest ones. `what` as in "unknown parameter"."""
    known = sorted(set(known))
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{what} {name!r}: {hint}there is {', '.join(known) or 'none'}"
