"""Functions of the literature under a name, with papers and checked parameters.

Credit schemes and losses are registered so, each in a register of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agentgym.envs.names import unknown
from agentgym.trainers.parameters import Parameter, read_parameters

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

    @property
    def defaults(self) -> dict[str, object]:
        """The parameters' defaults."""
        return {parameter.name: parameter.default for parameter in self.parameters.values()}

    def check_parameters(self, params: Mapping[str, object]) -> dict[str, object]:
        """The parameters, checked. Raises `ValueError` in one line."""
        return _checked(self.name, self.parameters, params)


def check_parameters(
    name: str, function: Callable[..., Any], params: Mapping[str, object], *, skip: int
) -> dict[str, object]:
    """The parameters of a function beyond its first `skip`, checked. Raises `ValueError` in one line."""
    return _checked(name, read_parameters(function, skip=skip), params)


def _checked(owner: str, known: Mapping[str, Parameter], params: Mapping[str, object]) -> dict[str, object]:
    for name in params:
        if name not in known:
            raise ValueError(unknown(f"{owner}: unknown parameter", name, known))
    try:
        return {name: known[name].check(value) for name, value in params.items()}
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None
