"""`check_text_env`, `check_game`: does an environment keep every promise of `TextEnv`, a game those of `TextAECEnv`?

gymnasium's `check_env` is one of the checks; the others are what text environments fail in practice: shared
randomness, seeds that mean another task in another process, `success` at the wrong moment, actions that
raise, splits that share tasks. They are ordered from basic to deep, and the first that fails raises
`TextEnvError` with what was expected and what was received.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import gymnasium
from pettingzoo import AECEnv

from agentgym.envs.checks import CHECKS, Subject, VerdictError, check_second_process
from agentgym.envs.checks.games import GAME_CHECKS, GameSubject, check_game_second_process
from agentgym.envs.games import make_game
from agentgym.envs.multi_agent import TextAECEnv
from agentgym.envs.registration import make
from agentgym.envs.text_env import TextEnv


class TextEnvError(AssertionError):
    """A check failed: "check: expected …, received …"."""


def check_text_env(
    env: str | Callable[..., TextEnv],
    *,
    seeds: Iterable[int] = range(3),
    script_turns: int = 8,
    tasks_per_split: int = 20,
    expert_success_rate: float = 1.0,
    second_process: bool = False,
) -> None:
    """Raise `TextEnvError` at the first broken promise; return None if there is none.

    Args:
        env: an id, or whatever takes the constructor's arguments and returns a new environment: the class,
            or `functools.partial(make, env_id, size=8)`.
        seeds: the tasks that are played.
        script_turns: how many turns of each are played, replayed and compared.
        tasks_per_split: how many tasks of each split are drawn to see that splits share none.
        expert_success_rate: the least share of `seeds` that the expert must solve, where there is an expert;
            below 1 for worlds with chance in them.
        second_process: also compare with a process of its own, where strings have other hashes. `env` must
            then be an id known there too, or importable.
    """
    seeds = tuple(seeds)
    _expect_factory("check_text_env", env, seeds)
    if isinstance(env, str):
        make(env).close()  # an unknown id is the caller's mistake, not the environment's
    subject = Subject(
        new=partial(make, env) if isinstance(env, str) else env,
        seeds=seeds,
        script_turns=script_turns,
        tasks_per_split=tasks_per_split,
        expert_success_rate=expert_success_rate,
    )
    _run((*CHECKS, check_second_process) if second_process else CHECKS, subject)


def check_game(
    game: str | Callable[..., TextAECEnv],
    *,
    seeds: Iterable[int] = range(3),
    script_turns: int = 8,
    tasks_per_split: int = 20,
    second_process: bool = False,
) -> None:
    """Raise `TextEnvError` at the first promise of `TextAECEnv` that is broken; return None if there is none.

    Args:
        game: an id, or whatever takes the constructor's arguments and returns a new game.
        seeds: the tasks that are played.
        script_turns: how many acts of each are played, replayed and compared.
        tasks_per_split: how many tasks of each split are drawn to see that splits share none, and how many games are
            played to see that nobody reads what others hold.
        second_process: also compare with a process of its own, as `check_text_env` does.
    """
    seeds = tuple(seeds)
    _expect_factory("check_game", game, seeds)
    if isinstance(game, str):
        make_game(game).close()
    subject = GameSubject(
        new=partial(make_game, game) if isinstance(game, str) else game,
        seeds=seeds,
        script_turns=script_turns,
        tasks_per_split=tasks_per_split,
    )
    _run((*GAME_CHECKS, check_game_second_process) if second_process else GAME_CHECKS, subject)


def _expect_factory(checker: str, env: object, seeds: tuple[int, ...]) -> None:
    if isinstance(env, gymnasium.Env | AECEnv) or not (isinstance(env, str) or callable(env)):
        raise TypeError(f"{checker} takes an id, a class or a factory, not {reprlib.repr(env)}")
    if not seeds:
        raise ValueError("seeds must name at least one seed")


def _run(checks: Sequence[Callable[[Any], None]], subject: Subject | GameSubject) -> None:
    for check in checks:
        try:
            check(subject)
        except VerdictError as verdict:
            raise TextEnvError(f"{_name(check)}: {verdict}") from None
        except Exception as error:
            raise TextEnvError(
                f"{_name(check)}: expected no exception, received {type(error).__name__}: {error}"
            ) from error


def _name(check: Callable[[Any], None]) -> str:
    return check.__name__.removeprefix("check_").replace("_", " ")
