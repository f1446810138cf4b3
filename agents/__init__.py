"""Agents: from an observation to an action, and from a task to a trajectory.

    from agentgym.agents import EpisodeSpec, RandomAgent, play
    from agentgym.envs import make

    specs = [EpisodeSpec("agentgym/Sokoban-v0", seed, group=str(seed), sampling_seed=seed) for seed in range(8)]
    trajectories = play(RandomAgent(), lambda: make("agentgym/Sokoban-v0"), specs)

Importing this package is quick: every name's module is imported at its first use, and only models and their
engine need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentgym.agents.agent import Agent, Decision, Episode, ExpertAgent, HumanAgent, RandomAgent
    from agentgym.agents.contexts import ChatPieces, Context
    from agentgym.agents.engines import Engine, Sample, SamplingParams
    from agentgym.agents.engines.transformers import TransformersEngine
    from agentgym.agents.evaluation import Evaluation, SuccessRate, evaluate, panel_specs, wilson_interval
    from agentgym.agents.formats import FORMATS, Format, get_format
    from agentgym.agents.llm_agent import LLMAgent
    from agentgym.agents.models import LoadedModel, ModelError, add_lora, load_model, stop_token_ids
    from agentgym.agents.rollout import EpisodeSpec, GroupError, check_groups, play
    from agentgym.agents.trajectory import (
        StopReason,
        Trajectory,
        Turn,
        read_trajectories,
        write_trajectories,
    )

__all__ = [
    "FORMATS",
    "Agent",
    "ChatPieces",
    "Context",
    "Decision",
    "Engine",
    "Episode",
    "EpisodeSpec",
    "Evaluation",
    "ExpertAgent",
    "Format",
    "GroupError",
    "HumanAgent",
    "LLMAgent",
    "LoadedModel",
    "ModelError",
    "RandomAgent",
    "Sample",
    "SamplingParams",
    "StopReason",
    "SuccessRate",
    "Trajectory",
    "TransformersEngine",
    "Turn",
    "add_lora",
    "check_groups",
    "evaluate",
    "get_format",
    "load_model",
    "panel_specs",
    "play",
    "read_trajectories",
    "stop_token_ids",
    "wilson_interval",
    "write_trajectories",
]

_MODULES = {
    "agent": ["Agent", "Decision", "Episode", "ExpertAgent", "HumanAgent", "RandomAgent"],
    "contexts": ["ChatPieces", "Context"],
    "engines": ["Engine", "Sample", "SamplingParams"],
    "engines.transformers": ["TransformersEngine"],
    "evaluation": ["Evaluation", "SuccessRate", "evaluate", "panel_specs", "wilson_interval"],
    "formats": ["FORMATS", "Format", "get_format"],
    "llm_agent": ["LLMAgent"],
    "models": ["LoadedModel", "ModelError", "add_lora", "load_model", "stop_token_ids"],
    "rollout": ["EpisodeSpec", "GroupError", "check_groups", "play"],
    "trajectory": ["StopReason", "Trajectory", "Turn", "read_trajectories", "write_trajectories"],
}
_LAZY = {name: f"agentgym.agents.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
