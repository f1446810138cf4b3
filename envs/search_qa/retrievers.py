"""Which retriever an argument means: "bm25", the URL of a server, or the directory of a sentence-transformers model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from agentgym.envs.search_qa.bm25 import Bm25Retriever
from agentgym.envs.search_qa.passages import Hit, Retriever
from agentgym.envs.search_qa.questions import PassageSource
from agentgym.envs.search_qa.remote import HttpRetriever

BM25 = "bm25"


class LocalRetriever:
    """Searches a source's own passages in this process, where all who search the same passages share one index.

    The index is loaded or built at the first search.
    """

    def __init__(self, name: str, source: PassageSource):
        """`name`: "bm25" or a model's directory. Raises `ValueError` if that is no such thing."""
        if name != BM25 and not (Path(name) / "modules.json").is_file():
            raise ValueError(
                f"{name!r} is neither {BM25!r} nor the directory of a sentence-transformers model (with modules.json "
                "in it), nor a server's URL where one can be asked"
            )
        if not source.passages:
            raise ValueError("there are no passages to search: give corpus=FILE, or as retriever the URL of a server")
        self._name, self._source = name, source

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Retriever`."""
        return _index(self._name, self._source).search(query, top_k)


def make_retriever(name: str | Path, source: PassageSource, *, timeout: float = 10.0, retries: int = 3) -> Retriever:
    """The retriever that `name` means; `timeout` in seconds and `retries` are those of `HttpRetriever`."""
    if str(name).startswith(("http:", "https:")):
        return HttpRetriever(str(name), timeout=timeout, retries=retries)
    return LocalRetriever(str(name), source)


@lru_cache(maxsize=4)
def _index(name: str, source: PassageSource) -> Retriever:
    if name == BM25:
        return Bm25Retriever(source.passages)
    from agentgym.envs.search_qa.dense import DenseRetriever

    return DenseRetriever(source.passages, Path(name))
