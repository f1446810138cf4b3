"""A response format of one's own: a plan and a move, whose tokens a credit scheme of one's own tells apart.

In a run: `format: my_module:PLAN` and `credit: my_module:plan_once`.
"""

from __future__ import annotations

import re
from functools import partial

import numpy as np

from agentgym.agents.contexts import Context
from agentgym.agents.engines import SamplingParams
from agentgym.agents.engines.transformers import TransformersEngine
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.formats import Parsed, get_format
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import load_model
from agentgym.agents.rollout import play
from agentgym.envs import make
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit, compute, credit


class Plan:
    """What is said before the last direction is the plan, the last direction the move."""

    name = "plan"
    instructions = "Say your plan, and then your move."
    reads = ("plan", "move")

    def parse(self, response: str) -> Parsed:
        found = re.match(r"(.*)(up|down|left|right)", response, re.DOTALL)
        if found is None:
            return Parsed("", fault="no direction")
        return Parsed(found[2], parts={"plan": found[1]}, spans={"plan": found.span(1), "move": found.span(2)})

    def write(self, action: str, **parts: str) -> str:
        return f"{parts.get('plan', '')} {action}"


PLAN = Plan()


@credit("plan_once", paper="none: an example", needs=["role_K", "parts.*_T"], granularity="token")
def plan_once(batch: TurnBatch, *, plan_weight: float = 0.5) -> Credit:
    """The return for every token of a move, a share of it for those of a plan that is new, nothing for the rest."""
    role_K, plan_T = batch.columns["role_K"], batch.categories("parts.plan_T")
    is_new_T = np.append(True, plan_T[1:] != plan_T[:-1]) | (batch.turn_index_T == 0)
    weight_K = np.select([role_K == "move", role_K == "plan"], [1.0, plan_weight * is_new_T[batch.turn_K]])
    return Credit(advantage_K=weight_K * batch.episode_return_N[batch.trajectory_K], trained_K=weight_K > 0)


def test_the_tokens_of_named_parts_reach_a_scheme() -> None:
    tiny = load_model("tiny")
    agent = LLMAgent(
        TransformersEngine(tiny.model, stop_ids=[]),
        tiny.tokenizer,
        context=Context(window=0),
        format=get_format(f"{__name__}:PLAN"),
        sampling=SamplingParams(max_new_tokens=3, temperature=2.0),
        context_length=tiny.context_length,
    )
    specs = [EpisodeSpec("agentgym/Sokoban-v0", 0, "g", sampling_seed=member) for member in range(4)]
    played = play(agent, partial(make, "agentgym/Sokoban-v0", max_turns=4), specs)

    batch = TurnBatch.from_trajectories(played)
    turns = [turn for trajectory in played for turn in trajectory.turns]
    moves = [turn.action for turn in turns]
    written = [batch.token_K[(batch.turn_K == t) & (batch.columns["role_K"] == "move")] for t in range(batch.n_turns)]
    assert [tiny.tokenizer.decode(ids, skip_special_tokens=True) for ids in written] == moves
    assert {*batch.columns["role_K"]} >= {"move", "plan"} and len({*moves}) > 1

    result = compute("plan_once", batch, plan_weight=0.25)
    return_K = batch.episode_return_N[batch.trajectory_K]
    of_moves_K = batch.columns["role_K"] == "move"
    assert np.array_equal(result.advantage_K[of_moves_K], return_K[of_moves_K])
    assert np.array_equal(result.advantage_K[~result.trained_K], np.zeros((~result.trained_K).sum()))
