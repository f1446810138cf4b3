"""Signals that the trainer computes when a credit scheme needs them: by name, a function.

Each process computes those of its own trajectories. The policy is the one that acted: signals are computed before
the first optimizer step on what it played.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from agentgym.agents.trajectory import Trajectory
from agentgym.trainers.batch import FloatArray, TurnBatch
from agentgym.trainers.layout import build_sequences
from agentgym.trainers.scoring import Reading, logprob_of_token, read_tokens
from agentgym.trainers.signal_names import SIGNALS
from agentgym.trainers.signals.answers import ANSWER_SIGNALS
from agentgym.trainers.signals.entropy import entropy, sum_pi_squared


@dataclass(frozen=True)
class TokenSignal:
    """A signal that is read off the distribution that each token was drawn from."""

    reading: Reading
    reference: bool = False
    """Whether the distribution is the reference policy's, the model's without its adapter."""


TOLD = ("state_key", "observation", "tokens", "token_ids", "logprob_K", "reward_parts.*_T", "duration_T")
"""What a rollout tells, the last two where the environment does: whether it did is seen in the batch."""

TOKEN_SIGNALS: dict[str, TokenSignal] = {
    "entropy_K": TokenSignal(entropy),
    "sum_pi_squared_K": TokenSignal(sum_pi_squared),
    "reference_logprob_K": TokenSignal(logprob_of_token, reference=True),
}
"""The signals of tokens that can be computed, by their name in `SIGNALS`; those of answers are in `answers`."""


def compute_signals(
    names: Iterable[str], model: Any, trajectories: Sequence[Trajectory], *, max_tokens: int, temperature: float
) -> dict[str, FloatArray]:
    """The signals of these names for every sampled token of the trajectories, in their order: shapes (K,).

    One pass without gradient over the trajectories for all signals of the policy, one for all of the reference.
    `max_tokens`: in a micro-batch, padding counted.
    """
    wanted = {name: TOKEN_SIGNALS[name] for name in names}
    batch = build_sequences(trajectories) if wanted else None
    computed: dict[str, FloatArray] = {}
    for reference in (False, True):
        readings = {name: signal.reading for name, signal in wanted.items() if signal.reference is reference}
        if readings and batch is not None:
            with model.disable_adapter() if reference else nullcontext():
                computed |= read_tokens(model, batch, readings, max_tokens=max_tokens, temperature=temperature)
    return computed


def check_provided(needs: Iterable[str], scheme: str) -> None:
    """Raises `ValueError` in one line if a scheme needs what training does not provide."""
    for need in needs:
        if need not in (*TOKEN_SIGNALS, *ANSWER_SIGNALS) and not any(fnmatchcase(need, told) for told in TOLD):
            meaning = f" ({SIGNALS[need]})" if need in SIGNALS else ""
            raise ValueError(
                f"{scheme} needs {need!r}{meaning}, which training does not compute: give it to `agentgym credit` in "
                "a file, or take another scheme"
            )


def entropy_by_turn(batch: TurnBatch, entropy_K: FloatArray) -> tuple[FloatArray, FloatArray]:
    """By turn index: the sum of the turns' mean entropies, and how many turns have tokens."""
    has_tokens_T = batch.n_tokens_T > 0
    mean_T = np.bincount(batch.turn_K, entropy_K, batch.n_turns) / np.maximum(batch.n_tokens_T, 1)
    index_T = batch.turn_index_T[has_tokens_T]
    return np.bincount(index_T, mean_T[has_tokens_T]).astype(np.float64), np.bincount(index_T).astype(np.float64)
