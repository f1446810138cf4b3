"""What an environment tells of itself, found out by playing one turn."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from agentgym.envs.faults import others_faults
from agentgym.envs.shared_process import EngineError
from agentgym.envs.text_env import NoPlanError, TextEnv


@dataclass(frozen=True)
class Told:
    """What an environment tells of itself."""

    env_id: str
    instructions: str
    answer_form: str
    max_turns: int
    has_expert: bool
    in_info: frozenset[str]
    """The keys of `info` after a first turn, and the components of the reward as `reward_parts.…`."""


def look_at(env: TextEnv, env_id: str) -> Told:
    """Play one turn, the expert's where there is one, and see what is told; then close the environment.

    Raises `ValueError` where that fails, with the place in other people's code.
    """
    try:
        return _told(env, env_id)
    except (EngineError, TimeoutError) as error:
        raise ValueError(f"{env_id} fails in its first turn: {error}") from error


def _told(env: TextEnv, env_id: str) -> Told:
    with closing(env), others_faults(f"{env_id} fails in its first turn", type(env).__module__):
        _, info = env.reset(seed=0)
        keys = set(info)
        has_expert = True
        try:
            action = env.expert()
        except (NotImplementedError, NoPlanError) as error:
            has_expert = isinstance(error, NoPlanError)
            action = str(next(iter(info.get("admissible_actions", ())), ""))
        info = env.step(action)[-1]
        keys |= set(info) | {f"reward_parts.{part}" for part in info.get("reward_parts", ())}
        return Told(env_id, env.instructions, env.answer_form, env.max_turns, has_expert, frozenset(keys))
