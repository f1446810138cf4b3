"""Trajectories as flat arrays with offsets: what every credit scheme works on.

Arrays carry a suffix for their axis: `_N` trajectories, `_T` the turns of all trajectories one after the
other, `_K` the response tokens of all turns one after the other. The turns of trajectory `i` are
`[turn_offsets_N[i], turn_offsets_N[i + 1])`, the tokens of turn `t` are
`[token_offsets_T[t], token_offsets_T[t + 1])`, so that a scheme is a handful of segment operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.batch_files import load_arrays, save_arrays
from agentgym.trainers.batch_json import distinct, offsets_of, read_dicts
from agentgym.trainers.recorded import OCCASIONAL, TEXTS, TOLD_BY_ALL_OR_NONE, recorded_columns
from agentgym.trainers.segments import entries


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
    """Whether the environment understood the turn's action, and nothing is wrong with the response's form."""
    state_T: IntArray | None = None
    """Numbers the anchor states: inside a group, turns with equal numbers began in equal situations."""
    final_state_N: IntArray | None = None
    """The anchor state that each trajectory's last action led to, in the numbers of `state_T`."""
    observation_T: list[str] | None = None
    """What the agent saw before each turn: for grouping states by similarity."""
    token_offsets_T: IntArray | None = None
    """Where each turn's response tokens begin, and the end; None where tokens are not known."""
    token_K: IntArray | None = None
    """The response tokens themselves, as numbers; None where at most their number is known."""
    truncated_N: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    """Whether each episode was cut off, by a limit, rather than ended. Where nothing is given, none was."""
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Everything else that is known of trajectories, turns and tokens, by a name that ends in its axis: signals
    (`value_T`; the names are in `signal_names.SIGNALS`), credit (`advantage_K`), what the loss takes as given."""
    gaps: Mapping[str, str] = field(default_factory=dict)
    """Columns that a part of the batch has, or has in another form, and in words what is lacking."""

    def __post_init__(self) -> None:
        if not self.truncated_N.size:
            object.__setattr__(self, "truncated_N", np.zeros(self.n_trajectories, dtype=np.bool_))
        _check_offsets("turn_offsets_N", self.turn_offsets_N, self.n_trajectories)
        if self.turn_offsets_N[-1] != self.n_turns:
            raise ValueError(f"turn_offsets_N ends at {self.turn_offsets_N[-1]}, not at {self.n_turns} turns")
        if self.token_offsets_T is not None:
            _check_offsets("token_offsets_T", self.token_offsets_T, self.n_turns)
        if not np.array_equal(self.group_N, distinct(self.group_N.tolist())):
            raise ValueError("group_N must number the groups from 0 in the order of first appearance")
        for name in ("valid_T", "state_T", "final_state_N", "observation_T", "token_K", "truncated_N", *self.columns):
            values = self.columns.get(name, getattr(self, name, None))
            if values is not None and len(values) != self.axis_length(name):
                raise ValueError(f"{name} has {len(values)} entries, not {self.axis_length(name)}")
        if not np.isfinite(self.reward_T).all():
            turn = int(np.flatnonzero(~np.isfinite(self.reward_T))[0])
            raise ValueError(f"{self._place(turn)}: the reward is {self.reward_T[turn]}")

    # Constructors -----------------------------------------------------------------------------------------

    @classmethod
    def from_trajectories(cls, trajectories: Sequence[Trajectory]) -> TurnBatch:
        """The batch of what a rollout recorded.

        Anchor states are the turns' `state_key` and the trajectories' `final_state_key` (none unless every turn has
        one that is not empty, and no final ones unless every trajectory has), tokens
        their `response_ids` (none if no turn has any). The columns are `success_N`, `logprob_K`, the sampler's,
        and what environments tell: `score_N`, `reward_parts.*_T`, `duration_T`. Raises `ValueError` for a
        trajectory that ended in a technical error: those must be excluded, and counted, before.
        """
        for i, trajectory in enumerate(trajectories):
            if not trajectory.counts:
                raise ValueError(
                    f"trajectory {i} ({trajectory.task_id}) ended in a technical error, which is no outcome: "
                    "exclude it before credit is computed"
                )
        turns = [turn for trajectory in trajectories for turn in trajectory.turns]
        has_states = all(turn.state_key for turn in turns)
        has_final_states = has_states and all(trajectory.final_state_key for trajectory in trajectories)
        states = distinct(chain((turn.state_key for turn in turns), (t.final_state_key for t in trajectories)))
        has_tokens = not turns or any(turn.response_ids for turn in turns)
        return cls(
            group_N=distinct((trajectory.group, trajectory.seat) for trajectory in trajectories),
            turn_offsets_N=offsets_of(len(trajectory.turns) for trajectory in trajectories),
            reward_T=np.array([turn.reward for turn in turns], dtype=np.float64),
            valid_T=np.array([turn.is_action_valid and not turn.fault for turn in turns], dtype=np.bool_),
            state_T=states[: len(turns)] if has_states else None,
            final_state_N=states[len(turns) :] if has_final_states else None,
            observation_T=[turn.observation for turn in turns],
            token_offsets_T=offsets_of(len(turn.response_ids) for turn in turns) if has_tokens else None,
            token_K=_flat_array([turn.response_ids for turn in turns], np.int64) if has_tokens else None,
            truncated_N=np.array([t.truncated for t in trajectories], dtype=np.bool_),
            columns=recorded_columns(trajectories, turns),
        )

    @classmethod
    def from_dicts(cls, trajectories: Sequence[Mapping[str, Any]]) -> TurnBatch:
        """The batch of trajectories in the form of `agentgym credit`'s files.

        Each is `{"group": …, "turns": [{"obs": …, "reward": …, "valid": …}]}`. A turn may also have
        `"state_key"` (its anchor state; else `"obs"` is) and `"tokens"` (how many, or the list of them; in
        all turns or in none); a trajectory `"truncated"` (false unless given), and `"final_state_key"` (the anchor
        state after the last action; else `"final_obs"` is). All of these, `group` and each token may be any JSON value.

        Every other key is a signal: `"value": 0.3` in every turn is `value_T`, a list with one entry for each
        token is `value_K`, and a key of every trajectory is `…_N`. An object is a signal for each of its
        keys: `"reward_parts": {"format": 1}` is `reward_parts.format_T`. Texts are categories, null is NaN.
        Raises `ValueError` naming trajectory, turn and key.
        """
        return cls(**read_dicts(trajectories))

    @classmethod
    def concatenate(cls, batches: Sequence[TurnBatch]) -> TurnBatch:
        """One batch of several, as gathered from the processes of a run.

        Groups of different batches stay apart, even where they have the same task: a group is collected by
        one process. States and observations are kept where every batch has them; tokens and columns must be
        in all batches that could have them or in none, but for parts of rewards and responses, which are 0 or ""
        where a batch never saw them.
        """
        if not batches:
            raise ValueError("there is no batch to concatenate")
        if len({batch.token_offsets_T is None for batch in batches if batch.n_turns}) > 1:
            raise ValueError("some of the batches have tokens and some have none")
        states, final_states = _stack_states(batches)
        observations = [batch.observation_T for batch in batches if batch.observation_T is not None]
        token_offsets = [batch.token_offsets_T for batch in batches if batch.token_offsets_T is not None]
        tokens = [batch.token_K for batch in batches if batch.token_K is not None]
        names = dict.fromkeys(name for batch in batches for name in batch.columns)
        untold = {
            name: "some of the episodes do not tell it"
            for name in names
            if name in TOLD_BY_ALL_OR_NONE and any(b.n_trajectories and name not in b.columns for b in batches)
        }
        return cls(
            group_N=_stack_ids([batch.group_N for batch in batches]),
            turn_offsets_N=_stack_offsets([batch.turn_offsets_N for batch in batches]),
            reward_T=np.concatenate([batch.reward_T for batch in batches]),
            valid_T=np.concatenate([batch.valid_T for batch in batches]),
            state_T=states,
            final_state_N=final_states,
            observation_T=list(chain(*observations)) if len(observations) == len(batches) else None,
            token_offsets_T=_stack_offsets(token_offsets) if len(token_offsets) == len(batches) else None,
            token_K=np.concatenate(tokens) if len(tokens) == len(batches) else None,
            truncated_N=np.concatenate([batch.truncated_N for batch in batches]),
            columns={
                name: np.concatenate([batch._column_or_nothing(name) for batch in batches])
                for name in names
                if name not in untold
            },
            gaps=untold,
        )

    # The table --------------------------------------------------------------------------------------------

    def with_columns(self, columns: Mapping[str, NDArray[Any]]) -> TurnBatch:
        """The batch with these columns too, in place of those of the same names. Raises `ValueError` for lengths."""
        return replace(self, columns={**self.columns, **columns})

    def select(self, index_N: IntArray) -> TurnBatch:
        """The batch of the trajectories with these indices, in this order; groups are numbered anew."""
        index_T = entries(self.turn_offsets_N, index_N)
        tokens = self.token_offsets_T
        index_K = np.zeros(0, np.int64) if tokens is None else entries(tokens, index_T)
        index = {"_N": index_N, "_T": index_T, "_K": index_K}
        observations = self.observation_T
        return replace(
            self,
            group_N=distinct(self.group_N[index_N].tolist()),
            turn_offsets_N=offsets_of(self.n_turns_N[index_N].tolist()),
            reward_T=self.reward_T[index_T],
            valid_T=self.valid_T[index_T],
            state_T=None if self.state_T is None else self.state_T[index_T],
            final_state_N=None if self.final_state_N is None else self.final_state_N[index_N],
            observation_T=None if observations is None else [observations[t] for t in index_T.tolist()],
            token_offsets_T=None if tokens is None else offsets_of(np.diff(tokens)[index_T].tolist()),
            token_K=None if self.token_K is None else self.token_K[index_K],
            truncated_N=self.truncated_N[index_N],
            columns={name: values[index[name[-2:]]] for name, values in self.columns.items()},
        )

    def empty_columns(self, others: Sequence[TurnBatch]) -> dict[str, NDArray[Any]]:
        """The columns that other batches have and this one, for want of a turn, has not: without entries."""
        names = {name for other in others for name in other.columns if name not in self.columns}
        return {} if self.n_turns else {name: self._column_or_nothing(name) for name in sorted(names)}

    def save(self, path: Path) -> None:
        """Write the batch to `path`, an .npz, compressed and readable without unpickling."""
        save_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> TurnBatch:
        """The batch that `save` wrote. Raises `ValueError` in one line for any other file."""
        arrays = load_arrays(path)
        try:
            return cls(**arrays)
        except TypeError as error:
            raise ValueError(f"{path} is no batch: {error}") from None

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

    @cached_property
    def n_tokens_N(self) -> IntArray:
        """How many response tokens each trajectory has. Raises `ValueError` where tokens are not known."""
        return np.diff(self.token_offsets_N)

    @cached_property
    def token_offsets_N(self) -> IntArray:
        """Where each trajectory's response tokens begin, and the end."""
        return self.known_token_offsets()[self.turn_offsets_N]

    @cached_property
    def trajectory_K(self) -> IntArray:
        """The trajectory of each token."""
        return self.trajectory_T[self.turn_K]

    def known_token_offsets(self) -> IntArray:
        """`token_offsets_T`. Raises `ValueError` where tokens are not known."""
        if self.token_offsets_T is None:
            raise ValueError("this batch does not know the tokens of its turns")
        return self.token_offsets_T

    # Signals ----------------------------------------------------------------------------------------------

    def signal(self, name: str) -> FloatArray:
        """The numbers of a signal. Raises `ValueError` if it is not there, not of numbers, or not finite."""
        values = self._present(name)
        if values.dtype == object:
            raise ValueError(f"{self.place_of(name, 0)}: {name} is {values[0]!r:.80}, not a number")
        finite = np.isfinite(values)
        if not finite.all():
            entry = int(np.flatnonzero(~finite)[0])
            raise ValueError(f"{self.place_of(name, entry)}: {name} is {values[entry]}")
        return values.astype(np.float64, copy=False)

    def flags(self, name: str) -> BoolArray:
        """A signal of truth values. Raises `ValueError` if it is not there or has others than 0 and 1."""
        values = self.signal(name)
        wrong = np.flatnonzero((values != 0) & (values != 1))
        if wrong.size:
            raise ValueError(f"{self.place_of(name, int(wrong[0]))}: {name} is {values[wrong[0]]:g}, not true or false")
        return values.astype(np.bool_)

    def categories(self, name: str) -> IntArray:
        """A signal's distinct values, texts or numbers, numbered from 0 in the order of first appearance."""
        return distinct(self._present(name).tolist())

    def components(self, name: str, axis: str) -> dict[str, FloatArray]:
        """The signals `name.…` of an axis ("_N", "_T", "_K") by what stands after the dot.

        Raises `ValueError` if there is none, or where a number is not finite.
        """
        keys = {
            key: key[len(name) + 1 : -2] for key in self.columns if key.startswith(f"{name}.") and key.endswith(axis)
        }
        if not keys:
            raise ValueError(f"the batch has no {name!r}")
        return {short: self.signal(key) for key, short in keys.items()}

    def _present(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise ValueError(f"the batch has no {name}" + (f": {self.gaps[name]}" if name in self.gaps else ""))
        return self.columns[name]

    def place_of(self, name: str, entry: int) -> str:
        """Trajectory, and turn, of an entry of an array in words; the array's name tells its axis."""
        axis = name[-2:]
        if axis == "_N":
            return f"trajectory {entry}"
        return self._place(entry) if axis == "_T" else f"{self._place(int(self.turn_K[entry]))}, a token"

    # Back to nested lists ----------------------------------------------------------------------------------

    def nest_turns(self, value_T: NDArray[Any]) -> list[list[Any]]:
        """One list of values for each trajectory, one value for each of its turns."""
        return _split(value_T.tolist(), self.turn_offsets_N)

    def nest_tokens(self, value_K: NDArray[Any]) -> list[list[list[Any]]]:
        """One list for each trajectory, in it one for each turn, in it one value for each token."""
        return _split(_split(value_K.tolist(), self.known_token_offsets()), self.turn_offsets_N)

    def _column_or_nothing(self, name: str) -> NDArray[Any]:
        """A column to be concatenated with those of other batches. Raises `ValueError` where it is missing."""
        if name in self.columns:
            return self.columns[name]
        if self.n_turns and not name.startswith(OCCASIONAL):
            raise ValueError(f"some of the batches have the column {name!r} and some do not")
        return (
            np.full(self.axis_length(name), "", object) if name.startswith(TEXTS) else np.zeros(self.axis_length(name))
        )

    def axis_length(self, name: str) -> int:
        """The length that an array of this name must have. Raises `ValueError` for a name that ends in no axis."""
        axis = name[-2:]
        if axis not in ("_N", "_T", "_K"):
            raise ValueError(f"the column {name!r} must be named after its axis: ending in _N, _T or _K")
        return {"_N": self.n_trajectories, "_T": self.n_turns}[axis] if axis != "_K" else self.n_tokens

    def _place(self, turn: int) -> str:
        """Trajectory and turn in words."""
        return f"trajectory {self.trajectory_T[turn]}, turn {self.turn_index_T[turn]}"


def _flat_array(lists: Sequence[Sequence[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.fromiter(chain(*lists), dtype=dtype)


def _check_offsets(name: str, offsets: IntArray, segments: int) -> None:
    if len(offsets) != segments + 1:
        raise ValueError(f"{name} has {len(offsets)} entries, not {segments + 1}")
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ValueError(f"{name} must begin at 0 and never fall")


def _stack_ids(arrays: Sequence[IntArray]) -> IntArray:
    """Concatenate numberings so that no number of one array is a number of another."""
    starts = [0, *accumulate(int(ids.max(initial=-1)) + 1 for ids in arrays)]
    return np.concatenate([ids + start for ids, start in zip(arrays, starts, strict=False)])


def _stack_states(batches: Sequence[TurnBatch]) -> tuple[IntArray | None, IntArray | None]:
    """`state_T` and `final_state_N` of batches, in common numbers that keep each batch's apart from the others'."""
    states = [batch.state_T for batch in batches if batch.state_T is not None]
    finals = [batch.final_state_N for batch in batches if batch.final_state_N is not None]
    if len(states) < len(batches):
        return None, None
    if len(finals) < len(batches):
        return _stack_ids(states), None
    both = _stack_ids([np.concatenate(each) for each in zip(states, finals, strict=True)])
    ends = np.cumsum([(len(state), len(final)) for state, final in zip(states, finals, strict=True)])
    pieces = np.split(both, ends[:-1])
    return np.concatenate(pieces[::2]), np.concatenate(pieces[1::2])


def _stack_offsets(arrays: Sequence[IntArray]) -> IntArray:
    return offsets_of(np.concatenate([np.diff(offsets) for offsets in arrays]).tolist())


def _split(values: list[Any], offsets: IntArray) -> list[list[Any]]:
    bounds = offsets.tolist()
    return [values[start:end] for start, end in pairwise(bounds)]
