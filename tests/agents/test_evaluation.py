"""Success rates: their intervals, what counts in them, and whose tasks they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.agents.evaluation import Evaluation, mean_interval, panel_specs, success_rate, summarise, wilson_interval
from agentgym.agents.trajectory import StopReason, Trajectory, Turn


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (8, 10, 0.490, 0.943),
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 0, 0.0, 1.0),
    ],
)
def test_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    digits = 3 if n == 10 else 4
    assert tuple(round(end, digits) for end in wilson_interval(successes, n)) == (low, high)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_rate(successes_of_n: tuple[int, int]) -> None:
    successes, n = successes_of_n
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert (low == 0) is (successes == 0) and (high == 1) is (successes == n)
    mirrored = wilson_interval(n - successes, n)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)
    wider = wilson_interval(successes, n, confidence=0.99)
    assert wider[0] <= low and high <= wider[1]


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (3, 4.3027), (4, 3.1824), (6, 2.5706), (11, 2.2281), (31, 2.0423)])
def test_intervals_of_means_are_students(n: int, t: float) -> None:
    """The table of t at 97.5 %, for n - 1 degrees of freedom."""
    values = [0.0] * (n - 1) + [1.0]
    low, high = mean_interval(values) or (0.0, 0.0)
    assert (low + high) / 2 == pytest.approx(1 / n)
    assert (high - low) / 2 == pytest.approx(t * (1 / n) ** 0.5 * (1 / n) ** 0.5, rel=2e-3)
    assert mean_interval([1.0]) is None


def played(task: str, *, success: bool = False, kind: str = "easy", score: float | None = None) -> Trajectory:
    turns = [Turn("o", "s", "a", reward=0.5), Turn("o", "s", "a", reward=-1, is_action_valid=False)]
    return Trajectory("env", 0, "g", task, kind, turns, StopReason.SUCCESS if success else StopReason.MAX_TURNS, score)


def failed(error: str = "KeyError: 1") -> Trajectory:
    return Trajectory("env", 0, "g", "", "", stop_reason=StopReason.ENV_ERROR, error=error)


def of(*trajectories: Trajectory) -> Evaluation:
    return summarise(trajectories, env="env", agent="me", split="valid", seed=7)


def test_what_the_environment_failed_is_counted_and_in_no_rate() -> None:
    result = of(played("a", success=True, score=1), failed(), played("b", score=0.5), failed())
    assert (result.episodes, result.env_errors) == (2, 2)
    assert (result.success_rate, result.ci95) == (0.5, wilson_interval(1, 2))
    assert (result.mean_turns, result.mean_reward, result.invalid_action_rate) == (2, -0.5, 0.5)
    assert result.mean_score == 0.75
    assert result.stop_reasons == {"success": 1, "max_turns": 1}
    assert list(result.by_task) == ["easy"]
    assert (result.env, result.agent, result.split, result.seed) == ("env", "me", "valid", 7)
    assert of(played("a")).mean_score is None


def test_by_task_type() -> None:
    easy = [played(str(i), success=i > 0) for i in range(4)]
    hard = [played(str(i), success=False, kind="a hard one") for i in range(3)]
    result = of(*hard, *easy)
    assert list(result.by_task) == ["a hard one", "easy"]
    assert result.by_task == {"a hard one": success_rate(hard), "easy": success_rate(easy)}
    assert result.by_task["easy"].success_rate == 0.75
    assert sum(kind.episodes for kind in result.by_task.values()) == result.episodes


names = st.lists(st.text(max_size=3), min_size=1, max_size=4)


@given(names, names)
def test_the_hash_is_the_panels(first: list[str], second: list[str]) -> None:
    one, other = of(*map(played, first)), of(*(played(name, success=True, kind="hard") for name in second))
    assert one.panel == first
    assert (one.panel_hash == other.panel_hash) is (first == second)


def test_the_hash_knows_where_a_task_ends() -> None:
    assert of(played("a\nb")).panel_hash != of(played("a"), played("b")).panel_hash
    assert of(played("\udc80")).panel_hash


def test_a_panel_is_a_range_of_seeds() -> None:
    specs = panel_specs("env", episodes=3, seed=5)
    assert [spec.seed for spec in specs] == [5, 6, 7]
    assert len({spec.sampling_seed for spec in specs}) == 3
    assert len({spec.group for spec in specs}) == 3
    assert specs[1:] == panel_specs("env", episodes=2, seed=6), "a larger panel contains the smaller one"


def test_the_result_is_json() -> None:
    result: dict[str, Any] = json.loads(json.dumps(of(played("a", success=True), failed()).to_dict()))
    assert result["success_rate"] == 1.0
    assert result["ci95"] == list(wilson_interval(1, 1))
    assert result["by_task"]["easy"] == {"episodes": 1, "success_rate": 1.0, "ci95": result["ci95"]}
    assert result["panel"] == ["a", ""]


def test_a_panel_that_nobody_could_play() -> None:
    with pytest.raises(ValueError, match=r"env: not one of 2 episodes could be played \(OSError: gone\)"):
        of(failed("OSError: gone"), failed())
    with pytest.raises(ValueError, match=r"env: not one of 0 episodes could be played \(the panel is empty\)"):
        of()
