"""The curriculum: which tasks it draws, in worlds with few tasks and with endlessly many."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from agentgym.trainers.tasks import Curriculum, Outcome, Task, Tasks

MASTERY = {"never": 0.0, "seldom": 0.125, "half": 0.5, "often": 0.875, "always": 1.0}
N_SIBLINGS = 8


def outcome(task: Task, name: str) -> Outcome:
    successes = np.arange(N_SIBLINGS) < MASTERY[name] * N_SIBLINGS
    return Outcome(task, name, "kind", successes.astype(float).tolist(), successes.tolist())


def name_of(task: Task) -> str:
    """A world of five tasks: the seed says which."""
    return list(MASTERY)[task.seed % len(MASTERY)]


def test_tasks_half_mastered_are_drawn_more_often_and_none_never() -> None:
    sampler = Curriculum(0, warmup=5)
    drawn: Counter[str] = Counter()
    for step in range(1600):
        tasks = sampler.draw(1, step, 0)
        drawn.update(map(name_of, tasks))
        sampler.observe([outcome(task, name_of(task)) for task in tasks])
    # A half of the draws is fresh, the other in proportion to p(1 − p): 0.25 : 0.11 : 0.11.
    expected = {"never": 0.1, "seldom": 0.1, "half": 0.1, "often": 0.1, "always": 0.1}
    for name in ("seldom", "half", "often"):
        expected[name] += 0.5 * MASTERY[name] * (1 - MASTERY[name]) / 0.46875
    assert {n: c / drawn.total() for n, c in drawn.items()} == pytest.approx(expected, abs=0.03)
    uniform = Counter(name_of(task) for step in range(400) for task in Tasks(0).draw(4, step, 0))
    assert min(drawn["half"] - uniform["half"], uniform["never"] - drawn["never"]) > 100


def test_in_an_endless_world_the_same_tasks_come_again_and_the_memory_is_bounded() -> None:
    sampler = Curriculum(0, warmup=8, max_tasks=20, share=0.25)
    fresh, again = 0, 0
    seen: set[int] = set()
    for step in range(100):
        tasks = sampler.draw(8, step, 0)
        assert len({task.seed for task in tasks}) == 8
        fresh += sum(task.seed not in seen for task in tasks)
        again += sum(task.seed in seen for task in tasks)
        assert step or not again, "all is fresh while the sampler warms up"
        seen |= {task.seed for task in tasks}
        kinds = [("half" if task.seed % 3 else "never") for task in tasks]
        named = zip(tasks, kinds, strict=True)
        sampler.observe([Outcome(t, str(t.seed), "", [], outcome(t, kind).successes) for t, kind in named])
        assert len(sampler.state_dict()["known"]) <= 20
    assert again / (fresh + again) == pytest.approx(0.25, abs=0.05)
    assert {rate for _, rate, _ in sampler.state_dict()["known"].values()} == {0.5}, "what teaches nothing is forgotten"


def test_mastery_moves_and_nothing_is_learned_of_a_group_that_the_environment_failed() -> None:
    sampler = Curriculum(0, rate=0.5)
    for name in ("always", "never", "never"):
        sampler.observe(
            [Outcome(Task(7), "t", "", [], outcome(Task(7), name).successes), Outcome(Task(8), "", "", [], [])]
        )
    assert sampler.state_dict()["known"] == {"t": (7, 0.25, 3)}


def test_what_would_never_end_warming_up_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^curriculum: warmup is 32, and of max_tasks 8 it would never end$"):
        Curriculum(0, max_tasks=8)
