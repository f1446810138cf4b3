"""Trajectories as token sequences: what a model is given in training, without a model.

Turns whose prompt continues the turn before (a dialogue) share one sequence; turns with a prompt of
their own (a window) are sequences of their own. A sequence's last token is never a model's input, so sequences
that differ in nothing else, frequent among siblings in a small world, are kept once: what the model computes for
one holds for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.arrays import IntArray


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """Token ids, and which of them were sampled."""

    ids: tuple[int, ...]
    sampled: tuple[int, ...]
    """Ascending indices into `ids`, at least one. Not 0: the first token has no context to be sampled from."""

    @property
    def context(self) -> tuple[int, ...]:
        """What a model must read: everything before the last sampled token."""
        return self.ids[: self.sampled[-1]]


@dataclass(frozen=True)
class Layout:
    """The token sequences of a batch of trajectories.

    A *slot* is a place in `sequences` that a token was sampled for, counted sequence by sequence. The batch's
    sampled tokens (trajectory by trajectory, turn by turn) are `token_K`, each drawn at its `slot_K`; tokens
    drawn in equal contexts share a slot.
    """

    sequences: list[TokenSequence]
    slot_K: IntArray
    token_K: IntArray

    @cached_property
    def slot_offsets(self) -> IntArray:
        """Where each sequence's slots begin; one longer than `sequences`."""
        return _offsets(self.sequences)

    @cached_property
    def sequence_K(self) -> IntArray:
        """The sequence of each token."""
        return np.searchsorted(self.slot_offsets, self.slot_K, side="right") - 1

    def select(self, index_K: IntArray) -> Layout:
        """The layout of some of the tokens, in this order, with the sequences that they lie in."""
        of_K = self.sequence_K[index_K]
        kept, first = np.unique(of_K, return_index=True)
        kept = kept[np.argsort(first)]  # as if only these had been laid out
        sequences = [self.sequences[i] for i in kept.tolist()]
        start = np.zeros(len(self.sequences), np.int64)
        start[kept] = _offsets(sequences)[:-1]
        slot_K = start[of_K] + self.slot_K[index_K] - self.slot_offsets[of_K]
        return Layout(sequences, slot_K, self.token_K[index_K])


def lay_out(trajectories: Sequence[Trajectory]) -> Layout:
    """The layout of trajectories. Every sampled token has exactly one place.

    Raises `ValueError` for a response without a prompt: its first token was sampled from nothing.
    """
    return share_sequences([sequence for trajectory in trajectories for sequence in _sequences_of(trajectory)])


def lay_out_ends(trajectories: Sequence[Trajectory]) -> Layout:
    """The layout in which a token stands behind each turn's response: its hidden state has seen the whole turn.

    As many tokens as turns, turn by turn; what they are means nothing.
    """
    return share_sequences([sequence for trajectory in trajectories for sequence in _ends_of(trajectory)])


def share_sequences(laid_out: Sequence[TokenSequence]) -> Layout:
    """The batch of these sequences, in their order, with those kept once that differ in nothing a model reads."""
    kept: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    order = [kept.setdefault((sequence.context, sequence.sampled), len(kept)) for sequence in laid_out]
    first = dict(zip(reversed(order), reversed(laid_out), strict=True))
    sequences = [first[i] for i in range(len(kept))]
    offsets = _offsets(sequences)
    slots = [slot for i in order for slot in range(offsets[i], offsets[i + 1])]
    tokens = [sequence.ids[i] for sequence in laid_out for i in sequence.sampled]
    return Layout(sequences, np.array(slots, np.int64), np.array(tokens, np.int64))


def _offsets(sequences: Sequence[TokenSequence]) -> IntArray:
    return np.cumsum([0, *(len(sequence.sampled) for sequence in sequences)])


def _sequences_of(trajectory: Trajectory) -> Iterator[TokenSequence]:
    ids: list[int] = []
    sampled: list[int] = []
    for number, turn in enumerate(trajectory.turns):
        if not turn.continues:
            if sampled:
                yield TokenSequence(tuple(ids), tuple(sampled))
            ids, sampled = [], []
        ids += turn.prompt_ids
        if turn.response_ids and not ids:
            raise ValueError(f"{trajectory.env_id}, seed {trajectory.seed}, turn {number}: a response without a prompt")
        sampled += range(len(ids), len(ids) + len(turn.response_ids))
        ids += turn.response_ids
    if sampled:
        yield TokenSequence(tuple(ids), tuple(sampled))


def _ends_of(trajectory: Trajectory) -> Iterator[TokenSequence]:
    ids: list[int] = []
    ends: list[int] = []
    for turn in trajectory.turns:
        if not turn.continues:
            if ends:
                yield TokenSequence((*ids, 0), tuple(ends))
            ids, ends = [], []
        ids += [*turn.prompt_ids, *turn.response_ids]
        ends.append(len(ids))
    if ends:
        yield TokenSequence((*ids, 0), tuple(ends))


def micro_batches(sequences: Sequence[TokenSequence], max_tokens: int) -> list[list[int]]:
    """Partition sequences into batches of at most `max_tokens` tokens, padding counted.

    Returns indices into `sequences`. Neighbours in length share a batch, so that padding is rare. A sequence
    longer than `max_tokens` gets a batch of its own.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(sequences)), key=lambda i: len(sequences[i].ids), reverse=True):
        width = len(sequences[batches[-1][0]].ids) if batches else 0
        if batches and width * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
