"""The checks of `agentgym.envs.check_text_env`: each a small function, listed in order in `CHECKS`."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import pickle
import random
import re
import reprlib
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from agentgym.envs.hostile import HOSTILE_ACTIONS
from agentgym.envs.replay import Turn, episode, first_difference, play, reset, step
from agentgym.envs.text_env import NoPlanError, TextEnv


@dataclass
class Subject:
    """The environment under test, how much of it to try, and what to play there."""

    new: Callable[..., TextEnv]
    seeds: tuple[int, ...]
    script_turns: int
    tasks_per_split: int
    expert_success_rate: float
    scripts: dict[int, list[str]] = field(default_factory=dict)

    def script(self, seed: int) -> list[str]:
        """Actions that make a varied episode: random ones, the expert's, and one that is no action."""
        if seed not in self.scripts:
            self.scripts[seed] = _write_script(self.new(), seed, self.script_turns)
        return self.scripts[seed]


class VerdictError(Exception):
    """What was expected and what was received; `check_text_env` adds the name of the check."""


class _Words(str):
    """What was received, in words; a plain str is a value and is shown in quotes."""

    __slots__ = ()


def _fail(expected: str, received: object) -> NoReturn:
    shown = received if isinstance(received, _Words) else _short.repr(received)
    raise VerdictError(f"expected {expected}, received {shown}")


def _expect(holds: object, expected: str, received: object) -> None:
    if not holds:
        _fail(expected, received)


def _expect_equal(expected: Sequence[Turn], received: Sequence[Turn], what: str) -> None:
    """`what` should have given the same turns."""
    difference = first_difference(expected, received)
    if difference:
        where, a, b = difference
        _fail(f"{what} to repeat {where}: {_short.repr(a)}", b)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120


def _expert(env: TextEnv) -> str | None:
    """The expert's action, or None where there is no expert or it knows no way."""
    try:
        return env.expert()
    except (NotImplementedError, NoPlanError):
        return None


def _write_script(env: TextEnv, seed: int, turns: int) -> list[str]:
    rng = random.Random(seed)
    env.action_space.seed(seed)
    turn = reset(env, seed)
    actions: list[str] = []
    while not turn.over and len(actions) < turns:
        choices = turn.info.get("admissible_actions")
        action = _expert(env) if len(actions) % 2 == 0 else None
        action = action or (rng.choice(choices) if choices else env.action_space.sample())
        actions.append("" if len(actions) == 3 else action)
        turn = step(env, actions[-1])
    return actions


def _global_random_state() -> bytes:
    return pickle.dumps((random.getstate(), np.random.get_state()))  # noqa: NPY002


# The checks, from basic to deep ---------------------------------------------------------------------------


def check_attributes(subject: Subject) -> None:
    """`instructions`, `task_types`, `splits`, `answer_form` and `max_turns` are there, and of the right types."""
    env = subject.new()
    _expect(isinstance(env, TextEnv), "a TextEnv", _Words(type(env).__name__))
    instructions = getattr(env, "instructions", None)
    _expect(isinstance(instructions, str) and instructions.strip(), "instructions in words", instructions)
    for name in ("task_types", "splits"):
        value = getattr(env, name, None)
        correct = isinstance(value, tuple) and value and all(isinstance(item, str) for item in value)
        _expect(correct, f"{name} to be a tuple of strings, not empty", value)
    form = getattr(env, "answer_form", None)
    _expect(isinstance(form, str) and form.count("{answer}") == 1, "answer_form to be text with one {answer}", form)
    _expect(type(env.max_turns) is int and env.max_turns > 0, "max_turns to be an int above 0", env.max_turns)
    _expect(env.split in env.splits, f"the default split among {env.splits}", env.split)


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
            _fail("gymnasium's check_env to pass", _Words(f"{type(error).__name__}: {error}"))
    messages = [str(warning.message) for warning in caught if "WARN: " in str(warning.message)]
    received = _Words(_COLOUR.sub("", "; ".join(messages)))
    _expect(not messages, "gymnasium's check_env to give no warning", received)


_COLOUR = re.compile(r"\x1b\[\d+m")

