"""Before and after: the success rates of one environment, and what may be said about their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from agentgym.agents.evaluation import SuccessRate
from agentgym.report.formatting import number, percent
from agentgym.report.run_data import StageEvaluation


@dataclass(frozen=True)
class Difference:
    """After minus before."""

    value: float
    ci95: tuple[float, float]
    """Newcombe's hybrid-score interval (Statistics in Medicine 17, 1998, 873–890, method 10).

    It takes the two samples as independent; on one panel they are not, and it is rather too wide.
    """

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        low, high = self.ci95
        return low > 0 or high < 0


@dataclass(frozen=True)
class TaskRow:
    """One task type, or all of them."""

    name: str
    before: SuccessRate | None
    after: SuccessRate | None
    comparable: bool

    @property
    def difference(self) -> Difference | None:
        """None where a side is missing or has no episodes, or where the panels differ."""
        if not (self.comparable and self.before and self.after):
            return None
        return newcombe(self.before, self.after) if self.before.episodes and self.after.episodes else None


@dataclass(frozen=True)
class Comparison:
    """One environment's evaluations, in games those of one seat."""

    env: str
    seat: str
    """"" in worlds of which one is played."""
    before: StageEvaluation | None
    after: StageEvaluation | None

    @property
    def name(self) -> str:
        """The environment; in games the seat, and who was met."""
        partners = " or ".join(dict.fromkeys(e.partner for e in self.stages if e.partner))
        return self.env + (f" as {self.seat}" if self.seat else "") + (f" against {partners}" if partners else "")

    @property
    def stages(self) -> list[StageEvaluation]:
        """The evaluations that there are."""
        return [evaluation for evaluation in (self.before, self.after) if evaluation]

    @property
    def panel(self) -> StageEvaluation:
        """The evaluation whose panel is described."""
        return self.stages[0]

    @property
    def panels_differ(self) -> bool:
        """Whether the numbers are of different tasks, and may not be compared."""
        return len({(e.panel_hash, e.split) for e in self.stages}) > 1

    @property
    def overall(self) -> TaskRow:
        """All task types together."""
        return TaskRow("all tasks", _rate(self.before), _rate(self.after), not self.panels_differ)

    @property
    def by_task(self) -> list[TaskRow]:
        """Each task type that occurs before or after."""
        before, after = (e.by_task if e else {} for e in (self.before, self.after))
        names = sorted(before.keys() | after.keys())
        return [TaskRow(name, before.get(name), after.get(name), not self.panels_differ) for name in names]

    @property
    def details(self) -> list[tuple[str, list[str]]]:
        """What else was measured: the name, and one text for each stage."""
        reasons = sorted({reason for e in self.stages for reason in e.stop_reasons})
        rows: list[tuple[str, list[str]]] = [
            ("tasks played", [number(e.episodes) for e in self.stages]),
            ("turns per episode", [number(e.mean_turns) for e in self.stages]),
            ("reward per episode", [number(e.mean_reward) for e in self.stages]),
            ("invalid actions", [percent(e.invalid_action_rate) for e in self.stages]),
            *((f"ended by {r}", [number(e.stop_reasons.get(r, 0)) for e in self.stages]) for r in reasons),
        ]
        names = dict.fromkeys(name for e in self.stages for name in e.outcome)
        for name in names:
            values = [number(e.outcome[name]) if name in e.outcome else "–" for e in self.stages]
            rows.append((f"{name.replace('_', ' ')} per episode", values))
        if any(e.mean_score is not None for e in self.stages):
            scores = ["–" if e.mean_score is None else number(e.mean_score) for e in self.stages]
            rows.insert(3, ("score per episode", scores))
        return rows

    @property
    def env_errors(self) -> int:
        """Episodes that the environment failed, in no rate."""
        return sum(e.env_errors for e in self.stages)


def _rate(evaluation: StageEvaluation | None) -> SuccessRate | None:
    if evaluation is None:
        return None
    return SuccessRate(evaluation.episodes, evaluation.success_rate, evaluation.ci95)


def newcombe(before: SuccessRate, after: SuccessRate) -> Difference:
    """The difference of two rates with its interval."""
    p, (p_low, p_high) = before.success_rate, before.ci95
    q, (q_low, q_high) = after.success_rate, after.ci95
    low = q - p - sqrt((q - q_low) ** 2 + (p_high - p) ** 2)
    high = q - p + sqrt((q_high - q) ** 2 + (p - p_low) ** 2)
    return Difference(q - p, (low, high))


def comparisons(evaluations: Sequence[StageEvaluation]) -> list[Comparison]:
    """One for each environment and seat, in order of appearance; of several evaluations of a stage, the latest."""
    latest: dict[tuple[str, str], dict[str, StageEvaluation]] = {}
    for evaluation in sorted(evaluations, key=lambda e: e.step):
        latest.setdefault((evaluation.env, evaluation.seat), {})[evaluation.stage] = evaluation
    order = dict.fromkeys((evaluation.env, evaluation.seat) for evaluation in evaluations)
    return [Comparison(*of, latest[of].get("before"), latest[of].get("after")) for of in order]
