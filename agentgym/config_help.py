"""`agentgym train --help`: every key with its values, its default and what it means."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agentgym.agents.formats import FORMATS
from agentgym.agents.model_names import BUILTIN
from agentgym.config import RunConfig
from agentgym.envs import registered
from agentgym.trainers.credit import schemes

USAGE = "Usage: agentgym train CONFIG [--key value] [--key.sub value] ..."
_BOUNDS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def describe_config() -> str:
    """The keys in their order, an entry each."""
    registers = {
        "credit": [scheme.name for scheme in schemes()],
        "env_id": registered(),
        "format": list(FORMATS),
        "model": list(BUILTIN),
    }
    width = min(shutil.get_terminal_size().columns, 120)
    entries = [_entry(key, field, registers.get(key), width) for key, field in RunConfig.model_fields.items()]
    return "\n\n".join([USAGE, *entries])


def _entry(key: str, field: FieldInfo, known: list[str] | None, width: int) -> str:
    default = field.get_default(call_default_factory=True)  # type: ignore[call-arg, unused-ignore]
    ending = "required" if default is PydanticUndefined else f"default: {json.dumps(default)}"
    facts = " ".join((field.description or "").split())
    if known:
        facts += f" There is {', '.join(known)}."
    head = f"  --{key}  {_values(field)}  [{ending}]"
    return "\n".join(
        [
            head,
            *textwrap.wrap(facts, width - 6, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False),
        ]
    )


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(note, attribute)}"
        for note in field.metadata
        for kind, (sign, attribute) in _BOUNDS.items()
        if isinstance(note, kind)
    ]
    return " ".join([_in_words(field.annotation), *bounds])


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if hint is type(None):
        return "null"
    if isinstance(hint, type) and not get_args(hint):
        return {"str": "text", "bool": "true | false"}.get(hint.__name__, hint.__name__)
    if get_origin(hint) is list:
        return f"[{_in_words(get_args(hint)[0])}, …]"
    if get_origin(hint) is dict:
        return "{key: value, …}"
    return " | ".join(map(_in_words, get_args(hint)))
