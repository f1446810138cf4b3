"""Configuration → objects: the only such place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from agentgym.agents.agent import ExpertAgent
from agentgym.agents.contexts import Context
from agentgym.agents.demonstrator import Demonstrator, rewritten
from agentgym.agents.engines import SamplingParams
from agentgym.agents.engines.transformers import TransformersEngine
from agentgym.agents.formats import get_format
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import LoadedModel, add_lora, load_model, stop_token_ids
from agentgym.agents.partners import Company
from agentgym.agents.rollout import Players
from agentgym.agents.trajectory import Trajectory
from agentgym.config import RunConfig
from agentgym.envs import TextAECEnv, TextEnv, make, make_game, registered, registered_games
from agentgym.envs.told import Told, look_at
from agentgym.envs.worker import WorkerEnv
from agentgym.partners import PartnersOfARun
from agentgym.seating import POOL, company, evaluated_seatings, seating_of
from agentgym.trainers.checkpoint import Checkpoints
from agentgym.trainers.credit import get_scheme
from agentgym.trainers.demonstration_files import EXPERT, read_demonstrations
from agentgym.trainers.demonstrations import (
    Demonstrations,
    ExpertEpisodes,
    RecordedEpisodes,
    RecordedGroups,
    Share,
    imitation,
)
from agentgym.trainers.objective import Objective
from agentgym.trainers.parameters import read_parameters
from agentgym.trainers.parts import Learner
from agentgym.trainers.policy import Policy
from agentgym.trainers.pool import Pool
from agentgym.trainers.processes import Processes
from agentgym.trainers.records import Records
from agentgym.trainers.registry import check_parameters
from agentgym.trainers.replay import SuccessReplay
from agentgym.trainers.replayed_states import ReplayedStates
from agentgym.trainers.retries import UNTOLD, Retries, get_reflector
from agentgym.trainers.rollouts import Collector, Rollouts, get_group_filter
from agentgym.trainers.signals.plan import Planned, plan_signals, signal_kind
from agentgym.trainers.signals.signal import Resources
from agentgym.trainers.signals.twin_critic import TwinCritic
from agentgym.trainers.tasks import Tasks, get_task_sampler
from agentgym.trainers.trainer import Scheme, Trainer


def make_env(config: RunConfig, split: str) -> TextEnv | TextAECEnv:
    """A fresh environment of a run: a game with all its seats where players are seated."""
    limit = {} if config.max_turns is None else {"max_turns": config.max_turns}
    if config.players is not None:
        if config.env_id in set(registered()) - set(registered_games()):
            raise ValueError(f"players are given, but {config.env_id} has one seat: leave them out")
        return make_game(config.env_id, **config.env_kwargs, **limit, split=split)
    new = partial(make, config.env_id, **config.env_kwargs, **limit, split=split)
    return new() if config.env_timeout is None else WorkerEnv(new, config.env_timeout)


def make_model(config: RunConfig, device: Any = "cpu") -> LoadedModel:
    """The run's model with a fresh adapter."""
    return add_lora(
        load_model(config.model, dtype=config.dtype, device=device),
        r=config.lora_r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        target_modules=config.lora_target_modules,
        seed=config.seed,
    )


def make_agent(config: RunConfig, loaded: LoadedModel, temperature: float) -> LLMAgent:
    """The agent that `config` describes, over a loaded model."""
    stop_ids = stop_token_ids(loaded)
    return LLMAgent(
        TransformersEngine(loaded.model, stop_ids),
        loaded.tokenizer,
        context=Context(config.window, config.show_admissible_actions),
        format=get_format(config.format),
        sampling=SamplingParams(config.max_new_tokens, temperature, config.top_p),
        context_length=loaded.context_length,
        stop_ids=stop_ids,
    )


def eval_temperature(config: RunConfig) -> float:
    """The temperature of evaluation: that of training unless another is given."""
    return config.temperature if config.eval_temperature is None else config.eval_temperature


