"""Functions of the literature under a name: papers, checked parameters, the nearest names for one that is unknown.

Credit schemes and losses are registered so, each in a register of its own.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentgym.trainers.parameters import Parameter

DIFFERENCES = "Paper and code:"
"""Begins the paragraph of a docstring that says where the paper and its official code differ."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A function of the literature, and what its register knows of it."""

    name: str
    function: Callable[..., Any]
    paper: str
    parameters: Mapping[str, Parameter]

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def differences(self) -> str:
        """How paper and official code differ: the paragraph of the docstring that begins with "Paper and code:"."""
        paragraphs = (inspect.getdoc(self.function) or "").split("\n\n")
        said = [p for p in paragraphs if p.startswith(DIFFERENCES)]
        return " ".join(" ".join(said).removeprefix(DIFFERENCES).split())

    def check_parameters(self, params: Mapping[str, object]) -> dict[str, object]:
        """The parameters, checked. Raises `ValueError` in one line."""
        for name in params:
            if name not in self.parameters:
                raise ValueError(unknown(f"{self.name}: unknown parameter", name, self.parameters))
        try:
            return {name: self.parameters[name].check(value) for name, value in params.items()}
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist, with the nearest ones."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{what} {name!r}: {hint}there is {', '.join(sorted(known)) or 'none'}"
