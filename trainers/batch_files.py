"""Arrays of a batch in one compressed file, which NumPy reads without unpickling anything.

A .npz holds arrays by name. One of a mapping is named `mapping:name`; texts are kept as JSON, marked by a star, since
NumPy's own texts lose zeros at their end and take four bytes for each character of the longest.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save_arrays(path: Path, values: Mapping[str, Any]) -> None:
    """Write arrays, lists of texts, and mappings of them to `path`, whole or not at all; None is left out."""
    flat: dict[str, NDArray[Any]] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= dict(_plain(f"{name}:{key}", entry) for key, entry in value.items())
        elif value is not None:
            flat |= dict([_plain(name, value)])
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **flat)  # type: ignore[arg-type]  # its stubs take a name for an option
    unfinished.replace(path)


def load_arrays(path: Path) -> dict[str, Any]:
    """What `save_arrays` wrote. Raises `ValueError` in one line for any other file, `OSError` where there is none."""
    values: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                name, _, inner = key.removesuffix("*").partition(":")
                value = json.loads(archive[key].tobytes()) if key.endswith("*") else archive[key]
                if inner:
                    values.setdefault(name, {})[inner] = np.array(value, object) if isinstance(value, list) else value
                else:
                    values[name] = value
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"{path} is no file of arrays: {error}") from None
    return values


def _plain(name: str, value: Any) -> tuple[str, NDArray[Any]]:
    """The name and the array under which a value is written."""
    array = np.asarray(value)
    if array.dtype.kind not in "OU":
        return name, array
    return f"{name}*", np.frombuffer(json.dumps(array.tolist()).encode(), np.uint8)
