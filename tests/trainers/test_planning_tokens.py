"""HICRA's planning tokens: which phrases are strategic, which tokens are theirs, whoever has played."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from agentgym.agents.formats import get_format
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.trajectory import StopReason, Trajectory, Turn
from agentgym.build import make_agent, make_model
from agentgym.config import RunConfig
from agentgym.trainers.experience import Experience
from agentgym.trainers.processes import Processes
from agentgym.trainers.signals.planning_tokens import PlanningTokens
from agentgym.trainers.signals.signal import Resources
from tests.between import in_two_processes
from tests.small_model import SETTINGS, make_trainer


@pytest.fixture(scope="module")
def agent(cloned_model: Path) -> LLMAgent:
    config = RunConfig.model_validate({**SETTINGS, "model": str(cloned_model), "dtype": "float32"})
    return make_agent(config, make_model(config), 1.0)


def signal_of(agent: LLMAgent, processes: Any = None, **params: Any) -> PlanningTokens:
    resources = cast(Resources, SimpleNamespace(agent=agent, processes=processes or Processes()))
    return PlanningTokens(resources, frozenset(), **params)


def episode(agent: LLMAgent, number: int, *responses: str, task: str = "", solved: bool = True) -> Trajectory:
    turns = []
    for response in responses:
        ids = agent.tokenizer.encode(response, add_special_tokens=False)
        start = response.find("<think>"), response.find("</think>") + 8
        spans = {"think": start} if "<think>" in response and len(ids) == len(response) else {}
        turns.append(Turn("", "s", "", response=response, prompt_ids=[0], response_ids=ids, spans=spans))
    reason = StopReason.SUCCESS if solved else StopReason.TERMINATED
    return Trajectory("", 0, f"0/{number}", task or f"task {number}", "", turns, reason)


def planned(signal: PlanningTokens, agent: LLMAgent, trajectories: Sequence[Trajectory]) -> list[str]:
    """What is marked of each response."""
    experience = Experience.of(0, trajectories)
    planning_K = signal.compute(experience)["planning_K"]
    assert planning_K.dtype == np.bool_
    rows = experience.batch.nest_tokens(np.array(planning_K))
    turns = [turn for trajectory in trajectories for turn in trajectory.turns]
    flags = [of_turn for of_trajectory in rows for of_turn in of_trajectory]
    return [
        agent.decode([token for token, flag in zip(turn.response_ids, of_turn, strict=True) if flag])
        for turn, of_turn in zip(turns, flags, strict=True)
    ]


def test_phrases_that_recur_from_task_to_task_are_strategic(agent: LLMAgent) -> None:
    trajectories = [
        episode(agent, 0, "Let's try another way: the mug is red.", "open drawer 7 now"),
        episode(agent, 0, "the mug is red. the mug is red.", task="task 0"),  # a sibling: the task's own words
        episode(agent, 1, "Hm, let's try another door! open drawer 12 now"),
        episode(agent, 2, "so let's try  another one", "open drawer now"),
        episode(agent, 3, "the mug is red. let's try it", solved=False),  # what failed is no solution
    ]
    assert planned(signal_of(agent, share=1.0), agent, trajectories) == [
        "Let's try another",
        "open drawer 7 now",
        "",
        "let's try another open drawer 12 now",  # the blank is the token's
        "let's try  another",
        "",
        "",
    ]
    # Of the four grams that recur, the one that is in more tasks than the others.
    assert [*filter(None, planned(signal_of(agent, share=0.3), agent, trajectories))] == [
        "Let's try another",
        "let's try another",
        "let's try  another",
    ]
    assert not any(planned(signal_of(agent, share=0.0), agent, trajectories))


def test_only_thoughts_have_phrases_where_there_are_thoughts(agent: LLMAgent, monkeypatch: Any) -> None:
    monkeypatch.setattr(agent, "format", get_format("think"))
    monkeypatch.setattr(agent, "tokenizer", Letters())
    response = "<think>I go on now</think><action>go to the left</action>"
    marked = planned(signal_of(agent, share=1.0), agent, [episode(agent, n, response) for n in range(2)])
    assert marked == ["I go on now"] * 2


class Letters:
    """A tokenizer of letters."""

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


def test_it_remembers_the_tasks_that_were_solved_last_and_goes_on_from_its_state(agent: LLMAgent) -> None:
    signal = signal_of(agent, share=1.0, max_tasks=2)
    assert planned(signal, agent, [episode(agent, 0, "now look at this")]) == [""]
    assert planned(signal, agent, [episode(agent, 1, "a b"), episode(agent, 2, "now look at that")]) == ["", ""]
    assert [*signal.documents] == ["task 1", "task 2"]
    resumed = signal_of(agent, share=1.0, max_tasks=2)
    resumed.load_state_dict(signal.state_dict())
    for each in (signal, resumed):
        assert planned(each, agent, [episode(agent, 3, "Now look at what is")]) == ["Now look at"]
        assert planned(each, agent, [episode(agent, 4, "Now look away")]) == [""]
    assert {task: document.tolist() for task, document in signal.documents.items()} == {
        task: document.tolist() for task, document in resumed.documents.items()
    }
    empty = signal_of(agent)
    empty.load_state_dict(signal_of(agent).state_dict())
    assert empty.documents == {}


def test_two_processes_are_one(agent: LLMAgent) -> None:
    texts = ["we go to it", "then we go to bed", "we stay in bed", "you stay in bed"]
    everything = [episode(agent, number, text) for number, text in enumerate(texts)]
    own = [[everything[2], everything[0]], [everything[1], everything[3]]]
    alone = signal_of(agent, share=1.0, max_tasks=3)
    expected = planned(alone, agent, everything)

    def half(processes: Any, index: int) -> tuple[list[str], PlanningTokens]:
        signal = signal_of(agent, processes, share=1.0, max_tasks=3)
        return planned(signal, agent, own[index]), signal

    (first, one), (second, other) = in_two_processes(half)
    assert first == [expected[2], expected[0]] and second == [expected[1], expected[3]]
    assert expected == ["", "", "stay in bed", "stay in bed"]  # the first task is forgotten already
    assert [*one.documents] == [*other.documents] == [*alone.documents]


def test_phrases_may_be_given(agent: LLMAgent, tmp_path: Path) -> None:
    phrases = tmp_path / "phrases.txt"
    phrases.write_text("Let's see\n\nOn the other hand\n")
    signal = signal_of(agent, phrases=str(phrases))
    response = "Well, let's see, let's see on the other hand side"
    assert planned(signal, agent, [episode(agent, 0, response, solved=False)]) == [
        "let's seelet's see on the other hand"
    ]
    assert signal.documents == {}
    phrases.write_text("\n!\n")
    for path, message in ((phrases, "there is no phrase in"), (tmp_path / "none.txt", "cannot be read")):
        with pytest.raises(ValueError, match=message):
            signal_of(agent, phrases=str(path))


def test_hicra_trains_with_it(cloned_model: Path, tmp_path: Path) -> None:
    settings = {"credit": "hicra", "max_new_tokens": 12, "signals": {"planning_tokens": {"share": 1.0}}}
    trainer = make_trainer(cloned_model, tmp_path, **settings)
    assert all(metrics["time/signal/PlanningTokens"] > 0 for metrics in trainer.train())
