"""Trajectories as flat arrays with offsets: what every credit scheme works on.

Arrays carry a suffix for their axis: `_N` trajectories, `_T` the turns of all trajectories one after the
other, `_K` the response tokens of all turns one after the other. The turns of trajectory `i` are
`[turn_offsets_N[i], turn_offsets_N[i + 1])`, the tokens of turn `t` are
`[token_offsets_T[t], token_offsets_T[t + 1])`, so that a scheme is a handful of segment operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agentgym.agents.trajectory import StopReason, Trajectory

IntArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]


class _TurnRecord(NamedTuple):
    """What a batch keeps of one turn."""

    observation: object
    state: Hashable
    reward: float
    valid: bool
    tokens: int | None


@dataclass(frozen=True, eq=False)
class TurnBatch:
    """The turns of a batch of trajectories. Build one with `from_trajectories` or `from_dicts`."""

    group_N: IntArray
    """The group of each trajectory, numbered from 0 in the order of first appearance."""
    turn_offsets_N: IntArray
    """Where each trajectory's turns begin, and the end: one entry more than there are trajectories."""
    reward_T: FloatArray
    """The environment's reward for each turn."""
    valid_T: BoolArray
    """Whether the environment understood the turn's action."""
    state_T: IntArray | None = None
    """Numbers the anchor states: inside a group, turns with equal numbers began in equal situations."""
    observation_T: list[str] | None = None
    """What the agent saw before each turn: for grouping states by similarity."""
    token_offsets_T: IntArray | None = None
    """Where each turn's response tokens begin, and the end; None where tokens are not known."""
    signals: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What a scheme needs beyond rollouts, by name. A name ends in its axis, as in `value_T`."""

    def __post_init__(self) -> None:
        _check_offsets("turn_offsets_N", self.turn_offsets_N, self.n_trajectories)
        if self.turn_offsets_N[-1] != self.n_turns:
            raise ValueError(f"turn_offsets_N ends at {self.turn_offsets_N[-1]}, not at {self.n_turns} turns")
        if self.token_offsets_T is not None:
            _check_offsets("token_offsets_T", self.token_offsets_T, self.n_turns)
        if not np.array_equal(self.group_N, distinct(self.group_N.tolist())):
            raise ValueError("group_N must number the groups from 0 in the order of first appearance")
        for name in ("valid_T", "state_T", "observation_T", *self.signals):
            values = self.signals.get(name, getattr(self, name, None))
            if values is not None and len(values) != self._axis_length(name):
                raise ValueError(f"{name} has {len(values)} entries, not {self._axis_length(name)}")
        if not np.isfinite(self.reward_T).all():
            turn = int(np.flatnonzero(~np.isfinite(self.reward_T))[0])
            raise ValueError(f"{self._place(turn)}: the reward is {self.reward_T[turn]}")

    # Constructors -----------------------------------------------------------------------------------------

    @classmethod
    def from_trajectories(cls, trajectories: Sequence[Trajectory]) -> TurnBatch:
        """The batch of what a rollout recorded.

        Anchor states are the turns' `state_key` (none unless every turn has one that is not empty), tokens
        their `response_ids` (none if no turn has any). Raises `ValueError` for a trajectory that ended in a
        technical error: those must be excluded, and counted, before.
        """
        for i, trajectory in enumerate(trajectories):
            if trajectory.stop_reason is StopReason.ENV_ERROR:
                raise ValueError(
                    f"trajectory {i} ({trajectory.task_id}) ended in a technical error, which is no outcome: "
                    "exclude it before credit is computed"
                )
        has_tokens = any(turn.response_ids for trajectory in trajectories for turn in trajectory.turns)
        records = [
            [
                _TurnRecord(
                    observation=turn.observation,
                    state=turn.state_key or None,
                    reward=turn.reward,
                    valid=turn.is_action_valid,
                    tokens=len(turn.response_ids) if has_tokens else None,
                )
                for turn in trajectory.turns
            ]
            for trajectory in trajectories
        ]
        return cls._from_records([trajectory.group for trajectory in trajectories], records)

    @classmethod
    def from_dicts(cls, trajectories: Sequence[Mapping[str, Any]]) -> TurnBatch:
        """The batch of trajectories in the form of `agentgym credit`'s files.

        Each is `{"group": …, "turns": [{"obs": …, "reward": …, "valid": …}]}`; a turn may also have
        `"state_key"` (its anchor state; else `"obs"` is) and `"tokens"` (how many, or the list of them; in
        all turns or in none). `obs`, `state_key` and `group` may be any JSON value. Other keys are ignored.
        Raises `ValueError` naming trajectory, turn and key.
        """
        groups, records = [], []
        for i, trajectory in enumerate(_sequence(trajectories, "trajectories")):
            groups.append(_hashable(_get(trajectory, "group", f"trajectory {i}")))
            turns = _sequence(_get(trajectory, "turns", f"trajectory {i}"), f"trajectory {i}: turns")
            records.append([_read_turn(turn, f"trajectory {i}, turn {t}") for t, turn in enumerate(turns)])
        return cls._from_records(groups, records)

    @classmethod
    def _from_records(cls, groups: Iterable[Hashable], records: Sequence[Sequence[_TurnRecord]]) -> TurnBatch:
        turns = [turn for trajectory in records for turn in trajectory]
        states = [turn.state for turn in turns]
        observations = [turn.observation for turn in turns if isinstance(turn.observation, str)]
        tokens = [turn.tokens for turn in turns if turn.tokens is not None]
        if tokens and len(tokens) < len(turns):
            places = ((i, t) for i, of_i in enumerate(records) for t, turn in enumerate(of_i) if turn.tokens is None)
            raise ValueError("trajectory {}, turn {}: 'tokens' is missing, which others have".format(*next(places)))
        return cls(
            group_N=distinct(groups),
            turn_offsets_N=_offsets(map(len, records)),
            reward_T=np.array([turn.reward for turn in turns], dtype=np.float64),
            valid_T=np.array([turn.valid for turn in turns], dtype=np.bool_),
            state_T=None if None in states else distinct(states),
            observation_T=observations if len(observations) == len(turns) else None,
            token_offsets_T=_offsets(tokens) if len(tokens) == len(turns) else None,
        )

    @classmethod
    def concatenate(cls, batches: Sequence[TurnBatch]) -> TurnBatch:
        """One batch of several, as gathered from the processes of a run.

        Groups of different batches stay apart, even where they have the same task: a group is collected by
        one process. States and observations are kept where every batch has them; tokens and signals must be
        in all batches or in none.
        """
        if not batches:
            raise ValueError("there is no batch to concatenate")
        if len({batch.token_offsets_T is None for batch in batches if batch.n_turns}) > 1:
            raise ValueError("some of the batches have tokens and some have none")
        if len({frozenset(batch.signals) for batch in batches}) > 1:
            raise ValueError(f"the batches have different signals: {[sorted(b.signals) for b in batches]}")
        states = [batch.state_T for batch in batches if batch.state_T is not None]
        observations = [batch.observation_T for batch in batches if batch.observation_T is not None]
        token_offsets = [batch.token_offsets_T for batch in batches if batch.token_offsets_T is not None]
        return cls(
            group_N=_stack_ids([batch.group_N for batch in batches]),
            turn_offsets_N=_stack_offsets([batch.turn_offsets_N for batch in batches]),
            reward_T=np.concatenate([batch.reward_T for batch in batches]),
            valid_T=np.concatenate([batch.valid_T for batch in batches]),
            state_T=_stack_ids(states) if len(states) == len(batches) else None,
            observation_T=list(chain(*observations)) if len(observations) == len(batches) else None,
            token_offsets_T=_stack_offsets(token_offsets) if len(token_offsets) == len(batches) else None,
            signals={n: np.concatenate([batch.signals[n] for batch in batches]) for n in batches[0].signals},
        )

    # Sizes, and the index of each element in what contains it ----------------------------------------------

    @property
    def n_trajectories(self) -> int:
        """How many trajectories there are."""
        return len(self.group_N)

    @property
    def n_turns(self) -> int:
        """How many turns all trajectories have together."""
        return len(self.reward_T)

    @property
    def n_tokens(self) -> int:
        """How many response tokens all turns have together."""
        return int(self.known_token_offsets()[-1])

    @cached_property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.group_N.max(initial=-1)) + 1

    @cached_property
    def n_turns_N(self) -> IntArray:
        """How many turns each trajectory has."""
        return np.diff(self.turn_offsets_N)

    @cached_property
    def trajectory_T(self) -> IntArray:
        """The trajectory of each turn."""
        return np.repeat(np.arange(self.n_trajectories), self.n_turns_N)

    @cached_property
    def group_T(self) -> IntArray:
        """The group of each turn."""
        return self.group_N[self.trajectory_T]

    @cached_property
    def turn_index_T(self) -> IntArray:
        """Which turn of its trajectory each turn is, from 0."""
        return np.arange(self.n_turns) - self.turn_offsets_N[self.trajectory_T]

    @cached_property
    def n_tokens_T(self) -> IntArray:
        """How many response tokens each turn has. Raises `ValueError` where tokens are not known."""
        return np.diff(self.known_token_offsets())

    @cached_property
    def turn_K(self) -> IntArray:
        """The turn of each token. Raises `ValueError` where tokens are not known."""
        return np.repeat(np.arange(self.n_turns), self.n_tokens_T)

    @cached_property
    def episode_return_N(self) -> FloatArray:
        """The undiscounted sum of each trajectory's rewards."""
        sums = np.bincount(self.trajectory_T, weights=self.reward_T, minlength=self.n_trajectories)
        return sums.astype(np.float64)  # bincount gives integers for an empty batch

    def known_token_offsets(self) -> IntArray:
        """`token_offsets_T`. Raises `ValueError` where tokens are not known."""
        if self.token_offsets_T is None:
            raise ValueError("this batch does not know the tokens of its turns")
        return self.token_offsets_T

    # Back to nested lists ----------------------------------------------------------------------------------

    def nest_turns(self, value_T: NDArray[Any]) -> list[list[Any]]:
        """One list of values for each trajectory, one value for each of its turns."""
        return _split(value_T.tolist(), self.turn_offsets_N)

    def nest_tokens(self, value_K: NDArray[Any]) -> list[list[list[Any]]]:
        """One list for each trajectory, in it one for each turn, in it one value for each token."""
        return _split(_split(value_K.tolist(), self.known_token_offsets()), self.turn_offsets_N)

    def _axis_length(self, name: str) -> int:
        """The length that an array of this name must have."""
        axis = name[-2:]
        if axis not in ("_N", "_T", "_K"):
            raise ValueError(f"the signal {name!r} must be named after its axis: ending in _N, _T or _K")
        return {"_N": self.n_trajectories, "_T": self.n_turns}[axis] if axis != "_K" else self.n_tokens

    def _place(self, turn: int) -> str:
        """Trajectory and turn in words."""
        return f"trajectory {self.trajectory_T[turn]}, turn {self.turn_index_T[turn]}"


