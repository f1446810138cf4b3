"""SPIRAL's running baseline: what it comes to, whoever has played, and that both seats of a game learn by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import fmean
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from agentgym.agents.contexts import Context
from agentgym.agents.engines import SamplingParams
from agentgym.agents.engines.transformers import TransformersEngine
from agentgym.agents.formats import get_format
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import add_lora, load_model
from agentgym.agents.trajectory import Trajectory, Turn
from agentgym.envs import Played, TextAECEnv
from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.credit import compute
from agentgym.trainers.experience import Experience
from agentgym.trainers.objective import Objective
from agentgym.trainers.parts import Learner
from agentgym.trainers.policy import Policy
from agentgym.trainers.processes import Processes
from agentgym.trainers.rollouts import Rollouts
from agentgym.trainers.signals.running_baseline import RunningBaseline
from agentgym.trainers.signals.signal import Resources
from agentgym.trainers.tasks import Tasks
from agentgym.trainers.update import update
from tests.between import in_two_processes


def signal_of(processes: Any, decay: float = 0.95) -> RunningBaseline:
    return RunningBaseline(cast(Resources, SimpleNamespace(processes=processes)), frozenset(), decay=decay)


def game(number: int, west: float, **more: Any) -> list[Trajectory]:
    """What both seats have lived of a game of the group with this number."""
    return [
        Trajectory("tug", 0, f"0/{number}", "", "", [Turn("", "", "", reward=r, prompt_ids=[1], response_ids=[1])],
                   seat=seat, **more)
        for seat, r in (("west", west), ("east", -west))
    ]  # fmt: skip


def baselines(signal: RunningBaseline, trajectories: Sequence[Trajectory]) -> list[float]:
    return list(signal.compute(Experience.of(0, trajectories))["running_baseline_N"])


def test_it_tends_to_the_mean_return_of_each_seat_and_forgets_in_twenty_games() -> None:
    rng, signal, share = np.random.default_rng(0), signal_of(Processes()), 0.8
    for number in range(20):
        baselines(signal, game(number, 2 * share - 1))
    reached = signal.baselines["tug", "west"] / (2 * share - 1)
    assert reached == pytest.approx(1 - 0.95**20) and abs(1 - reached - np.exp(-1)) < 0.02
    seen = [baselines(signal, game(n, 1.0 if rng.random() < share else -1.0))[0] for n in range(4000)]
    assert fmean(seen[100:]) == pytest.approx(2 * share - 1, abs=0.02)
    assert signal.baselines["tug", "east"] == -signal.baselines["tug", "west"]


def test_two_processes_are_one_and_a_state_goes_on() -> None:
    games = [game(number, west) for number, west in enumerate([1.0, -1.0, 0.5, 1.0])]
    own = [[*games[0], *games[2]], [*games[3], *games[1]]]
    alone = signal_of(Processes())
    expected = baselines(alone, [*chain(*games)])

    def half(processes: Any, index: int) -> tuple[list[float], RunningBaseline]:
        signal = signal_of(processes)
        return baselines(signal, own[index]), signal

    (first, one), (second, other) = in_two_processes(half)
    assert first == [*expected[0:2], *expected[4:6]] and second == [*expected[6:8], *expected[2:4]]
    assert one.baselines == other.baselines == alone.baselines

    resumed = signal_of(Processes())
    resumed.load_state_dict(alone.state_dict())
    assert baselines(resumed, games[0]) == baselines(alone, games[0])


def test_what_the_present_policy_has_not_played_is_not_taken_in() -> None:
    signal = signal_of(Processes(), decay=0.5)
    silent = [Trajectory("tug", 0, "0/2", "", "", seat="west")]
    assert baselines(signal, [*game(0, 1.0), *game(1, -1.0, replayed=True), *silent]) == [0, 0, 0.5, -0.5, 0.5]
    assert signal.baselines == {("tug", "west"): 0.5, ("tug", "east"): -0.5}


class Duel(TextAECEnv):
    """Each seat draws once; the better draw wins. West has the better cards: it wins when neither can play."""

    possible_agents: ClassVar[list[str]] = ["west", "east"]
    instructions: ClassVar[Mapping[str, str]] = {"west": "Pull left.", "east": "Pull right."}
    task_types = ("duel",)
    wanted: ClassVar[Mapping[str, str]] = {"west": "left", "east": "right"}

    def __init__(self, split: str = "train", max_turns: int = 1):
        super().__init__(split=split, max_turns=max_turns)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        self.task, self.strength = int(rng.integers(3)), {"west": 0.5, "east": 0.0}
        self.mover = "west"
        return {"west": "# P _", "east": "_ P #"}

    def _act(self, seat: str, action: str) -> Played:
        self.strength[seat] += action == self.wanted[seat]
        if seat == "west":
            self.mover = "east"
            return Played({"east": "_ P #"})
        west = 1.0 if self.strength["west"] > self.strength["east"] else -1.0
        return Played({}, rewards={"west": west, "east": -west}, terminated=True)

    def _to_act(self) -> Sequence[str]:
        return (self.mover,)

    def _situation(self, seat: str) -> dict[str, Any]:
        return {"success": False, "task_id": f"duel-{self.task}", "task_type": "duel", "state_key": seat}


def self_play(seed: int, *, shuffled: bool = False, steps: int = 24) -> list[float]:
    """How often the one learner in both seats plays its best, step by step."""
    tiny = load_model("tiny", dtype="float32")
    model = add_lora(tiny, r=8, alpha=16, dropout=0.0, target_modules="all-linear", seed=seed)
    engine = TransformersEngine(model.model, [])
    agent = LLMAgent(
        engine, model.tokenizer, context=Context(window=0), format=get_format("plain"),
        sampling=SamplingParams(max_new_tokens=1), context_length=model.context_length,
    )  # fmt: skip
    processes, played = Processes(), []
    policy = Policy(model.model, processes=processes)
    learner = Learner(policy.parameters, processes, learning_rate=2e-3, num_steps=steps)
    objective = Objective.of(TrainerConfig(group_size=1), 1)
    rollouts = Rollouts(
        agent, engine, model.model, Duel, "my/Duel-v0", Tasks(seed), groups_per_step=48, group_size=1,
        processes=processes, seed=seed,
    )  # fmt: skip
    signal, rng = signal_of(processes), np.random.default_rng(seed)
    for step in range(steps):
        experience = Experience.of(step, rollouts.next(step).learned)
        experience = experience.with_columns(signal.compute(experience))
        columns = compute("spiral", experience.batch).columns(experience.batch)
        if shuffled:
            columns["advantage_K"] = rng.permutation(columns["advantage_K"])
        update(policy, learner, objective, experience.with_columns(columns))
        played.append(fmean(turn.action == Duel.wanted[t.seat] for t in experience.trajectories for turn in t.turns))
    return played


@pytest.mark.parametrize(("seed", "is_told"), [*((seed, True) for seed in range(5)), (0, False), (1, False)])
def test_both_seats_of_a_game_that_favours_one_learn(seed: int, is_told: bool) -> None:
    """And not if the same advantages are given to others' turns."""
    played = self_play(seed, shuffled=not is_told)
    assert (fmean(played[-3:]) > fmean(played[:3]) + 0.4) is is_told
