"""The checks of `agentgym.envs.check_text_env`: each a small function, listed in order in `CHECKS`."""

from __future__ import annotations

from collections.abc import Callable

from agentgym.envs.checks.reset import (
    check_attributes,
    check_global_randomness,
    check_gymnasium,
    check_instances,
    check_private_stream,
    check_second_process,
    check_seed,
)
from agentgym.envs.checks.snapshots import check_copies, check_snapshot
from agentgym.envs.checks.splits import check_answers, check_splits, check_task_ids
from agentgym.envs.checks.step import (
    check_admissible_actions,
    check_expert,
    check_hostile_actions,
    check_order_of_calls,
    check_returns,
    check_state_key,
    check_success,
    check_truncation,
)
from agentgym.envs.checks.subject import Subject, VerdictError

__all__ = ["CHECKS", "Check", "Subject", "VerdictError", "check_second_process"]

Check = Callable[[Subject], None]

CHECKS: tuple[Check, ...] = (
    check_attributes,
    check_gymnasium,
    check_returns,
    check_truncation,
    check_order_of_calls,
    check_success,
    check_seed,
    check_private_stream,
    check_task_ids,
    check_global_randomness,
    check_instances,
    check_snapshot,
    check_copies,
    check_admissible_actions,
    check_state_key,
    check_hostile_actions,
    check_splits,
    check_answers,
    check_expert,
)
"""What `check_text_env` runs, in this order."""
