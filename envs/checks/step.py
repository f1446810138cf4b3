"""What `step` promises: types, ends, an answer to whatever it is told; and what the expert does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymnasium.error import ResetNeeded

from agentgym.envs.checks.subject import (
    SHORT,
    Subject,
    Words,
    expect,
    expect_equal,
    expert_action,
    expert_actions,
    fail,
    is_finite,
)
from agentgym.envs.hostile import HOSTILE_ACTIONS
from agentgym.envs.replay import episode, reset, step
from agentgym.envs.text_env import NoPlanError, TextEnv

_REQUIRED_INFO: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "success": ("a bool", lambda value: type(value) is bool),
    "task_id": ("a str, not empty", lambda value: isinstance(value, str) and value != ""),
    "task_type": ("a str, not empty", lambda value: isinstance(value, str) and value != ""),
    "state_key": ("a str", lambda value: isinstance(value, str)),
    "is_action_valid": ("a bool", lambda value: type(value) is bool),
}


_OPTIONAL_INFO: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "admissible_actions": ("a list of str", lambda value: _is_list_of_str(value)),
    "score": ("a number in [0, 1]", lambda value: is_finite(value) and 0 <= value <= 1),
    "answers": ("a list of str", lambda value: _is_list_of_str(value)),
    "reward_parts": ("a dict of finite numbers by name", lambda value: _is_dict_of_numbers(value)),
}


def _is_list_of_str(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_dict_of_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and is_finite(v) for k, v in value.items())


def check_returns(subject: Subject) -> None:
    """Everything that `reset` and `step` return, down to the keys of `info`, has the promised type."""
    for seed in subject.seeds:
        env = subject.new()
        for number, turn in enumerate(episode(env, seed, subject.script(seed))):
            where = f"at turn {number} of seed {seed}"
            text = turn.observation
            expect(isinstance(text, str), f"the observation to be a str {where}", text)
            expect(is_finite(turn.reward), f"the reward to be a finite number {where}", turn.reward)
            for name in ("terminated", "truncated"):
                value = getattr(turn, name)
                expect(type(value) is bool, f"{name} to be a bool {where}", value)
            check_info(turn.info, env.task_types, where)
            expect(number or turn.info["is_action_valid"], "is_action_valid to be True at reset", False)


def check_info(info: dict[str, Any], task_types: tuple[str, ...], where: str) -> None:
    """An `info` has the keys of `Info`, each of its type."""
    for key, (words, is_right) in (_REQUIRED_INFO | _OPTIONAL_INFO).items():
        if key in info:
            expect(is_right(info[key]), f"info[{key!r}] to be {words} {where}", info[key])
        else:
            expect(key in _OPTIONAL_INFO, f"info[{key!r}] {where}", Words(f"only {sorted(info)}"))
    expect(info["task_type"] in task_types, f"a task_type among {task_types} {where}", info["task_type"])


def check_truncation(subject: Subject) -> None:
    """The episode is truncated at `max_turns` exactly; turns with an invalid action count."""
    env = subject.new()
    turns = episode(env, subject.seeds[0], [""] * (env.max_turns + 1))
    played, last = len(turns) - 1, turns[-1]
    if last.terminated:
        expect(not last.truncated, "truncated to be False where terminated is True", True)
        return
    expect(
        last.truncated and played == env.max_turns,
        f"truncated at turn {env.max_turns} (max_turns)",
        Words(f"truncated={last.truncated} at turn {played}"),
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
    fail(f"step to raise ResetNeeded {when}", Words("an answer"))


def check_success(subject: Subject) -> None:
    """`success` is True only together with `terminated`."""
    for seed in subject.seeds:
        for actions in (subject.script(seed), expert_actions(subject, seed)):
            for number, turn in enumerate(episode(subject.new(), seed, actions)):
                if turn.info["success"]:
                    where = f"turn {number} of seed {seed}"
                    expect(
                        turn.terminated,
                        f"success at {where} only with terminated",
                        Words("terminated=False"),
                    )


def check_admissible_actions(subject: Subject) -> None:
    """Every admissible action is valid when it is played. At most 30 are tried in each state."""
    for seed in subject.seeds:
        env = subject.new()
        turn = reset(env, seed)
        for action in subject.script(seed):
            state = env.snapshot()
            for admissible in turn.info.get("admissible_actions", [])[:30]:
                valid = step(env, admissible).info["is_action_valid"]
                expect(
                    valid,
                    f"the admissible action {admissible!r} to be valid",
                    Words("is_action_valid=False"),
                )
                env.restore(state)
            turn = step(env, action)


def check_state_key(subject: Subject) -> None:
    """`state_key` tells the situations of an episode apart: it is not one for all of them."""
    for seed in subject.seeds:
        actions = expert_actions(subject, seed) or subject.script(seed)
        turns = [t for t in episode(subject.new(), seed, actions) if t.info["is_action_valid"]]
        observations, keys = {t.observation for t in turns}, {t.info["state_key"] for t in turns}
        expect(
            len(observations) < 2 or len(keys) > 1,
            f"several state_keys in an episode with {len(observations)} observations",
            Words(f"{SHORT.repr(turns[0].info['state_key'])} at every turn"),
        )


LONGEST_ANSWER = 100_000
"""Characters: no observation of its own making is as long."""


def check_hostile_actions(subject: Subject) -> None:
    """Any string is answered: with text that can be stored (UTF-8), not with an exception or an echo."""
    env = subject.new()
    over = True
    for action in HOSTILE_ACTIONS:
        if over:
            env.reset(seed=subject.seeds[0])
        what = f"an answer to the action {SHORT.repr(action)}"
        try:
            turn = step(env, action)
        except Exception as error:
            fail(what, Words(f"{type(error).__name__}: {error}"))
        over = turn.over
        expect(isinstance(turn.observation, str), f"{what} as a str", turn.observation)
        expect(is_utf8(turn.observation), f"{what} without lone surrogates", turn.observation)
        length = len(turn.observation)
        expect(length < LONGEST_ANSWER, f"{what} below {LONGEST_ANSWER:,} characters", Words(f"{length:,}"))
        expect(is_finite(turn.reward), f"{what} with a finite reward", turn.reward)
        expect(not turn.info["success"] or turn.terminated, f"{what} without success", Words("success=True"))


def is_utf8(text: str) -> bool:
    """Whether a text can be written down: it has no lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_expert(subject: Subject) -> None:
    """The expert plays valid actions and reaches success within `max_turns`; asking it changes nothing."""
    if _has_no_expert(subject):
        return
    unsolved = []
    for seed in subject.seeds:
        env = subject.new()
        turns, actions = [reset(env, seed)], list[str]()
        while not turns[-1].over and (action := expert_action(env)) is not None:
            actions.append(action)
            turns.append(step(env, action))
            valid = turns[-1].info["is_action_valid"]
            expect(valid, f"the expert's action {action!r} to be valid", Words("is_action_valid=False"))
        unasked = subject.new()
        replayed = [*episode(unasked, seed, actions), reset(unasked)]
        expect_equal(replayed, [*turns, reset(env)], f"the episode of seed {seed}, with expert() asked,")
        if not turns[-1].info["success"]:
            unsolved.append(f"seed {seed} unsolved by {SHORT.repr(actions)}")
    share = 1 - len(unsolved) / len(subject.seeds)
    expect(
        share >= subject.expert_success_rate - 1e-9,
        f"the expert to solve {subject.expert_success_rate:.0%} of the tasks",
        Words(f"{share:.0%}: {'; '.join(unsolved[:3])}"),
    )


def _has_no_expert(subject: Subject) -> bool:
    env = subject.new()
    env.reset(seed=subject.seeds[0])
    try:
        env.expert()
    except NotImplementedError:
        return True
    except NoPlanError as error:
        fail("expert() to know a way at the start", Words(f"NoPlanError: {error}"))
    return False
