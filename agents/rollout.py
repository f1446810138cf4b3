"""Episodes in groups, played in waves.

A *group* is `group_size` episodes of one task. Live episodes are answered together; a slot that falls free is
refilled at once, and slow episodes are never dropped.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentgym.agents.agent import Agent, Decision, Episode
from agentgym.agents.trajectory import StopReason, Trajectory, Turn
from agentgym.envs import TextEnv

logger = logging.getLogger(__name__)

MakeEnv = Callable[[], TextEnv]


class GroupError(RuntimeError):
    """A group is not one: its episodes differ in task or first state, or their number is wrong."""


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """An episode to be played."""

    env_id: str
    seed: int
    """The task: episodes of a group share it."""
    group: str
    sampling_seed: int
    """The agent's randomness: different for every episode of a group."""

    @property
    def episode(self) -> str:
        """Names the episode among those that are played with it."""
        return f"{self.group}/{self.sampling_seed}"


def start_episode(env: TextEnv, spec: EpisodeSpec) -> Episode:
    """Reset `env` to the task of `spec` and open the trajectory."""
    observation, info = env.reset(seed=spec.seed)
    trajectory = Trajectory(
        spec.env_id,
        spec.seed,
        spec.group,
        info["task_id"],
        info["task_type"],
        task=info.get("task", ""),
        answers=list(info.get("answers", ())),
        episode=spec.episode,
    )
    return Episode(env, trajectory, observation, info, spec.sampling_seed)


