"""The space of all strings, and how Gymnasium's vector environments carry its elements between processes.

`gymnasium.vector.AsyncVectorEnv` hands observations over in shared memory that it creates, by the space, before the
first one is known. A text has no greatest length, so here that memory is a file for each environment, written by its
worker and read by the parent, in a directory that goes with the vector environment.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory


class TextSpace(gymnasium.spaces.Space[str]):
    """The space of all strings.

    `gymnasium.spaces.Text` has a fixed character set (no blank by default) and a least length of 1, so it
    rejects actions that a language model does produce. Any `str` is contained here.
    """

    def __init__(self, examples: Sequence[str] = (), seed: int | np.random.Generator | None = None):
        """`examples`: strings that `sample` draws from; without any it draws short printable ones."""
        super().__init__(shape=None, dtype=None, seed=seed)
        self.examples = tuple(examples)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Draw one of `examples`, or up to 16 printable ASCII characters."""
        if mask is not None or probability is not None:
            raise ValueError("TextSpace.sample takes no mask and no probability: the space is not countable")
        if self.examples:
            return self.examples[int(self.np_random.integers(len(self.examples)))]
        length = int(self.np_random.integers(17))
        return "".join(map(chr, self.np_random.integers(32, 127, length)))

    def contains(self, x: Any) -> bool:
        """True for every `str`."""
        return isinstance(x, str)

    @property
    def is_np_flattenable(self) -> bool:
        """Strings have no fixed-size array form."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextSpace) and self.examples == other.examples

    def __hash__(self) -> int:
        return hash(("TextSpace", self.examples))

    def __repr__(self) -> str:
        return f"TextSpace(examples={list(self.examples)})" if self.examples else "TextSpace()"


class SharedTexts(Sequence[str]):
    """The present text of each environment; a copy of it is a tuple of what they are now.

    Gymnasium asks for this view once, when it makes the vector environment, and returns copies of it at every step.
    """

    def __init__(self, directory: Path, n: int, keep: object = None):
        """`keep`: lives as long as this view does."""
        self._files = [_file(directory, index) for index in range(n)]
        self._keep = keep

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(map(_read, self._files[index]))
        return _read(self._files[index])

    def __iter__(self) -> Iterator[str]:
        return map(_read, self._files)

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)


class TextMemory:
    """The files in which worker processes leave their texts. A pickled copy, in a worker, does not own them."""

    def __init__(self) -> None:
        self._owned = tempfile.TemporaryDirectory(prefix="agentgym-texts-")
        self.directory = Path(self._owned.name)

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory}

    def read(self, n: int) -> SharedTexts:
        """A view of the texts of `n` environments; "" for one that has not written yet."""
        return SharedTexts(self.directory, n, keep=self._owned)

    def write(self, index: int, text: str) -> None:
        """Leave the text of one environment."""
        _file(self.directory, index).write_text(text, "utf-8", "surrogatepass", newline="")


def _file(directory: Path, index: int) -> Path:
    return directory / str(index)


def _read(file: Path) -> str:
    return file.read_bytes().decode("utf-8", "surrogatepass") if file.exists() else ""


@create_shared_memory.register(TextSpace)
def _create_text_memory(space: TextSpace, n: int = 1, ctx: Any = None) -> TextMemory:
    return TextMemory()


@read_from_shared_memory.register(TextSpace)
def _read_text_memory(space: TextSpace, shared_memory: TextMemory, n: int = 1) -> SharedTexts:
    return shared_memory.read(n)


@write_to_shared_memory.register(TextSpace)
def _write_text_memory(space: TextSpace, index: int, value: str, shared_memory: TextMemory) -> None:
    shared_memory.write(index, value)
