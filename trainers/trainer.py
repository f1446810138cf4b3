"""The training loop: rollouts → signals → credit → loss → step.

One loop for all credit schemes. Under `accelerate launch` every process plays whole groups of its own; credit
is computed on the groups of all, so that no scheme ever sees half of what it compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from agentgym.agents.evaluation import NothingPlayedError
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.checkpoint import Checkpoints
from agentgym.trainers.credit import Credit, compute, get_scheme
from agentgym.trainers.experience import Experience, usable_trajectories
from agentgym.trainers.metrics import PhaseClock, episode_rows, of_episodes
from agentgym.trainers.objective import Objective
from agentgym.trainers.parts import Learner, NotFiniteError, Part, StepError
from agentgym.trainers.policy import Policy
from agentgym.trainers.progress import OnProgress, say_nothing
from agentgym.trainers.records import Records
from agentgym.trainers.rollouts import Collector
from agentgym.trainers.signals.signal import Signal
from agentgym.trainers.update import update


@dataclass(frozen=True)
class Scheme:
    """Who gives the credit of a run."""

    name: str
    give: Callable[[TurnBatch], Credit]
    requires_groups: bool
    """Whether it compares siblings."""

    @classmethod
    def of(cls, name: str, params: Mapping[str, Any]) -> Scheme:
        """The credit scheme of this name, with these parameters."""
        return cls(name, lambda batch: compute(name, batch, **params), get_scheme(name).requires_groups)


class Trainer:
    """Trains a policy on what its rollouts give, with the credit that a scheme gives."""

    def __init__(
        self,
        *,
        policy: Policy,
        learner: Learner,
        objective: Objective,
        scheme: Scheme,
        signals: Sequence[Signal],
        rollouts: Collector,
        checkpoints: Checkpoints,
        records: Records,
        max_steps: int,
        seed: int,
    ):
        """`signals`: those first that others need. `seed`: of the run."""
        self.policy, self.learner, self.objective, self.scheme = policy, learner, objective, scheme
        self.signals, self.rollouts, self.checkpoints, self.records = signals, rollouts, checkpoints, records
        self.max_steps, self.seed = max_steps, seed
        self.processes = policy.processes
        self.parts: dict[str, Part] = {"learner": learner, "rollouts": rollouts}
        self.parts |= {f"signal/{type(signal).__name__}": signal for signal in signals}
        self.step = 0
        """Finished steps."""
        self.stop_requested = False
        """Set it to end after the present step."""

    def train(self, on_progress: OnProgress = say_nothing) -> Iterator[dict[str, float]]:
        """Run the remaining steps; yield the metrics of each.

        Raises `NothingPlayedError` and `NotFiniteError` in one line where a step cannot be made; what the last
        checkpoint holds is whole.
        """
        stopping = False
        while self.step < self.max_steps and not stopping:
            clock = PhaseClock()
            with clock.phase("rollout"):
                collected = self.rollouts.next(self.step, on_progress)
                usable = usable_trajectories(collected.learned, self.scheme.requires_groups)
                self._expect_something(len(usable), len(collected.played))
                experience = Experience.of(self.step, usable)
            experience, facts = self.annotate(experience, clock)
            self.records.write(experience, collected.recorded)
            learning_rate = self.learner.learning_rate
            with clock.phase("update"):
                if self.step >= self.objective.starts_at:
                    facts |= self._update(experience, on_progress)
            self.step += 1
            everyone = self.processes.gather(episode_rows(collected.played))
            yield {
                "step": self.step,
                **of_episodes([row for rows in everyone for row in rows]),
                **collected.facts,
                **facts,
                "learning_rate": learning_rate,
                **{f"time/{phase}": value for phase, value in clock.seconds.items()},
                "step_time": sum(clock.seconds.values()),
            }
            stopping = any(self.processes.gather(self.stop_requested))  # one that comes now is for the next step
            self.stop_requested = self.stop_requested or stopping
            if self.checkpoints.is_due(self.step) or stopping or self.step == self.max_steps:
                self.save()

    def _expect_something(self, n_usable: int, n_played: int, who: str = "the environment") -> int:
        """How many cannot be learned from, in all processes. `who` failed for them."""
        usable, played = (sum(each) for each in zip(*self.processes.gather((n_usable, n_played)), strict=True))
        if not usable:
            lost = f"{who} failed so many that no group has two left to compare"
            raise NothingPlayedError(f"step {self.step + 1}: of {played} episodes none can be learned from: {lost}")
        return int(played - usable)

    def annotate(self, experience: Experience, clock: PhaseClock) -> tuple[Experience, dict[str, float]]:
        """The experience with the signals' columns and its credit, and what the signals say of their learning."""
        facts: dict[str, float] = {}
        for signal in self.signals:
            with clock.phase(f"signal/{type(signal).__name__}"):
                if signal.fits == "before":
                    facts |= self._fit(signal, experience, {})
                experience = experience.with_columns(signal.compute(experience))
                facts |= signal.report()
            if "excluded_N" in experience.batch.columns:
                kept, before = experience.without_excluded(self.scheme.requires_groups), len(experience.trajectories)
                lost = self._expect_something(len(kept.trajectories), before, type(signal).__name__)
                experience, facts["episodes/excluded"] = kept, facts.get("episodes/excluded", 0) + lost
        with clock.phase("credit"):
            batches = self.processes.gather(experience.batch)
            experience = experience.with_columns(experience.batch.empty_columns(batches))
            credit = self._credit(batches)
        for signal in self.signals:
            if signal.fits == "after":
                own = {n: v for n, v in credit.targets.items() if any(fnmatchcase(n, each) for each in signal.gives)}
                with clock.phase(f"signal/{type(signal).__name__}"):
                    facts |= self._fit(signal, experience, own)
        return experience.with_columns(credit.columns(experience.batch)), facts

    def _fit(self, signal: Signal, experience: Experience, targets: Mapping[str, Any]) -> dict[str, float]:
        try:
            return signal.fit(experience, targets)
        except NotFiniteError as error:
            raise self._not_finite(f"{type(signal).__name__}: {error}") from None

    def _credit(self, batches: Sequence[TurnBatch]) -> Credit:
        """The credit of this process's trajectories, computed on those of all processes together."""
        try:
            credit = self.scheme.give(TurnBatch.concatenate(batches))
        except ValueError as error:
            raise StepError(f"step {self.step + 1}: {error}; {self.checkpoints.last_whole()}") from error
        loss = self.objective.policy_loss
        if credit.clip_scale_T is not None and not loss.clips:
            raise ValueError(f"{self.scheme.name} scales the clip range of each turn, but {loss.name} does not clip")
        return credit.part_of(batches, self.processes.index)

    def _update(self, experience: Experience, on_progress: OnProgress) -> dict[str, float]:
        try:
            return update(
                self.policy, self.learner, self.objective, experience, seed=self.seed, on_progress=on_progress
            )
        except NotFiniteError as error:
            raise self._not_finite(str(error)) from None

    def _not_finite(self, what: str) -> NotFiniteError:
        return NotFiniteError(
            f"step {self.step + 1}: {what}; nothing was changed by it, and {self.checkpoints.last_whole()}. A "
            "smaller learning_rate or max_grad_norm, or dtype float32, may go further"
        )

    def save(self) -> None:
        """Write a checkpoint of all parts."""
        self.checkpoints.save(self.step, self.parts)

    def resume(self, checkpoint: Any) -> None:
        """Continue from `checkpoint`, a directory, as if the run had never stopped. Raises `CheckpointError`."""
        self.step = self.checkpoints.load(checkpoint, self.parts)
