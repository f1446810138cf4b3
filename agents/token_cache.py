"""A cache of token sequences that forgets the longest unused when it holds too many tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable


class TokenCache:
    """Least recently used, bounded by tokens: entries may be of any length."""

    def __init__(self, max_tokens: int = 4_000_000):
        """`max_tokens`: of all entries together, each counting one more. A longer one is not kept."""
        self.max_tokens = max_tokens
        self.held_tokens = 0
        self._entries: OrderedDict[Hashable, tuple[int, ...]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
        """The tokens kept under `key`; where there are none, those that `make` gives."""
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        tokens = self._entries[key] = make()
        self.held_tokens += len(tokens) + 1
        while self.held_tokens > self.max_tokens:
            _, forgotten = self._entries.popitem(last=False)
            self.held_tokens -= len(forgotten) + 1
        return tokens
