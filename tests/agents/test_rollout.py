"""Episodes in groups: played to their end, in order, whatever the environment does."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from agentgym.agents.agent import Decision, ExpertAgent, InstantAgent, RandomAgent, View
from agentgym.agents.contexts import Context
from agentgym.agents.engines import SamplingParams
from agentgym.agents.engines.transformers import TransformersEngine
from agentgym.agents.episode import Branch, EpisodeSpec, SoloEpisode
from agentgym.agents.formats import get_format
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import LoadedModel, stop_token_ids
from agentgym.agents.rollout import GroupError, check_groups, play
from agentgym.agents.trajectory import StopReason, Trajectory, Turn
from agentgym.envs import NoPlanError, TextEnv, make


class Stairs(TextEnv):
    """Climb to the top; jumping down ends the episode. How high they are depends on the seed."""

    instructions = "Climb."
    task_types = ("stairs",)

    def __init__(self, *, listed: bool = True, max_turns: int = 6):
        super().__init__(max_turns=max_turns)
        self.listed = listed
        self.resets = 0
        self.closed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.seed = seed
        self.resets += 1
        return super().reset(seed=seed, options=options)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self.top, self.step_number = int(rng.integers(1, 6)), 0
        return f"{self.top} steps"

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        self.step_number += action == "climb"
        over = action == "jump" or self.step_number == self.top
        return f"step {self.step_number}", np.float32(self.step_number), over, action in ("climb", "rest", "jump")

    def _situation(self) -> dict[str, Any]:
        known = {"admissible_actions": ["climb", "rest", "rest", "jump"]} if self.listed else {}
        return {
            "success": self.step_number == self.top,
            "task_id": f"stairs-{self.top}",
            "task_type": "stairs",
            "state_key": f"{self.top}/{self.step_number}",
            "score": np.float32(self.step_number / self.top),
            **known,
        }

    def expert(self) -> str:
        if self.step_number > 0 and not self.listed:
            raise NoPlanError("too tired")
        return "climb"

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Always(InstantAgent):
    """Plays one action."""

    def __init__(self, action: str):
        super().__init__()
        self.action = action
        self.waves: list[list[int]] = []

    def ask(self, views: Sequence[View]) -> None:
        self.waves.append([view.env.seed for view in views])
        super().ask(views)

    def decide(self, view: View) -> Decision:
        return Decision(self.action)


def specs(n: int, env_id: str = "stairs") -> list[EpisodeSpec]:
    return [EpisodeSpec(env_id, seed, f"g{seed // 4}", sampling_seed=100 + seed) for seed in range(n)]


@pytest.fixture
def made() -> list[Stairs]:
    """The environments that `make_stairs` made."""
    return []


@pytest.fixture
def make_stairs(made: list[Stairs]) -> Callable[[], Stairs]:
    def make_one() -> Stairs:
        made.append(Stairs())
        return made[-1]

    return make_one


# Waves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_envs", [1, 2, 5, 100])
def test_results_do_not_depend_on_num_envs(
    num_envs: int, make_stairs: Callable[[], Stairs], made: list[Stairs]
) -> None:
    ended: list[Trajectory] = []
    played = play(RandomAgent(), make_stairs, specs(20), num_envs=num_envs, on_episode=ended.append)
    assert played == play(RandomAgent(), Stairs, specs(20))
    assert [t.seed for t in played] == list(range(20))
    assert [t.group for t in played] == [f"g{i // 4}" for i in range(20)]
    assert len({len(t.turns) for t in played}) > 2
    assert sorted(t.seed for t in ended) == list(range(20))
    assert len(made) == min(num_envs, 20), "environments are used again"
    assert all(env.closed for env in made)


def test_free_slots_are_refilled_at_once() -> None:
    agent = Always("climb")
    played = play(agent, Stairs, specs(12), num_envs=3)
    assert sum(map(len, agent.waves)) == sum(len(t.turns) for t in played)
    begun = list(dict.fromkeys(seed for wave in agent.waves for seed in wave))
    assert begun == list(range(12))
    for number, wave in enumerate(agent.waves):
        all_have_begun = 11 in {seed for earlier in agent.waves[: number + 1] for seed in earlier}
        assert len(wave) == 3 or (len(wave) < 3 and all_have_begun)


def test_what_a_turn_records() -> None:
    (trajectory,) = play(Always("climb"), Stairs, [EpisodeSpec("stairs", 3, "g", 0)])
    top = len(trajectory.turns)
    assert top > 1
    assert [turn.observation for turn in trajectory.turns] == [f"{top} steps", *(f"step {i}" for i in range(1, top))]
    assert [turn.state_key for turn in trajectory.turns] == [f"{top}/{i}" for i in range(top)]
    assert [turn.reward for turn in trajectory.turns] == list(range(1, top + 1))
    assert (trajectory.final_observation, trajectory.score, trajectory.success) == (f"step {top}", 1, True)
    assert trajectory.final_state_key == f"{top}/{top}"
    assert (trajectory.task_id, trajectory.task_type) == (f"stairs-{top}", "stairs")
    assert Trajectory.from_json(trajectory.to_json()) == trajectory  # NumPy's numbers have become Python's
    (invalid,) = play(Always("fly"), Stairs, specs(1))
    assert not any(turn.is_action_valid for turn in invalid.turns)


def test_wrong_calls() -> None:
    assert play(RandomAgent(), Stairs, []) == []
    with pytest.raises(ValueError, match="num_envs must be at least 1, not 0"):
        play(RandomAgent(), Stairs, specs(1), num_envs=0)
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        play(RandomAgent(), Stairs, specs(1), workers=0)


def test_environments_are_closed_when_the_agent_fails(make_stairs: Callable[[], Stairs], made: list[Stairs]) -> None:
    class Gone(InstantAgent):
        def decide(self, view: View) -> Decision:
            raise EOFError

    with pytest.raises(EOFError):
        play(Gone(), make_stairs, specs(3))
    assert [env.closed for env in made] == [True] * 3


# Environments that raise ----------------------------------------------------------------------------------


class Faulty(Stairs):
    """Raises in an episode of a seed in `faults`, as often as is said there."""

    faults: Counter[int]
    where: str
    resets_before_retry: list[int]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        if seed in self.failed:
            self.resets_before_retry.append(self.resets)
        result = super().reset(seed=seed, options=options)
        if self.where == "reset":
            self.fail()
        return result

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self.where == "step" and self.turn == 1:
            self.fail()
        return super().step(action)

    def close(self) -> None:
        super().close()
        raise OSError("no, I stay open")

    def fail(self) -> None:
        assert self.seed is not None
        if self.faults[self.seed]:
            self.faults[self.seed] -= 1
            self.failed.add(self.seed)
            raise KeyError(f"bug {self.faults[self.seed]}")


def faulty(where: str, **faults: int) -> type[Faulty]:
    counts = Counter({int(seed.removeprefix("seed")): n for seed, n in faults.items()})
    return type("Faulty", (Faulty,), {"faults": counts, "where": where, "resets_before_retry": [], "failed": set()})


def resting(n: int) -> list[Trajectory]:
    return play(Always("rest"), Stairs, specs(n))


@pytest.mark.parametrize("where", ["reset", "step"])
@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_one_failure_is_tried_again_on_a_fresh_instance(where: str, num_envs: int) -> None:
    env = faulty(where, seed2=1, seed3=1, seed5=1)
    assert play(Always("rest"), env, specs(8), num_envs=num_envs) == resting(8)
    assert env.resets_before_retry == [0, 0, 0]


@pytest.mark.parametrize("where", ["reset", "step"])
def test_two_failures_are_an_env_error_and_nobody_elses(where: str, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[Trajectory] = []
    played = play(Always("rest"), faulty(where, seed2=2), specs(6), num_envs=2, on_episode=ended.append)
    failed = played.pop(2)
    expected = resting(6)
    del expected[2]
    assert played == expected
    assert (failed.stop_reason, failed.error) == (
        StopReason.ENV_ERROR,
        f"stairs, seed 2, {'at reset' if where == 'reset' else 'turn 1'}: KeyError: 'bug 0'",
    )
    assert (failed.env_id, failed.seed, failed.group, failed.turns) == ("stairs", 2, "g0", [])
    assert not failed.success
    assert len(ended) == 6
    assert f"{failed.error} again; the episode is excluded" in caplog.text


def test_an_expert_that_fails_ends_its_episode_alone() -> None:
    class Unreachable(Stairs):
        def expert(self) -> str:
            if self.top == 1:
                raise OSError("no answer from the server")
            return super().expert()

    played = play(ExpertAgent(), Unreachable, specs(12))
    failed = [trajectory for trajectory in played if trajectory.stop_reason is StopReason.ENV_ERROR]
    assert 0 < len(failed) < len(played)
    assert all(str(trajectory.error).endswith("turn 0: OSError: no answer from the server") for trajectory in failed)
    assert all(trajectory.success for trajectory in played if trajectory not in failed)


def test_failures_to_make_an_environment_are_failures_too() -> None:
    attempts = iter([None, OSError("port in use"), None])

    def make_env() -> Stairs:
        error = next(attempts)
        if error:
            raise error
        return Stairs()

    assert play(Always("rest"), make_env, specs(2)) == resting(2)

    def never() -> Stairs:
        raise OSError("no such server")

    (failed,) = play(Always("rest"), never, specs(1))
    assert failed.error == "stairs, seed 0, at reset: OSError: no such server"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"reward": float("nan")}, "seed 3, turn 1: the reward is nan, not a finite number"),
        ({"reward": float("-inf")}, "seed 3, turn 1: the reward is -inf, not a finite number"),
        ({"reward": None}, "seed 3, turn 1: the reward is None, not a finite number"),
        ({"reward": "1.0"}, "seed 3, turn 1: the reward is '1.0', not a finite number"),
        ({"observation": b"step"}, "seed 3, turn 1: the observation is b'step', not a str"),
        ({"info": None}, "seed 3, turn 1: info is None, not a dict"),
        ({"info": {"success": False}}, "seed 3, turn 1: info lacks 'task_id', 'task_type', 'state_key', 'is_action_v"),
        ({"parts": {"form": float("inf")}}, "seed 3, turn 1: reward_parts['form'] is inf, not a finite number"),
        ({"told": {"success": "False"}}, "seed 3, turn 1: info['success'] is 'False', not a bool"),
        ({"told": {"task_id": 7}}, "seed 3, turn 1: info['task_id'] is 7, not a str"),
        ({"told": {"state_key": (1, 2)}}, "seed 3, turn 1: info['state_key'] is (1, 2), not a str"),
        ({"told": {"admissible_actions": ["climb", None]}}, "info['admissible_actions'] are ['climb', None], not all"),
        ({"observation": "a\udc80b"}, "seed 3, turn 1: 'a\\udc80b' holds a lone surrogate"),
        ({"exits": True}, "seed 3, turn 1: SystemExit: 3"),
    ],
)
def test_what_no_environment_may_give_is_a_failure_of_its_episode_alone(broken: dict[str, Any], reason: str) -> None:
    class Broken(Stairs):
        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            observation, reward, terminated, truncated, info = super().step(action)
            if self.seed == 3 and self.turn == 2:
                if "exits" in broken:
                    raise SystemExit(3)
                told = {"reward_parts": broken.get("parts", {})} | broken.get("told", {})
                info = broken.get("info", info | told)
                return broken.get("observation", observation), broken.get("reward", reward), terminated, truncated, info
            return observation, reward, terminated, truncated, info

    played = play(Always("rest"), Broken, specs(5))
    failed = played.pop(3)
    expected = resting(5)
    del expected[3]
    assert played == expected and not failed.counts and reason in str(failed.error)


# Workers --------------------------------------------------------------------------------------------------


class Waits(Stairs):
    """Every call waits until another is waiting too, or for half a second: alone each would be long."""

    waits = True
    barrier: threading.Barrier

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        with suppress(threading.BrokenBarrierError):
            self.barrier.wait(timeout=30)
            self.met.append(threading.current_thread().name)
        return super().step(action)


def test_environments_that_wait_are_stepped_side_by_side_with_the_same_results() -> None:
    """Four who wait for one another would be stuck if they were stepped one after the other."""
    kind = type("Meeting", (Waits,), {"barrier": threading.Barrier(4), "met": []})
    played = play(Always("rest"), kind, specs(4), workers=4)
    assert played == resting(4)
    assert len(set(kind.met)) == 4
    assert play(RandomAgent(), Stairs, specs(20), workers=3) == play(RandomAgent(), Stairs, specs(20))


# Branches -------------------------------------------------------------------------------------------------


def test_an_episode_is_played_on_from_a_branch() -> None:
    """With the same luck as it was going to be; with other luck, other ways from the same turn on."""
    starts = [EpisodeSpec("stairs", 3, "g", sampling_seed=seed) for seed in range(20)]
    played = play(RandomAgent(), partial(Stairs, max_turns=9), starts)
    whole, start = max(zip(played, starts, strict=True), key=lambda of: len(of[0].turns))
    assert len(whole.turns) > 3
    episode = SoloEpisode(Stairs(max_turns=9), start)
    for turn in whole.turns[:2]:
        (view,) = episode.to_act()
        episode.play(view, Decision(turn.action))
    branch = episode.snapshot()
    assert play(RandomAgent(), partial(Stairs, max_turns=9), [branch]) == [whole]
    others = [replace(branch, spec=replace(start, group="h", sampling_seed=seed)) for seed in range(20)]
    ways = play(RandomAgent(), partial(Stairs, max_turns=9), others, num_envs=3)
    assert all(way.turns[:2] == whole.turns[:2] and way.group == "h" for way in ways)
    assert len({tuple(turn.action for turn in way.turns) for way in ways}) > 3
    assert len({way.episode for way in ways}) == 20
    assert isinstance(branch, Branch) and branch.trajectories[0].turns == whole.turns[:2]


# Stop reasons ---------------------------------------------------------------------------------------------


def llm_agent(small: LoadedModel, *, context_length: int = 256, window: int | None = None) -> LLMAgent:
    return LLMAgent(
        TransformersEngine(small.model, stop_token_ids(small)),
        small.tokenizer,
        context=Context(window),
        format=get_format("plain"),
        sampling=SamplingParams(max_new_tokens=4),
        context_length=context_length,
    )


@pytest.mark.parametrize(
    ("action", "make_env", "reason"),
    [
        ("climb", Stairs, StopReason.SUCCESS),
        ("jump", Stairs, StopReason.TERMINATED),
        ("rest", Stairs, StopReason.MAX_TURNS),
        ("climb", partial(Stairs, max_turns=1), StopReason.MAX_TURNS),
        ("rest", faulty("step", seed3=9), StopReason.ENV_ERROR),
    ],
)
def test_stop_reasons(action: str, make_env: Callable[[], Stairs], reason: StopReason) -> None:
    (trajectory,) = play(Always(action), make_env, [EpisodeSpec("stairs", 3, "g", 0)])
    assert trajectory.stop_reason is reason
    assert trajectory.success is (reason is StopReason.SUCCESS)


def test_context_overflow(small: LoadedModel) -> None:
    """A dialogue ends before the prompt that would leave no room for a response; a window goes on."""
    make_env = partial(Stairs, max_turns=10)
    roomy = play(llm_agent(small), make_env, specs(4))
    assert {t.stop_reason for t in roomy} == {StopReason.MAX_TURNS}
    longest = max(len(t.prompts()[5]) for t in roomy)
    for context_length in (longest + 3, longest + 4):
        tight = play(llm_agent(small, context_length=context_length), make_env, specs(4))
        for trajectory, whole in zip(tight, roomy, strict=True):
            prompts = whole.prompts()
            fitting = [turn for turn, p in zip(whole.turns, prompts, strict=True) if len(p) + 4 <= context_length]
            assert 4 < len(fitting) < 10
            assert [turn.response_ids for turn in trajectory.turns] == [turn.response_ids for turn in fitting]
            assert trajectory.stop_reason is StopReason.CONTEXT_OVERFLOW
            assert trajectory.final_observation == whole.turns[len(fitting)].observation
            assert not trajectory.success
    windowed = play(llm_agent(small, context_length=longest + 3, window=1), make_env, specs(4))
    assert {t.stop_reason for t in windowed} == {StopReason.MAX_TURNS}


def test_context_overflow_at_the_first_turn(small: LoadedModel) -> None:
    played = play(llm_agent(small, context_length=5), Stairs, specs(2))
    assert [(t.stop_reason, t.turns) for t in played] == [(StopReason.CONTEXT_OVERFLOW, [])] * 2
    check_groups([replace(t, task_id="same") for t in played], 2)


# Groups ---------------------------------------------------------------------------------------------------


def member(group: str = "g", task: str = "t", state: str = "s", seen: str = "o", **fields: Any) -> Trajectory:
    return Trajectory("e", 0, group, task, "", turns=[Turn(seen, state, "a")], **fields)


FAILED = Trajectory("e", 0, "g", "", "", stop_reason=StopReason.ENV_ERROR)


@pytest.mark.parametrize(
    "members",
    [
        [],
        [member(), member(), member("h", "u", "v"), member("h", "u", "v")],
        [member(), FAILED],
        [member(seat="a", episode="0"), member(seat="a", episode="1"), member(seat="b", seen="z", episode="0")],
        [FAILED, FAILED],
        [member(), Trajectory("e", 0, "g", "t", "", stop_reason=StopReason.CONTEXT_OVERFLOW)],
    ],
)
def test_whole_groups(members: list[Trajectory]) -> None:
    check_groups(members, 2)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member()], "group 'g' has 1 episodes, not 2"),
        ([member(), member(), member()], "group 'g' has 3 episodes, not 2"),
        ([member(), member("h")], "group 'g' has 1 episodes, not 2"),
        ([member(), member(task="u")], "group 'g' mixes the tasks t, u"),
        ([member(), member(state="z")], r"group 'g' \(task t\) starts in 2 different states, by their state_key"),
        ([member(), member(seen="z")], r"group 'g' \(task t\) starts in 2 different states, by their observation"),
        ([member(), FAILED, FAILED], "group 'g' has 3 episodes"),
    ],
)
def test_what_is_no_group(members: list[Trajectory], message: str) -> None:
    with pytest.raises(GroupError, match=message):
        check_groups(members, 2)


def test_played_groups_are_groups() -> None:
    group = [EpisodeSpec("agentgym/FrozenLake-v0", s // 3, f"{s // 3}", s) for s in range(12)]
    played = play(RandomAgent(), partial(make, "agentgym/FrozenLake-v0"), group, num_envs=4)
    check_groups(played, 3)
    assert len({t.task_id for t in played}) > 1
    with pytest.raises(GroupError, match="mixes the tasks"):
        check_groups([replace(t, group="one") for t in played], 12)


# Agents ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random", "noisy expert", "llm"])
def test_an_agents_randomness_is_the_episodes(name: str, small: LoadedModel) -> None:
    agent: Any = {"random": RandomAgent(), "noisy expert": ExpertAgent(0.5)}.get(name) or llm_agent(small)
    make_env = partial(make, "agentgym/FrozenLake-v0", size=4)
    group = [EpisodeSpec("", 7, "g", sampling_seed) for sampling_seed in (0, 1, 2, 0, 2**62, 1)]

    def drawn(group: Sequence[EpisodeSpec], **kwargs: int) -> list[list[Any]]:
        played = play(agent, make_env, group, **kwargs)
        return [[(turn.action, *turn.response_ids) for turn in t.turns] for t in played]

    together = drawn(group)
    assert together[0] == together[3] and together[1] == together[5]
    assert len({tuple(actions) for actions in together}) > 2
    assert drawn(group[::-1], num_envs=2) == together[::-1]
    assert [drawn([spec])[0] for spec in group] == together


def test_every_turn_has_luck_of_its_own(small: LoadedModel) -> None:
    """Also before one and the same prompt."""
    (trajectory,) = play(llm_agent(small, window=0), partial(Stairs, max_turns=10), specs(1))
    prompts = trajectory.prompts()
    again = [turn for turn, prompt in zip(trajectory.turns, prompts, strict=True) if prompt == prompts[1]]
    assert len(again) > 3
    assert len({tuple(turn.response_ids) for turn in again}) > 3


def test_llm_turns_are_recorded_token_by_token(small: LoadedModel) -> None:
    for trajectory in play(llm_agent(small), Stairs, specs(3)):
        assert trajectory.turns
        for turn in trajectory.turns:
            assert 1 <= len(turn.response_ids) <= 4
            assert len(turn.logprobs) == len(turn.response_ids)
            assert turn.response == small.tokenizer.decode(turn.response_ids, skip_special_tokens=True)
            assert turn.action == turn.response.strip()
            assert turn.fault == ("" if turn.action else "the response is empty")


def view_of(env: TextEnv, seed: int = 3) -> View:
    (view,) = SoloEpisode(env, EpisodeSpec("", seed, "", sampling_seed=0)).to_act()
    return view


def test_random_actions_come_from_the_admissible_ones_or_the_space() -> None:
    drawn = Counter(turn.action for t in play(RandomAgent(), Stairs, specs(60)) for turn in t.turns)
    assert set(drawn) == {"climb", "rest", "jump"}
    unlisted = play(RandomAgent(), partial(Stairs, listed=False), specs(4))
    assert not {turn.action for t in unlisted for turn in t.turns} & {"climb", "rest", "jump"}


def test_an_experts_distribution() -> None:
    assert ExpertAgent().distribution(view_of(Stairs())) == {"climb": 1}
    noisy = ExpertAgent(0.6).distribution(view_of(Stairs()))
    assert noisy == pytest.approx({"climb": 0.6, "rest": 0.2, "jump": 0.2})
    with pytest.raises(ValueError, match=r"noise must be in \[0, 1\], not 1.5"):
        ExpertAgent(1.5)


def test_an_expert_at_its_wits_end_plays_on() -> None:
    """Where no actions are listed too."""
    played = play(ExpertAgent(), partial(Stairs, listed=False), specs(6))
    assert all(t.turns[0].action == "climb" for t in played)
    assert any(len(t.turns) > 1 for t in played)


def test_an_environment_without_expert_says_so() -> None:
    """A random player must not be taken for an expert."""

    class Nobody(Stairs):
        expert = TextEnv.expert

    with pytest.raises(NotImplementedError, match="Nobody has no expert"):
        play(ExpertAgent(), Nobody, specs(1))
