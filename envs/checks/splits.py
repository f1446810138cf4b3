"""What tasks promise: no task is in two splits, an id names one task, and its answer is not told."""

from __future__ import annotations

import re

from agentgym.envs.checks.subject import SHORT, Subject, Words, expect, fail
from agentgym.envs.replay import episode, reset


def check_splits(subject: Subject) -> None:
    """No task is drawn in two splits, and an unknown split is a `ValueError`."""
    owner: dict[str, str] = {}
    for split in subject.new().splits:
        env = subject.new(split=split)
        env.reset(seed=subject.seeds[0])
        for _ in range(subject.tasks_per_split):
            task = reset(env).info["task_id"]
            other = owner.setdefault(task, split)
            expect(other == split, f"the task {task} of the split {other!r} in no other split", split)
    try:
        subject.new(split="no such split")
    except ValueError:
        return
    fail("ValueError for split='no such split'", Words("an environment"))


def check_task_ids(subject: Subject) -> None:
    """One `task_id` means one first state, and it stays for the whole episode."""
    env = subject.new()
    starts: dict[str, tuple[str, str]] = {}
    for seed in subject.seeds:
        turns = episode(env, seed, subject.script(seed))
        ids = {turn.info["task_id"] for turn in turns}
        expect(len(ids) == 1, f"one task_id in the episode of seed {seed}", sorted(ids))
    for _ in range(subject.tasks_per_split):
        turn = reset(env)
        start = (turn.observation, turn.info["state_key"])
        known = starts.setdefault(turn.info["task_id"], start)
        expect(known == start, f"the task {turn.info['task_id']} to begin with {SHORT.repr(known)}", start)


def check_answers(subject: Subject) -> None:
    """The ground truth in `info["answers"]` is not shown to the agent.

    A question may well contain its answer ("Who is older, A or B?"), so a leak is when every one of the
    sampled tasks shows its answers in the instructions or in the first observation.
    """
    env = subject.new()
    env.reset(seed=subject.seeds[0])
    turns = [reset(env) for _ in range(subject.tasks_per_split)]
    with_answers = [turn for turn in turns if turn.info.get("answers")]
    shown = [t for t in with_answers if _shows(f"{env.instructions}\n{t.observation}", t.info["answers"])]
    expect(
        not shown or len(shown) < len(with_answers),
        "info['answers'] not to be shown to the agent",
        Words(f"{SHORT.repr(shown[0].info['answers']) if shown else None} in the first observation"),
    )


def _shows(text: str, answers: list[str]) -> bool:
    return any(a and re.search(rf"(?<!\w){re.escape(a)}(?!\w)", text, re.IGNORECASE) for a in answers)
