"""Partners of a run, by name: scripted ones, the start, its own past, other models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path

import torch

from agentgym.agents.adapters import without_adapter
from agentgym.agents.agent import Agent
from agentgym.agents.engines.frozen import FrozenEngine
from agentgym.agents.engines.transformers import TransformersEngine
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import LoadedModel, adapter_base, load_model, pinned_model
from agentgym.agents.partners import Always, Source
from agentgym.config import RunConfig
from agentgym.envs.multi_agent import TextAECEnv
from agentgym.named_agents import run_config
from agentgym.seating import START, without_model
from agentgym.trainers.policy import Policy
from agentgym.trainers.pool import Pool


@dataclass(frozen=True)
class PartnersOfARun:
    """The partners that a run's learner meets. Where they can, they share its weights, never its adapter."""

    config: RunConfig
    loaded: LoadedModel
    agent: LLMAgent
    """The learner."""
    game: TextAECEnv

    def source(self, name: str) -> Source:
        """Who is meant by a name, but for the pool."""
        if name == START:
            return Always(name, self.with_adapter(None, 0))
        return Always(name, without_model(name, self.game) or self._of_model(name))

    def pool(self, policy: Policy, run_dir: Path) -> Pool:
        """The pool of the run's own past."""
        return Pool(policy, self.with_adapter, run_dir, every=self.config.pool_steps)

    def with_adapter(self, adapter: str | None, step: int) -> LLMAgent:
        """Who plays as the learner does, with another adapter, of the policy after so many steps."""
        engine = self.agent.engine
        assert isinstance(engine, TransformersEngine)
        frozen = FrozenEngine(engine, adapter)
        frozen.policy_step = step
        return self.agent.frozen(frozen)

    def _of_model(self, name: str) -> Agent:
        """A model of its own, or an adapter on the learner's model. One of a run plays with that run's settings."""
        from agentgym.build import eval_temperature, make_agent

        of_run = run_config(Path(name))
        config = of_run or self.config
        pinned = pinned_model(name)
        if adapter_base(Path(pinned)) == adapter_base(self.loaded):
            loaded, adapter = self.loaded, f"partner-{blake2b(pinned.encode(), digest_size=6).hexdigest()}"
            if adapter not in loaded.model.peft_config:
                loaded.model.load_adapter(pinned, adapter_name=adapter)
            settings = make_agent(config, loaded, eval_temperature(config))
            return settings.frozen(self.with_adapter(adapter, 0).engine)
        own = _frozen_model(pinned, self.config.dtype, next(self.loaded.model.parameters()).device)
        agent = make_agent(config, own, eval_temperature(config))
        return agent.frozen(agent.engine)


@cache
def _frozen_model(name: str, dtype: str, device: torch.device) -> LoadedModel:
    """A model that only plays, loaded once for training and all evaluations."""
    loaded = load_model(name, dtype=dtype, device=device)
    return replace(loaded, model=without_adapter(loaded.model))
