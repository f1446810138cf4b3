"""From a text to its search terms, as Lucene's English analyser does it: the official index was made by it.

Words by Unicode's rules for their boundaries (UAX #29), possessives without 's, lower case, no stop words, stems by
Porter. Rules for scripts without blanks are Lucene's: an ideograph or a Hiragana letter is a term of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nltk.stem.porter import PorterStemmer

_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this
to was will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_LONGEST_TERM = 255
"""Longer words are cut into pieces of this length."""

_IDEOGRAPH = "\u3005\u3007\u3041-\u3096\u309d-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_KATAKANA = "\u3031-\u3035\u309b\u309c\u30a0-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d"
_SOUTH_EAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\uaa60-\uaa7f\uaa80-\uaadf"
_EMOJI = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3\u23f8-\u23fa"
    "\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2714"
    "\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767\u2795-\u2797\u27a1\u27b0"
    "\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001f0ff"
    "\U0001f10d-\U0001f10f\U0001f12f\U0001f16c-\U0001f171\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a"
    "\U0001f1ad-\U0001f1e5\U0001f201-\U0001f20f\U0001f21a\U0001f22f\U0001f232-\U0001f23a\U0001f23c-\U0001f23f"
    "\U0001f249-\U0001f3fa\U0001f400-\U0001f53d\U0001f546-\U0001f64f\U0001f680-\U0001f6ff\U0001f774-\U0001f77f"
    "\U0001f7d5-\U0001f7ff\U0001f80c-\U0001f80f\U0001f848-\U0001f84f\U0001f85a-\U0001f85f\U0001f888-\U0001f88f"
    "\U0001f8ae-\U0001f8ff\U0001f90c-\U0001f93a\U0001f93c-\U0001f945\U0001f947-\U0001faff\U0001fc00-\U0001fffd"
)
"""Unicode's Extended_Pictographic (Emoji 12): each is a term; other symbols are none."""
_FLAG = "\U0001f1e6-\U0001f1ff"
_CONNECTOR = "_\u203f\u2040\u2054\ufe33\ufe34\ufe4d-\ufe4f\uff3f"
_BETWEEN_LETTERS = "'.:\u00b7\u0387\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"
_BETWEEN_DIGITS = (
    "'.,;\u037e\u0589\u060c\u060d\u066c\u07f8\u2018\u2019\u2024\u2044"
    "\ufe10\ufe14\ufe50\ufe52\ufe54\uff07\uff0c\uff0e\uff1b"
)
_APOSTROPHES = "'\u2019\uff07"


def terms(text: str) -> list[str]:
    """The search terms of a text, in order, repeats kept."""
    found = []
    for word in _words(text):
        if word[-2:-1] in _APOSTROPHES and word[-1:] in "sS" and len(word) > 2:
            word = word[:-2]
        word = word.lower()
        if word not in STOP_WORDS:
            found.append(stem(word))
    return found


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of a word in lower case, by Porter's algorithm as its author changed it later, which Lucene has."""
    return str(_stemmer().stem(word, to_lowercase=False))


@cache
def _stemmer() -> PorterStemmer:
    """Imported at first use: the whole of NLTK comes with it, most of a second, and not every episode searches."""
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer(PorterStemmer.MARTIN_EXTENSIONS)


def _words(text: str) -> Iterator[str]:
    for token in _tokens().findall(text):
        for start in range(0, len(token), _LONGEST_TERM):
            yield token[start : start + _LONGEST_TERM]


@cache
def _tokens() -> re.Pattern[str]:
    """The pattern of a token. Compiled at first use: it needs Unicode's table of combining characters."""
    extend = _of_category("Mn", "Me", "Mc", "Cf") + "\uff9e\uff9f"
    apart = _IDEOGRAPH + _KATAKANA + _SOUTH_EAST_ASIAN + _of_category("No") + "\uff9e\uff9f"
    letter = f"(?:(?![{apart}])[^\\W\\d_][{extend}]*)"
    digit = f"(?:\\d[{extend}]*)"
    joined = f"{letter}(?:[{_BETWEEN_LETTERS}][{extend}]*(?={letter}))?|{digit}(?:[{_BETWEEN_DIGITS}](?={digit}))?"
    emoji = f"[{_EMOJI}][\ufe0f\U0001f3fb-\U0001f3ff]?"
    return re.compile(
        f"[{_CONNECTOR}]*(?:{joined})(?:{joined}|[{_CONNECTOR}])*"
        f"|[{_KATAKANA}][{_KATAKANA}{extend}]*"
        f"|[{_SOUTH_EAST_ASIAN}][{_SOUTH_EAST_ASIAN}{extend}]*"
        f"|[{_IDEOGRAPH}][{extend}]*"
        f"|[{_FLAG}]{{2}}|{emoji}(?:\u200d{emoji})*"
    )


def _of_category(*categories: str) -> str:
    """Unicode's characters of 16 bits in these categories, as ranges for a pattern; no zero-width space: it parts."""
    ranges: list[list[int]] = []
    for code in range(0xAD, 0x10000):
        if unicodedata.category(chr(code)) not in categories or code == 0x200B:
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
