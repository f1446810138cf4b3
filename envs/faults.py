"""Faults in other people's code are told with the place in that code, and without ours."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType, ModuleType

_BETWEEN = ("agentgym", "gymnasium", "importlib", "contextlib")
"""Packages whose frames lie between a command and the code that it runs for somebody."""


def import_own(module: str, what: str) -> ModuleType:
    """Import a module of anybody's, which may lie in the working directory, as with `python -m`.

    Raises `ValueError`: in one line if there is no such module, and with the place in it if it fails.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        with others_faults(f"{what}: {module!r} cannot be imported", module):
            return import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{what}: cannot import {module!r}: {error}") from None


@contextmanager
def others_faults(what: str, owner: str) -> Iterator[None]:
    """Within, an error of the code of `owner`, a module, becomes a `ValueError` with the place in that code.

    Errors that this library itself raises, and those of its own environments, pass as they are.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        place = _place(error, owner)
        if not place and not isinstance(error, SyntaxError):
            raise
        reason = "".join(traceback.format_exception_only(error)).rstrip()
        raise ValueError(f"{what}:\n{''.join(place.format())}{reason}") from error


def keep_place(error: Exception, owner: str) -> None:
    """Keep the place in the code of `owner` in the error itself, where it outlives the traceback: see `others_faults`.

    For errors that go to another process.
    """
    error.__dict__[_KEPT] = _place(error, owner)


def place_in_others(error: BaseException) -> str:
    """Where in other people's code the error arose, as " (file, line 3)"; "" where none of it ran."""
    place = _theirs(error)
    return f" ({place[0].filename}, line {place[0].lineno})" if place else ""


_KEPT = "_place_in_others"


def _place(error: BaseException, owner: str) -> traceback.StackSummary:
    """The frames from the code of `owner` on; none where this library itself raised the error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    is_ours = _name(owner) == "agentgym" or all(map(_is_between, frames[-1:]))
    if is_ours and not isinstance(error, SyntaxError):  # whose place is in the error, not in a frame
        return _kept(error)
    return _theirs(error)


def _theirs(error: BaseException) -> traceback.StackSummary:
    """The frames from the first one in other people's code on."""
    frames = list(traceback.walk_tb(error.__traceback__))
    first = next((i for i, (frame, _) in enumerate(frames) if not _is_between(frame)), len(frames))
    return _kept(error) or traceback.StackSummary.extract(iter(frames[first:]))


def _kept(error: BaseException) -> traceback.StackSummary:
    """What `keep_place` kept."""
    kept = getattr(error, _KEPT, None)
    return kept if isinstance(kept, traceback.StackSummary) else traceback.StackSummary()


def _is_between(frame: FrameType) -> bool:
    return _name(str(frame.f_globals.get("__name__", ""))) in _BETWEEN


def _name(module: str) -> str:
    return module.partition(".")[0]
