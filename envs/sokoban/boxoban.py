"""Boxoban's level files (github.com/google-deepmind/boxoban-levels): 1,000 levels a file, in plain text.

A level is a line `; <number>`, its rows in the XSB format and a blank line. Files put together from several
say `; <file> <number>`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agentgym.envs.sokoban.level import Level

_SUFFIXES = (".txt", ".txt.gz")
#: The folders at the top of Boxoban, where the name of a file in it begins.
_COLLECTIONS = ("unfiltered", "medium", "hard")


@dataclass(frozen=True)
class NamedLevel:
    """A level and where Boxoban has it, such as "medium/valid/000.txt 12"."""

    name: str
    level: Level


def read_levels(path: Path) -> list[NamedLevel]:
    """Read a level file (.txt or .txt.gz), or all of a directory and its sub-directories, sorted by path.

    A level is named by its `;` line (the last one before its rows). If that is a number alone, the file's
    name goes before it: from Boxoban's folder on ("hard/000.txt"), else as seen from `path`.

    Raises `ValueError`, in one line with the file, the line's number and the reason, if `path` does not
    exist, a directory has no level file, or a file cannot be read, is not UTF-8, has no level or has a
    malformed one.
    """
    levels: list[NamedLevel] = []
    file = path
    try:
        for file in _files(path):
            levels.extend(_parse(_text(file), _official_name(file, path)))
    except _BadFileError as error:
        raise ValueError(f"{file}{error}") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{file}: cannot be read: {reason}") from error
    return levels


class _BadFileError(Exception):
    """What is wrong with a file, to be said after its name."""


def _files(path: Path) -> list[Path]:
    """The level files that `path` stands for."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.txt*") if file.name.endswith(_SUFFIXES) and not file.is_dir())
        if not files:
            raise _BadFileError(": no level file (.txt or .txt.gz) in this directory")
        return files
    if not path.exists():
        raise _BadFileError(": no such file or directory")
    if not path.name.endswith(_SUFFIXES):
        raise _BadFileError(": not a level file: the name does not end in .txt or .txt.gz")
    return [path]


def _official_name(file: Path, root: Path) -> str:
    """The file's name in Boxoban, wherever it lies here and whether it is compressed or not."""
    parts = file.resolve().parts
    starts = [index for index, part in enumerate(parts) if part in _COLLECTIONS]
    if starts:
        name = "/".join(parts[starts[-1] :])
    else:
        name = file.name if file == root else file.relative_to(root).as_posix()
    return name.removesuffix(".gz")


def _text(file: Path) -> str:
    """The file's text. A byte order mark at its beginning is dropped."""
    data = file.read_bytes()
    if file.suffix == ".gz":
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _BadFileError(f", line {line}: not UTF-8: {error.reason}") from None


def _parse(text: str, file_name: str) -> list[NamedLevel]:
    """The levels of the file `file_name`, in its order."""
    levels = []
    for line, title, rows in _blocks(text):
        if not title:
            raise _BadFileError(f", line {line}: no line '; <number>' before these rows")
        name = f"{file_name} {title}" if title.isdecimal() else title
        try:
            levels.append(NamedLevel(name, Level.from_rows(rows)))
        except ValueError as error:
            raise _BadFileError(f", line {line}: the level that begins here: {error}") from None
    if not levels:
        raise _BadFileError(": no level in this file")
    return levels


def _blocks(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """(number of the first row's line, title, rows) of every run of rows in `text`."""
    title, title_line = "", 0
    rows: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        is_title, is_blank = line.startswith(";"), not line.strip()
        if rows and (is_title or is_blank):
            yield number - len(rows), title, rows
            title, rows = "", []
        if is_title:
            title, title_line = line[1:].strip() or title, number
        elif not is_blank:
            rows.append(line.removesuffix("\r"))
    if title:
        raise _BadFileError(f", line {title_line}: no rows after this line")
