"""Tasks in, whole groups out: what a training step learns from.

Under several processes each plays whole groups of its own. Groups that a filter drops are drawn anew, in rounds that
all processes go through together, so that what is drawn, kept and learned does not depend on their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol, TypeAlias

from agentgym.agents.engines import Engine
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.evaluation import NothingPlayedError
from agentgym.agents.partners import Company
from agentgym.agents.rollout import MakeEnv, Players, check_groups, play
from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import StopReason, Trajectory
from agentgym.envs.names import named
from agentgym.trainers.metrics import Sums, episode_rows, of_greedy, of_replayed, of_retries
from agentgym.trainers.parts import Part
from agentgym.trainers.pool import Pool
from agentgym.trainers.processes import Processes
from agentgym.trainers.progress import OnProgress, say_nothing
from agentgym.trainers.replay import SuccessReplay
from agentgym.trainers.retries import Retried, Retries
from agentgym.trainers.tasks import Outcome, Task, Tasks

Keep: TypeAlias = Callable[[Sequence[Trajectory]], bool]
"""Whether a group, less the episodes that the environment failed, is learned from. Not asked where none is left."""

MAX_ROUNDS = 10
"""How often a step draws anew before it goes on with the groups it has."""


def has_spread(group: Sequence[Trajectory]) -> bool:
    """Whether siblings differ in their return, in any one seat: dynamic sampling (DAPO, arXiv:2503.14476, eq. 11)."""
    returns: dict[str, set[float]] = defaultdict(set)
    for trajectory in group:
        returns[trajectory.seat].add(trajectory.total_reward)
    return any(len(of_seat) > 1 for of_seat in returns.values())


GROUP_FILTERS: dict[str, Keep] = {"spread": has_spread}


def get_group_filter(name: str) -> Keep:
    """The group filter of this name, or of one's own as "module:function", asked once about a group without turns.

    Raises `ValueError` in one line: with the nearest names, or for what cannot be asked about groups.
    """
    found: Keep = named("group filter", name, GROUP_FILTERS)
    expected = f"the group filter {name!r} is none: a function of a sequence of trajectories is expected"
    if isinstance(found, type) or not callable(found):
        raise ValueError(expected)
    try:
        found([Trajectory("", 0, "0/0", "", "", stop_reason=StopReason.TERMINATED)] * 2)
    except Exception as error:
        raise ValueError(f"{expected} ({type(error).__name__}: {error})") from error
    return found


@dataclass
class Collected:
    """What a step has played, and what of it is learned from: this process's."""

    played: list[Trajectory] = field(default_factory=list)
    """Of the seats that are learned in, and episodes that failed."""
    learned: list[Trajectory] = field(default_factory=list)
    replayed: list[Trajectory] = field(default_factory=list)
    """Those learned from that an earlier step has played."""
    retried: list[Trajectory] = field(default_factory=list)
    """Those learned from that come of retries (`retries.Retries`)."""
    retry_counts: Sums = field(default_factory=Sums)
    greedy: list[Trajectory] = field(default_factory=list)
    """Greedy episodes, which nothing is learned from but their return."""
    partners: list[Trajectory] = field(default_factory=list)
    """Of the seats that are not learned in."""
    facts: dict[str, float] = field(default_factory=dict)
    """Metrics over all processes, beside those of the episodes that were played."""

    @property
    def recorded(self) -> list[Trajectory]:
        """All that is written down."""
        return [*self.played, *self.partners, *self.replayed, *self.retried]


class Collector(Part, Protocol):
    """Where what is learned from comes from: rollouts, or demonstrations."""

    def next(self, step: int, on_progress: OnProgress) -> Collected:
        """What is played, and what of it is learned from, in a training step."""
        ...


