"""SPIRAL: a game's outcome less what the seat has earned of late (role-conditioned advantage estimation)."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import UnitInterval


@credit("spiral", paper="arXiv:2506.24119", needs=["running_baseline_N"])
def spiral(batch: TurnBatch, *, gamma: UnitInterval = 1.0, drop_zeros: bool = True) -> Credit:
    """SPIRAL's role-conditioned advantage estimation: the return less the seat's running mean (arXiv:2506.24119).

        A_{i,t} = γ^{n_i − 1 − t}·(R_i − b(game, seat))

    over the n_i turns of the trajectory's own seat, where b is the running baseline before the game. Nothing is
    compared within groups and nothing normalised: groups of one will do. In a world with one seat b is the running
    mean of all episodes.

    - `gamma`: 1, the official code's.
    - `drop_zeros`: turns whose advantage is exactly 0 are not learned from, and do not count in the loss's mean either:
      draws, while b is 0.

    Paper and code: the official code reads b before it takes the game in, as we do; the paper's formula takes it in
    first, which scales the first game's advantage by the decay. There each process has averages of its own.
    """
    own_N = batch.episode_return_N - batch.signal("running_baseline_N")
    turns_after_T = batch.n_turns_N[batch.trajectory_T] - 1 - batch.turn_index_T
    advantage_T = gamma**turns_after_T * own_N[batch.trajectory_T]
    kept_T = advantage_T != 0 if drop_zeros else np.ones(batch.n_turns, np.bool_)
    trained_K = None if batch.token_offsets_T is None else kept_T[batch.turn_K]
    return Credit(advantage_T=advantage_T, trained_K=trained_K, parts={"kept_T": kept_T})
