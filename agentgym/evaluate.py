"""Evaluate any agent on a panel of tasks: what `agentgym eval` does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console

from agentgym.agents.agent import Agent, ExpertAgent, RandomAgent
from agentgym.agents.evaluation import Evaluation, evaluate
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.model_names import check_model_name
from agentgym.agents.room import check_room
from agentgym.agents.run_files import CHECKPOINTS, CONFIG, is_checkpoint_path
from agentgym.config import RunConfig, load_run_config, try_environment
from agentgym.envs import TextEnv, make
from agentgym.envs.worker import WorkerEnv
from agentgym.progress import progress_on


class NamedAgent:
    """An agent, what it is called in results, and the run it comes from."""

    def __init__(
        self,
        name: str,
        agent: Agent,
        config: RunConfig | None = None,
        serving: Callable[[], AbstractContextManager[None]] = nullcontext,
    ):
        """`serving`: within, the agent's engine has its model."""
        self.name = name
        self.agent = agent
        self.config = config
        self.serving = serving


def load_agent(name: str) -> NamedAgent:
    """`random`, `expert`, or a model: a run directory, a checkpoint, a model directory, or a name of a model.

    A model of a run plays with that run's settings (context, format, sampling), any other with the defaults.
    Raises `ModelError` for a directory without a model.
    """
    if name == "random":
        return NamedAgent(name, RandomAgent())
    if name == "expert":
        return NamedAgent(name, ExpertAgent())
    check_model_name(name, "random", "expert")
    import torch

    from agentgym.agents.models import load_model
    from agentgym.build import eval_temperature, make_agent
    from agentgym.train import quieten_libraries

    quieten_libraries()
    run_config = _run_config(Path(name))
    loaded = load_model(name, device="cuda" if torch.cuda.is_available() else "cpu")
    config = run_config or RunConfig(env_id="")
    agent = make_agent(config, loaded, eval_temperature(config))
    return NamedAgent(name, agent, run_config, partial(agent.engine.serving, loaded.model, 0))


def _run_config(path: Path) -> RunConfig | None:
    """The configuration of the run that `path` is, or is a checkpoint of."""
    path = path.absolute()
    run_dir = path.parents[1] if is_checkpoint_path(path) else path
    if not (run_dir / CHECKPOINTS).is_dir() or not (run_dir / CONFIG).exists():
        return None  # a model's directory may hold a config.yaml of its own
    return load_run_config(run_dir / CONFIG)


def evaluate_agent(
    agent: NamedAgent,
    env_id: str,
    env_kwargs: dict[str, Any],
    *,
    episodes: int,
    seed: int,
    split: str,
    env_timeout: float | None,
    console: Console,
) -> Evaluation:
    """Play the panel and sum it up. In its own environment a run's agent meets that run's settings of it.

    `env_timeout`: seconds for a reset or a step, as in `TrainerConfig`.
    """
    if agent.config is not None and agent.config.env_id == env_id:
        limit = {} if agent.config.max_turns is None else {"max_turns": agent.config.max_turns}
        env_kwargs = agent.config.env_kwargs | limit | env_kwargs
        env_timeout = agent.config.env_timeout if env_timeout is None else env_timeout
    make_env: Callable[[], TextEnv] = partial(make, env_id, **env_kwargs, split=split)
    if env_timeout is not None:
        make_env = partial(WorkerEnv, make_env, env_timeout)
    try_environment(env_id, make_env)  # a wrong id or argument is an error of the call, not of an episode
    if isinstance(agent.agent, LLMAgent):
        check_room(agent.agent, make_env, env_id)
    with progress_on(console, transient=True) as progress, agent.serving():
        done, ended = progress.count(f"{agent.name} in {env_id}", episodes, unit="episode"), count(1)
        return evaluate(
            agent.agent,
            make_env,
            env=env_id,
            agent=agent.name,
            split=split,
            seed=seed,
            episodes=episodes,
            on_episode=lambda _: done.reach(next(ended)),
        )