def usable_trajectories(trajectories: Sequence[Trajectory], requires_groups: bool) -> list[Trajectory]:
    """The trajectories that credit can be computed for.

    Episodes that the environment failed are left out, and so, for schemes that compare siblings, is an
    episode whose siblings all failed.
    """
    played = [t for t in trajectories if t.stop_reason is not StopReason.ENV_ERROR]
    size = Counter(t.group for t in played)
    return [t for t in played if size[t.group] > 1 or not requires_groups]


def distinct(keys: Iterable[Hashable]) -> IntArray:
    """Number the distinct keys from 0 in the order of first appearance; return each entry's number."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _offsets(lengths: Iterable[int]) -> IntArray:
    return np.array([0, *accumulate(lengths)], dtype=np.int64)


def _check_offsets(name: str, offsets: IntArray, segments: int) -> None:
    if len(offsets) != segments + 1:
        raise ValueError(f"{name} has {len(offsets)} entries, not {segments + 1}")
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ValueError(f"{name} must begin at 0 and never fall")


def _stack_ids(arrays: Sequence[IntArray]) -> IntArray:
    """Concatenate numberings so that no number of one array is a number of another."""
    starts = [0, *accumulate(int(ids.max(initial=-1)) + 1 for ids in arrays)]
    return np.concatenate([ids + start for ids, start in zip(arrays, starts, strict=False)])


def _stack_offsets(arrays: Sequence[IntArray]) -> IntArray:
    return _offsets(np.concatenate([np.diff(offsets) for offsets in arrays]).tolist())


def _split(values: list[Any], offsets: IntArray) -> list[list[Any]]:
    bounds = offsets.tolist()
    return [values[start:end] for start, end in pairwise(bounds)]


# Reading JSON values: each raises ValueError naming the place -----------------------------------------------


def _read_turn(turn: Any, place: str) -> _TurnRecord:
    observation = _get(turn, "obs", place)
    return _TurnRecord(
        observation=observation,
        # In a tuple, since null is a state here and not the lack of one.
        state=("state", _hashable(turn.get("state_key", observation))),
        reward=_number(_get(turn, "reward", place), f"{place}: reward"),
        valid=_flag(_get(turn, "valid", place), f"{place}: valid"),
        tokens=_count(turn["tokens"], f"{place}: tokens") if "tokens" in turn else None,
    )


def _get(mapping: Any, key: str, place: str) -> Any:
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{place} must be an object, not {mapping!r:.80}")
    if key not in mapping:
        raise ValueError(f"{place}: the key {key!r} is missing")
    return mapping[key]


def _sequence(value: Any, place: str) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{place} must be a list, not {value!r:.80}")
    return value


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{place} must be a number, not {value!r:.80}")
    return float(value)


def _flag(value: Any, place: str) -> bool:
    if value not in (True, False):  # 1 and 0 are equal to them
        raise ValueError(f"{place} must be true or false, not {value!r:.80}")
    return bool(value)


def _count(value: Any, place: str) -> int:
    """The number of tokens, which may be given as a number or as the tokens themselves."""
    count = len(value) if isinstance(value, list | tuple) else value
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"{place} must be a list of tokens or their number, not {value!r:.80}")
    return count


def _hashable(value: Any) -> Hashable:
    """A JSON value as a key: lists as tuples, objects as tuples of their sorted items."""
    if isinstance(value, Mapping):
        return tuple((key, _hashable(value[key])) for key in sorted(value))
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    hashed: Hashable = value
    return hashed