def check_training(config: RunConfig, told: Told, processes: Processes) -> tuple[Objective, list[Planned]]:
    """What is minimised and which signals have to work, checked before a model is loaded.

    Raises `ValueError` in one line for a credit scheme, a loss, a signal, a response format, a task sampler, a
    group filter, a replay, a reflector or a parameter that does not exist or is none, a scheme that needs what training
    does not provide, groups of one for a scheme that compares siblings, and fewer groups than processes.
    """
    parts = {f"parts.{part}" for part in get_format(config.format).reads}
    if config.groups_per_step < processes.count:
        raise ValueError(
            f"groups_per_step is {config.groups_per_step}, but each of the {processes.count} "
            "processes plays whole groups: it needs at least one each"
        )
    if config.format == "hiper" and config.window == 0:
        raise ValueError("window is 0, but with format hiper the response before names the sub-goal: set window to 2")
    if config.critic_warmup >= config.max_steps:
        raise ValueError(
            f"critic_warmup is {config.critic_warmup} of {config.max_steps} training steps (max_steps): the policy "
            "would never learn"
        )
    max_episode_tokens = told.max_turns * config.max_new_tokens
    with closing(make_env(config, "train")) as env:
        seating_of(config, env)
    if config.trainer == "cloning":
        return Objective.of_cloning(config, max_episode_tokens), []
    if config.trainer == "offline":
        _check_offline(config)
    make_tasks(config)
    if config.group_filter is not None:
        get_group_filter(config.group_filter)
    _replay_parameters(config)
    scheme = get_scheme(config.credit)
    needed = scheme.needs_of(scheme.check_parameters(config.credit_kwargs))
    if scheme.requires_groups and config.group_size < 2:
        raise ValueError(
            f"group_size is {config.group_size}, but {config.credit} compares the episodes of a group: "
            "it needs at least 2"
        )
    objective = Objective.of(config, max_episode_tokens)
    needs = dict.fromkeys(objective.needs, "the loss") | dict.fromkeys(needed, scheme.name)
    planned = plan_signals(needs, config.signals, told.in_info | parts, told.env_id)
    _check_retry(config, [*needs, *(need for each in planned for need in each.kind.needs)])
    if config.replayed_states and not any(issubclass(each.kind, TwinCritic) for each in planned):
        raise ValueError(
            f"replayed_states is {config.replayed_states}, but credit {config.credit} needs no critic with a replay "
            "buffer, whose states these would be: set it to 0, or take credit archer"
        )
    for each in planned:
        defaults = {p.name: p.default for p in read_parameters(each.kind.__init__, skip=3).values()}
        each.kind.check(defaults | dict(each.params), told)
    return objective, planned


def _check_offline(config: RunConfig) -> None:
    if config.demonstrations == EXPERT:
        raise ValueError("trainer is offline: name a trajectory file or a run as demonstrations")
    played = read_demonstrations(config.demonstrations, config.env_id, successes=False)
    if get_scheme(config.credit).requires_groups and max(Counter((t.group, t.seed) for t in played).values()) < 2:
        raise ValueError(
            f"demonstrations: {config.demonstrations} has one episode of each task, but {config.credit} compares the "
            "episodes of a group: take a scheme that does not, such as oreo or turn_ppo"
        )
    if needs_greedy_episodes(config, []) and any(trajectory.greedy_return is None for trajectory in played):
        raise ValueError(
            f"demonstrations: {config.demonstrations} does not tell the returns of greedy episodes, which "
            f"{config.credit} needs and nobody plays offline: take another scheme, such as oreo or turn_ppo"
        )


def make_tasks(config: RunConfig) -> Tasks:
    """The task sampler of a run."""
    kind = get_task_sampler(config.task_sampler)
    params = check_parameters(config.task_sampler, kind.__init__, config.task_sampler_kwargs, skip=2)
    return kind(config.seed, **params)


def make_replay(config: RunConfig, processes: Processes) -> SuccessReplay | None:
    """The run's memory of successes, if it has one."""
    params = _replay_parameters(config)
    return SuccessReplay(config.env_id, config.seed, processes, **params) if config.success_replay else None


def _replay_parameters(config: RunConfig) -> dict[str, Any]:
    if config.success_replay_kwargs and not config.success_replay:
        raise ValueError("success_replay_kwargs are given, but success_replay is false: set it to true")
    return check_parameters("success_replay", SuccessReplay.__init__, config.success_replay_kwargs, skip=4)