_REQUIRED_INFO: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "success": ("a bool", lambda value: type(value) is bool),
    "task_id": ("a str, not empty", lambda value: isinstance(value, str) and value != ""),
    "task_type": ("a str, not empty", lambda value: isinstance(value, str) and value != ""),
    "state_key": ("a str", lambda value: isinstance(value, str)),
    "is_action_valid": ("a bool", lambda value: type(value) is bool),
}
_OPTIONAL_INFO: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "admissible_actions": ("a list of str", lambda value: _is_list_of_str(value)),
    "score": ("a number in [0, 1]", lambda value: _is_finite(value) and 0 <= value <= 1),
    "answers": ("a list of str", lambda value: _is_list_of_str(value)),
    "reward_parts": ("a dict of finite numbers by name", lambda value: _is_dict_of_numbers(value)),
}


def _is_list_of_str(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)


def _is_dict_of_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and _is_finite(v) for k, v in value.items())


def check_returns(subject: Subject) -> None:
    """Everything that `reset` and `step` return, down to the keys of `info`, has the promised type."""
    for seed in subject.seeds:
        env = subject.new()
        for number, turn in enumerate(episode(env, seed, subject.script(seed))):
            where = f"at turn {number} of seed {seed}"
            text = turn.observation
            _expect(isinstance(text, str), f"the observation to be a str {where}", text)
            _expect(_is_finite(turn.reward), f"the reward to be a finite number {where}", turn.reward)
            for name in ("terminated", "truncated"):
                value = getattr(turn, name)
                _expect(type(value) is bool, f"{name} to be a bool {where}", value)
            _check_info(turn.info, env.task_types, where)
            _expect(number or turn.info["is_action_valid"], "is_action_valid to be True at reset", False)


def _check_info(info: dict[str, Any], task_types: tuple[str, ...], where: str) -> None:
    for key, (words, is_right) in (_REQUIRED_INFO | _OPTIONAL_INFO).items():
        if key in info:
            _expect(is_right(info[key]), f"info[{key!r}] to be {words} {where}", info[key])
        else:
            _expect(key in _OPTIONAL_INFO, f"info[{key!r}] {where}", _Words(f"only {sorted(info)}"))
    _expect(info["task_type"] in task_types, f"a task_type among {task_types} {where}", info["task_type"])


def check_truncation(subject: Subject) -> None:
    """The episode is truncated at `max_turns` exactly; turns with an invalid action count."""
    env = subject.new()
    turns = episode(env, subject.seeds[0], [""] * (env.max_turns + 1))
    played, last = len(turns) - 1, turns[-1]
    if last.terminated:
        _expect(not last.truncated, "truncated to be False where terminated is True", True)
        return
    _expect(
        last.truncated and played == env.max_turns,
        f"truncated at turn {env.max_turns} (max_turns)",
        _Words(f"truncated={last.truncated} at turn {played}"),
    )


def check_order_of_calls(subject: Subject) -> None:
    """`step` raises `ResetNeeded` before the first `reset` and after the episode's end."""
    env = subject.new()
    _expect_reset_needed(env, "before the first reset")
    episode(env, subject.seeds[0], [""] * env.max_turns)
    _expect_reset_needed(env, "after the episode's end")


def _expect_reset_needed(env: TextEnv, when: str) -> None:
    try:
        env.step("")
    except ResetNeeded:
        return
    _fail(f"step to raise ResetNeeded {when}", _Words("an answer"))


def check_success(subject: Subject) -> None:
    """`success` is True only together with `terminated`."""
    for seed in subject.seeds:
        for actions in (subject.script(seed), _expert_actions(subject, seed)):
            for number, turn in enumerate(episode(subject.new(), seed, actions)):
                if turn.info["success"]:
                    where = f"turn {number} of seed {seed}"
                    _expect(
                        turn.terminated,
                        f"success at {where} only with terminated",
                        _Words("terminated=False"),
                    )


def _expert_actions(subject: Subject, seed: int) -> list[str]:
    """What the expert plays until the episode is over or it has no answer."""
    env = subject.new()
    turn, actions = reset(env, seed), list[str]()
    while not turn.over and (action := _expert(env)) is not None:
        actions.append(action)
        turn = step(env, action)
    return actions


def check_seed(subject: Subject) -> None:
    """One seed gives one task: same observations, rewards and `info` in two instances, and when repeated."""
    for seed in subject.seeds:
        script = subject.script(seed)
        env = subject.new()
        first = episode(env, seed, script)
        _expect_equal(first, episode(subject.new(), seed, script), f"seed {seed} in another instance")
        _expect_equal(first, episode(env, seed, script), f"seed {seed} in the same instance")


