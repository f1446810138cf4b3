"""Texts that can be written down."""

from __future__ import annotations


def storable(text: str) -> str:
    """Without lone surrogates, which JSON and Python can hold and UTF-8 cannot: each becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
