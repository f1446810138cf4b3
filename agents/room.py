"""Whether a model's context has room for an environment's turns, asked before anything is played."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from agentgym.agents.episode import EpisodeSpec, begin
from agentgym.agents.llm_agent import LLMAgent

_TASKS = 4


def check_room(agent: LLMAgent, make_env: Callable[[], Any], env_id: str) -> None:
    """Raise `ValueError`, in one line, if the first prompts of several tasks leave no room for a response.

    Every episode would end before its first turn, which would read as a success rate of 0.
    """
    needed = []
    with closing(make_env()) as env:
        for seed in range(_TASKS):
            try:
                views = begin(env, EpisodeSpec(env_id, seed, group="", sampling_seed=0)).to_act()
            except Exception:  # the environment's own fault, which the episode that meets it reports
                return
            needed += [agent.prompt_length(view) for view in views]
            if not needed or min(needed) + agent.sampling.max_new_tokens <= agent.context_length:
                return
    raise ValueError(
        f"no episode of {env_id} can begin: its first prompt needs {min(needed)} tokens and a response up to "
        f"{agent.sampling.max_new_tokens} (max_new_tokens), and the model's context has {agent.context_length}"
    )
