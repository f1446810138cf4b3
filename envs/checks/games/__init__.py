"""The checks of `agentgym.envs.check_game`: each a small function, listed in order in `GAME_CHECKS`."""

from __future__ import annotations

from collections.abc import Callable

from agentgym.envs.checks.games.privacy import (
    check_at_once,
    check_look_alikes,
    check_privacy,
)
from agentgym.envs.checks.games.seats import (
    check_dead_seats,
    check_game_admissible_actions,
    check_game_end,
    check_game_expert,
    check_game_hostile_actions,
    check_seats,
    check_told,
    check_who_may_act,
    check_zero_sum,
)
from agentgym.envs.checks.games.states import (
    check_game_copies,
    check_game_global_randomness,
    check_game_instances,
    check_game_second_process,
    check_game_seed,
    check_game_snapshot,
    check_game_splits,
    check_observe,
)
from agentgym.envs.checks.games.subject import GameSubject

__all__ = ["GAME_CHECKS", "GameCheck", "GameSubject", "check_game_second_process"]

GameCheck = Callable[[GameSubject], None]

GAME_CHECKS: tuple[GameCheck, ...] = (
    check_seats,
    check_told,
    check_who_may_act,
    check_at_once,
    check_game_end,
    check_dead_seats,
    check_zero_sum,
    check_game_seed,
    check_game_global_randomness,
    check_game_instances,
    check_observe,
    check_look_alikes,
    check_privacy,
    check_game_snapshot,
    check_game_copies,
    check_game_admissible_actions,
    check_game_hostile_actions,
    check_game_splits,
    check_game_expert,
)
"""What `check_game` runs, in this order."""
