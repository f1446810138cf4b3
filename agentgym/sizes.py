"""Sizes that no machine can serve are answered at once, with the number that would be needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agentgym.overrides import ConfigError
from agentgym.trainers.config import TrainerConfig

_BYTES_OF_A_PARAMETER = 16
"""A trained weight, its gradient and AdamW's two averages, in float32."""
_SIDE = 1024
"""Of a small model's matrices."""


class Need(NamedTuple):
    """What some keys together ask for."""

    keys: str
    number: float
    most: float
    unit: str


def check_sizes(config: TrainerConfig) -> None:
    """Raise `ConfigError`, a line for each size that cannot be."""
    faults = [
        f"{need.keys}: {need.number:,.0f} {need.unit} would be needed, and more than {need.most:,.0f} cannot be"
        for need in _needs(config)
        if need.number > need.most
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def _needs(config: TrainerConfig) -> Iterator[Need]:
    episodes = config.groups_per_step * config.group_size
    updates = config.num_iterations * config.num_minibatches
    yield Need("groups_per_step × group_size", episodes, 1e6, "episodes a step")
    yield Need("max_steps", config.max_steps, 1e8, f"steps of {episodes:,} episodes")
    yield Need("num_iterations × num_minibatches", updates, 1e6, "optimizer steps a step")
    for key, most, unit in (
        ("num_envs", 1e6, "live environments"),
        ("max_new_tokens", 1e7, "tokens a response"),
        ("max_turns", 1e7, "turns an episode"),
        ("window", 1e7, "turns in a prompt"),
        ("eval_episodes", 1e7, "episodes an evaluation"),
    ):
        yield Need(key, getattr(config, key, None) or 0, most, unit)
    of_adapter = getattr(config, "lora_r", 1) * 2 * _SIDE * _BYTES_OF_A_PARAMETER
    yield Need("lora_r", of_adapter, 1e9, f"bytes for each adapted matrix of {_SIDE}x{_SIDE}")
