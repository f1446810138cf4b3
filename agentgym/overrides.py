"""YAML: of a file, and of values on the command line, `--key.sub value`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """A configuration that cannot be used; one line for each fault, with the path of the key."""


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number: PyYAML follows YAML 1.1, where it is a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)?\.?\d+[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """YAML to Python values."""
    return yaml.load(text, _Loader)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a file.

    Raises `ConfigError` in one line, naming the file, and the line where there is one.
    """
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{path}{where} is not YAML: {problem}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a date that there is not
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold keys and values, not a {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """`--key.sub value` and `--key.sub=value` as a dictionary; values are YAML. Raises `ConfigError`."""
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key:
            raise ConfigError(f"unexpected argument {word!r}: overrides look like --learning_rate 1e-4")
        if not equals:
            if not rest:
                raise ConfigError(f"--{key} needs a value")
            text = rest.pop(0)
        try:
            values[key.replace("-", "_")] = parse_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--{key}: {text!r} is not a YAML value") from error
    return values
