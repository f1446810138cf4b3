"""A game of one's own with two seats (PettingZoo's AEC underneath): self-play, and the same with a frozen partner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from agentgym.agents.agent import Decision, InstantAgent, View
from agentgym.agents.contexts import Context
from agentgym.agents.engines import SamplingParams
from agentgym.agents.engines.transformers import TransformersEngine
from agentgym.agents.formats import get_format
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import LoadedModel, add_lora, load_model
from agentgym.agents.rollout import Players
from agentgym.agents.trajectory import Trajectory
from agentgym.envs import Played, TextAECEnv
from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.credit import compute
from agentgym.trainers.experience import Experience
from agentgym.trainers.objective import Objective
from agentgym.trainers.parts import Learner
from agentgym.trainers.policy import Policy
from agentgym.trainers.processes import Processes
from agentgym.trainers.rollouts import Rollouts
from agentgym.trainers.tasks import Tasks
from agentgym.trainers.update import update


class Tug(TextAECEnv):
    """Two seats pull a rope in turns: one to the left, the other to the right. Each is paid for its own pulls."""

    possible_agents: ClassVar[list[str]] = ["west", "east"]
    instructions: ClassVar[Mapping[str, str]] = {"west": "Pull left.", "east": "Pull right."}
    task_types = ("tug",)
    wanted: ClassVar[Mapping[str, str]] = {"west": "left", "east": "right"}

    def __init__(self, split: str = "train", max_turns: int = 3):
        super().__init__(split=split, max_turns=max_turns)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        self.rope = self.start = int(rng.integers(3))
        self.mover = "west"
        return {"west": "# P _", "east": "_ P #"}

    def _act(self, seat: str, action: str) -> Played:
        self.mover = "east" if seat == "west" else "west"
        pulls = action == self.wanted[seat]
        self.rope += pulls * (1 if seat == "east" else -1)
        told = {"west": "# P _", "east": "_ P #"}
        return Played({self.mover: told[self.mover]}, rewards={seat: float(pulls), self.mover: -0.5 * pulls})

    def _to_act(self) -> Sequence[str]:
        return (self.mover,)

    def _situation(self, seat: str) -> dict[str, Any]:
        pull = self.rope - self.start
        key = f"{seat}/{pull}"
        return {"success": False, "task_id": f"tug-{self.start}", "task_type": "tug", "state_key": key}


class Strong(InstantAgent):
    """A partner that always pulls."""

    def decide(self, view: View) -> Decision:
        return Decision(Tug.wanted[view.seat])


def learner_of(model: LoadedModel) -> LLMAgent:
    return LLMAgent(
        TransformersEngine(model.model, []),
        model.tokenizer,
        context=Context(window=0),
        format=get_format("plain"),
        sampling=SamplingParams(max_new_tokens=1),
        context_length=model.context_length,
    )


def train(model: LoadedModel, agent: LLMAgent, players: Players, steps: int) -> list[list[Trajectory]]:
    """A loop of one's own; returns what was learned from, step by step."""
    processes, steps_learned = Processes(), []
    policy = Policy(model.model, processes=processes)
    learner = Learner(policy.parameters, processes, learning_rate=3e-3, num_steps=steps)
    objective = Objective.of(TrainerConfig(group_size=4), 3)
    rollouts = Rollouts(
        players, agent.engine, model.model, Tug, "my/Tug-v0", Tasks(0), groups_per_step=4, group_size=4,
        processes=processes, seed=0,
    )  # fmt: skip
    for step in range(steps):
        experience = Experience.of(step, rollouts.next(step).learned)
        credit = compute("grpo", experience.batch)
        update(policy, learner, objective, experience.with_columns(credit.columns(experience.batch)))
        steps_learned.append(list(experience.trajectories))
    return steps_learned


def pulls(trajectories: Sequence[Trajectory], seat: str) -> float:
    turns = [turn for trajectory in trajectories if trajectory.seat == seat for turn in trajectory.turns]
    return sum(turn.action == Tug.wanted[seat] for turn in turns) / len(turns)


@pytest.fixture
def model() -> LoadedModel:
    tiny = load_model("tiny", dtype="float32")
    return add_lora(tiny, r=8, alpha=16, dropout=0.0, target_modules="all-linear", seed=0)


def test_one_learner_in_both_seats(model: LoadedModel) -> None:
    agent = learner_of(model)
    learned = train(model, agent, agent, steps=12)
    first = learned[0]
    assert len(first) == 4 * 4 * 2, "one episode gives two trajectories"
    west, east = first[:2]
    assert (west.episode, west.seat, east.episode, east.seat) == (east.episode, "west", west.episode, "east")
    assert west.total_reward == sum(t.action == "left" for t in west.turns) - 0.5 * sum(
        t.action == "right" for t in east.turns
    )
    batch = Experience.of(0, first).batch
    groups = [(trajectory.group, trajectory.seat) for trajectory in first]
    assert batch.n_groups == len(set(groups)) == 8, "peers are those of one group and one seat"
    assert [groups.index(group) for group in groups] == [batch.group_N.tolist().index(n) for n in batch.group_N]
    for seat in Tug.possible_agents:
        assert pulls(learned[-1], seat) > pulls(first, seat) + 0.2


def test_a_learner_and_a_frozen_partner(model: LoadedModel) -> None:
    agent = learner_of(model)
    learned = train(model, agent, {"west": agent, "east": Strong()}, steps=12)
    assert {trajectory.seat for step in learned for trajectory in step} == {"west"}
    assert len(learned[0]) == 4 * 4
    assert pulls(learned[-1], "west") > pulls(learned[0], "west") + 0.2