def check_private_stream(subject: Subject) -> None:
    """After a seeded `reset`, further ones without a seed give the same tasks in every instance."""
    streams = []
    for _ in range(2):
        env = subject.new()
        env.reset(seed=subject.seeds[0])
        streams.append([reset(env) for _ in range(3)])
    _expect_equal(streams[0], streams[1], "reset() without a seed, after a seeded one,")


def check_global_randomness(subject: Subject) -> None:
    """The process-wide generators of `random` and NumPy are neither used nor seeded."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002 - the legacy state is what is checked
    try:
        for seed in subject.seeds:
            random.seed()  # from the system's entropy: a state that no environment seeds by chance
            np.random.seed()  # noqa: NPY002
            before = _global_random_state()
            episode(subject.new(), seed, subject.script(seed))
            _expert_actions(subject, seed)
            _expect(
                _global_random_state() == before,
                "the process-wide random states (random, numpy.random) to stay untouched",
                _Words(f"another state after an episode of seed {seed}"),
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
    _expect_equal(alone, together, "an instance, with another one played beside it,")


def check_admissible_actions(subject: Subject) -> None:
    """Every admissible action is valid when it is played. At most 30 are tried in each state."""
    for seed in subject.seeds:
        env = subject.new()
        turn = reset(env, seed)
        for action in subject.script(seed):
            state = env.snapshot()
            for admissible in turn.info.get("admissible_actions", [])[:30]:
                valid = step(env, admissible).info["is_action_valid"]
                _expect(
                    valid,
                    f"the admissible action {admissible!r} to be valid",
                    _Words("is_action_valid=False"),
                )
                env.restore(state)
            turn = step(env, action)


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
                _expect_equal(future, repeated, f"playing on from turn {moment}, restored in {where},")


def check_state_key(subject: Subject) -> None:
    """`state_key` tells the situations of an episode apart: it is not one for all of them."""
    for seed in subject.seeds:
        actions = _expert_actions(subject, seed) or subject.script(seed)
        turns = [t for t in episode(subject.new(), seed, actions) if t.info["is_action_valid"]]
        observations, keys = {t.observation for t in turns}, {t.info["state_key"] for t in turns}
        _expect(
            len(observations) < 2 or len(keys) > 1,
            f"several state_keys in an episode with {len(observations)} observations",
            _Words(f"{_short.repr(turns[0].info['state_key'])} at every turn"),
        )


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
        _expect_equal(future, [*play(twin, script[half:]), reset(twin)], what)


_LONGEST_ANSWER = 100_000


def check_hostile_actions(subject: Subject) -> None:
    """Any string is answered: with text that can be stored (UTF-8), not with an exception or an echo."""
    env = subject.new()
    over = True
    for action in HOSTILE_ACTIONS:
        if over:
            env.reset(seed=subject.seeds[0])
        what = f"an answer to the action {_short.repr(action)}"
        try:
            turn = step(env, action)
        except Exception as error:
            _fail(what, _Words(f"{type(error).__name__}: {error}"))
        over = turn.over
        _expect(isinstance(turn.observation, str), f"{what} as a str", turn.observation)
        _expect(_is_utf8(turn.observation), f"{what} without lone surrogates", turn.observation)
        length = len(turn.observation)
        _expect(length < _LONGEST_ANSWER, f"{what} below {_LONGEST_ANSWER:,} characters", _Words(f"{length:,}"))
        _expect(_is_finite(turn.reward), f"{what} with a finite reward", turn.reward)
        _expect(not turn.info["success"] or turn.terminated, f"{what} without success", _Words("success=True"))


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_splits(subject: Subject) -> None:
    """No task is drawn in two splits, and an unknown split is a `ValueError`."""
    owner: dict[str, str] = {}
    for split in subject.new().splits:
        env = subject.new(split=split)
        env.reset(seed=subject.seeds[0])
        for _ in range(subject.tasks_per_split):
            task = reset(env).info["task_id"]
            other = owner.setdefault(task, split)
            _expect(other == split, f"the task {task} of the split {other!r} in no other split", split)
    try:
        subject.new(split="no such split")
    except ValueError:
        return
    _fail("ValueError for split='no such split'", _Words("an environment"))


def check_task_ids(subject: Subject) -> None:
    """One `task_id` means one first state, and it stays for the whole episode."""
    env = subject.new()
    starts: dict[str, tuple[str, str]] = {}
    for seed in subject.seeds:
        turns = episode(env, seed, subject.script(seed))
        ids = {turn.info["task_id"] for turn in turns}
        _expect(len(ids) == 1, f"one task_id in the episode of seed {seed}", sorted(ids))
    for _ in range(subject.tasks_per_split):
        turn = reset(env)
        start = (turn.observation, turn.info["state_key"])
        known = starts.setdefault(turn.info["task_id"], start)
        _expect(known == start, f"the task {turn.info['task_id']} to begin with {_short.repr(known)}", start)


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
    _expect(
        not shown or len(shown) < len(with_answers),
        "info['answers'] not to be shown to the agent",
        _Words(f"{_short.repr(shown[0].info['answers']) if shown else None} in the first observation"),
    )


def _shows(text: str, answers: list[str]) -> bool:
    return any(a and re.search(rf"(?<!\w){re.escape(a)}(?!\w)", text, re.IGNORECASE) for a in answers)


def check_expert(subject: Subject) -> None:
    """The expert plays valid actions and reaches success within `max_turns`; asking it changes nothing."""
    if _has_no_expert(subject):
        return
    unsolved = []
    for seed in subject.seeds:
        env = subject.new()
        turns, actions = [reset(env, seed)], list[str]()
        while not turns[-1].over and (action := _expert(env)) is not None:
            actions.append(action)
            turns.append(step(env, action))
            valid = turns[-1].info["is_action_valid"]
            _expect(valid, f"the expert's action {action!r} to be valid", _Words("is_action_valid=False"))
        unasked = subject.new()
        replayed = [*episode(unasked, seed, actions), reset(unasked)]
        _expect_equal(replayed, [*turns, reset(env)], f"the episode of seed {seed}, with expert() asked,")
        if not turns[-1].info["success"]:
            unsolved.append(f"seed {seed} unsolved by {_short.repr(actions)}")
    share = 1 - len(unsolved) / len(subject.seeds)
    _expect(
        share >= subject.expert_success_rate - 1e-9,
        f"the expert to solve {subject.expert_success_rate:.0%} of the tasks",
        _Words(f"{share:.0%}: {'; '.join(unsolved[:3])}"),
    )


def _has_no_expert(subject: Subject) -> bool:
    env = subject.new()
    env.reset(seed=subject.seeds[0])
    try:
        env.expert()
    except NotImplementedError:
        return True
    except NoPlanError as error:
        _fail("expert() to know a way at the start", _Words(f"NoPlanError: {error}"))
    return False


def check_second_process(subject: Subject) -> None:
    """A seed gives the same task in another process, where strings have other hashes."""
    scripts = {seed: subject.script(seed) for seed in subject.seeds}
    try:
        request = pickle.dumps((subject.new, scripts))
    except Exception as error:
        _fail("an environment that another process can import", _Words(f"{type(error).__name__}: {error}"))
    child = subprocess.run(
        [sys.executable, "-c", "from agentgym.envs.checks import _play_for_parent; _play_for_parent()"],
        input=request,
        env={**os.environ, "PYTHONHASHSEED": "4321", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
    )
    _expect(child.returncode == 0, "a second process to play", _Words(child.stderr.decode()[-400:]))
    theirs = pickle.loads(child.stdout)
    for seed, script in scripts.items():
        here = episode(subject.new(), seed, script)
        _expect_equal(here, theirs[seed], f"seed {seed} in another process")


def _play_for_parent() -> None:
    """Run in the second process: read the factory and the scripts, write the turns."""
    new, scripts = pickle.load(sys.stdin.buffer)
    with contextlib.redirect_stdout(sys.stderr):
        episodes = {seed: episode(new(), seed, script) for seed, script in scripts.items()}
    sys.stdout.buffer.write(pickle.dumps(episodes))


Check = Callable[[Subject], None]

CHECKS: tuple[Check, ...] = (
    check_attributes,
    check_gymnasium,
    check_returns,
    check_truncation,
    check_order_of_calls,
    check_success,
    check_seed,
    check_private_stream,
    check_task_ids,
    check_global_randomness,
    check_instances,
    check_snapshot,
    check_copies,
    check_admissible_actions,
    check_state_key,
    check_hostile_actions,
    check_splits,
    check_answers,
    check_expert,
)
"""What `check_text_env` runs, in this order."""
