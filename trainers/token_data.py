"""The sampled tokens of a minibatch, laid out for the loss: what each is, what it earned, what it weighs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.batch import BoolArray, FloatArray, IntArray
from agentgym.trainers.layout import SequenceBatch, build_sequences
from agentgym.trainers.losses import token_weights
from agentgym.trainers.objective import Objective


@dataclass(frozen=True)
class TokenCredit:
    """What a credit scheme says of some sampled tokens."""

    advantage_K: FloatArray
    trained_K: BoolArray
    """Whether the loss is taken over the token."""
    clip_scale_K: FloatArray | None = None
    """What the clip range is multiplied by; None where the scheme does not say: 1."""

    def part(self, start: int, end: int) -> TokenCredit:
        """The credit of the tokens from `start` to before `end`."""
        scale_K = None if self.clip_scale_K is None else self.clip_scale_K[start:end]
        return TokenCredit(self.advantage_K[start:end], self.trained_K[start:end], scale_K)

    @classmethod
    def concatenate(cls, parts: Sequence[TokenCredit]) -> TokenCredit:
        """The credit of all their tokens, one after the other."""
        scales = [part.clip_scale_K for part in parts if part.clip_scale_K is not None]
        return cls(
            np.concatenate([np.empty(0), *(part.advantage_K for part in parts)]),
            np.concatenate([np.empty(0, np.bool_), *(part.trained_K for part in parts)]),
            np.concatenate(scales) if scales else None,
        )


@dataclass(frozen=True)
class TokenData:
    """The sampled tokens of some trajectories, in their order, and what the loss needs of each."""

    batch: SequenceBatch
    credit: TokenCredit
    weight_K: FloatArray
    sampler_logprob_K: FloatArray
    """The engine's log-probabilities, from when the tokens were drawn."""
    turn_K: IntArray
    """Numbers the turns of all trajectories."""
    turn_index_K: IntArray
    """Which turn of its trajectory the token belongs to, from 0."""
    trajectory_K: IntArray
    group_K: IntArray
    """The number of the token's group among those of the training step, over all processes."""
    n_tokens: int
    """Tokens that are trained on."""
    n_trajectories: int
    """Trajectories that have such tokens."""
    retokenized: int
    """Sampled tokens that would not be trained on as they were sampled. Must be 0."""
    old_logprob_K: FloatArray | None = None
    """What the ratios are taken to; None where the update is one step: then every ratio is 1."""
    reference_logprob_K: FloatArray | None = None
    constants: Mapping[str, FloatArray] = field(default_factory=dict)
    """What the loss needs to know of the whole minibatch: constants, one for each token."""

    @classmethod
    def of(
        cls,
        trajectories: Sequence[Trajectory],
        credit: TokenCredit,
        objective: Objective,
        max_episode_tokens: int,
        group_numbers: Sequence[int] | None = None,
    ) -> TokenData:
        """Lay out `trajectories`, whose tokens `credit` is of.

        `max_episode_tokens`: see `token_weights`. `group_numbers`: of each trajectory, for `group_K`; 0 unless given.
        """
        batch = build_sequences(trajectories)
        turns = [turn for trajectory in trajectories for turn in trajectory.turns]
        n_tokens_T = [len(turn.response_ids) for turn in turns]
        n_turns_N = [len(trajectory.turns) for trajectory in trajectories]
        trajectory_T = np.repeat(np.arange(len(trajectories)), n_turns_N)
        turn_index_T = np.array([t for n in n_turns_N for t in range(n)], np.int64)
        trajectory_K = np.repeat(trajectory_T, n_tokens_T)
        numbers_N = (
            np.zeros(len(trajectories), np.int64) if group_numbers is None else np.array(group_numbers, np.int64)
        )
        trained_K = credit.trained_K
        aggregation = objective.aggregation
        return cls(
            batch,
            credit,
            weight_K=token_weights(
                trajectory_K, aggregation, max_episode_tokens=max_episode_tokens, trained_K=trained_K
            ),
            sampler_logprob_K=np.array([logp for turn in turns for logp in turn.logprobs]),
            turn_K=np.repeat(np.arange(len(turns)), n_tokens_T),
            turn_index_K=np.repeat(turn_index_T, n_tokens_T),
            trajectory_K=trajectory_K,
            group_K=numbers_N[trajectory_K],
            n_tokens=int(trained_K.sum()),
            n_trajectories=len(np.unique(trajectory_K[trained_K])),
            retokenized=count_retokenized(batch, [i for turn in turns for i in turn.response_ids]),
        )

    @property
    def last_turn(self) -> int:
        """The highest turn index, -1 without tokens."""
        return int(self.turn_index_K.max(initial=-1))


def count_retokenized(batch: SequenceBatch, sampled_ids: Sequence[int]) -> int:
    """How many sampled tokens are another token in the sequences to be trained on.

    Raises `RuntimeError` if one has no place or two.
    """
    if len(batch.token_K) != len(sampled_ids):
        raise RuntimeError(f"{len(sampled_ids)} tokens were sampled, {len(batch.token_K)} would be trained on")
    return int((batch.token_K != np.array(sampled_ids, np.int64)).sum())
