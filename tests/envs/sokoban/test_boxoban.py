"""Boxoban level files: what is read, how levels are named, and what is said of bad files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from agentgym.envs.sokoban.boxoban import read_levels
from agentgym.envs.sokoban.level import Level

FIRST = ["######", "#@$. #", "######"]
SECOND = ["#####", "#  .#", "# $ #", "#+$ #", "#####"]
TWO_LEVELS = "; 0\n" + "\n".join(FIRST) + "\n\n; 1\n" + "\n".join(SECOND) + "\n\n"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def names(path: Path) -> list[str]:
    return [named.name for named in read_levels(path)]


def reason(path: Path) -> str:
    """What `read_levels` says of `path` after the path's name, in one line."""
    with pytest.raises(ValueError) as caught:
        read_levels(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize("name", ["levels.txt", "levels.txt.gz"])
def test_levels_and_names(tmp_path: Path, name: str) -> None:
    first, second = read_levels(write(tmp_path / name, TWO_LEVELS))
    assert (first.name, second.name) == ("levels.txt 0", "levels.txt 1")
    assert first.level == Level.from_rows(FIRST)
    assert second.level == Level.from_rows(SECOND)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TWO_LEVELS.rstrip("\n"), id="no newline at the end"),
        pytest.param(TWO_LEVELS.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(TWO_LEVELS.replace("\n\n", "\n"), id="no blank lines"),
        pytest.param("\n\n" + TWO_LEVELS.replace("\n\n", "\n \n\n"), id="more blank lines"),
        pytest.param("\ufeff" + TWO_LEVELS, id="byte order mark"),
        pytest.param("; two levels\n;\n" + TWO_LEVELS, id="more comments"),
    ],
)
def test_variants_of_the_format(tmp_path: Path, content: str) -> None:
    plain = read_levels(write(tmp_path / "plain" / "levels.txt", TWO_LEVELS))
    assert read_levels(write(tmp_path / "levels.txt", content)) == plain


def test_a_title_with_the_file_in_it_is_the_name(tmp_path: Path) -> None:
    content = TWO_LEVELS.replace("; ", "; medium/valid/000.txt ")
    assert names(write(tmp_path / "some.txt", content)) == [
        "medium/valid/000.txt 0",
        "medium/valid/000.txt 1",
    ]


def test_files_of_boxoban_have_the_same_names_wherever_they_lie(tmp_path: Path) -> None:
    write(tmp_path / "levels" / "medium" / "valid" / "003.txt.gz", TWO_LEVELS)
    expected = ["medium/valid/003.txt 0", "medium/valid/003.txt 1"]
    for path in (".", "levels", "levels/medium", "levels/medium/valid", "levels/medium/valid/003.txt.gz"):
        assert names(tmp_path / path) == expected


def test_a_directory_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for name in ("b.txt", "a/2.txt", "a/10.txt.gz", "c/d/e.txt"):
        write(tmp_path / name, TWO_LEVELS)
    write(tmp_path / "README.md", "not a level")
    (tmp_path / "folder.txt").mkdir()
    files = ["a/10.txt", "a/2.txt", "b.txt", "c/d/e.txt"]
    assert names(tmp_path) == [f"{file} {number}" for file in files for number in (0, 1)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("", ": no level in this file", id="empty"),
        pytest.param("\n \n", ": no level in this file", id="blank"),
        pytest.param("; 0\n\n", ", line 1: no rows after this line", id="title alone"),
        pytest.param(TWO_LEVELS + "; 2\n", ", line 13: no rows after this line", id="cut after a title"),
        pytest.param(
            TWO_LEVELS[: TWO_LEVELS.rindex("#####")],
            ", line 7: the level that begins here: the border is open at row 4, column 2",
            id="cut before the last row",
        ),
        pytest.param(
            "; 0\n####\n#@ #\n####\n",
            ", line 2: the level that begins here: the level has no box",
            id="no box",
        ),
        pytest.param(
            TWO_LEVELS.replace("# $ #", "# ? #"),
            ", line 7: the level that begins here: row 3, column 3: unknown character '?'",
            id="unknown character",
        ),
        pytest.param(
            TWO_LEVELS.replace("; 1\n", ""), ", line 6: no line '; <number>' before these rows", id="no title"
        ),
        pytest.param(
            TWO_LEVELS.encode().replace(b"#+$", b"#\xff$"),
            ", line 10: not UTF-8: invalid start byte",
            id="bytes",
        ),
    ],
)
@pytest.mark.parametrize("name", ["levels.txt", "levels.txt.gz"])
def test_bad_content(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    assert reason(write(tmp_path / name, content)) == expected


def test_bad_paths(tmp_path: Path) -> None:
    assert reason(tmp_path) == ": no level file (.txt or .txt.gz) in this directory"
    assert reason(tmp_path / "missing.txt") == ": no such file or directory"
    assert reason(write(tmp_path / "levels.csv", TWO_LEVELS)) == (
        ": not a level file: the name does not end in .txt or .txt.gz"
    )


def test_bad_compression(tmp_path: Path) -> None:
    whole = gzip.compress(TWO_LEVELS.encode())
    for data in (whole[:-9], whole[:20], TWO_LEVELS.encode(), whole[:15] + b"\0\0\0\0" + whole[19:]):
        path = tmp_path / "levels.txt.gz"
        path.write_bytes(data)
        assert reason(path).startswith(": cannot be read: ")


def test_a_bad_file_in_a_directory_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", TWO_LEVELS)
    (tmp_path / "b.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(ValueError) as caught:
        read_levels(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'b.txt'}: cannot be read: No such file or directory"


def test_genuine_files(test_data: Path) -> None:
    named = read_levels(test_data / "boxoban")
    assert named
    assert len({level.name for level in named}) == len(named)
    for level in (each.level for each in named):
        assert (level.height, level.width, len(level.boxes)) == (10, 10, 4)
    folder, number = named[0].name.rsplit(" ", 1)
    assert folder.split("/")[0] in ("unfiltered", "medium", "hard") and number.isdecimal()
