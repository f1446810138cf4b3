"""Replayed states: what the agent was shown at any time so far, answered anew by the present policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentgym.agents.engines import generate
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import StopReason, Trajectory, Turn
from agentgym.trainers.parts import Part
from agentgym.trainers.progress import OnProgress, say_nothing
from agentgym.trainers.replay_buffer import ReplayBuffer
from agentgym.trainers.rollouts import Collected, Collector


@dataclass(frozen=True)
class ReplayedStates(Part):
    """Rollouts of which the policy learns off-policy: ArCHer's actor (arXiv:2402.19446, algorithm 1).

    What `inner` plays goes into a replay buffer. What is learned from is `count` situations drawn from the buffer,
    uniformly and with replacement, each an episode of one turn whose action the present policy has just sampled. Such
    an episode was never played on: its reward, and targets that come of it, say nothing.

    Paper and code: ArCHer samples anew in each of its three actor epochs; here that is `num_minibatches`, and all are
    sampled by the policy as the training step began.
    """

    inner: Collector
    buffer: ReplayBuffer
    agent: LLMAgent
    model: Any
    count: int
    """Over all processes."""
    seed: int

    @property
    def per_process(self) -> bool:
        """See `parts.Part`: the buffer's state belongs to whoever learns from it."""
        return self.inner.per_process

    def next(self, step: int, on_progress: OnProgress = say_nothing) -> Collected:
        """Play, remember, draw, answer."""
        collected = self.inner.next(step, on_progress)
        self.buffer.add(step, collected.learned)
        answered = self._answered(step)
        return replace(collected, learned=answered, replayed=[*collected.replayed, *answered])

    def _answered(self, step: int) -> list[Trajectory]:
        processes = self.buffer.processes
        drawn = self.buffer.draw(self.count, derived_seed(self.seed, step, "replayed states"))
        places = range(processes.index, len(drawn), processes.count)
        room = max(self.agent.context_length - self.agent.sampling.max_new_tokens, 1)
        prompts = [list(self.buffer.prompt(int(drawn[place]))[-room:]) for place in places]
        seeds = [derived_seed(self.seed, step, "replayed states", place) for place in places]
        with self.agent.engine.serving(self.model, step):
            samples = generate(self.agent.engine, prompts, seeds, self.agent.sampling)
        return [
            Trajectory(
                env_id=self.buffer.env_id,
                seed=0,
                group=f"{step}/{place}",
                task_id="",
                task_type="",
                turns=[
                    Turn(
                        observation=self._text(prompt),
                        state_key="",
                        action="",
                        response=self._text(sample.ids),
                        prompt_ids=prompt,
                        response_ids=sample.ids,
                        logprobs=sample.logprobs,
                        policy_step=sample.policy_step,
                    )
                ],
                stop_reason=StopReason.TERMINATED,
                replayed=True,
            )
            for place, prompt, sample in zip(places, prompts, samples, strict=True)
        ]

    def _text(self, tokens: list[int]) -> str:
        return str(self.agent.tokenizer.decode(tokens))

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        self.inner.load_state_dict(state)
