"""Reading JSON and JSON lines, plain or gzipped, with errors that name the file and the place in one line."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20
_BLANKS = " \t\r\n"


class NotAnArrayError(ValueError):
    """A `.json` file holds something else than a list."""


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1. Raises `ValueError` if they cannot be read."""
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield number, line.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise ValueError(f"{file}, line {number}: not UTF-8: {error}") from None


def objects_of(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in JSON lines, or in a JSON array where the name says `.json`, each with its place in words.

    They are read as they are asked for. Raises `ValueError` at what is no object or cannot be read.
    """
    if file.name.removesuffix(".gz").endswith(".json"):
        for number, value in enumerate(_elements(file), 1):
            place = f"{file}, element {number}"
            yield place, _object(value, place)
        return
    for number, line in lines_of(file):
        place = f"{file}, line {number}"
        yield place, _object(_decoded(line, place), place)


def object_in(file: Path) -> dict[str, Any]:
    """The JSON object that a file holds."""
    with _opened(file) as source:
        return _object(_decoded(source.read().decode("utf-8"), str(file)), str(file))


@contextmanager
def _opened(file: Path) -> Iterator[gzip.GzipFile | io.BufferedReader]:
    """The file's bytes, unpacked. Raises `ValueError` for whatever goes wrong while they are read."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as source:
            yield source
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _elements(file: Path) -> Iterator[Any]:
    """The elements of a JSON array, without ever holding the whole: the full product file has gigabytes."""
    decoder = json.JSONDecoder()
    with _opened(file) as packed:
        source = io.TextIOWrapper(packed, encoding="utf-8")
        buffer = source.read(_CHUNK).lstrip(_BLANKS + "\ufeff")
        if not buffer.startswith("["):
            raise NotAnArrayError(
                f"{file}: expected a JSON array of objects (one object on each line belongs into .jsonl)"
            )
        buffer, count, wanted = buffer[1:].lstrip(_BLANKS), 0, _CHUNK
        position = 0
        while True:
            while position < len(buffer) and buffer[position] in _BLANKS + ",":
                position += 1
            if buffer[position : position + 1] == "]":
                return
            try:
                value, position = decoder.raw_decode(buffer, position)
            except (ValueError, RecursionError) as error:
                more = source.read(wanted)
                if not more:
                    raise ValueError(f"{file}, element {count + 1}: {_reason(error)}") from None
                buffer, position, wanted = buffer[position:] + more, 0, 2 * wanted
                continue
            count, wanted = count + 1, _CHUNK
            yield value


def _decoded(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = "" if ", line " in place else f", line {error.lineno}"
        raise ValueError(f"{place}{line}: {_reason(error)}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: {_reason(error)}") from None


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place}: expected a JSON object, not {type(value).__name__}")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    return f"invalid JSON: {getattr(error, 'msg', error)}"