def _check_retry(config: RunConfig, needs: Sequence[str]) -> dict[str, Any]:
    """The reflector's parameters, checked. `needs`: of the scheme, the loss and the signals."""
    if config.retry is None:
        if config.retry_kwargs:
            raise ValueError("retry_kwargs are given, but retry is null: set it to policy")
        return {}
    for need, reason in UNTOLD.items():
        if need in needs and (config.learn_reflections or need == "logprob_K"):
            raise ValueError(f"retry is {config.retry}, but {config.credit} needs {need!r}: {reason}")
    return check_parameters(config.retry, get_reflector(config.retry).__init__, config.retry_kwargs, skip=2)


def make_retries(config: RunConfig, agent: LLMAgent, told: Told) -> Retries | None:
    """Who retries the agent's failed episodes, if anybody does."""
    if config.retry is None:
        return None
    reflector = get_reflector(config.retry)(agent, **_check_retry(config, ()))
    return Retries(agent, reflector, told.rules(""), learn_reflections=config.learn_reflections)


def needs_greedy_episodes(config: RunConfig, planned: Sequence[Planned]) -> bool:
    """Whether the scheme or a signal needs the return of a greedy episode, and no signal gives it."""
    need, scheme = "greedy_return_N", get_scheme(config.credit)
    needs = [
        *scheme.needs_of(scheme.check_parameters(config.credit_kwargs)),
        *(n for p in planned for n in p.needs),
    ]
    return need in needs and not any(need in each.wanted for each in planned)


def make_rollouts(
    config: RunConfig,
    loaded: LoadedModel,
    agent: LLMAgent,
    told: Told,
    policy: Policy,
    planned: Sequence[Planned],
    run_dir: Path,
) -> Rollouts:
    """The rollouts of the agent on the run's tasks. `planned`: the signals of the run."""
    retries, processes = make_retries(config, agent, told), policy.processes
    likeliest = agent.at(0.0) if needs_greedy_episodes(config, planned) else None
    players: Players = agent if retries is None else retries.first
    greedy: Players | None = likeliest
    seated, pool = make_company(config, loaded, agent, policy, run_dir)
    if seated is not None:
        players, greedy = seated.players, None if likeliest is None else replace(seated, learner=likeliest).players
    return Rollouts(
        players,
        agent.engine,
        loaded.model,
        partial(make_env, config, "train"),
        config.env_id,
        make_tasks(config),
        config.groups_per_step,
        config.group_size,
        processes,
        config.seed,
        None if config.group_filter is None else get_group_filter(config.group_filter),
        config.num_envs,
        config.env_workers,
        make_replay(config, processes),
        greedy,
        retries,
        seated,
        pool,
    )


def make_company(
    config: RunConfig, loaded: LoadedModel, agent: LLMAgent, policy: Policy, run_dir: Path
) -> tuple[Company | None, Pool | None]:
    """Who plays in training, where players are seated; and the pool of the run's past, if somebody is drawn of it."""
    with closing(make_env(config, "train")) as game:
        seating = seating_of(config, game)
        if seating is None or isinstance(game, TextEnv):
            return None, None
        partners = PartnersOfARun(config, loaded, agent, game)
    pool = partners.pool(policy, run_dir) if POOL in seating.names else None
    return company(seating, agent, lambda name: pool if name == POOL and pool else partners.source(name)), pool


def evaluated_companies(
    config: RunConfig, loaded: LoadedModel, agent: LLMAgent
) -> list[tuple[str, Company | LLMAgent]]:
    """Who plays when a run is evaluated: each seat that is learned in, "" in worlds of which one is played."""
    with closing(make_env(config, config.eval_split)) as game:
        seating = seating_of(config, game)
        if seating is None or isinstance(game, TextEnv):
            return [("", agent)]
        partners = PartnersOfARun(config, loaded, agent, game)
        return [
            (each.learners[0], company(each, agent, partners.source))
            for each in evaluated_seatings(config, seating, game)
        ]


