"""Question sets on disk: JSONL (plain or gzipped), a JSON list, or Parquet.

A directory's files are its splits by a word in their names, as in `hotpot_dev_distractor_v1.json`: train; dev, val,
valid or validation; test. Questions of other files, and of a single file, are divided 80:10:10 by a stable hash. Files
that begin with "corpus" hold passages: {`title`, `text`} or Search-R1's {`contents`}. All passages are searched,
the corpus' and the questions' own.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.envs.json_files import NotAnArrayError, objects_of
from agentgym.envs.search_qa.passages import Passage
from agentgym.envs.search_qa.questions import Question
from agentgym.envs.search_qa.rows import is_question, parse_passage, parse_row
from agentgym.envs.search_qa.scoring import normalize
from agentgym.envs.splits import SPLITS, split_of
from agentgym.envs.text_env import NotInstalledError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
_SPLIT_WORDS = {"train": "train", **dict.fromkeys(("dev", "val", "valid", "validation"), "valid"), "test": "test"}
_CORPUS = "corpus"


@lru_cache(maxsize=8)  # all environments of a process share what was read
def read_source(path: Path, corpus: Path | None) -> FileSource:
    """The one `FileSource` of these files."""
    return FileSource(path, corpus)


class Corpus:
    """Passages without questions; see `PassageSource`."""

    def __init__(self, file: Path):
        """Raises `ValueError` with the file and line of what is wrong."""
        self.passages: tuple[Passage, ...] = tuple(dict.fromkeys(_read_corpus(file)))


class FileSource:
    """The questions of a file or directory; see `QuestionSource`."""

    def __init__(self, path: Path, corpus: Path | None = None):
        """`corpus`: a file of passages more. Raises `ValueError` with the file and line of what is wrong."""
        self._origin = path, corpus
        self._questions: dict[str, dict[str, Question]] = {split: {} for split in SPLITS}
        self._pool: dict[bytes, Passage] = {}
        self._asked: set[str] = set()
        corpora, files = _files(path)
        for file in [*corpora, *([corpus] if corpus else [])]:
            for passage in _read_corpus(file):
                self._one(passage)
        for file in files:
            if file == path or _holds_questions(file):
                self._read_questions(file, None if file == path else _split_by_name(file))
        self.passages: tuple[Passage, ...] = tuple(self._pool.values())
        self._listed = {split: tuple(found.values()) for split, found in self._questions.items() if found}
        self.splits = tuple(self._listed)
        if not self.splits:
            raise ValueError(f"{path}: no question with an answer in it")
        kinds = {question.task_type for listed in self._listed.values() for question in listed}
        self.task_types = tuple(sorted(kinds))

    def draw(self, split: str, rng: np.random.Generator) -> Question:
        """See `QuestionSource`."""
        return self._listed[split][int(rng.integers(len(self._listed[split])))]

    def questions(self, split: str) -> tuple[Question, ...]:
        """All of a split, in the order of the files."""
        return self._listed[split]

    def __deepcopy__(self, memo: dict[int, Any]) -> FileSource:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return read_source, self._origin

    def _one(self, passage: Passage) -> Passage:
        """The passage as it was first read: copies differ in blanks, and would be found beside one another."""
        text = "".join(passage.contents.split())
        return self._pool.setdefault(blake2b(text.encode(), digest_size=16).digest(), passage)

    def _read_questions(self, file: Path, named: str | None) -> None:
        """Add a file's questions but for those without an answer, or asked before in whatever split."""
        unanswered = 0
        for place, row in _rows(file):
            try:
                fallback_id = blake2b(repr(row.get("question", row)).encode(), digest_size=8).hexdigest()
                parsed = parse_row(row, fallback_id)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
            if parsed is None:
                unanswered += row.get("answerable") is not False
                continue
            for passage in parsed.passages:
                self._one(passage)
            question = replace(parsed.question, supporting=tuple(map(self._one, parsed.question.supporting)))
            key = normalize(question.text)
            if key in self._asked:
                continue
            self._asked.add(key)
            if any(question.id in found for found in self._questions.values()):  # files that number from 0 each
                question = replace(question, id=f"{question.id}-{fallback_id}")
            self._questions[named or split_of(key)][question.id] = question
        if unanswered:
            warnings.warn(f"{file}: {unanswered} questions without an answer were left out", stacklevel=2)


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """(files of passages, files of questions); test comes first: what is asked there is asked nowhere else."""
    try:
        if not path.exists():
            raise ValueError(f"{path}: no such file or directory")
        found = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES)) if path.is_dir() else [path]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not found:
        raise ValueError(f"{path}: no questions here, in files that end in {', '.join(SUFFIXES)}")
    if found == [path] and not path.name.endswith(SUFFIXES):
        raise ValueError(f"{path}: a file of questions ends in {', '.join(SUFFIXES)}")
    corpora = [file for file in found if file.name.startswith(_CORPUS) and file != path]
    order = {"test": 0, "valid": 1, "train": 2, None: 3}
    return corpora, sorted((file for file in found if file not in corpora), key=lambda f: order[_split_by_name(f)])


def _holds_questions(file: Path) -> bool:
    """By its first row; a file of something else is named in a warning, and the others of its directory are read."""
    try:
        place, row = next(_rows(file), (str(file), {"question": ""}))
    except NotAnArrayError as error:
        reason = str(error)
    else:
        if is_question(row):
            return True
        reason = f"{place}: there is no 'question'"
    warnings.warn(f"{reason}: the file was left out (passages are read from files named corpus…)", stacklevel=2)
    return False


def _split_by_name(file: Path) -> str | None:
    words = re.findall("[a-z]+", file.name.lower())
    return next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), None)


def _read_corpus(file: Path) -> Iterator[Passage]:
    for place, row in _rows(file):
        try:
            yield parse_passage(row)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a file with its place, for messages."""
    return _parquet_rows(file) if file.name.endswith(".parquet") else objects_of(file)


def _parquet_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise NotInstalledError(f"{file}: reading Parquet needs pyarrow: pip install 'agentgym[parquet]'") from None
    try:
        number = 0
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file}, row {number}", row
    except pyarrow.ArrowException as error:
        raise ValueError(f"{file}: invalid Parquet: {error}") from None
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())  # some have several lines
        raise ValueError(f"{file}: cannot be read: {reason}") from None
