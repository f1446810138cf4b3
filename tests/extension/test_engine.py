"""An engine of one's own, which answers one request at a time and out of order: the tokens are the same.

What is sampled depends on a request's prompt, seed and parameters alone, so an engine may answer as it likes: a server
of one's own that takes and returns token ids needs no more than this. (One whose tokens cannot be seen is an agent.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from agentgym.agents.contexts import Context
from agentgym.agents.engines import Engine, Request, Sample, SamplingParams, generate
from agentgym.agents.engines.transformers import TransformersEngine
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.formats import get_format
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import LoadedModel, load_model
from agentgym.agents.rollout import play
from agentgym.agents.trajectory import Trajectory
from agentgym.envs import make

WORLD = "agentgym/FrozenLake-v0"


class Capricious:
    """Answers whoever it likes next, and takes its time with the rest."""

    owns_weights = False

    def __init__(self, inner: Engine, seed: int):
        self.inner, self.luck = inner, random.Random(seed)
        self.waiting: list[Request] = []
        self.order: list[Any] = []

    def submit(self, requests: Sequence[Request]) -> None:
        self.waiting += requests

    def collect(self) -> list[Sample]:
        request = self.waiting.pop(self.luck.randrange(len(self.waiting)))
        self.order.append(request.key)
        (sample,) = generate(self.inner, [request.prompt], [request.seed], request.params)
        return [Sample(request.key, sample.ids, sample.logprobs, sample.policy_step)]

    @contextmanager
    def serving(self, model: Any, step: int) -> Iterator[None]:
        with self.inner.serving(model, step):
            yield


def played(tiny: LoadedModel, engine: Engine, window: int | None) -> list[Trajectory]:
    agent = LLMAgent(
        engine,
        tiny.tokenizer,
        context=Context(window),
        format=get_format("plain"),
        sampling=SamplingParams(max_new_tokens=3, temperature=1.5),
        context_length=tiny.context_length,
    )
    specs = [EpisodeSpec(WORLD, member // 4, f"{member // 4}", sampling_seed=member) for member in range(8)]
    with engine.serving(tiny.model, 7):
        return play(agent, partial(make, WORLD, size=3, max_turns=6), specs, num_envs=5)


@pytest.mark.parametrize("window", [0, None])
def test_tokens_do_not_depend_on_when_they_are_sampled(window: int | None) -> None:
    tiny = load_model("tiny", dtype="float32")
    ordinary = played(tiny, TransformersEngine(tiny.model, []), window)
    for seed in range(2):
        engine = Capricious(TransformersEngine(tiny.model, []), seed)
        for ours, theirs in zip(played(tiny, engine, window), ordinary, strict=True):
            assert [turn.response_ids for turn in ours.turns] == [turn.response_ids for turn in theirs.turns]
            assert (ours.prompts(), ours.stop_reason) == (theirs.prompts(), theirs.stop_reason)
            logprobs = [logprob for turn in theirs.turns for logprob in turn.logprobs]
            assert [logprob for turn in ours.turns for logprob in turn.logprobs] == pytest.approx(logprobs, abs=1e-4)
            assert {turn.policy_step for turn in ours.turns} == {7}
        assert engine.order != sorted(engine.order)
