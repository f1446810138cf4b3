"""Every registered environment keeps every promise of TextEnv, and answers whatever it is told."""

from __future__ import annotations

import math
import random

import gymnasium
import pytest

from agentgym.envs import TextEnv, check_text_env, make, registered, registered_games
from agentgym.envs.hostile import random_actions

WITH_TESTS_OF_THEIR_OWN = {"agentgym/ScienceWorld-v0", "agentgym/TextWorld-v0"}
"""Worlds in slow processes of their own, and in extras: test_scienceworld.py and test_textworld.py check the same."""
WORLDS = sorted({env_id for env_id in registered() if env_id.startswith("agentgym/")} - WITH_TESTS_OF_THEIR_OWN)


@pytest.mark.parametrize("env_id", WORLDS)
def test_every_promise(env_id: str) -> None:
    rate = 0.0 if env_id in registered_games() else 1.0  # there the success is the partner's to give
    check_text_env(env_id, second_process=True, expert_success_rate=rate)


@pytest.mark.parametrize("env_id", WORLDS)
def test_every_split(env_id: str) -> None:
    for split in make(env_id).splits:
        env = make(env_id, split=split)
        env.reset(seed=0)
        assert env.split == split


@pytest.mark.parametrize("env_id", WORLDS)
def test_gymnasium_make(env_id: str) -> None:
    env = gymnasium.make(env_id)
    assert isinstance(env.unwrapped, TextEnv)
    assert env.reset(seed=0)[0] == make(env_id).reset(seed=0)[0]


@pytest.mark.parametrize("env_id", WORLDS)
def test_two_thousand_random_strings(env_id: str) -> None:
    env = make(env_id)
    _, info = env.reset(seed=0)
    words = tuple(info.get("admissible_actions", ()))
    over = False
    for action in random_actions(random.Random(20261121), 2000, words):
        if over:
            env.reset()
        observation, reward, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        assert isinstance(observation, str) and observation.encode(), action
        assert math.isfinite(reward), action
        assert terminated or not info["success"], action
