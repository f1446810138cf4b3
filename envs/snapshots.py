"""Exact copies of a live environment's state: `Snapshots`, the part of `TextEnv` and `TextAECEnv` that branches."""

from __future__ import annotations

import copy
from typing import ClassVar


class Snapshots:
    """A mixin: `snapshot` and `restore` for an object whose state is its attributes."""

    _shared_between_snapshots: ClassVar[frozenset[str]] = frozenset()
    """Attributes that never change after construction (spaces, data, settings): not copied."""
    _never_copied: ClassVar[frozenset[str]] = frozenset()
    """Of these, the ones that copied objects may hold as well: in a copy of those, None stands in their place."""

    def snapshot(self) -> object:
        """An exact, independent copy of the state, the random generator's included."""
        changing = {k: v for k, v in self.__dict__.items() if k not in self._shared_between_snapshots}
        return copy.deepcopy(changing, {id(self.__dict__[name]): None for name in self._never_copied})

    def restore(self, snapshot: object) -> None:
        """Return to a state taken by `snapshot` on this environment or one with the same arguments."""
        if not isinstance(snapshot, dict):
            raise TypeError(f"restore takes what snapshot() returned, not {type(snapshot).__name__}")
        for name in self.__dict__.keys() - snapshot.keys() - self._shared_between_snapshots:
            del self.__dict__[name]  # set since the snapshot: a random generator, a plan
        self.__dict__.update(copy.deepcopy(snapshot))
