"""From characters of a decoded response to the tokens that were sampled for them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cache

Span = tuple[int, int]


def token_spans(
    decode: Callable[[Sequence[int]], str], ids: Sequence[int], spans: Mapping[str, Span]
) -> dict[str, Span]:
    """The tokens, first and one after the last, that the characters of each span were decoded from.

    A token that begins before a span and ends inside it, or the other way round, belongs to the span. Tokens are only
    ever decoded from the first on, as decoders differ in what they make of a token in the middle: each border is found
    by bisection, with about log2 of the tokens' number decodings.
    """
    text = decode(ids)

    @cache
    def reached(count: int) -> int:
        """How many characters of the text the first `count` tokens give."""
        # Tokens that end within a character are decoded as something else: they give no more than those before.
        while not text.startswith(prefix := decode(ids[:count])):
            count -= 1
        return len(prefix)

    def tokens(start: int, end: int) -> Span:
        first = bisect_left(range(len(ids) + 1), start, key=reached)
        last = bisect_left(range(len(ids) + 1), end, key=reached)
        return (first if reached(first) == start else first - 1), last

    return {part: tokens(*characters) for part, characters in spans.items()}
