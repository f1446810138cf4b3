"""The ways into a game that PettingZoo's modules have: `env`, `raw_env` and `parallel_env`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import OrderEnforcingWrapper, aec_to_parallel, turn_based_aec_to_parallel

from agentgym.envs.multi_agent import TextAECEnv


def faces(
    game: Callable[..., TextAECEnv],
) -> tuple[Callable[..., AECEnv], Callable[..., TextAECEnv], Callable[..., ParallelEnv]]:
    """`env, raw_env, parallel_env` of a game, each taking the game's arguments.

    `env` also refuses calls in the wrong order. In the parallel view of a game in which seats take turns, the action
    of the seat whose turn it is counts. `max_cycles`, PettingZoo's word, is taken for `max_turns`.
    """

    def raw_env(max_cycles: int | None = None, **kwargs: Any) -> TextAECEnv:
        """The game itself."""
        return game(**kwargs if max_cycles is None else kwargs | {"max_turns": max_cycles})

    def env(**kwargs: Any) -> AECEnv:
        """The game, which refuses calls in the wrong order."""
        return OrderEnforcingWrapper(raw_env(**kwargs))

    def parallel_env(**kwargs: Any) -> ParallelEnv:
        """The game as a `ParallelEnv`."""
        aec = raw_env(**kwargs)
        return aec_to_parallel(aec) if aec.moves_at_once else turn_based_aec_to_parallel(aec)

    return env, raw_env, parallel_env
