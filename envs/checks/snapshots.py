"""What snapshots and copies promise: a state that can be returned to."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

from agentgym.envs.checks.subject import Subject, expect_equal
from agentgym.envs.replay import episode, play, reset
from agentgym.envs.text_env import TextEnv


def check_snapshot(subject: Subject) -> None:
    """`restore` returns to the very state, also in a fresh instance, and as often as one likes."""
    for seed in subject.seeds:
        script = subject.script(seed)
        for moment in {0, len(script) // 2}:
            env, fresh = subject.new(), subject.new()
            episode(env, seed, script[:moment])
            state = env.snapshot()
            future = [*play(env, script[moment:]), reset(env)]
            for again, where in ((env, "the same instance"), (env, "it once more"), (fresh, "a fresh one")):
                again.restore(state)
                repeated = [*play(again, script[moment:]), reset(again)]
                expect_equal(future, repeated, f"playing on from turn {moment}, restored in {where},")


def check_copies(subject: Subject) -> None:
    """`copy.deepcopy` and pickling in the middle of an episode give an equal, independent environment."""
    copiers: dict[str, Callable[[TextEnv], TextEnv]] = {
        "copy.deepcopy": copy.deepcopy,
        "a pickled copy": lambda env: pickle.loads(pickle.dumps(env)),
    }
    script = subject.script(subject.seeds[0])
    half = len(script) // 2
    for what, copier in copiers.items():
        env = subject.new()
        episode(env, subject.seeds[0], script[:half])
        twin = copier(env)
        future = [*play(env, script[half:]), reset(env)]
        expect_equal(future, [*play(twin, script[half:]), reset(twin)], what)
