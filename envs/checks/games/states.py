"""What seeds and states promise: the same game wherever it is played, and a state that can be returned to."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from agentgym.envs.checks.games.subject import (
    GameSubject,
    Moment,
    episode,
    expect_equal,
    expert_action,
    moment,
    play,
    reset,
)
from agentgym.envs.checks.subject import SHORT, Words, expect, fail
from agentgym.envs.multi_agent import TextAECEnv


def check_game_seed(subject: GameSubject) -> None:
    """One seed gives one game: the same in two instances and when repeated; and so do the resets after it."""
    for seed in subject.seeds:
        script, game = subject.script(seed), subject.new()
        first = [*episode(game, seed, script), reset(game)]
        expect_equal(first, [*episode(other := subject.new(), seed, script), reset(other)], f"seed {seed} elsewhere")
        expect_equal(first, [*episode(game, seed, script), reset(game)], f"seed {seed} in the same instance")


def check_game_global_randomness(subject: GameSubject) -> None:
    """The process-wide generators of `random` and NumPy are neither used nor seeded."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002 - the legacy state is what is checked
    try:
        for seed in subject.seeds:
            random.seed()
            np.random.seed()  # noqa: NPY002
            before = pickle.dumps((random.getstate(), np.random.get_state()))  # noqa: NPY002
            game = subject.new()
            episode(game, seed, subject.script(seed))
            for seat in game.to_act:
                expert_action(game, seat)
            after = pickle.dumps((random.getstate(), np.random.get_state()))  # noqa: NPY002
            expect(
                before == after,
                "the process-wide random states (random, numpy.random) to stay untouched",
                Words(f"another state after a game of seed {seed}"),
            )
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002


def check_game_instances(subject: GameSubject) -> None:
    """Two games played in turns give what each gives alone."""
    seed, other_seed = subject.seeds[0], subject.seeds[-1] + 1
    script, other_script = subject.script(seed), subject.script(other_seed)
    alone = episode(subject.new(), seed, script)
    game, other = subject.new(), subject.new()
    together = [reset(game, seed)]
    reset(other, other_seed)
    for number, action in enumerate(script):
        play(other, other_script[number : number + 1])
        together += play(game, [action])
    expect_equal(alone, together, "an instance, with another one played beside it,")


def check_observe(subject: GameSubject) -> None:
    """`observe`, `last`, `render` and `expert` change nothing, for any seat and as often as they are called."""
    for seed in subject.seeds:
        script, game = subject.script(seed), subject.new()
        plain = _unlooked(game, seed, script)
        watched = subject.new()
        watched.reset(seed=seed)
        seen = [_looked_at(watched)]
        for action in script:
            watched.step(action)
            seen.append(_looked_at(watched))
        expect_equal(plain, [seen[-1]], f"the game of seed {seed}, looked at by all seats after every act,")


def _unlooked(game: TextAECEnv, seed: int, script: list[str]) -> list[Moment]:
    game.reset(seed=seed)
    for action in script:
        game.step(action)
    return [moment(game)]


def _looked_at(game: TextAECEnv) -> Moment:
    first = moment(game)
    for seat in game.possible_agents:
        for _ in range(2):
            expect(game.observe(seat) == first.observations[seat], f"observe({seat!r}) twice", game.observe(seat))
    for seat in game.to_act:
        expert_action(game, seat)
    game.last()
    game.render()
    return first


def check_game_snapshot(subject: GameSubject) -> None:
    """`restore` returns to the very state, also in a fresh instance, and as often as one likes."""
    for seed in subject.seeds:
        script = subject.script(seed)
        for point in {0, len(script) // 2}:
            game, fresh = subject.new(), subject.new()
            episode(game, seed, script[:point])
            state = game.snapshot()
            future = [moment(game), *play(game, script[point:]), reset(game)]
            for again, where in ((game, "the same instance"), (game, "it once more"), (fresh, "a fresh one")):
                again.restore(state)
                repeated = [moment(again), *play(again, script[point:]), reset(again)]
                expect_equal(future, repeated, f"playing on from act {point}, restored in {where},")


def check_game_copies(subject: GameSubject) -> None:
    """`copy.deepcopy` and pickling in the middle of a game give an equal, independent one."""
    script = subject.script(subject.seeds[0])
    half = len(script) // 2
    copiers: dict[str, Callable[[TextAECEnv], TextAECEnv]] = {
        "copy.deepcopy": copy.deepcopy,
        "a pickled copy": lambda game: pickle.loads(pickle.dumps(game)),
    }
    for what, copier in copiers.items():
        game = subject.new()
        episode(game, subject.seeds[0], script[:half])
        twin = copier(game)
        future = [*play(game, script[half:]), reset(game)]
        expect_equal(future, [*play(twin, script[half:]), reset(twin)], what)


def check_game_splits(subject: GameSubject) -> None:
    """No task is drawn in two splits, one `task_id` means one beginning, and an unknown split is a `ValueError`."""
    owner: dict[str, str] = {}
    starts: dict[str, object] = {}
    for split in subject.new().splits:
        game = subject.new(split=split)
        game.reset(seed=subject.seeds[0])
        for _ in range(subject.tasks_per_split):
            now = reset(game)
            ids = {info["task_id"] for info in now.infos.values()}
            expect(len(ids) == 1, "one task_id for all seats", sorted(ids))
            (task,) = ids
            other = owner.setdefault(task, split)
            expect(other == split, f"the task {task} of the split {other!r} in no other split", split)
            start = (now.to_act, now.observations)
            known = starts.setdefault(task, start)
            expect(known == start, f"the task {task} to begin with {SHORT.repr(known)}", start)
    try:
        subject.new(split="no such split")
    except ValueError:
        return
    fail("ValueError for split='no such split'", Words("a game"))


def check_game_second_process(subject: GameSubject) -> None:
    """A seed gives the same game in another process, where strings have other hashes."""
    scripts = {seed: subject.script(seed) for seed in subject.seeds}
    try:
        request = pickle.dumps((subject.new, scripts))
    except Exception as error:
        fail("a game that another process can import", Words(f"{type(error).__name__}: {error}"))
    child = subprocess.run(
        [sys.executable, "-c", "from agentgym.envs.checks.games.states import play_for_parent; play_for_parent()"],
        input=request,
        env={**os.environ, "PYTHONHASHSEED": "4321", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
    )
    expect(child.returncode == 0, "a second process to play", Words(child.stderr.decode()[-400:]))
    theirs = pickle.loads(child.stdout)
    for seed, script in scripts.items():
        expect_equal(episode(subject.new(), seed, script), theirs[seed], f"seed {seed} in another process")


def play_for_parent() -> None:
    """Run in the second process: read the factory and the scripts, write the moments."""
    new, scripts = pickle.load(sys.stdin.buffer)
    with contextlib.redirect_stdout(sys.stderr):
        episodes = {seed: episode(new(), seed, script) for seed, script in scripts.items()}
    sys.stdout.buffer.write(pickle.dumps(episodes))
