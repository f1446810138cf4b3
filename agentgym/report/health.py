"""The counters that show silent mistakes, such as training on other tokens than were sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from agentgym.agents.trajectory import StopReason, Trajectory
from agentgym.report.formatting import clip, number, percent
from agentgym.report.run_data import Metrics

LOGP_DIFFERENCE_LIMIT = 0.02
"""The mean |log p| difference of sampler and trainer above which a run is warned of: ratios 2 % off."""


@dataclass(frozen=True)
class Check:
    """One line of the health section."""

    name: str
    value: str
    verdict: Literal["good", "warn", "info"]
    note: str


def checks(metrics: Metrics, config: Mapping[str, Any]) -> list[Check]:
    """What the metrics say about the run's soundness."""
    if not len(metrics):
        return []
    return [
        _retokenized(metrics),
        _trained(metrics, config),
        _logp_difference(metrics),
        _excluded(metrics),
        _not_finite(metrics),
    ]


def _retokenized(metrics: Metrics) -> Check:
    count = metrics.total("tokens/retokenized")
    note = "training uses the sampled token ids, never text encoded again"
    return Check("re-encoded tokens", number(count), "warn" if count else "good", note)


def _trained(metrics: Metrics, config: Mapping[str, Any]) -> Check:
    sampled, trained = metrics.total("tokens/sampled"), metrics.total("tokens/trained")
    passes = config.get("num_iterations", 1)
    expected = sampled * passes if isinstance(passes, int) else sampled
    note = f"of {number(sampled)} sampled" + (f", in {passes} passes each" if expected != sampled else "")
    if trained < expected:
        note += "; the rest are of episodes without a sibling to compare with"
    verdict: Literal["good", "warn", "info"] = "good" if trained == expected else "info"
    return Check("tokens trained on", number(trained), "warn" if trained > expected else verdict, note)


def _logp_difference(metrics: Metrics) -> Check:
    name = "sampler_logp_difference"
    mean_S, max_S = metrics.column(f"{name}/mean"), metrics.column(f"{name}/max")
    mean = float(np.nanmax(mean_S, initial=-np.inf))
    largest = float(np.nanmax(max_S, initial=-np.inf))
    verdict: Literal["good", "warn", "info"] = "good" if mean <= LOGP_DIFFERENCE_LIMIT else "warn"
    note = f"worst step's mean |log p| difference of sampler and trainer; largest of a token: {number(largest)}"
    return Check("log-prob difference", number(mean), verdict if np.isfinite(mean) else "info", note)


def _excluded(metrics: Metrics) -> Check:
    count = metrics.total(f"stop_reason/{StopReason.ENV_ERROR}")
    episodes = metrics.total("episodes")
    note = f"of {number(episodes)}: the environment failed twice; in no rate, baseline or loss"
    return Check("excluded episodes", number(count), "warn" if count else "good", note)


def _not_finite(metrics: Metrics) -> Check:
    names = ("loss", "grad_norm", "entropy")
    steps = sum(any(not np.isfinite(row.get(name, 0.0)) for name in names) for row in metrics.rows)
    return Check("steps not finite", number(steps), "warn" if steps else "good", f"in {', '.join(names)}")


@dataclass(frozen=True)
class StopReasonRow:
    """How often episodes ended in one way."""

    reason: str
    total: str
    first: str
    """Share in the first tenth of the steps."""
    last: str
    """Share in the last tenth."""


def stop_reasons(metrics: Metrics) -> list[StopReasonRow]:
    """How the training episodes ended, at first and at last; reasons that never occurred are left out."""
    tenth = max(1, len(metrics) // 10)
    first, last = Metrics(metrics.rows[:tenth]), Metrics(metrics.rows[-tenth:])
    return [
        StopReasonRow(
            name.partition("/")[2],
            number(metrics.total(name)),
            *(_share(part, name) for part in (first, last)),
        )
        for name in metrics.names("stop_reason/")
        if metrics.total(name)
    ]


def _share(metrics: Metrics, name: str) -> str:
    episodes = metrics.total("episodes")
    return percent(metrics.total(name) / episodes if episodes else float("nan"))


def errors(trajectories: Iterable[Trajectory], most: int = 5) -> list[tuple[str, int]]:
    """The technical failures behind excluded episodes, the commonest first."""
    counts = Counter(clip(t.error, 300) for t in trajectories if t.error)
    return counts.most_common(most)
