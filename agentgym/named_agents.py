"""Agents by name: `random`, `expert`, a run, a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from agentgym.agents.agent import Agent, ExpertAgent, RandomAgent
from agentgym.agents.model_names import check_model_name
from agentgym.agents.run_files import CHECKPOINTS, CONFIG, is_checkpoint_path
from agentgym.config import RunConfig, load_run_config


class NamedAgent:
    """An agent, what it is called in results, and the run it comes from."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Agent],
        config: RunConfig | None = None,
        serving: Callable[[], AbstractContextManager[None]] = nullcontext,
    ):
        """`make`: gives the agent, and further ones on the same model. `serving`: within, they all may play."""
        self.name = name
        self.make = make
        self.agent = make()
        self.config = config
        self.serving = serving


def load_agent(name: str) -> NamedAgent:
    """`random`, `expert`, or a model: a run directory, a checkpoint, a model directory, or a name of a model.

    A model of a run plays with that run's settings (context, format, sampling), any other with the defaults.
    Raises `ModelError` for a directory without a model.
    """
    if name == "random":
        return NamedAgent(name, RandomAgent)
    if name == "expert":
        return NamedAgent(name, ExpertAgent)
    check_model_name(name, "random", "expert")
    import torch

    from agentgym.agents.adapters import adapter_merged
    from agentgym.agents.models import load_model
    from agentgym.build import eval_temperature, make_agent
    from agentgym.train import quieten_libraries

    quieten_libraries()
    of_run = run_config(Path(name))
    loaded = load_model(name, device="cuda" if torch.cuda.is_available() else "cpu")
    config = of_run or RunConfig(env_id="")
    return NamedAgent(
        name,
        partial(make_agent, config, loaded, eval_temperature(config)),
        of_run,
        partial(adapter_merged, loaded.model),
    )


def run_config(path: Path) -> RunConfig | None:
    """The configuration of the run that `path` is, or is a checkpoint of."""
    path = path.absolute()
    run_dir = path.parents[1] if is_checkpoint_path(path) else path
    if not (run_dir / CHECKPOINTS).is_dir() or not (run_dir / CONFIG).exists():
        return None  # a model's directory may hold a config.yaml of its own
    return load_run_config(run_dir / CONFIG)
