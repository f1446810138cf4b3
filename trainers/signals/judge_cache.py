"""What a judge has said, kept in the run directory: a resumed run sees the same, and nothing is paid for twice."""

from __future__ import annotations

import json
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

from agentgym.agents.run_files import JUDGEMENTS, list_judgements


class JudgeCache:
    """Answers by a hash of what was asked.

    Every process appends to a file of its own, a JSON object a line, and reads those of all when it is first
    asked. A line that a kill cut short is passed over.
    """

    def __init__(self, run_dir: Path, process: int):
        """Nothing is read or written yet: the directory may still be another run's."""
        self.run_dir = run_dir
        self.path = run_dir / JUDGEMENTS / f"process-{process:03d}.jsonl"
        self._known: dict[str, dict[str, Any]] | None = None
        self._lock = threading.Lock()

    @staticmethod
    def key(asked: Any) -> str:
        """The hash of what was asked, JSON values."""
        return sha256(json.dumps(asked, sort_keys=True).encode("ascii")).hexdigest()

    @property
    def is_empty(self) -> bool:
        """Whether there is no file yet."""
        return not list_judgements(self.run_dir)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The answer. Raises `KeyError` where none is known."""
        if self._known is None:
            self._known = {}
            # Its own last: two processes may have asked the same, and each has gone on with its own answer.
            for path in sorted(list_judgements(self.run_dir), key=lambda path: path == self.path):
                for line in path.read_bytes().splitlines():
                    self._known |= _entry(line)
        return self._known[key]

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer. May be called by several threads, after a first look."""
        assert self._known is not None
        with self._lock:
            self._known[key] = answer
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                if file.tell() and _last_byte(file) != b"\n":  # a kill cut the line short
                    file.write(b"\n")
                file.write(json.dumps({"key": key, "answer": answer}).encode("ascii") + b"\n")


def _last_byte(file: Any) -> bytes:
    file.seek(-1, 2)
    last: bytes = file.read(1)
    return last


def _entry(line: bytes) -> dict[str, dict[str, Any]]:
    try:
        entry = json.loads(line)
        return {str(entry["key"]): dict(entry["answer"])}
    except (ValueError, KeyError, TypeError):
        return {}
