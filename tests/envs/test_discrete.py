"""DiscreteTextEnv around gymnasium's own worlds."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv as GymFrozenLake
from gymnasium.envs.toy_text.taxi import TaxiEnv
from gymnasium.wrappers import TimeLimit

from agentgym.envs import DiscreteTextEnv, check_text_env, make, register
from agentgym.envs.discrete import best_actions
from agentgym.envs.splits import split_of

TAXI_ACTIONS = ("south", "north", "east", "west", "pick up", "drop off")


def taxi_text(state: int, env: Any) -> str:
    row, column, passenger, destination = env.decode(state)
    return f"Taxi {row},{column}. Passenger {passenger}. To {destination}."


def taxi(**kwargs: Any) -> DiscreteTextEnv:
    """A third party's environment: Taxi in words, with a time limit of the wrapped environment's own."""
    return DiscreteTextEnv(
        TimeLimit(TaxiEnv(), 200),
        actions=TAXI_ACTIONS,
        describe=taxi_text,
        instructions="Bring the passenger to the destination.",
        **{"max_turns": 40, **kwargs},
    )


def cliff_text(state: int, env: Any) -> str:
    return f"You are in row {state // 12}, column {state % 12}."


def reached(state: int, reward: float) -> bool:
    return True


def cliff(**kwargs: Any) -> DiscreteTextEnv:
    return DiscreteTextEnv(
        CliffWalkingEnv(),
        actions=["up", "right", "down", "left"],
        describe=cliff_text,
        success=reached,
        instructions="Walk to row 3, column 11. The other cells of row 3 are a cliff.",
        **{"max_turns": 30, **kwargs},
    )


def blackjack(**kwargs: Any) -> DiscreteTextEnv:
    return DiscreteTextEnv(
        gymnasium.make("Blackjack-v1"),
        actions=["stick", "hit"],
        describe=lambda hand, env: f"You have {hand[0]}, the dealer shows {hand[1]}.",
        instructions="Blackjack.",
        **{"max_turns": 20, **kwargs},
    )


def test_taxi_keeps_every_promise() -> None:
    check_text_env(taxi, seeds=range(1), second_process=True)


def test_cliff_walking_keeps_every_promise() -> None:
    check_text_env(cliff, seeds=range(1))


def test_the_expert_walks_along_the_cliff() -> None:
    env = cliff()
    env.reset(seed=0)
    turns = [env.step(env.expert()) for _ in range(13)]
    assert turns[-1][2] and turns[-1][4]["success"]
    assert sum(turn[1] for turn in turns) == -13


def test_names_stand_for_numbers_and_case_and_blanks_do_not_matter() -> None:
    env = taxi()
    _, info = env.reset(seed=3)
    assert info["admissible_actions"] == list(TAXI_ACTIONS)
    wrapped: Any = env.env.unwrapped
    for number, name in enumerate(TAXI_ACTIONS):
        before = wrapped.s
        _, reward, *_, info = env.step(f"  {name.upper()}\n")
        assert info["is_action_valid"]
        assert wrapped.s == wrapped.P[before][number][0][1]
        assert reward == wrapped.P[before][number][0][2]


def test_an_invalid_action_costs_a_turn_and_leaves_the_world_alone() -> None:
    env = taxi()
    start, _ = env.reset(seed=3)
    before = env.env.unwrapped.s  # type: ignore[attr-defined]
    observation, reward, terminated, truncated, info = env.step("x" * 50)
    assert observation == (
        f"'{'x' * 40}…' is not an action. Answer with one of: south, north, east, west, pick up, drop off.\n{start}"
    )
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert not info["is_action_valid"]
    assert (env.turn, env.env.unwrapped.s) == (1, before)  # type: ignore[attr-defined]


def test_the_wrapped_time_limit_truncates_too() -> None:
    env = DiscreteTextEnv(
        TimeLimit(TaxiEnv(), 3),
        actions=TAXI_ACTIONS,
        describe=taxi_text,
        instructions="…",
        max_turns=40,
    )
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step("north")[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step("north")


def test_a_task_is_a_seed_of_one_split() -> None:
    for split in ("train", "valid", "test"):
        env = taxi(split=split)
        ids = {env.reset(seed=seed)[1]["task_id"] for seed in range(5)}
        assert all(split_of(task) == split and task.startswith("TaxiEnv:") for task in ids)
    task = env.reset(seed=7)[1]["task_id"]
    wrapped = TaxiEnv()
    state, _ = wrapped.reset(seed=int(task.partition(":")[2]))
    assert env.reset(seed=7)[0] == taxi_text(state, wrapped)


def test_success_needs_the_end() -> None:
    env = blackjack()
    for seed in range(20):
        env.reset(seed=seed)
        over, reward = False, 0.0
        info: dict[str, Any] = {}
        while not over:
            assert not info.get("success")
            _, reward, over, _, info = env.step("hit")
        assert info["success"] == (reward > 0)


def test_no_expert_without_a_transition_table() -> None:
    env = blackjack()
    env.reset(seed=0)
    with pytest.raises(NotImplementedError, match="BlackjackEnv has no transition table P"):
        env.expert()


def test_expert_needs_a_running_episode() -> None:
    with pytest.raises(RuntimeError, match="has not begun"):
        cliff().expert()


def test_snapshots_of_a_slippery_world() -> None:
    env = DiscreteTextEnv(
        GymFrozenLake(is_slippery=True),
        actions=["left", "down", "right", "up"],
        describe=lambda state, world: f"Cell {state}.",
        instructions="…",
        max_turns=100,
    )
    env.reset(seed=1)
    env.step("left")
    for again in (env, copy.deepcopy(env)):
        state = again.snapshot()
        walk = [again.step("left")[0] for _ in range(6)]
        again.restore(state)
        assert [again.step("left")[0] for _ in range(6)] == walk
        again.restore(state)


def test_registered_like_any_other() -> None:
    register("test/Taxi-v0", taxi)
    try:
        assert make("test/Taxi-v0", split="valid").split == "valid"
    finally:
        del gymnasium.registry["test/Taxi-v0"]
        from agentgym.envs import registration

        registration._ours.remove("test/Taxi-v0")


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (["a", "b"], "actions must name 4 actions, not 2"),
        (["a", "b", "c", "A "], "actions must be different"),
        (["a", "b", "c", " "], "not blank"),
    ],
)
def test_wrong_names(actions: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiscreteTextEnv(GymFrozenLake(), actions=actions, describe=cliff_text, instructions="…", max_turns=1)


def test_only_discrete_actions() -> None:
    with pytest.raises(ValueError, match="actions must be Discrete, not Box"):
        DiscreteTextEnv(
            gymnasium.make("Pendulum-v1"), actions=["a"], describe=cliff_text, instructions="…", max_turns=1
        )


# The planner ----------------------------------------------------------------------------------------------


def test_best_actions_are_optimal_on_slippery_ice() -> None:
    """The likeliest way over gymnasium's 4x4 map arrives with 14/17 (its well-known optimum)."""
    world = GymFrozenLake(map_name="4x4", is_slippery=True)
    policy = best_actions(world.P)
    value = np.zeros(16)
    for _ in range(5000):
        value = np.array(
            [sum(p * (r + (not t) * value[n]) for p, n, r, t in world.P[s][int(policy[s])]) for s in range(16)]
        )
    assert value[0] == pytest.approx(14 / 17, abs=1e-3)


def test_best_actions_take_rows_of_different_lengths() -> None:
    P = {
        0: {0: [(1.0, 0, 0.0, False)], 1: [(0.5, 1, 0.0, False), (0.5, 0, 0.0, False)]},
        1: {0: [(1.0, 1, 1.0, True)], 1: [(1.0, 0, 0.0, False)]},
    }
    assert best_actions(P).tolist() == [1, 0]
