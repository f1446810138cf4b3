"""What an environment tells of itself, found out by playing one turn."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentgym.envs.faults import others_faults
from agentgym.envs.shared_process import EngineError
from agentgym.envs.text_env import NoPlanError, TextEnv

if TYPE_CHECKING:
    from agentgym.envs.multi_agent import TextAECEnv


@dataclass(frozen=True)
class Told:
    """What an environment tells of itself."""

    env_id: str
    instructions: Mapping[str, str]
    """The rules in words, by seat: that of a world with one is ""."""
    answer_form: str
    max_turns: int
    """Of each seat."""
    has_expert: bool
    in_info: frozenset[str]
    """The keys of `info` after a first turn, and the components of the reward as `reward_parts.…`."""

    def rules(self, seat: str) -> str:
        """The rules in words, as a seat has them."""
        return self.instructions[seat if len(self.instructions) > 1 else next(iter(self.instructions))]


def look_at(env: TextEnv | TextAECEnv, env_id: str) -> Told:
    """Play one turn, the expert's where there is one, and see what is told; then close the environment.

    Raises `ValueError` where that fails, with the place in other people's code.
    """
    try:
        with closing(env), others_faults(f"{env_id} fails in its first turn", type(env).__module__):
            return _told(env, env_id) if isinstance(env, TextEnv) else _told_by_game(env, env_id)
    except (EngineError, TimeoutError) as error:
        raise ValueError(f"{env_id} fails in its first turn: {error}") from error


def _told(env: TextEnv, env_id: str) -> Told:
    _, info = env.reset(seed=0)
    keys, has_expert = set(info), True
    try:
        action = env.expert()
    except (NotImplementedError, NoPlanError) as error:
        has_expert, action = isinstance(error, NoPlanError), _any_action(info)
    keys |= _keys(env.step(action)[-1])
    return Told(env_id, {"": env.instructions}, env.answer_form, env.max_turns, has_expert, frozenset(keys))


def _told_by_game(game: TextAECEnv, env_id: str) -> Told:
    game.reset(seed=0)
    seat, has_expert = game.agent_selection, True
    keys = set(game.infos[seat])
    try:
        action = game.expert(seat)
    except (NotImplementedError, NoPlanError) as error:
        has_expert, action = isinstance(error, NoPlanError), _any_action(game.infos[seat])
    game.step(action)
    keys.update(*map(_keys, game.infos.values()))
    return Told(env_id, dict(game.instructions), TextEnv.answer_form, game.max_turns, has_expert, frozenset(keys))


def _any_action(info: Mapping[str, Any]) -> str:
    return str(next(iter(info.get("admissible_actions", ())), ""))


def _keys(info: Mapping[str, Any]) -> set[str]:
    return set(info) | {f"reward_parts.{part}" for part in info.get("reward_parts", ())}
