"""Functions of the literature under a name: papers, checked parameters, the nearest names for one that is unknown.

Credit schemes and losses are registered so, each in a register of its own.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

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

    def check_parameters(self, params: Mapping[str, object]) -> dict[str, object]:
        """The parameters, checked. Raises `ValueError` in one line."""
        return _checked(self.name, self.parameters, params)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist, with the nearest ones."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{what} {name!r}: {hint}there is {', '.join(sorted(known)) or 'none'}"


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


def named(what: str, name: str, known: Mapping[str, Any] | None = None) -> Any:
    """What stands in `known` under a name, or in a module of anybody's as "module:name".

    Raises `ValueError` in one line with the nearest names, or for a module without it.
    """
    module, _, attribute = name.rpartition(":")
    if not module:
        if name not in (known or {}):
            raise ValueError(unknown(f"unknown {what}", name, known or {}) + ', or one of yours as "module:name"')
        return (known or {})[name]
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` has it: the module may lie in the working directory
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        raise ValueError(f"the {what} {name!r}: its module cannot be imported: {error}") from error
    except AttributeError:
        raise ValueError(f"the {what} {name!r}: there is no {attribute!r} in {module}") from None
