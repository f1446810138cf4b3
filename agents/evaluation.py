"""Success rates with intervals, on a panel of tasks that can be named."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from math import pi, sqrt, tan
from statistics import NormalDist, fmean, stdev
from typing import Any

from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.partners import Company
from agentgym.agents.rollout import MakeEnv, Players, play
from agentgym.agents.trajectory import Trajectory


class NothingPlayedError(ValueError):
    """There is no episode that says anything."""


@dataclass(frozen=True)
class SuccessRate:
    """Successes among episodes."""

    episodes: int
    success_rate: float
    """In [0, 1]; NaN without episodes."""
    ci95: tuple[float, float]
    """Wilson's 95 % interval."""


@dataclass(frozen=True)
class Evaluation:
    """How one agent did on one panel of one environment."""

    env: str
    agent: str
    split: str
    seed: int
    episodes: int
    """Episodes that count: without those the environment failed."""
    env_errors: int
    """Episodes that the environment failed twice; in no rate."""
    success_rate: float
    ci95: tuple[float, float]
    mean_turns: float
    mean_reward: float
    """The undiscounted return."""
    mean_score: float | None
    """None where the environment gives no score."""
    invalid_action_rate: float
    """Share of turns whose action was not understood or not legal."""
    stop_reasons: dict[str, int]
    by_task: dict[str, SuccessRate]
    """By task type."""
    panel: list[str]
    """The task id of every episode, in order of the seeds."""
    panel_hash: str
    """Equal hashes: the numbers are of the same tasks and may be compared."""
    reward_ci95: tuple[float, float] | None = None
    """Student's 95 % interval of `mean_reward`; None for less than two episodes."""
    seat: str = ""
    """The agent's seat, in games of several."""
    partner: str = ""
    """Who held the other seats, by name."""
    by_partner: dict[str, SuccessRate] = field(default_factory=dict)
    """By whom was met in the episode, where partners were drawn."""
    outcome: dict[str, float] = field(default_factory=dict)
    """Means of what games tell of their end (`Trajectory.outcome`)."""
    rewards: list[float | None] = field(default_factory=list)
    """The return of every episode, in the order of the panel; None where the environment failed it."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def panel_specs(
    env_id: str, *, episodes: int, seed: int, draw: Callable[[int], Mapping[str, str]] = lambda task_seed: {}
) -> list[EpisodeSpec]:
    """The panel of `episodes` tasks with the seeds `seed`, `seed + 1`, …, and who is drawn to play each."""
    return [EpisodeSpec(env_id, s, f"panel/{s}", s, draw(s)) for s in range(seed, seed + episodes)]


def evaluate(
    players: Players | Company,
    make_env: MakeEnv,
    *,
    env: str,
    agent: str,
    split: str,
    seed: int,
    episodes: int,
    num_envs: int = 128,
    workers: int = 16,
    share: slice = slice(None),
    gather: Callable[[list[Trajectory]], list[Trajectory]] = list,
    on_episode: Callable[[Trajectory], None] = lambda trajectory: None,
) -> Evaluation:
    """Play a panel and sum it up; `env`, `agent` and `split` are the names in the result.

    Of a `Company`, which has one learner's seat, that seat is summed up, against whom its partners are called. Where
    several processes evaluate together, `share` is this one's part of the panel, and `gather` gives the
    trajectories of all. Raises `NothingPlayedError` when not one of the episodes could be played.
    """
    seat = ""
    if isinstance(players, Company):
        (seat,) = players.learners
        panel, players = panel_specs(env, episodes=episodes, seed=seed, draw=players.draw), players.players
    else:
        panel = panel_specs(env, episodes=episodes, seed=seed)
    played = gather(play(players, make_env, panel[share], num_envs=num_envs, workers=workers, on_episode=on_episode))
    own = [trajectory for trajectory in played if not seat or trajectory.seat == seat or not trajectory.counts]
    in_order = sorted(own, key=lambda trajectory: trajectory.seed)  # stable: seats stay in their order
    return summarise(in_order, env=env, agent=agent, split=split, seed=seed)


def summarise(
    trajectories: Sequence[Trajectory],
    *,
    env: str,
    agent: str,
    split: str,
    seed: int,
) -> Evaluation:
    """Sum up the episodes of a panel. Raises `NothingPlayedError` when not one of them could be played."""
    played = [t for t in trajectories if t.counts]
    if not played:
        reason = trajectories[0].error if trajectories else "the panel is empty"
        raise NothingPlayedError(f"{env}: not one of {len(trajectories)} episodes could be played ({reason})")
    by_type: dict[str, list[Trajectory]] = defaultdict(list)
    by_partner: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in played:
        by_type[trajectory.task_type].append(trajectory)
        by_partner[trajectory.partner].append(trajectory)
    partners = sorted(by_partner.keys() - {""})
    outcomes = dict.fromkeys(name for trajectory in played for name in trajectory.outcome)
    rewards = [trajectory.total_reward for trajectory in played]
    turns = [turn for trajectory in played for turn in trajectory.turns]
    scores = [trajectory.score for trajectory in played if trajectory.score is not None]
    panel = [trajectory.task_id for trajectory in trajectories]
    overall = success_rate(played)
    return Evaluation(
        env=env,
        agent=agent,
        split=split,
        seed=seed,
        episodes=len(played),
        env_errors=len(trajectories) - len(played),
        success_rate=overall.success_rate,
        ci95=overall.ci95,
        mean_turns=len(turns) / len(played),
        mean_reward=fmean(rewards),
        mean_score=fmean(scores) if scores else None,
        invalid_action_rate=fmean(not turn.is_action_valid for turn in turns) if turns else 0.0,
        stop_reasons=dict(Counter(str(trajectory.stop_reason) for trajectory in played)),
        by_task={name: success_rate(members) for name, members in sorted(by_type.items())},
        panel=panel,
        panel_hash=blake2b(json.dumps(panel).encode(), digest_size=8).hexdigest(),
        reward_ci95=mean_interval(rewards),
        seat=", ".join(sorted({trajectory.seat for trajectory in played})),
        partner=", ".join(partners),
        by_partner={name: success_rate(by_partner[name]) for name in partners},
        rewards=[trajectory.total_reward if trajectory.counts else None for trajectory in trajectories],
        outcome={n: fmean(t.outcome[n] for t in played if n in t.outcome) for n in outcomes},
    )


def success_rate(trajectories: Sequence[Trajectory]) -> SuccessRate:
    """The share of successes with its interval."""
    successes = sum(trajectory.success for trajectory in trajectories)
    n = len(trajectories)
    return SuccessRate(n, successes / n if n else float("nan"), wilson_interval(successes, n))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval for the mean of a population that these were drawn from; None for less than two.

    The quantile of t is expanded about the normal one (Abramowitz and Stegun, 26.7.5), which is right to 3 digits from
    4 values on; for 2 and 3 values it is exact.
    """
    if len(values) < 2:
        return None
    freedom, z = len(values) - 1, NormalDist().inv_cdf(0.5 + confidence / 2)
    if freedom == 1:
        t = tan(pi * confidence / 2)
    elif freedom == 2:
        t = confidence * sqrt(2 / (1 - confidence**2))
    else:
        terms = (
            z,
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
            (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
        )
        t = sum(term / freedom**power for power, term in enumerate(terms))
    half = t * stdev(values) / sqrt(len(values))
    mean = fmean(values)
    return mean - half, mean + half


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (JASA 22, 1927, 209–212); (0, 1) for n = 0.

    Unlike the normal approximation it stays within [0, 1] and is honest for few episodes and rates near 0
    or 1.
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # By rounding an end could pass 0, 1 or the rate itself.
    return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))
