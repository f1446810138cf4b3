"""TextSpace, the base class TextEnv, and splits."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from agentgym.envs import TextEnv, TextSpace
from agentgym.envs.splits import SPLITS, split_of


class Guess(TextEnv):
    """Guess a number from 0 to 9."""

    instructions = "Guess a number from 0 to 9."
    task_types = ("guess",)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self.secret = options.get("secret", int(rng.integers(10)))
        self.guesses: list[str] = []
        return "Guess!"

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        self.guesses.append(action)
        right = action == str(self.secret)
        return " ".join(self.guesses), float(right), right, action.isdecimal()

    def _situation(self) -> dict[str, Any]:
        return {
            "success": bool(self.guesses) and self.guesses[-1] == str(self.secret),
            "task_id": f"guess:{self.secret}",
            "task_type": "guess",
            "state_key": " ".join(self.guesses),
        }


# TextSpace ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a b\n", "\0", "\ud800", "🧊", "x" * 10**6])
def test_text_space_contains_every_string(text: str) -> None:
    assert text in TextSpace()
    assert text in TextSpace(["up"])


@pytest.mark.parametrize("other", [b"up", 1, None, ["up"], np.array("up")])
def test_text_space_contains_nothing_else(other: object) -> None:
    assert other not in TextSpace()


def test_text_space_samples_by_seed() -> None:
    space, again = TextSpace(seed=3), TextSpace(seed=3)
    drawn = [space.sample() for _ in range(50)]
    assert drawn == [again.sample() for _ in range(50)]
    assert all(text in space and len(text) <= 16 and text.isprintable() for text in drawn)
    assert len(set(drawn)) > 40
    assert {TextSpace(["up", "down"], seed=0).sample() for _ in range(1)} <= {"up", "down"}


def test_text_space_samples_all_examples() -> None:
    space = TextSpace(["up", "down", "left"], seed=0)
    assert {space.sample() for _ in range(50)} == {"up", "down", "left"}


def test_text_space_takes_no_mask() -> None:
    with pytest.raises(ValueError, match="no mask and no probability"):
        TextSpace().sample(mask=np.ones(3))


def test_text_space_equality_hash_and_copies() -> None:
    space = TextSpace(["up"], seed=0)
    assert space == TextSpace(["up"]) != TextSpace(["down"])
    assert space != gymnasium.spaces.Text(3)
    assert hash(space) == hash(TextSpace(["up"]))
    assert repr(space) == "TextSpace(examples=['up'])"
    assert repr(TextSpace()) == "TextSpace()"
    for twin in (copy.deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert twin == space
        assert twin.sample() == "up"


# Construction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tst"}, r"split must be one of train, valid, test, not 'tst'"),
        ({"max_turns": 0}, r"max_turns must be at least 1, not 0"),
        ({"render_mode": "human"}, r"render_mode must be None or 'ansi', not 'human'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Guess(**{"max_turns": 3, **arguments})


# Turns ----------------------------------------------------------------------------------------------------


def test_an_episode_that_is_solved() -> None:
    env = Guess(max_turns=3)
    observation, info = env.reset(options={"secret": 7})
    assert observation == "Guess!"
    assert info == {
        "success": False,
        "task_id": "guess:7",
        "task_type": "guess",
        "state_key": "",
        "is_action_valid": True,
    }
    assert env.step("seven")[1:4] == (0.0, False, False)
    observation, reward, terminated, truncated, info = env.step("7")
    assert (observation, reward, terminated, truncated) == ("seven 7", 1.0, True, False)
    assert info["success"] and info["is_action_valid"] and env.turn == 2


def test_terminated_in_the_last_turn_is_not_truncated() -> None:
    env = Guess(max_turns=1)
    env.reset(options={"secret": 7})
    assert env.step("7")[2:4] == (True, False)


def test_truncated_at_max_turns_and_counted_anew() -> None:
    env = Guess(max_turns=3)
    for _ in range(2):
        env.reset(options={"secret": 7})
        assert [env.step("no")[3] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("played", [("seen", 0.0, False), ("seen", 0.0, False, True, {}), None, "seen"])
def test_an_act_that_is_none_is_told_what_it_must_return(monkeypatch: pytest.MonkeyPatch, played: object) -> None:
    env = Guess(max_turns=3)
    env.reset(seed=0)
    monkeypatch.setattr(env, "_act", lambda action: played)
    with pytest.raises(
        TypeError, match=r"Guess\._act must return \(observation, reward, terminated, .*\), not "
    ) as error:
        env.step("1")
    assert "\n" not in str(error.value)


def test_step_needs_a_running_episode() -> None:
    env = Guess(max_turns=1)
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        env.step("1")
    env.reset(seed=0)
    env.step("no")
    with pytest.raises(ResetNeeded):
        env.step("1")


def test_render() -> None:
    env = Guess(max_turns=3, render_mode="ansi")
    assert env.render() is None
    env.reset(seed=0)
    assert env.render() == "Guess!"
    env.step("x")
    assert env.render() == "x"
    silent = Guess(max_turns=3)
    silent.reset(seed=0)
    assert silent.render() is None


def test_no_expert_unless_written() -> None:
    with pytest.raises(NotImplementedError, match="Guess has no expert"):
        Guess(max_turns=3).expert()


def test_seeds() -> None:
    def tasks(env: Guess, seed: int) -> list[str]:
        first = env.reset(seed=seed)[1]["task_id"]
        return [first, *(env.reset()[1]["task_id"] for _ in range(5))]

    env = Guess(max_turns=3)
    assert tasks(env, 1) == tasks(env, 1) == tasks(Guess(max_turns=3), 1)
    assert tasks(env, 1) != tasks(env, 2)


# Snapshots ------------------------------------------------------------------------------------------------


def test_restore_returns_to_the_state_as_often_as_one_likes() -> None:
    env = Guess(max_turns=5)
    env.reset(seed=0)
    env.step("a")
    state = env.snapshot()
    for _ in range(2):
        assert [env.step(a)[0] for a in "bc"] == ["a b", "a b c"]
        env.restore(state)
    assert env.turn == 1
    fresh = Guess(max_turns=5)
    fresh.restore(state)
    assert fresh.step("b")[0] == "a b"
    assert env.guesses == ["a"]


def test_restore_brings_back_an_unbegun_environment() -> None:
    env = Guess(max_turns=5)
    state = env.snapshot()
    env.reset(seed=0)
    env.step("a")
    env.restore(state)
    assert not hasattr(env, "guesses")
    with pytest.raises(ResetNeeded):
        env.step("a")


def test_restore_after_the_end_and_with_the_generator() -> None:
    env = Guess(max_turns=1)
    env.reset(seed=0)
    state = env.snapshot()
    env.step("no")
    following = [env.reset()[1]["task_id"] for _ in range(5)]
    env.restore(state)
    env.step("no")
    assert [env.reset()[1]["task_id"] for _ in range(5)] == following


def test_spaces_and_spec_are_not_copied() -> None:
    env = Guess(max_turns=1)
    env.spec = gymnasium.envs.registration.EnvSpec("agentgym/Guess-v0")
    assert not {"observation_space", "action_space", "spec"} & set(env.snapshot())  # type: ignore[call-overload]


def test_restore_takes_snapshots_only() -> None:
    with pytest.raises(TypeError, match=r"takes what snapshot\(\) returned, not NoneType"):
        Guess(max_turns=1).restore(None)


# With gymnasium's tools -----------------------------------------------------------------------------------


def test_vector_envs_carry_strings() -> None:
    envs = gymnasium.vector.SyncVectorEnv([lambda: Guess(max_turns=2)] * 3)
    observations, _ = envs.reset(seed=0)
    assert observations == ("Guess!",) * 3
    observations, rewards, *_ = envs.step(["a", "\ud800", "1" * 1000])
    assert observations == ("a", "\ud800", "1" * 1000)
    assert rewards.shape == (3,)


def test_wrappers_work() -> None:
    env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.wrappers.TimeLimit(Guess(max_turns=9), 2))
    env.reset(seed=0)
    env.step("a")
    *_, truncated, info = env.step("b")
    assert truncated and info["episode"]["l"] == 2


# Splits ---------------------------------------------------------------------------------------------------


def test_splits_by_hash_are_stable_and_eight_to_one_to_one() -> None:
    assert [split_of(str(n)) for n in range(12)] == [
        "train",
        "test",
        "train",
        "valid",
        "test",
        "train",
        "train",
        "train",
        "valid",
        "train",
        "train",
        "train",
    ]
    counts = {split: sum(split_of(f"task {n}") == split for n in range(10_000)) for split in SPLITS}
    assert counts["train"] == pytest.approx(8000, abs=200)
    assert counts["valid"] == pytest.approx(1000, abs=150)
    assert counts["test"] == pytest.approx(1000, abs=150)