@dataclass
class Rollouts:
    """Groups of `group_size` episodes, played on tasks that the sampler draws. A part of the run.

    `engine` samples from `model` for the players that learn.
    """

    players: Players
    engine: Engine
    model: Any
    make_env: MakeEnv
    env_id: str
    tasks: Tasks
    groups_per_step: int
    group_size: int
    processes: Processes
    seed: int
    keep: Keep | None = None
    num_envs: int = 128
    env_workers: int = 16
    replay: SuccessReplay | None = None
    greedy: Players | None = None
    """The players at temperature 0, on the same engine: they play an episode of each task that is learned from."""
    retries: Retries | None = None
    """Given, `players` is its `first`."""
    company: Company | None = None
    """Given, `players` are its own, drawn for each task."""
    pool: Pool | None = None
    """The checkpoints that partners are drawn of, if any are."""

    @property
    def per_process(self) -> bool:
        """See `parts.Part`: what has a state is the task sampler."""
        return self.tasks.per_process

    def next(self, step: int, on_progress: OnProgress = say_nothing) -> Collected:
        """Play the groups of a training step, checked.

        Raises `NothingPlayedError` in one line where no episode is left, `GroupError` for groups that are none.
        """
        collected, first, missing = Collected(), 0, self.groups_per_step
        if self.pool is not None:
            self.pool.add(step)
        for _ in range(MAX_ROUNDS if self.keep else 1):
            tasks = self.tasks.draw(missing, step, first)
            groups, of_partners = self._play(step, first, tasks, on_progress)
            retried = self._retry(step, groups)
            filled = {n: [*group, *retried.groups.get(n, [])] for n, group in groups.items()}
            if self.replay is not None:
                filled = {n: self.replay.fill(group) for n, group in filled.items()}
            kept = {number: group for number, group in filled.items() if self._keeps(group)}
            if self.greedy is not None:
                greedy = self._play_greedily(self.greedy, step, {n: tasks[n - first] for n in kept}, kept)
                told = {trajectory.group for trajectory in greedy if trajectory.counts}
                kept = {number: group for number, group in kept.items() if group[0].group in told}
                collected.greedy += greedy
            collected.played += chain(*groups.values())
            collected.partners += of_partners
            collected.learned += chain(*kept.values())
            collected.replayed += [t for group in kept.values() for t in group if t.replayed]
            collected.retried += chain(*retried.groups.values())
            collected.retry_counts.add(retried.counts)
            self._observe(tasks, first, groups)
            first += len(tasks)
            missing -= sum(self.processes.gather(len(kept)))
            if missing <= 0:
                break
        self._check(step, collected)
        if self.replay is not None:
            self.replay.remember(collected.played)
        collected.facts = self._facts(collected)
        return collected

    def _play(
        self, step: int, first: int, tasks: Sequence[Task], on_progress: OnProgress
    ) -> tuple[dict[int, list[Trajectory]], list[Trajectory]]:
        """This process's groups of a round of draws, by number, and what partners have played in them."""
        numbers = range(self.processes.index, len(tasks), self.processes.count)
        specs = [
            self._spec(step, first + number, tasks[number], "episode", member)
            for number in numbers
            for member in range(self.group_size)
        ]
        trajectories = self._episodes(self.players, step, specs, on_progress)
        check_groups(trajectories, self.group_size)
        groups: dict[int, list[Trajectory]] = defaultdict(list)
        for trajectory in trajectories:
            if self._is_learned(trajectory):
                groups[int(trajectory.group.rpartition("/")[2])].append(trajectory)
        return groups, [trajectory for trajectory in trajectories if not self._is_learned(trajectory)]

    def _retry(self, step: int, groups: Mapping[int, Sequence[Trajectory]]) -> Retried:
        if self.retries is None:
            return Retried()
        with self.engine.serving(self.model, step):
            return self.retries.play(groups, self.make_env, num_envs=self.num_envs, workers=self.env_workers)

    def _play_greedily(
        self, players: Players, step: int, tasks: Mapping[int, Task], groups: Mapping[int, Sequence[Trajectory]]
    ) -> list[Trajectory]:
        """An episode of each task, whose return the task's group is told; none where the environment failed it."""
        specs = [self._spec(step, number, task, "greedy") for number, task in tasks.items()]
        played = [t for t in self._episodes(players, step, specs, say_nothing) if self._is_learned(t)]
        returns = {(t.group, t.seat): t.total_reward for t in played if t.counts}
        for trajectory in chain(*groups.values()):
            trajectory.greedy_return = returns.get((trajectory.group, trajectory.seat))
        return played

    def _spec(self, step: int, number: int, task: Task, purpose: str, *member: int) -> EpisodeSpec:
        sampling_seed = derived_seed(self.seed, step, purpose, number, *member)
        players = {} if self.company is None else self.company.draw(task.seed)
        return EpisodeSpec(self.env_id, task.seed, f"{step}/{number}", sampling_seed, players)

    def _episodes(
        self, players: Players, step: int, specs: Sequence[EpisodeSpec], on_progress: OnProgress
    ) -> list[Trajectory]:
        ended: set[str] = set()

        def count(trajectory: Trajectory) -> None:
            ended.add(trajectory.episode)
            on_progress("rollout", len(ended), len(specs))

        with self.engine.serving(self.model, step):
            return play(
                players,
                self.make_env,
                specs,
                num_envs=self.num_envs,
                workers=self.env_workers,
                on_episode=count,
            )

    def _keeps(self, group: Sequence[Trajectory]) -> bool:
        played = [t for t in group if t.counts]
        return self.keep is None or (bool(played) and self.keep(played))

    def _is_learned(self, trajectory: Trajectory) -> bool:
        """Whether it is of a seat that learns; an episode that failed is nobody's, and counted there."""
        players = self.players
        return not isinstance(players, Mapping) or not trajectory.counts or players[trajectory.seat].trainable

    def _observe(self, tasks: Sequence[Task], first: int, groups: Mapping[int, Sequence[Trajectory]]) -> None:
        """Tell the sampler what became of all tasks of a round, whoever played them."""
        own = {number: _outcome(tasks[number - first], group) for number, group in groups.items()}
        outcomes = {number: outcome for of in self.processes.gather(own) for number, outcome in of.items()}
        self.tasks.observe([outcomes[number] for number in sorted(outcomes)])

    def _facts(self, collected: Collected) -> dict[str, float]:
        """What was replayed, retried and played greedily, by all processes."""
        everyone = self.processes.gather((episode_rows(collected.replayed), episode_rows(collected.greedy)))
        replayed, greedy = (list(chain(*rows)) for rows in zip(*everyone, strict=True))
        of_replay = {} if self.replay is None else of_replayed(replayed) | {"replay/kept": len(self.replay)}
        of_retry = {} if self.retries is None else of_retries(self.processes.gather(collected.retry_counts))
        return of_replay | of_retry | ({} if self.greedy is None else of_greedy(greedy))

    def _check(self, step: int, collected: Collected) -> None:
        own = (
            len(collected.played),
            len(collected.learned),
            sum(not t.counts for t in collected.played),
            next((t.error for t in collected.played if t.error), None),
        )
        n_played, n_learned, n_lost, errors = zip(*self.processes.gather(own), strict=True)
        if not sum(n_played):
            raise NothingPlayedError(f"step {step + 1}: the task sampler {type(self.tasks).__name__} drew no task")
        if sum(n_lost) == sum(n_played):
            raise NothingPlayedError(
                f"step {step + 1}: the environment failed all {sum(n_played)} episodes: {next(filter(None, errors))}"
            )
        if sum(n_learned) == 0 and self.keep is None:
            raise NothingPlayedError(f"step {step + 1}: the environment failed every task's greedy episode")
        if sum(n_learned) == 0:
            raise NothingPlayedError(
                f"step {step + 1}: the group filter kept none of {sum(n_played) // self.group_size} groups in "
                f"{MAX_ROUNDS} rounds: there is nothing to learn from; easier or harder tasks, or no filter"
            )

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return (
            {"tasks": self.tasks.state_dict()}
            | ({"replay": self.replay.state_dict()} if self.replay is not None else {})
            | ({"pool": self.pool.state_dict()} if self.pool is not None else {})
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        if self.replay is not None:
            self.replay.load_state_dict(state["replay"])
        if self.pool is not None:
            self.pool.load_state_dict(state["pool"])
        self.tasks.load_state_dict(state["tasks"])


def _outcome(task: Task, group: Sequence[Trajectory]) -> Outcome:
    played = [t for t in group if t.counts]
    named = played[0] if played else group[0]
    rewards, successes = [t.total_reward for t in played], [t.success for t in played]
    return Outcome(task, named.task_id, named.task_type, rewards, successes)
