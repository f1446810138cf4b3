"""Derived seeds: randomness that needs no state, since whoever needs it says what it is for."""

from __future__ import annotations

from hashlib import blake2b


def derived_seed(*purpose: object) -> int:
    """The seed in [0, 2⁶³) for a purpose, such as (run's seed, step, "minibatches", 0): a hash of its words."""
    digest = blake2b("/".join(map(str, purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
