"""What a training step reports. Names are TRL's where it has one."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean, pstdev
from typing import NamedTuple

from agentgym.agents.trajectory import StopReason, Trajectory


class Sums(dict[str, float]):
    """Named sums; 0 where nothing was added."""

    def __missing__(self, name: str) -> float:
        return 0.0

    def add(self, other: Mapping[str, float]) -> None:
        """Add the sums of `other`, name by name."""
        for name, value in other.items():
            self[name] += value


class PhaseClock:
    """Wall-clock seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class EpisodeRow(NamedTuple):
    """What the metrics must know of an episode."""

    group: str
    seat: str
    stop_reason: StopReason | None
    success: bool
    reward: float
    n_turns: int
    n_invalid: int
    n_malformed: int
    """Turns whose response is not of its format."""
    n_tokens: int
    """Of prompts and responses."""
    n_sampled: int
    outcome: Mapping[str, float]
    """What a game tells of its end."""


def episode_rows(trajectories: Iterable[Trajectory]) -> list[EpisodeRow]:
    """The rows of what a process has played: all that the others need to be told of it."""
    return [
        EpisodeRow(
            t.group,
            t.seat,
            t.stop_reason,
            t.success,
            t.total_reward,
            len(t.turns),
            sum(not turn.is_action_valid for turn in t.turns),
            sum(bool(turn.fault) for turn in t.turns),
            sum(map(len, t.prompts())) + sum(len(turn.response_ids) for turn in t.turns),
            sum(len(turn.response_ids) for turn in t.turns),
            t.outcome,
        )
        for t in trajectories
    ]


def of_episodes(rows: Sequence[EpisodeRow]) -> dict[str, float]:
    """What was played, by all processes. Episodes that the environment failed are counted and in nothing else.

    In games an episode counts once for each seat that is learned in; what differs by seat is told by seat too.
    """
    played = [row for row in rows if row.stop_reason is not StopReason.ENV_ERROR]
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in played:
        groups[row.group, row.seat].append(row.reward)
    spreads = [pstdev(rewards) for rewards in groups.values()]
    n_turns = sum(row.n_turns for row in played)
    reasons = Counter(row.stop_reason for row in rows)
    without_spread = fmean(spread == 0 for spread in spreads)
    return {
        "episodes": len(rows),
        "success_rate": fmean(row.success for row in played),
        "reward": fmean(row.reward for row in played),
        "reward_std": fmean(spreads),
        "frac_reward_zero_std": without_spread,
        "groups/drawn": len({row.group for row in rows}),
        "groups/without_spread": without_spread,
        "episodes/lost": 1 - len(played) / len(rows),
        "turns/mean": n_turns / len(played),
        "invalid_action_rate": sum(row.n_invalid for row in played) / n_turns if n_turns else 0.0,
        "malformed_response_rate": sum(row.n_malformed for row in played) / n_turns if n_turns else 0.0,
        **{f"stop_reason/{reason}": reasons[reason] for reason in StopReason},
        "num_tokens": sum(row.n_tokens for row in played),
        "tokens/sampled": sum(row.n_sampled for row in played),
        **_of_outcomes(played),
        **_of_seats(played),
    }


def _of_outcomes(played: Sequence[EpisodeRow]) -> dict[str, float]:
    """The means of what games tell of their ends."""
    names = dict.fromkeys(name for row in played for name in row.outcome)
    return {f"outcome/{name}": fmean(row.outcome[name] for row in played if name in row.outcome) for name in names}


def _of_seats(played: Sequence[EpisodeRow]) -> dict[str, float]:
    """Success, reward and groups that teach nothing, seat by seat."""
    of_seat: dict[str, list[EpisodeRow]] = defaultdict(list)
    for row in played:
        of_seat[row.seat].append(row)
    facts: dict[str, float] = {}
    for seat, rows in sorted(of_seat.items()):
        if seat:
            groups: dict[str, set[float]] = defaultdict(set)
            for row in rows:
                groups[row.group].add(row.reward)
            facts[f"success_rate/seat={seat}"] = fmean(row.success for row in rows)
            facts[f"reward/seat={seat}"] = fmean(row.reward for row in rows)
            facts[f"groups/without_spread/seat={seat}"] = fmean(len(rewards) == 1 for rewards in groups.values())
    return facts


def of_replayed(rows: Sequence[EpisodeRow]) -> dict[str, float]:
    """What of earlier steps was learned from again, by all processes; it is in no other metric but of the update."""
    return {"replay/episodes": len(rows), "replay/tokens": sum(row.n_sampled for row in rows)}


def of_greedy(rows: Sequence[EpisodeRow]) -> dict[str, float]:
    """The greedy episodes of all processes, which are in no other metric."""
    played = [row for row in rows if row.stop_reason is not StopReason.ENV_ERROR]
    return {
        "greedy/episodes": len(rows),
        "greedy/success_rate": fmean(row.success for row in played),
        "greedy/reward": fmean(row.reward for row in played),
        "greedy/tokens": sum(row.n_sampled for row in played),
    }


def of_retries(parts: Sequence[Sums]) -> dict[str, float]:
    """The retries of failed attempts, by all processes; they are in no other metric but of the update."""
    sums = Sums()
    for part in parts:
        sums.add(part)
    episodes = max(sums["episodes"], 1)
    return {
        "retry/episodes": sums["episodes"],
        "retry/lost": sums["lost"],
        "retry/without_reflection": sums["attempts"] - sums["episodes"] - sums["lost"],
        "retry/success_rate": sums["success"] / episodes,
        "retry/better": sums["better"] / episodes,
        "retry/worse": sums["worse"] / episodes,
        "retry/pivot": sums["pivot"] / episodes,
        "retry/tokens": sums["tokens"],
    }


def of_update(parts: Sequence[Sums], *, with_kl: bool) -> dict[str, float]:
    """What the update did, from the sums of each process."""
    sums = Sums()
    for part in parts:
        sums.add(part)
    tokens = max(sums["tokens"], 1)
    steps = max(parts[0]["optimizer_steps"], 1)
    return {
        "loss": sums["loss"] / steps,
        "grad_norm": parts[0]["grad_norm"] / steps,
        "entropy": sums["entropy"] / tokens,
        **({"kl": sums["kl"] / tokens} if with_kl else {}),
        **({"entropy_penalty": sums["entropy_penalty"] / tokens} if "entropy_penalty" in sums else {}),
        "clip_ratio": sums["clipped"] / tokens,
        **({"clip_ratio/bounded": sums["bounded"] / tokens} if "bounded" in sums else {}),
        **(_sampler_difference(parts, sums) if sums["compared"] else {}),
        "tokens/trained": sums["tokens"],
        "tokens/retokenized": sums["retokenized"],
    }


def _sampler_difference(parts: Sequence[Sums], sums: Sums) -> dict[str, float]:
    """How far the trainer's log-probabilities are from the sampler's, where there was one: nats a token."""
    return {
        "sampler_logp_difference/mean": sums["logp_difference"] / sums["compared"],
        "sampler_logp_difference/max": max(part["logp_difference_max"] for part in parts),
    }
