"""Gymnasium's own vector environments and wrappers, over every world that can be made here."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence

from agentgym.envs import NotInstalledError, make, registered
from agentgym.envs.hostile import HOSTILE_ACTIONS
from agentgym.envs.text_space import TextMemory, TextSpace


def can_be_made(env_id: str) -> bool:
    try:
        make(env_id).close()
    except NotInstalledError:
        return False
    return True


WORLDS = [env_id for env_id in registered() if env_id.startswith("agentgym/") and can_be_made(env_id)]


SLOW = {"agentgym/ScienceWorld-v0", "agentgym/TextWorld-v0"}
"""Every worker process starts an engine of its own: one worker is enough here."""


@pytest.fixture(scope="module", autouse=True)
def keepers() -> Iterator[None]:
    """Keep this process's engines between the tests: they take seconds to start."""
    envs = [make(env_id) for env_id in SLOW.intersection(WORLDS)]
    yield
    for env in envs:
        env.close()


def play(env_id: str, mode: str, num_envs: int) -> list[Any]:
    """Two episodes of two turns in each environment, so that autoreset is seen."""
    limit = partial(gymnasium.wrappers.TimeLimit, max_episode_steps=2)
    envs = gymnasium.make_vec(env_id, num_envs, vectorization_mode=mode, wrappers=[limit])
    try:
        told = [envs.reset(seed=7)]
        actions = [("look", ""), ("go", "\ud800"), ("look", "é\r\n"), ("look", "look"), ("look", "look")]
        told += [envs.step(action[:num_envs]) for action in actions]
        for observation in (one[0] for one in told):
            assert isinstance(observation, tuple) and all(isinstance(text, str) for text in observation)
        return told
    finally:
        envs.close()


@pytest.mark.parametrize("env_id", WORLDS)
def test_async_is_sync(env_id: str) -> None:
    num_envs = 1 if env_id in SLOW else 2
    told = play(env_id, "sync", num_envs)
    assert data_equivalence(told, play(env_id, "async", num_envs))
    assert told[0][0] == tuple(make(env_id).reset(seed=7 + index)[0] for index in range(num_envs))
    assert [one[3].all() for one in told[1:4]] == [False, True, False]  # truncated, then reset by the third call
    assert told[3][0] != told[2][0] and "task_id" in told[3][-1]


@pytest.mark.parametrize("env_id", WORLDS)
def test_gymnasium_wrappers(env_id: str) -> None:
    env: Any = gymnasium.make(env_id)
    for wrapper in (
        partial(gymnasium.wrappers.TimeLimit, max_episode_steps=2),
        gymnasium.wrappers.RecordEpisodeStatistics,
        gymnasium.wrappers.Autoreset,
        partial(gymnasium.wrappers.TransformReward, func=lambda reward: reward + 1),
        partial(gymnasium.wrappers.TransformObservation, func=str.upper, observation_space=TextSpace()),
        partial(gymnasium.wrappers.TransformAction, func=str.lower, action_space=TextSpace()),
    ):
        env = wrapper(env)
    first, _ = env.reset(seed=3)
    assert first == make(env_id).reset(seed=3)[0].upper()
    env.step("LOOK")
    *_, truncated, info = env.step("")
    assert truncated and info["episode"]["l"] == 2
    env.close()


def test_any_text_passes_between_processes() -> None:
    memory = TextMemory()
    view = memory.read(len(HOSTILE_ACTIONS) + 1)
    for index, text in enumerate(HOSTILE_ACTIONS):
        memory.write(index, text)
    assert list(view) == [*HOSTILE_ACTIONS, ""] and view[-1] == "" and view[:2] == tuple(HOSTILE_ACTIONS[:2])
    memory.write(0, "")  # shorter than what was there
    assert view[0] == ""


def test_text_memory_goes_with_the_vector_environment() -> None:
    envs = gymnasium.make_vec("agentgym/FrozenLake-v0", 1, vectorization_mode="async")
    directory = envs.observations._files[0].parent
    envs.reset(seed=0)
    assert directory.exists()
    envs.close()
    del envs
    gc.collect()
    assert not directory.exists()


def test_copies_are_not_changed_by_later_steps() -> None:
    envs = gymnasium.make_vec("agentgym/FrozenLake-v0", 2, vectorization_mode="async")
    first, _ = envs.reset(seed=0)
    kept = tuple(first)
    envs.step(("right", "down"))
    assert first == kept and np.array_equal(envs.single_observation_space.contains(first[0]), True)
    envs.close()