def play(
    agent: Agent,
    make_env: MakeEnv,
    specs: Sequence[EpisodeSpec],
    *,
    num_envs: int = 128,
    on_episode: Callable[[Trajectory], None] = lambda trajectory: None,
) -> list[Trajectory]:
    """Play every spec to its end; return the trajectories in the order of `specs`.

    At most `num_envs` episodes are live at a time. `on_episode` is called as each ends.

    An environment that raises is retried once, from the start on a fresh instance; raising again ends the
    episode with `StopReason.ENV_ERROR` and the error's text: it is returned, not hidden, and is no failure
    of the agent.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, not {num_envs}")
    return _Waves(agent, make_env, specs, num_envs, on_episode).run()


class _Waves:
    """The state of one `play`: what is live, what waits, and which environments are idle."""

    def __init__(
        self,
        agent: Agent,
        make_env: MakeEnv,
        specs: Sequence[EpisodeSpec],
        num_envs: int,
        on_episode: Callable[[Trajectory], None],
    ):
        self.agent = agent
        self.make_env = make_env
        self.specs = specs
        self.num_envs = num_envs
        self.on_episode = on_episode
        self.waiting = list(reversed(range(len(specs))))
        self.live: dict[int, Episode] = {}
        self.idle: list[TextEnv] = []
        self.failed_once: set[int] = set()
        self.ended: dict[int, Trajectory] = {}

    def run(self) -> list[Trajectory]:
        try:
            while self.waiting or self.live:
                while self.waiting and len(self.live) < self.num_envs:
                    self._start(self.waiting.pop())
                if self.live:
                    self._wave()
        finally:
            for env in [*self.idle, *(episode.env for episode in self.live.values())]:
                _close(env)
        return [self.ended[index] for index in range(len(self.specs))]

    def _start(self, index: int) -> None:
        env = None
        try:
            # A second try gets an environment that nobody has played with.
            env = self.idle.pop() if self.idle and index not in self.failed_once else self.make_env()
            self.live[index] = start_episode(env, self.specs[index])
        except Exception as error:
            self._env_failed(index, env, error)

    def _wave(self) -> None:
        """One turn of every live episode."""
        indices = list(self.live)
        decisions = self.agent.act([self.live[index] for index in indices])
        for index, decision in zip(indices, decisions, strict=True):
            episode = self.live[index]
            if decision.stop_reason is not None:
                self._end(index, decision.stop_reason)
                continue
            try:
                stop_reason = play_turn(episode, decision)
            except Exception as error:
                del self.live[index]
                self._env_failed(index, episode.env, error)
                continue
            if stop_reason is not None:
                self._end(index, stop_reason)

    def _end(self, index: int, stop_reason: StopReason) -> None:
        episode = self.live.pop(index)
        self.idle.append(episode.env)
        trajectory = episode.trajectory
        trajectory.stop_reason = stop_reason
        score = episode.info.get("score")
        trajectory.score = None if score is None else float(score)
        trajectory.final_observation = episode.observation
        self._record(index, trajectory)

    def _env_failed(self, index: int, env: TextEnv | None, error: Exception) -> None:
        """Queue the episode again at its first failure, give it up at the second. `env`: None if not made."""
        spec = self.specs[index]
        reason = f"{type(error).__name__}: {error}"
        if env is not None:
            _close(env)
        if index not in self.failed_once:
            logger.warning("%s, seed %d: %s; trying again afresh", spec.env_id, spec.seed, reason)
            self.failed_once.add(index)
            self.waiting.append(index)
            return
        logger.warning("%s, seed %d: %s again; the episode is excluded", spec.env_id, spec.seed, reason)
        trajectory = Trajectory(spec.env_id, spec.seed, spec.group, task_id="", task_type="", episode=spec.episode)
        trajectory.stop_reason = StopReason.ENV_ERROR
        trajectory.error = reason
        self._record(index, trajectory)

    def _record(self, index: int, trajectory: Trajectory) -> None:
        self.ended[index] = trajectory
        self.on_episode(trajectory)


def play_turn(episode: Episode, decision: Decision) -> StopReason | None:
    """Give the decision to the environment and record the turn; return why the episode ended, if it did.

    Raises what the environment raises, now or when the decision was made (`Decision.error`).
    """
    if decision.error is not None:
        raise decision.error
    turn = Turn(
        observation=episode.observation,
        state_key=episode.info["state_key"],
        action=decision.action,
        response=decision.response,
        continues=decision.continues,
        prompt_ids=decision.prompt_ids,
        response_ids=decision.response_ids,
        logprobs=decision.logprobs,
        parts=decision.parts,
        spans=decision.spans,
        policy_step=decision.policy_step,
    )
    episode.observation, reward, terminated, truncated, episode.info = episode.env.step(decision.action)
    turn.reward = float(reward)  # a NumPy number would not be JSON
    turn.is_action_valid = bool(episode.info["is_action_valid"])
    turn.reward_parts = {part: float(value) for part, value in episode.info.get("reward_parts", {}).items()}
    duration = episode.info.get("duration")
    turn.duration = None if duration is None else float(duration)
    episode.trajectory.turns.append(turn)
    if terminated:
        return StopReason.SUCCESS if episode.info["success"] else StopReason.TERMINATED
    return StopReason.MAX_TURNS if truncated else None


def _close(env: TextEnv) -> None:
    """Close an environment that nobody needs any more. That it cannot be closed hurts nobody either."""
    try:
        env.close()
    except Exception as error:
        logger.warning("closing an environment failed: %s: %s", type(error).__name__, error)


def check_groups(trajectories: Sequence[Trajectory], group_size: int | None) -> None:
    """Raise `GroupError` unless every group is `group_size` episodes of one task from one first state.

    None stands for groups of any size. Episodes excluded as `ENV_ERROR` count for the size only: what they played
    is unknown.
    """
    groups: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        groups[trajectory.group].append(trajectory)
    for name, members in groups.items():
        if group_size is not None and len(members) != group_size:
            raise GroupError(f"group {name!r} has {len(members)} episodes, not {group_size}")
        played = [member for member in members if member.counts]
        tasks = {member.task_id for member in played}
        if len(tasks) > 1:
            raise GroupError(f"group {name!r} mixes the tasks {', '.join(sorted(tasks))}")
        first_states = {member.turns[0].state_key for member in played if member.turns}
        if len(first_states) > 1:
            raise GroupError(
                f"group {name!r} (task {tasks.pop()}) starts in {len(first_states)} different states: "
                "reset(seed) of this environment does not give one first state (run check_text_env)"
            )
