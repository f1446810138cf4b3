"""The parameters of a credit scheme, read from its signature and checked by their types."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

UnitInterval: TypeAlias = Annotated[float, Field(ge=0, le=1, description="in [0, 1]")]
NonNegative: TypeAlias = Annotated[float, Field(ge=0, description="≥ 0")]
Positive: TypeAlias = Annotated[float, Field(gt=0, description="> 0")]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a scheme."""

    name: str
    type: str
    """In words, such as `float in [0, 1]` or `"turns" | "trajectories"`."""
    default: object
    adapter: TypeAdapter[Any] = field(repr=False, compare=False)

    def check(self, value: object) -> object:
        """The value, as its type. Raises `ValueError` for one that does not fit."""
        try:
            return self.adapter.validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Input ")
            raise ValueError(f"{self.name} {reason}, not {value!r:.80}") from None


def read_parameters(function: Callable[..., object], *, skip: int = 1) -> dict[str, Parameter]:
    """The parameters of a function but its first `skip` (of a scheme the batch). All must be keyword-only and have a
    default."""
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    for parameter in parameters:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
            raise TypeError(f"{function.__qualname__}: {parameter.name} must be keyword-only with a default")
    return {p.name: _read_parameter(p, hints[p.name]) for p in parameters}


def _read_parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    adapter = TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))
    return Parameter(parameter.name, _in_words(hint), parameter.default, adapter)


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        base, *notes = get_args(hint)
        ranges = [note.description for note in notes if isinstance(note, FieldInfo) and note.description]
        return " ".join([_in_words(base), *ranges])
    if get_origin(hint) is Literal:
        return " | ".join(f'"{choice}"' for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(map(_in_words, get_args(hint)))
    if hint is type(None):
        return "None"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