def make_demonstrations(config: RunConfig, agent: LLMAgent, told: Told, processes: Processes) -> Demonstrations:
    """What the run clones or learns from offline, as the agent would have written it.

    Raises `ValueError` in one line for an environment without an expert, and for files without a demonstration.
    """
    share = Share.of(config.groups_per_step, config.group_size, processes)
    if config.demonstrations == EXPERT:
        if not told.has_expert:
            raise ValueError(f"{told.env_id} has no expert: name a trajectory file or a run as demonstrations")
        demonstrator = Demonstrator(ExpertAgent(config.demonstration_noise), agent)
        env = partial(make_env, config, "train")
        with closing(env()) as world:
            seating = seating_of(config, world)
        seats = ("",) if seating is None else seating.learners
        episodes: Dataset[list[Trajectory]] = ExpertEpisodes(
            demonstrator, env, config.env_id, share, config.seed, config.num_envs, seats
        )
    else:
        if config.show_admissible_actions:
            raise ValueError("demonstrations: files do not tell admissible actions; set show_admissible_actions false")
        is_cloning = config.trainer == "cloning"
        played = read_demonstrations(config.demonstrations, config.env_id, successes=is_cloning)
        written = [rewritten(trajectory, agent, told.rules(trajectory.seat)) for trajectory in played]
        episodes = (RecordedEpisodes if is_cloning else RecordedGroups.of)(written, share, config.seed)
    return Demonstrations(episodes, processes, workers=config.demonstration_workers, max_steps=config.max_steps)


def told_by(config: RunConfig) -> Told:
    """What the run's environment tells of itself: a turn of it is played."""
    return look_at(make_env(config, "train"), config.env_id)


def make_trainer(
    config: RunConfig, loaded: LoadedModel, agent: LLMAgent, run_dir: Path, told: Told | None = None
) -> Trainer:
    """The trainer of `loaded`'s adapter on the episodes that `agent`, the same model, plays.

    `told`: `told_by(config)`, where it is known already. Raises `ValueError` as `check_training` does.
    """
    processes = Processes()
    told = told or told_by(config)
    objective, planned = check_training(config, told, processes)
    policy = Policy(
        loaded.model,
        temperature=config.temperature,
        max_tokens=config.max_tokens_per_micro_batch,
        gradient_checkpointing=config.gradient_checkpointing,
        processes=processes,
    )
    learner = Learner(
        policy.parameters,
        processes,
        learning_rate=config.learning_rate,
        num_steps=(config.max_steps - objective.starts_at) * objective.num_iterations * objective.num_minibatches,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
    )
    is_cloning = config.trainer == "cloning"
    scheme = Scheme("imitation", imitation, False) if is_cloning else Scheme.of(config.credit, config.credit_kwargs)
    resources = Resources(
        policy,
        agent,
        told,
        processes,
        config.seed,
        run_dir,
        config.max_steps,
        scheme.give,
        config.learning_rate,
    )
    rollouts: Collector = (
        make_rollouts(config, loaded, agent, told, policy, planned, run_dir)
        if config.trainer == "reinforcement"
        else make_demonstrations(config, agent, told, processes)
    )
    signals = [each.kind(resources, frozenset(each.wanted), **each.params) for each in planned]
    if config.replayed_states and not is_cloning:
        buffer = next(signal.buffer for signal in signals if isinstance(signal, TwinCritic))
        rollouts = ReplayedStates(rollouts, buffer, agent, loaded.model, config.replayed_states, config.seed)
    return Trainer(
        policy=policy,
        learner=learner,
        objective=objective,
        scheme=scheme,
        signals=signals,
        rollouts=rollouts,
        checkpoints=Checkpoints(run_dir, policy, fingerprint(config), config.save_steps, config.save_total_limit),
        records=Records(run_dir, processes.index, config.trajectory_steps),
        max_steps=config.max_steps,
        seed=config.seed,
    )


def fingerprint(config: RunConfig) -> dict[str, Any]:
    """What must be the same for a resumed run to go on as the interrupted one would have.

    Where the learning rate does not depend on the end, the end may be moved.
    """
    free = set(config.free_on_resume) | ({"max_steps"} if config.lr_scheduler_type == "constant" else set())
    values = config.model_dump(mode="json", exclude=free)
    for name, params in values["signals"].items():
        for free_one in signal_kind(name).free_on_resume:
            params.pop(free_one, None)
    return values
