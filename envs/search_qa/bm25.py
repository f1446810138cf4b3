"""BM25 over any passages, by the library bm25s; the index is built once, kept on disk and memory-mapped."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Sequence
from functools import partial
from typing import Any

import bm25s
import numpy as np
from bm25s.stopwords import STOPWORDS_EN

from agentgym.envs.index_cache import cached
from agentgym.envs.search_qa.passages import Hit, Passage

K1, B = 1.2, 0.75
"""BM25's parameters: Lucene's defaults."""

_TOKENIZATION = 1  # part of what the index is made from: to be raised when `tokenize` changes
_WORD = re.compile(r"\w+")
_STOPWORDS = frozenset(STOPWORDS_EN)

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG, and reports every index it makes


def tokenize(text: str) -> list[str]:
    """Words in lower case, without accents, and without the most common English words."""
    plain = text.casefold()
    if not plain.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return [word for word in _WORD.findall(plain) if word not in _STOPWORDS]


class Bm25Retriever:
    """Ranks passages by BM25 (Lucene's formula, k1 = 1.2, b = 0.75) over titles and texts in one."""

    def __init__(self, passages: Sequence[Passage]):
        """Load the index of `passages` from the cache, or build it and keep it there (6,000 passages: 1 s).

        Raises `ValueError` if no passage has a word to search for.
        """
        self._passages = passages
        settings = map(str, (bm25s.__version__, _TOKENIZATION, K1, B))
        self._index: Any = cached(
            "bm25",
            (*settings, *(passage.contents for passage in passages)),
            make=lambda: _build(passages),
            save=bm25s.BM25.save,
            load=partial(bm25s.BM25.load, mmap=True),
        )

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Retriever`. A passage without any word of the query is never found."""
        words = [word for word in tokenize(query) if word in self._index.vocab_dict]
        if not words:
            return []
        scores = self._index.get_scores(words)
        found = np.flatnonzero(scores)  # few: selecting among thousands of zeros would take longer than the search
        order = found[best(scores[found], top_k)]
        return [Hit(self._passages[i], float(scores[i])) for i in order]


def best(scores: np.ndarray, top_k: int) -> list[int]:
    """The indices of the `top_k` highest scores, the best first, the lower index first among equals.

    bm25s's own selection leaves the order of equals to NumPy's partition, which differs between machines.
    """
    candidates = np.arange(len(scores))
    if top_k < len(scores):
        candidates = np.flatnonzero(scores >= np.partition(scores, -top_k)[-top_k])
    order = np.argsort(-scores[candidates], kind="stable")
    return [int(index) for index in candidates[order[:top_k]]]


def _build(passages: Sequence[Passage]) -> Any:
    words = [tokenize(passage.contents) for passage in passages]
    if not any(words):
        raise ValueError(f"there is nothing to search: no word in any of the {len(passages)} passages")
    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    index.index(words, show_progress=False)
    return index
