"""The register of credit schemes: one decorator puts a function on the list, `compute` runs it checked.

A scheme is a pure function `TurnBatch → Credit`: no model, no torch, no randomness without a seed. Its
parameters are keyword-only with defaults; their names, types and defaults are read from its signature.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from agentgym.envs.names import unknown
from agentgym.trainers.arrays import BoolArray, FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.parameters import read_parameters
from agentgym.trainers.registry import Registered
from agentgym.trainers.signal_names import SIGNALS

Granularity: TypeAlias = Literal["episode", "segment", "turn", "token"]
SchemeFunction: TypeAlias = Callable[..., "Credit"]
Aliases: TypeAlias = Callable[[Mapping[str, object]], dict[str, object]]
F = TypeVar("F", bound=SchemeFunction)


@dataclass(frozen=True, eq=False)
class Credit:
    """The advantages that a scheme gives: one for each turn, or one for each token."""

    advantage_T: FloatArray | None = None
    advantage_K: FloatArray | None = None
    trained_K: BoolArray | None = None
    """The tokens that the loss is taken over; all of them unless given."""
    clip_scale_T: FloatArray | None = None
    """What each turn's clip range is multiplied by; 1 unless given."""
    targets: Mapping[str, FloatArray] = field(default_factory=dict)
    """What critics are regressed on, by the name of the signal that they gave: `{"value_T": return_T}`."""
    parts: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    """Named intermediate results for reports and tests. A name ends in its axis."""

    def __post_init__(self) -> None:
        if (self.advantage_T is None) == (self.advantage_K is None):
            raise ValueError("a Credit has either advantage_T or advantage_K")

    @property
    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The result's arrays but `parts`, by name; each name ends in its axis."""
        named = {name: getattr(self, name) for name in ("advantage_T", "advantage_K", "trained_K", "clip_scale_T")}
        return {name: array for name, array in {**named, **self.targets}.items() if array is not None}

    def part_of(self, batches: Sequence[TurnBatch], index: int) -> Credit:
        """The credit of one of the batches that this is the credit of when they are concatenated.

        Parts on an axis of the scheme's own are left out.
        """
        before, own = batches[:index], batches[index]
        start = {
            "_N": sum(batch.n_trajectories for batch in before),
            "_T": sum(batch.n_turns for batch in before),
            "_K": sum(batch.n_tokens for batch in before) if own.token_offsets_T is not None else 0,
        }
        length = {axis: own.axis_length(axis) for axis in start if axis != "_K" or own.token_offsets_T is not None}

        def cut(name: str, array: np.ndarray[Any, Any] | None) -> Any:
            return None if array is None else array[start[name[-2:]] :][: length[name[-2:]]]

        single: dict[str, Any] = {
            f.name: cut(f.name, getattr(self, f.name)) for f in fields(self) if f.name[-2:] in start
        }
        targets = {name: cut(name, array) for name, array in self.targets.items()}
        parts = {name: cut(name, array) for name, array in self.parts.items() if name[-2:] in length}
        return Credit(**single, targets=targets, parts=parts)

    def columns(self, batch: TurnBatch) -> dict[str, np.ndarray[Any, Any]]:
        """The credit as columns of the batch that it is of.

        `advantage_T` and, where tokens are known, `advantage_K`; `trained_K` and `clip_scale_T` where the scheme says
        them; targets as `target.…` and parts as `part.…`. Nothing is trained before `pivot_N`, where the batch has it.
        """
        known = {"trained_K": self._trained_from_the_pivot(batch), "clip_scale_T": self.clip_scale_T}
        columns = {name: array for name, array in known.items() if array is not None}
        columns["advantage_T"] = self.turn_advantages(batch)
        if batch.token_offsets_T is not None:
            columns["advantage_K"] = self.token_advantages(batch)
        columns |= {f"target.{name}": array for name, array in self.targets.items()}
        of_batch = {name: array for name, array in self.parts.items() if name[-2:] in ("_N", "_T", "_K")}
        return columns | {f"part.{name}": array for name, array in of_batch.items()}

    def _trained_from_the_pivot(self, batch: TurnBatch) -> BoolArray | None:
        if "pivot_N" not in batch.columns or batch.token_offsets_T is None:
            return self.trained_K
        after_T = batch.turn_index_T >= batch.signal("pivot_N")[batch.trajectory_T]
        return after_T[batch.turn_K] if self.trained_K is None else self.trained_K & after_T[batch.turn_K]

    def token_advantages(self, batch: TurnBatch) -> FloatArray:
        """advantage_K: a turn's advantage is given to each of its response tokens."""
        if self.advantage_K is not None:
            return self.advantage_K
        assert self.advantage_T is not None
        return self.advantage_T[batch.turn_K]

    def turn_advantages(self, batch: TurnBatch) -> FloatArray:
        """advantage_T: of a scheme with token advantages their mean in each turn (0 without tokens)."""
        if self.advantage_T is not None:
            return self.advantage_T
        assert self.advantage_K is not None
        sum_T = np.bincount(batch.turn_K, weights=self.advantage_K, minlength=batch.n_turns)
        return sum_T / np.maximum(batch.n_tokens_T, 1)


