"""A configuration with all that it leaves open filled in, so that a run can be repeated after defaults have changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentgym.config import RunConfig
from agentgym.envs.games import default_game_arguments
from agentgym.envs.registration import default_arguments, takes_argument
from agentgym.envs.told import Told
from agentgym.trainers.credit import get_scheme
from agentgym.trainers.objective import Objective
from agentgym.trainers.parameters import read_parameters
from agentgym.trainers.replay import SuccessReplay
from agentgym.trainers.retries import get_reflector
from agentgym.trainers.signals.plan import signal_kind
from agentgym.trainers.tasks import get_task_sampler

_SET_BY_KEYS = ("split", "max_turns", "render_mode")
"""Arguments of environments that are no part of `env_kwargs`."""
_WITH_KEYS = ("epsilon", "epsilon_high")
"""Parameters of policy losses that the configuration has keys of its own for."""


def resolved(config: RunConfig, told: Told) -> RunConfig:
    """`config` with the defaults of its environment, credit scheme, losses, signals, task sampler, replay and
    reflector.

    `told`: what the environment tells of itself. Resolving again changes nothing, and the run is the same. Raises
    `ValueError` in one line for names and parameters that do not exist.
    """
    scheme = get_scheme(config.credit)
    objective_of = Objective.of_cloning if config.trainer == "cloning" else Objective.of
    objective = objective_of(config, told.max_turns * config.max_new_tokens)
    sampler = get_task_sampler(config.task_sampler)
    defaults = default_arguments(config.env_id) if config.players is None else default_game_arguments(config.env_id)
    arguments = {k: v for k, v in defaults.items() if k not in _SET_BY_KEYS and _is_plain(v)}
    values = {
        "env_kwargs": arguments | {k: v for k, v in config.env_kwargs.items() if k != "max_turns"},
        "max_turns": told.max_turns if takes_argument(config.env_id, "max_turns") else None,
        "credit_kwargs": scheme.defaults | scheme.check_parameters(config.credit_kwargs),
        "policy_loss_kwargs": {k: v for k, v in objective.policy_params.items() if k not in _WITH_KEYS},
        **{key: objective.policy_params[key] for key in _WITH_KEYS if key in objective.policy_params},
        "ratio_level": objective.ratio_level,
        "loss_aggregation": objective.aggregation,
        "entropy_smoothing_kwargs": dict(objective.smoothing_params),
        "task_sampler_kwargs": _complete(sampler.__init__, config.task_sampler_kwargs, skip=2),
        **(
            {"success_replay_kwargs": _complete(SuccessReplay.__init__, config.success_replay_kwargs, skip=4)}
            if config.success_replay
            else {}
        ),
        **(
            {"retry_kwargs": _complete(get_reflector(config.retry).__init__, config.retry_kwargs, skip=2)}
            if config.retry
            else {}
        ),
        "signals": {
            name: _complete(signal_kind(name).__init__, params, skip=3) for name, params in config.signals.items()
        },
    }
    return config.model_copy(update=values)


def _complete(constructor: Callable[..., Any], params: Mapping[str, Any], *, skip: int) -> dict[str, Any]:
    defaults = {p.name: p.default for p in read_parameters(constructor, skip=skip).values()}
    return {name: value for name, value in defaults.items() if _is_plain(value)} | dict(params)


def _is_plain(value: object) -> bool:
    """Whether YAML can hold the value and give it back."""
    if isinstance(value, list | dict):
        return all(map(_is_plain, value)) and (isinstance(value, list) or all(map(_is_plain, value.values())))
    return value is None or isinstance(value, str | int | float)
