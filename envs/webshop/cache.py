"""WebShop's search index in the cache (`envs.index_cache`), memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from agentgym.envs.index_cache import cached
from agentgym.envs.webshop.index import Postings

_FORMAT = "1"
_ARRAYS = ("start", "document", "frequency", "norm")


def cached_postings(content: Iterable[str], make: Callable[[], Postings]) -> Postings:
    """The postings that `make` makes from `content`, from the cache if they were made before."""
    return cached("webshop", (_FORMAT, *content), make=make, save=_save, load=_load)


def _load(folder: Path) -> Postings:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    terms = (folder / "terms.txt").read_text(encoding="utf-8").split("\n")[:-1]
    if len(arrays["start"]) != len(terms) + 1 or len(arrays["document"]) != meta["postings"]:
        raise ValueError("its files do not belong together")
    return Postings(terms=terms, total_length=meta["total_length"], **arrays)


def _save(postings: Postings, folder: Path) -> None:
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(postings, name))
    (folder / "terms.txt").write_text("".join(f"{term}\n" for term in postings.terms), encoding="utf-8", newline="")
    meta = {"postings": len(postings.document), "total_length": postings.total_length}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
