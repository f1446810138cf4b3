"""Mutation tests of `check_text_env`: for every check small environments that break one promise each."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest

from agentgym.envs import NoPlanError, TextEnv, TextEnvError, check_text_env
from agentgym.envs.checker import _name
from agentgym.envs.checks import CHECKS, check_second_process
from agentgym.envs.hostile import random_actions
from agentgym.envs.replay import episode, first_difference
from agentgym.envs.splits import split_of


class Walk(TextEnv):
    """A tiny correct environment: walk along a line to a goal."""

    instructions = "Walk to the goal. Answer with one word: more or less."
    task_types = ("walk",)

    def __init__(self, *, split: str = "train", max_turns: int = 8, render_mode: str | None = None):
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.place = self.goal = 0
        self.task = "none"

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        while True:
            self.place = int(rng.integers(100))
            self.goal = self.place + int(rng.integers(2, 7)) * int(rng.choice([-1, 1]))
            self.task = f"{self.place} to {self.goal}"
            if split_of(self.task) == self.split:
                return self.text()

    def text(self) -> str:
        return f"You are at {self.place}, the goal is {self.goal}."

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        if action not in ("more", "less"):
            return f"Not understood. {self.text()}", 0.0, False, False
        self.place += 1 if action == "more" else -1
        return self.text(), float(self.place == self.goal), self.place == self.goal, True

    def _situation(self) -> dict[str, Any]:
        return {
            "success": self.place == self.goal,
            "task_id": self.task,
            "task_type": "walk",
            "state_key": f"{self.place} {self.goal}",
            "admissible_actions": ["more", "less"],
        }

    def expert(self) -> str:
        return "more" if self.goal > self.place else "less"


MUTANTS: list[Any] = []
"""(class, name of the check, what the verdict says)."""


def broken(check: str, verdict: str, second_process: bool = False) -> Callable[[type[Walk]], type[Walk]]:
    def keep(cls: type[Walk]) -> type[Walk]:
        MUTANTS.append(pytest.param(cls, check, verdict, second_process, id=cls.__name__))
        return cls

    return keep


def edited(**changes: Any) -> Callable[[Walk], dict[str, Any]]:
    """A `_situation` with other values; `...` leaves a key out."""

    def _situation(self: Walk) -> dict[str, Any]:
        info = {**Walk._situation(self), **changes}
        return {key: value for key, value in info.items() if value is not ...}

    return _situation


# attributes


@broken("attributes", r"expected answer_form to be text with one \{answer\}, received 'answer'")
class AnswersInNoForm(Walk):
    answer_form = "answer"


@broken("attributes", r"expected instructions in words, received '  '")
class BlankInstructions(Walk):
    instructions = "  "


@broken("attributes", r"expected task_types to be a tuple of strings, not empty, received \['walk'\]")
class TaskTypesAsList(Walk):
    task_types = ["walk"]  # type: ignore[assignment] # noqa: RUF012


@broken("attributes", r"expected a TextEnv, received Rubbish")
class NotATextEnv(Walk):
    def __new__(cls, **kwargs: Any) -> Any:
        return type("Rubbish", (), {})()


@broken("attributes", r"expected max_turns to be an int above 0, received 8\.0")
class MaxTurnsAsFloat(Walk):
    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.max_turns = 8.0  # type: ignore[assignment]


# gymnasium


@broken("gymnasium", r"expected gymnasium's check_env to pass, received AssertionError: .*observation space")
class ObservationAsBytes(Walk):
    def text(self) -> Any:
        return super().text().encode()


@broken("gymnasium", r"expected gymnasium's check_env to give no warning, received .*`seed` function")
class OldSeedMethod(Walk):
    def seed(self, seed: int) -> None: ...


@broken("gymnasium", r"check_env to pass, received AssertionError: .*non-deterministic")
class SeedIgnored(Walk):
    def reset(self, **kwargs: Any) -> Any:
        self.np_random.integers(2)
        return super().reset(**{**kwargs, "seed": None})


# returns


@broken("returns", r"expected info\['success'\] to be a bool at turn 0 of seed 0, received (np\.False_|False)")
class SuccessAsNumpyBool(Walk):
    def _situation(self) -> dict[str, Any]:
        info = super()._situation()
        return {**info, "success": np.bool_(info["success"])}


@broken("returns", r"expected info\['state_key'\] at turn 0 of seed 0, received only \['admissible_actions',")
class NoStateKey(Walk):
    _situation = edited(state_key=...)


@broken("returns", r"expected info\['state_key'\] to be a str at turn 0 of seed 0, received \(1, 2\)")
class StateKeyAsTuple(Walk):
    _situation = edited(state_key=(1, 2))


@broken("returns", r"expected info\['score'\] to be a number in \[0, 1\] at turn 0 of seed 0, received 1\.5")
class ScoreAboveOne(Walk):
    _situation = edited(score=1.5)


@broken("returns", r"expected info\['admissible_actions'\] to be a list of str .* received \('more', 'less'\)")
class AdmissibleAsTuple(Walk):
    _situation = edited(admissible_actions=("more", "less"))


@broken("returns", r"expected info\['reward_parts'\] to be a dict of finite numbers .* received \{'a': 'b'\}")
class RewardPartsInWords(Walk):
    def _situation(self) -> dict[str, Any]:
        return {**super()._situation(), "reward_parts": {"a": "b"}}


@broken("returns", r"expected a task_type among \('walk',\) at turn 0 of seed 0, received 'run'")
class UnknownTaskType(Walk):
    _situation = edited(task_type="run")


@broken("returns", r"expected the reward to be a finite number at turn 1 of seed 0, received nan")
class NanReward(Walk):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        observation, _, terminated, valid = super()._act(action)
        return observation, float("nan") if valid else 0.0, terminated, valid


@broken("returns", r"expected terminated to be a bool at turn 1 of seed 0, received None")
class TerminatedIsNone(Walk):
    def _act(self, action: str) -> Any:
        observation, reward, terminated, valid = super()._act(action)
        return observation, reward, terminated or (None if valid else False), valid


@broken("returns", r"expected is_action_valid to be True at reset, received False")
class InvalidAtReset(Walk):
    def reset(self, **kwargs: Any) -> Any:
        observation, info = super().reset(**kwargs)
        return observation, {**info, "is_action_valid": False}


# truncation


@broken("truncation", r"expected truncated at turn 8 \(max_turns\), received truncated=False at turn 9")
class InvalidTurnsAreFree(Walk):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        answer = super()._act(action)
        self.turn -= not answer[3]
        return answer


@broken("truncation", r"expected truncated at turn 8 \(max_turns\), received truncated=True at turn 7")
class TruncatedTooEarly(Walk):
    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self.turn = 1
        return super()._start(rng, options)


# order of calls


@broken("order of calls", r"expected step to raise ResetNeeded before the first reset, received an answer")
class StepsBeforeReset(Walk):
    def step(self, action: str) -> Any:
        if self.task == "none":
            self._over = False
        return super().step(action)


@broken("order of calls", r"expected step to raise ResetNeeded after the episode's end, received an answer")
class StepsAfterTheEnd(Walk):
    def step(self, action: str) -> Any:
        if self.turn == self.max_turns:
            self._over = False
        return super().step(action)


# success


@broken("success", r"expected success at turn \d of seed 0 only with terminated, received terminated=False")
class SuccessTooEarly(Walk):
    def _situation(self) -> dict[str, Any]:
        return {**super()._situation(), "success": abs(self.place - self.goal) <= 1}


# seed


@broken("seed", r"expected seed 0 in another instance to repeat observation at turn 1: .* received 'You are at .*")
class AnswersDependOnAnEarlierEpisode(Walk):
    moves = itertools.count()

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        observation, reward, terminated, valid = super()._act(action)
        return observation + f" ({next(self.moves)})" * valid, reward, terminated, valid


@broken("seed", r"seed 0 in another instance to repeat info\['state_key'\] at turn 0: .* received '.*'")
class KeyOfTheObject(Walk):
    instances = itertools.count()

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.number = next(self.instances)

    def _situation(self) -> dict[str, Any]:
        info = super()._situation()
        return {**info, "state_key": f"{info['state_key']} {self.number}"}


# private stream


@broken(
    "private stream",
    r"expected reset\(\) without a seed, after a seeded one, to repeat observation at turn 0",
)
class StreamOfTheObject(Walk):
    instances = itertools.count()

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.number = next(self.instances)

    def reset(self, *, seed: int | None = None, **kwargs: Any) -> Any:
        if seed is None:
            self.np_random.integers(2, size=self.number)
        return super().reset(seed=seed, **kwargs)


# task ids


@broken("task ids", r"expected the task walk to begin with \('You are at .* received \('You are at ")
class OneTaskId(Walk):
    _situation = edited(task_id="walk")


@broken("task ids", r"expected one task_id in the episode of seed 0, received \['\d+ to -?\d+ 0', ")
class TaskIdOfTheTurn(Walk):
    def _situation(self) -> dict[str, Any]:
        return {**super()._situation(), "task_id": f"{self.task} {self.turn}"}


# global randomness


@broken("global randomness", r"process-wide random states .* to stay untouched, received another state .* seed 0")
class SeedsGlobalRandom(Walk):
    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        random.seed(7)
        return super()._start(rng, options)


@broken("global randomness", r"to stay untouched")
class DrawsFromGlobalNumpy(Walk):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        np.random.rand()  # noqa: NPY002
        return super()._act(action)


@broken("global randomness", r"to stay untouched")
class ExpertDrawsFromGlobalRandom(Walk):
    def expert(self) -> str:
        random.random()
        return super().expert()


# instances


@broken("instances", r"expected an instance, with another one played beside it, to repeat observation at turn 1")
class StateOnTheClass(Walk):
    shared: dict[str, int] = {}  # noqa: RUF012

    @property
    def place(self) -> int:
        return self.shared["place"]

    @place.setter
    def place(self, place: int) -> None:
        self.shared["place"] = place


# snapshot


@broken("snapshot", r"playing on from turn \d, restored in the same instance, to repeat observation at turn \d")
class SnapshotSharesATrail(Walk):
    _shared_between_snapshots = Walk._shared_between_snapshots | {"trail"}

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.trail: list[str] = []

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self.trail.clear()
        return super()._start(rng, options)

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        self.trail.append(action)
        return super()._act(action)

    def text(self) -> str:
        return f"{super().text()} You have walked {len(self.trail)} times."


@broken("snapshot", r"restored in the same instance, to repeat observation at turn \d")
class SnapshotWithoutTheGenerator(Walk):
    _shared_between_snapshots = Walk._shared_between_snapshots | {"_np_random"}


@broken("snapshot", r"restored in a fresh one")
class SnapshotOfOneObject(Walk):
    def snapshot(self) -> Any:
        return {**super().snapshot(), "owner": id(self)}  # type: ignore[dict-item]

    def restore(self, snapshot: Any) -> None:
        if snapshot.pop("owner") == id(self):
            super().restore(snapshot)
            snapshot["owner"] = id(self)
        else:
            self.reset(seed=99)


# copies


@broken("copies", r"expected no exception, received \w+: .*([Pp]ickle|lambda)")
class HoldsALambda(Walk):
    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.rule = lambda: None


@broken("copies", r"expected copy.deepcopy to repeat observation at turn 0")
class CopyIsTheSame(Walk):
    def __deepcopy__(self, memo: Any) -> Any:
        return self


# admissible actions


@broken("admissible actions", r"expected the admissible action 'jump' to be valid, received is_action_valid=False")
class ListsAnUnknownAction(Walk):
    _situation = edited(admissible_actions=["more", "less", "jump"])


# state key


@broken("state key", r"expected several state_keys in an episode with \d observations, received 'here' at every")
class OneStateKey(Walk):
    _situation = edited(state_key="here")


# hostile actions


@broken("hostile actions", r"an answer to the action '\\ud800', received UnicodeEncodeError")
class EncodesTheAction(Walk):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        action.encode()
        return super()._act(action)


@broken("hostile actions", r"an answer to the action '\\ud800' without lone surrogates")
class EchoesTheAction(Walk):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        return f"{action[:50]}? {self.text()}", *super()._act(action)[1:]


@broken("hostile actions", r"an answer to the action 'aaa.*aaa' below 100,000 characters, received 1,000,\d\d\d")
class EchoesAMillion(Walk):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        return f"{action!r}? {self.text()}", *super()._act(action)[1:]


@broken("hostile actions", r"an answer to the action 'nan' with a finite reward, received nan")
class ReadsNumbers(Walk):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        observation, reward, terminated, valid = super()._act(action)
        return observation, float(action) if action == "nan" else reward, terminated, valid


@broken("hostile actions", r"an answer to the action '\{0\} \{self.__class__\} \{', received \w+Error")
class FormatsTheAction(Walk):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        answer = super()._act(action)
        return (action.format(0), *answer[1:]) if action.startswith("{0}") else answer


# splits


@broken("splits", r"expected the task \d+ to -?\d+ of the split 'train' in no other split, received 'valid'")
class SplitsAreAllTheSame(Walk):
    def __init__(self, *, split: str = "train", **kwargs: Any):
        super().__init__(split=split, **kwargs)
        self.split = "train"


@broken("splits", r"expected ValueError for split='no such split', received an environment")
class AnySplit(Walk):
    def __init__(self, *, split: str = "train", **kwargs: Any):
        super().__init__(split=split if split in self.splits else "train", **kwargs)


# answers


@broken("answers", r"expected info\['answers'\] not to be shown to the agent, received \['-?\d+'\] in the first")
class ShowsTheAnswer(Walk):
    def _situation(self) -> dict[str, Any]:
        return {**super()._situation(), "answers": [str(self.goal)]}


# expert


@broken("expert", r"expected the expert to solve 100% of the tasks, received \d+%: seed \d unsolved by \['more'")
class ExpertKnowsOneWay(Walk):
    def expert(self) -> str:
        return "more"


@broken("expert", r"expected the expert's action 'run' to be valid, received is_action_valid=False")
class ExpertSpeaksAnotherLanguage(Walk):
    def expert(self) -> str:
        return "run"


@broken("expert", r"expected expert\(\) to know a way at the start, received NoPlanError: no way")
class ExpertGivesUp(Walk):
    def expert(self) -> str:
        raise NoPlanError("no way")


@broken("expert", r"the episode of seed 0, with expert\(\) asked, to repeat observation at turn \d+")
class ExpertTakesFromTheGenerator(Walk):
    def expert(self) -> str:
        self.np_random.integers(2)
        return super().expert()


# second process


@broken(
    "second process",
    r"expected seed 0 in another process to repeat observation at turn 0",
    second_process=True,
)
class GoalByHash(Walk):
    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        super()._start(rng, options)
        self.goal = self.place + 2 + hash(self.task) % 10**9
        return self.text()

    def expert(self) -> str:
        raise NotImplementedError


@pytest.mark.parametrize(("cls", "check", "verdict", "second_process"), MUTANTS)
def test_a_broken_environment_is_named(cls: type[Walk], check: str, verdict: str, second_process: bool) -> None:
    with pytest.raises(TextEnvError, match=verdict) as caught:
        check_text_env(cls, second_process=second_process)
    assert str(caught.value).startswith(f"{check}: expected ")


def test_every_check_has_a_mutant() -> None:
    assert {mutant.values[1] for mutant in MUTANTS} == {_name(c) for c in (*CHECKS, check_second_process)}


# What is right passes -------------------------------------------------------------------------------------


class WithoutExpert(Walk):
    def expert(self) -> str:
        raise NotImplementedError


class WithoutAdmissibleActions(Walk):
    _situation = edited(admissible_actions=...)


class AnswerInSomeQuestions(Walk):
    """A question may contain its answer, as long as not all do."""

    def _situation(self) -> dict[str, Any]:
        return {**super()._situation(), "answers": [str(self.goal) if self.goal % 2 else "42 km"]}


class WithEverything(Walk):
    def _situation(self) -> dict[str, Any]:
        own = {"score": 0.5, "answers": ["forty-two"], "reward_parts": {"goal": 0.0}, "more": object}
        return {**super()._situation(), **own}


@pytest.mark.parametrize("cls", [Walk, WithoutExpert, WithoutAdmissibleActions, AnswerInSomeQuestions, WithEverything])
def test_a_correct_environment_passes(cls: type[Walk]) -> None:
    check_text_env(cls)


def test_second_process_and_partial() -> None:
    check_text_env(partial(Walk, max_turns=9), second_process=True)


def test_second_process_needs_what_it_can_import() -> None:
    with pytest.raises(TextEnvError, match="second process: expected an environment that another process can"):
        check_text_env(lambda **kwargs: Walk(**kwargs), second_process=True)


class LuckyExpert(Walk):
    """An expert that solves half of the tasks: those to the right."""

    def expert(self) -> str:
        return "more"


def test_expert_success_rate_is_the_least_share() -> None:
    check_text_env(LuckyExpert, seeds=range(8), expert_success_rate=0.2)
    with pytest.raises(TextEnvError, match=r"expert: expected the expert to solve 90% of the tasks, received"):
        check_text_env(LuckyExpert, seeds=range(8), expert_success_rate=0.9)


@pytest.mark.parametrize("wrong", [Walk(), gymnasium.make("CartPole-v1"), 3])
def test_an_instance_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes an id, a class or a factory"):
        check_text_env(wrong)


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        check_text_env(Walk, seeds=())
    with pytest.raises(ValueError, match="no environment 'agentgym/Nothing-v0'"):
        check_text_env("agentgym/Nothing-v0")


def test_the_global_states_are_given_back() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    check_text_env(Walk)
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index] # noqa: NPY002


def test_replay_names_the_first_difference() -> None:
    plays = [episode(Walk(), 0, ["more"] * n) for n in (1, 1, 2)]
    assert first_difference(plays[0], plays[1]) is None
    assert first_difference(plays[0], plays[2]) == ("the number of turns", 1, 2)
    plays[1][1].info["extra"] = 1
    assert first_difference(plays[0], plays[1]) == ("info['extra'] at turn 1", "nothing", 1)


def test_random_actions_are_reproducible_and_varied() -> None:
    actions = random_actions(random.Random(0), 500, ("more", "less"))
    assert actions == random_actions(random.Random(0), 500, ("more", "less"))
    assert len(set(actions)) > 400
    assert any(not action.isprintable() for action in actions)
    assert "more" in actions or "less" in actions
