"""Strings that break parsers, as actions: an environment must answer every one of them."""

from __future__ import annotations

import random

HOSTILE_ACTIONS: tuple[str, ...] = (
    # Nothing, blanks, control characters
    *("", " ", "\n\r\t\v\f", "\0", "up\0", "".join(map(chr, range(32))) + "\x7f\x85", "\x1b[31mred\x1b[0m"),
    # Lone surrogates (no UTF-8 can hold them), invisible and right-to-left marks
    *("\ud800", "go \udfff\ud800 up", "\ufeffup\u200b", "\u202eup\u202c"),
    # Other scripts, emoji, combining characters, letters whose case has another length
    *("שלום مرحبا", "上に行く вверх επάνω ऊपर", "🧊👩‍👩‍👧‍👦🏳️‍🌈", "e\u0301" * 50, "İıſK"),
    # Nearly an action; the last p is Cyrillic
    *("UP ", " Left", "ｕｐ", "uр", "up up", "up; down", "<action>up</action>", "[up]", "search[", "click[]"),
    # Other languages: numbers, paths, formats, shells, regular expressions
    *(
        "None",
        "-1",
        "1e999",
        "nan",
        "../../etc/passwd",
        "C:\\NUL",
        "file:///dev/zero",
        "%s%s%n %(x)d",
        "\\",
        "[[[",
    ),
    *(
        "{0} {self.__class__} {",
        "${HOME} $(true) `true`",
        "__import__('os').abort()",
        "'; DROP TABLE tasks; --",
    ),
    "(" * 31 + "a" + "+)" * 31,
    # A million of them
    *("a" * 1_000_000, " " * 1_000_000, "🧊" * 250_000, "up " * 300_000),
)

_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz ",
    "".join(map(chr, range(128))),
    "[]<>(){}\\/|%$#@!?*+-=~^\"'`:;,. \n\t",
    "\u0000\ud800\udfff\ufeff\u200b\u202e\u2028\ufffe\U0010ffff",
    "שלוםمرحبا上行вверхंि🧊👩🏳️",
)


def random_actions(rng: random.Random, count: int, words: tuple[str, ...] = ()) -> list[str]:
    """`count` strings of up to 60 characters of mixed alphabets; with `words`, near misses of these too."""
    return [_random_action(rng, words) for _ in range(count)]


def _random_action(rng: random.Random, words: tuple[str, ...]) -> str:
    alphabet = rng.choice(_ALPHABETS)
    noise = "".join(rng.choice(alphabet) for _ in range(rng.randrange(60)))
    if not words or rng.random() < 0.5:
        return noise
    word = rng.choice(words)
    cut = rng.randrange(len(word) + 1)
    return word[:cut] + noise[: rng.randrange(3)] + word[cut:]
