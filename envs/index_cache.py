"""Search indexes that took time to make, kept between processes in one directory of the user's.

Each has a folder there, named by a hash of all that it was made from, so that none is ever out of date. Any of them may
be deleted at any time.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from agentgym.envs.user_path import user_path

CACHE_VARIABLE = "AGENTGYM_CACHE"
"""Names the directory; by default it is `agentgym` in $XDG_CACHE_HOME or ~/.cache."""

T = TypeVar("T")
_logger = logging.getLogger(__name__)


def cached(
    kind: str,
    content: Iterable[str],
    *,
    make: Callable[[], T],
    save: Callable[[T, Path], object],
    load: Callable[[Path], T],
) -> T:
    """The index that `make` makes of `content`: loaded, if it was made before.

    `save(index, folder)` fills an empty folder, from which `load(folder)` reads, memory-mapped at best. An index that
    cannot be loaded is damaged and is made anew. Where nothing can be written, it stays in memory; a warning says so.
    """
    digest = blake2b(digest_size=16)
    for text in content:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    folder = _cache_directory() / f"{kind}-{digest.hexdigest()}"
    try:
        return load(folder)
    except Exception as error:  # a damaged file fails in whatever it is used for first
        if folder.exists():
            _logger.warning("the index %s is damaged and is made anew: %s", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    index = make()
    try:
        _store(folder, lambda unfinished: save(index, unfinished))
        return load(folder)
    except OSError as error:
        _logger.warning("the index is not kept in %s: %s (set %s)", folder.parent, error, CACHE_VARIABLE)
        return index


def _cache_directory() -> Path:
    chosen = os.environ.get(CACHE_VARIABLE)
    return user_path(chosen or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/agentgym")


def _store(folder: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a directory beside `folder` and rename it, so that other processes see all of it or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as draft:
        unfinished = Path(draft) / folder.name
        unfinished.mkdir()
        write(unfinished)
        if not folder.exists():  # another process may have been quicker
            unfinished.rename(folder)
