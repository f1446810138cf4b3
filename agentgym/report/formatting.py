"""Numbers as people read them. Something that is not finite is a dash."""

from __future__ import annotations

from math import isfinite

MISSING = "–"
_NBSP = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"


def percent(value: float, digits: int = 1) -> str:
    """A share: `0.371` is `37.1 %`."""
    return f"{100 * value:.{digits}f}{_NBSP}%" if isfinite(value) else MISSING


def interval(bounds: tuple[float, float]) -> str:
    """An interval of shares: `31.4 – 43.2 %`."""
    low, high = bounds
    return f"{100 * low:.1f}{_NBSP}–{_NBSP}{100 * high:.1f}{_NBSP}%"


def points(value: float) -> str:
    """A difference of shares, in percentage points with its sign."""
    return f"{100 * value:+.1f}".replace("-", _MINUS) if isfinite(value) else MISSING


def signed(value: float) -> str:
    """A reward or an advantage, with its sign; zero has none."""
    if not isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    text = f"{value:+.1g}" if abs(value) < 0.01 else f"{value:+.2f}"
    return text.replace("-", _MINUS)


def number(value: float) -> str:
    """Three significant digits, or a whole number with thousands separated."""
    if not isfinite(value):
        return MISSING
    is_long = abs(value) >= 1000 or value == int(value)
    text = f"{value:,.0f}" if is_long else f"{value:#.3g}".removesuffix(".")
    return text if "e" in text else text.replace("-", _MINUS)


def duration(seconds: float) -> str:
    """Seconds as `45 s`, `9 min 40 s` or `3 h 05 min`."""
    if not isfinite(seconds):
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,}{_NBSP}h {minutes:02d}{_NBSP}min"
    return f"{minutes}{_NBSP}min {rest:02d}{_NBSP}s" if minutes else f"{rest}{_NBSP}s"


def clip(text: str, limit: int) -> str:
    """At most `limit` characters of a text, and how many were left out."""
    cut = len(text) - limit
    return text if cut <= 0 else f"{text[:limit]} … ({cut:,} more characters)"