@dataclass(frozen=True, kw_only=True)
class Scheme(Registered):
    """A registered credit scheme."""

    granularity: Granularity
    """The smallest unit that gets a credit of its own."""
    needs: tuple[str, ...]
    """What the batch must have: "state_key", "observation", "tokens", "token_ids", or a name in `SIGNALS`."""
    needs_with: Mapping[str, tuple[str, ...]]
    """What it needs besides where a parameter is set ("termination_head") or has a value ("positions=sequence")."""
    requires_groups: bool
    """Whether it compares the trajectories of a group, and is meaningless for groups of one."""
    aliases: Aliases | None
    """Translates the official code's parameter names; leaves all other names as they are."""

    @property
    def family(self) -> str:
        """What it works on, in words: the docstring of the package that its module lies in."""
        package = self.function.__module__.rpartition(".")[0]
        lies_here = package.startswith(f"{__package__}.")
        return (sys.modules[package].__doc__ or "").rstrip(".") if lies_here else "Of your own"

    def describe(self) -> dict[str, object]:
        """Everything about the scheme as JSON values."""
        return {
            "name": self.name,
            "summary": self.summary,
            "family": self.family,
            "paper": self.paper,
            "granularity": self.granularity,
            "needs": list(self.needs),
            "requires_groups": self.requires_groups,
            "differences": self.differences,
            "parameters": {p.name: {"type": p.type, "default": p.default} for p in self.parameters.values()},
        }

    def check_parameters(self, params: Mapping[str, object]) -> dict[str, object]:
        """The parameters under their own names, checked. Raises `ValueError` in one line."""
        return super().check_parameters(self.aliases(params) if self.aliases else params)

    def needs_of(self, params: Mapping[str, object]) -> tuple[str, ...]:
        """What it needs with these parameters, checked ones, and its defaults for all others."""
        values = {p.name: p.default for p in self.parameters.values()} | dict(params)
        needs = list(self.needs)
        for condition, needed in self.needs_with.items():
            parameter, _, value = condition.partition("=")
            if str(values[parameter]) == value if value else values[parameter]:
                needs += needed
        return tuple(dict.fromkeys(needs))

    def check_needs(self, batch: TurnBatch) -> None:
        """Raises `ValueError` naming what the scheme needs and the batch does not have."""
        for need in self.needs:
            require(batch, need, self.name)


_SCHEMES: dict[str, Scheme] = {}


def credit(
    name: str,
    *,
    paper: str,
    needs: Iterable[str] = (),
    needs_with: Mapping[str, Iterable[str]] | None = None,
    granularity: Granularity = "turn",
    requires_groups: bool = False,
    aliases: Aliases | None = None,
) -> Callable[[F], F]:
    """Register the decorated function as the scheme `name`; it stays an ordinary function."""

    def register(function: F) -> F:
        known = _SCHEMES.get(name)
        if known is not None and _identity(known.function) != _identity(function):
            raise ValueError(f"the credit scheme {name!r} exists already, in {known.function.__module__}")
        parameters = read_parameters(function)
        _SCHEMES[name] = Scheme(
            name=name,
            function=function,
            paper=paper,
            parameters=parameters,
            granularity=granularity,
            needs=tuple(needs),
            needs_with={condition: tuple(needed) for condition, needed in (needs_with or {}).items()},
            requires_groups=requires_groups,
            aliases=aliases,
        )
        return function

    return register


def schemes() -> list[Scheme]:
    """All registered schemes, by name."""
    return [_SCHEMES[name] for name in sorted(_SCHEMES)]


def get_scheme(name: str) -> Scheme:
    """The scheme of this name. "module:name" imports the module, of your own, first.

    Raises `ValueError` with the nearest names, or for a module that cannot be imported.
    """
    module, _, name = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(f"the module of the credit scheme {name!r} cannot be imported: {error}") from error
    if name not in _SCHEMES:
        raise ValueError(unknown("unknown credit scheme", name, _SCHEMES))
    return _SCHEMES[name]


def compute(scheme: str, batch: TurnBatch, /, **params: object) -> Credit:
    """The credit that the scheme of this name (see `get_scheme`) gives to a batch.

    Raises `ValueError` in one line for an unknown scheme or parameter, a parameter of the wrong type, a batch
    that lacks what the scheme needs, and for advantages that are not finite.
    """
    found = get_scheme(scheme)
    checked = found.check_parameters(params)
    found.check_needs(batch)
    try:
        result: Credit = found.function(batch, **checked)
    except OverflowError as error:
        raise ValueError(f"{scheme}: a parameter is too large: {error}") from None
    _check_result(scheme, batch, result)
    return result


def require(batch: TurnBatch, need: str, scheme: str) -> None:
    """Raises `ValueError` if the batch does not have what the scheme needs.

    `need` as in `Scheme.needs`. One with a star, as in "reward_parts.*_T", wants at least one such signal.
    """
    known = {
        "state_key": batch.state_T is not None,
        "final_state_N": batch.final_state_N is not None,
        "observation": batch.observation_T is not None,
        "tokens": batch.token_offsets_T is not None,
        "token_ids": batch.token_K is not None,
    }
    if known.get(need, any(fnmatchcase(name, need) for name in batch.columns)):
        return
    meaning = f" ({SIGNALS[need]})" if need in SIGNALS else ""
    reason = f": {batch.gaps[need]}" if need in batch.gaps else ""
    raise ValueError(f"{scheme} needs {need!r}{meaning}, which this batch does not have{reason}")


def _check_result(scheme: str, batch: TurnBatch, result: Credit) -> None:
    for name, array in result.arrays.items():
        length = {"_N": batch.n_trajectories, "_T": batch.n_turns}[name[-2:]] if name[-2:] != "_K" else batch.n_tokens
        if array.shape != (length,):
            raise ValueError(f"{scheme}: {name} has the shape {array.shape}, not {(length,)}")
        wrong = np.flatnonzero(~np.isfinite(array))
        if wrong.size:
            raise ValueError(f"{batch.place_of(name, int(wrong[0]))}: {scheme} gives {name} = {array[wrong[0]]}")


def _identity(function: SchemeFunction) -> tuple[str, str]:
    """Tells a scheme that is defined twice from a module that is loaded again."""
    return function.__module__, function.__qualname__
