"""What a constructor and `reset` promise: attributes, and seeds that mean the same task wherever they are used."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import re
import subprocess
import sys
import warnings

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from agentgym.envs.checks.subject import Subject, Words, expect, expect_equal, expert_actions, fail
from agentgym.envs.replay import episode, reset, step
from agentgym.envs.text_env import TextEnv


def _global_random_state() -> bytes:
    return pickle.dumps((random.getstate(), np.random.get_state()))  # noqa: NPY002


def check_attributes(subject: Subject) -> None:
    """`instructions`, `task_types`, `splits`, `answer_form` and `max_turns` are there, and of the right types."""
    env = subject.new()
    expect(isinstance(env, TextEnv), "a TextEnv", Words(type(env).__name__))
    instructions = getattr(env, "instructions", None)
    expect(isinstance(instructions, str) and instructions.strip(), "instructions in words", instructions)
    for name in ("task_types", "splits"):
        value = getattr(env, name, None)
        correct = isinstance(value, tuple) and value and all(isinstance(item, str) for item in value)
        expect(correct, f"{name} to be a tuple of strings, not empty", value)
    form = getattr(env, "answer_form", None)
    expect(isinstance(form, str) and form.count("{answer}") == 1, "answer_form to be text with one {answer}", form)
    expect(type(env.max_turns) is int and env.max_turns > 0, "max_turns to be an int above 0", env.max_turns)
    expect(env.split in env.splits, f"the default split among {env.splits}", env.split)


def check_gymnasium(subject: Subject) -> None:
    """gymnasium's own `check_env` passes without a warning."""
    env = subject.new()
    env.spec = EnvSpec("agentgym/Checked-v0", entry_point=subject.new)
    env.action_space.seed(subject.seeds[0])  # check_env itself begins unseeded: its verdict would vary
    env.reset(seed=subject.seeds[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_env(env)
        except Exception as error:
            fail("gymnasium's check_env to pass", Words(f"{type(error).__name__}: {error}"))
    messages = [str(warning.message) for warning in caught if "WARN: " in str(warning.message)]
    received = Words(_COLOUR.sub("", "; ".join(messages)))
    expect(not messages, "gymnasium's check_env to give no warning", received)


_COLOUR = re.compile(r"\x1b\[\d+m")


def check_seed(subject: Subject) -> None:
    """One seed gives one task: same observations, rewards and `info` in two instances, and when repeated."""
    for seed in subject.seeds:
        script = subject.script(seed)
        env = subject.new()
        first = episode(env, seed, script)
        expect_equal(first, episode(subject.new(), seed, script), f"seed {seed} in another instance")
        expect_equal(first, episode(env, seed, script), f"seed {seed} in the same instance")


def check_private_stream(subject: Subject) -> None:
    """After a seeded `reset`, further ones without a seed give the same tasks in every instance."""
    streams = []
    for _ in range(2):
        env = subject.new()
        env.reset(seed=subject.seeds[0])
        streams.append([reset(env) for _ in range(3)])
    expect_equal(streams[0], streams[1], "reset() without a seed, after a seeded one,")


def check_global_randomness(subject: Subject) -> None:
    """The process-wide generators of `random` and NumPy are neither used nor seeded."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002 - the legacy state is what is checked
    try:
        for seed in subject.seeds:
            random.seed()  # from the system's entropy: a state that no environment seeds by chance
            np.random.seed()  # noqa: NPY002
            before = _global_random_state()
            episode(subject.new(), seed, subject.script(seed))
            expert_actions(subject, seed)
            expect(
                _global_random_state() == before,
                "the process-wide random states (random, numpy.random) to stay untouched",
                Words(f"another state after an episode of seed {seed}"),
            )
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002


def check_instances(subject: Subject) -> None:
    """Two environments played in turns give what each gives alone."""
    seed, other_seed = subject.seeds[0], subject.seeds[-1] + 1
    script, other_script = subject.script(seed), subject.script(other_seed)
    alone = [*episode(env := subject.new(), seed, script), reset(env)]
    env, other = subject.new(), subject.new()
    together = [reset(env, seed)]
    other_over = reset(other, other_seed).over
    for number in range(len(alone) - 2):
        if number < len(other_script) and not other_over:
            other_over = step(other, other_script[number]).over
        together.append(step(env, script[number]))
        if together[-1].over:
            break
    other.reset()
    together.append(reset(env))
    expect_equal(alone, together, "an instance, with another one played beside it,")


def check_second_process(subject: Subject) -> None:
    """A seed gives the same task in another process, where strings have other hashes."""
    scripts = {seed: subject.script(seed) for seed in subject.seeds}
    try:
        request = pickle.dumps((subject.new, scripts))
    except Exception as error:
        fail("an environment that another process can import", Words(f"{type(error).__name__}: {error}"))
    child = subprocess.run(
        [sys.executable, "-c", "from agentgym.envs.checks.reset import play_for_parent; play_for_parent()"],
        input=request,
        env={**os.environ, "PYTHONHASHSEED": "4321", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
    )
    expect(child.returncode == 0, "a second process to play", Words(child.stderr.decode()[-400:]))
    theirs = pickle.loads(child.stdout)
    for seed, script in scripts.items():
        here = episode(subject.new(), seed, script)
        expect_equal(here, theirs[seed], f"seed {seed} in another process")


def play_for_parent() -> None:
    """Run in the second process: read the factory and the scripts, write the turns."""
    new, scripts = pickle.load(sys.stdin.buffer)
    with contextlib.redirect_stdout(sys.stderr):
        episodes = {seed: episode(new(), seed, script) for seed, script in scripts.items()}
    sys.stdout.buffer.write(pickle.dumps(episodes))
