"""Train an agent: `accelerate launch -m agentgym.train CONFIG [--key value …]`, or `agentgym train` for one process.

Evaluates on held-out tasks, trains, evaluates again on the same tasks, and writes a report.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import transformers
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather_object
from rich.console import Console

from agentgym.advice import Advice
from agentgym.agents.agent import Agent
from agentgym.agents.evaluation import NothingPlayedError, evaluate
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import pinned_model
from agentgym.agents.partners import Company
from agentgym.agents.room import check_room
from agentgym.agents.run_files import CONFIG, TRACKER, list_checkpoints
from agentgym.agents.trajectory import Trajectory
from agentgym.build import (
    check_training,
    eval_temperature,
    evaluated_companies,
    make_agent,
    make_env,
    make_model,
    make_trainer,
    told_by,
)
from agentgym.config import RunConfig, command_line, load_config, try_environment
from agentgym.config_help import describe_config
from agentgym.overrides import ConfigError
from agentgym.processes import check_launcher, is_first, launcher, processes_to_start, run_processes
from agentgym.progress import Progress, progress_on
from agentgym.report import write_report
from agentgym.resolved import resolved
from agentgym.run_directory import RunDirectory
from agentgym.seating import pinned_players
from agentgym.stopping import interruptible, stop_when_gone, stopping_after_the_step
from agentgym.tables import evaluation_tables
from agentgym.terminal import log_to, plain_console, say_error
from agentgym.trackers import check_trackers
from agentgym.trainers.checkpoint import CheckpointError
from agentgym.trainers.demonstration_files import pinned
from agentgym.trainers.parts import StepError
from agentgym.trainers.processes import Processes

T = TypeVar("T")

INTERRUPTED = 130
"""The exit status of a run that was told to stop: after Ctrl-C as shells have it, after SIGTERM too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `CONFIG [--key value …]`; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    console = plain_console(stderr=True)
    if not words or {"-h", "--help"} & set(words):
        (plain_console() if words else console).print(describe_config(), soft_wrap=True)
        return 0 if words else 2
    if not _is_launcher_followed(console):
        return 2
    try:
        with interruptible():
            return _train(words, console)
    except KeyboardInterrupt:
        if is_first():
            console.print("interrupted")
        return INTERRUPTED


def _train(words: Sequence[str], console: Console) -> int:
    try:
        config = load_config(Path(words[0]), words[1:], say=partial(_say_once, console))
        run = TrainingRun(config, name=Path(words[0]).stem)
    except (ValueError, OSError) as error:  # every fault of the call, from whatever floor, is one
        _say_error(console, error)
        return 2
    try:
        return run.run()
    except (CheckpointError, ConfigError, NothingPlayedError, StepError, OSError) as error:
        _say_error(console, error)
        return 1
    except KeyboardInterrupt:
        if list_checkpoints(run.directory.path):
            run.console.print(f"go on with: {run.command_to_go_on()}", soft_wrap=True)
        raise


def _is_launcher_followed(console: Console) -> bool:
    try:
        check_launcher()
    except ValueError as error:
        if is_first():
            say_error(console, error)
        return False
    return True


def _say_once(console: Console, line: str) -> None:
    if is_first():
        console.print(line, soft_wrap=True)


def _say_error(console: Console, error: Exception) -> None:
    state = PartialState(cpu=not torch.cuda.is_available())
    if state.is_main_process:
        say_error(console, error)
    elif isinstance(error, OSError):  # a disk or file of this process's own: nobody else can tell
        say_error(console, f"process {state.process_index}: {error}")


class TrainingRun:
    """One run from configuration to report."""

    def __init__(self, config: RunConfig, name: str):
        """Load and check everything, before anything is written.

        Raises `ValueError` (`ConfigError`, `ModelError`, `CheckpointError`, …) with one line for people.
        """
        quieten_libraries()
        on_cpu = not torch.cuda.is_available()  # told so, accelerate joins several processes there too
        PartialState(cpu=on_cpu)
        self.directory, checkpoint = _as_main_process(partial(RunDirectory.prepare, config, name))
        model = _as_main_process(partial(pinned_model, config.model, checkpoint))  # all processes load the same
        demonstrations = _as_main_process(partial(pinned, config.demonstrations))
        self.config = config = config.model_copy(update={"model": model, "demonstrations": demonstrations})
        check_trackers(config.report_to)
        self.accelerator = Accelerator(cpu=on_cpu, log_with=config.report_to or None, project_dir=self.directory.path)
        self.is_main = self.accelerator.is_main_process
        self.console = plain_console(stderr=True, quiet=not self.is_main)
        log_to(self.console)
        for split in ["train", *([config.eval_split] if config.eval_episodes else [])]:
            try_environment(config.env_id, partial(make_env, config, split))  # before a model is loaded
        with closing(make_env(config, "train")) as game:
            self.config = config = _as_main_process(partial(pinned_players, config, game, pinned_model))
        told = told_by(config)
        check_training(config, told, Processes())
        self.config = config = resolved(config, told)
        self.model = make_model(config, self.accelerator.device)
        self.agent = make_agent(config, self.model, config.temperature)
        check_room(self.agent, partial(make_env, config, "train"), config.env_id)
        self.trainer = make_trainer(config, self.model, self.agent, self.directory.path, told)
        if checkpoint is not None:
            self.trainer.resume(checkpoint)

    def run(self) -> int:
        """Evaluate, train, evaluate, report. Returns the exit status."""
        if self.is_main:
            self.directory.begin(self.config, finished_steps=self.trainer.step)
        self.console.print(f"run directory: {self.directory.path}", soft_wrap=True)
        self.accelerator.wait_for_everyone()
        if self.config.report_to:
            # TensorBoard then drops what a killed or abandoned run has told it of the steps that are to come.
            purge = {"tensorboard": {"purge_step": self.trainer.step + 1}} if self.trainer.step else {}
            self.accelerator.init_trackers(TRACKER, config=_flat(self.config), init_kwargs=purge)
        with progress_on(self.console) as progress:
            if self.config.eval_episodes and self.trainer.step == 0:
                self._evaluate("before", progress)
            self._train(progress)
            finished = self.trainer.step == self.config.max_steps
            if self.config.eval_episodes and finished:
                self._evaluate("after", progress)
        if self.config.report_to:
            self.accelerator.end_training()
        if self.is_main:
            self._conclude(finished)
        return 0 if finished else INTERRUPTED

    def _train(self, progress: Progress) -> None:
        config, trainer = self.config, self.trainer
        steps = progress.count("training", config.max_steps, unit="step", done=trainer.step, each=True)
        note = ""
        advice = Advice(lambda line: self.console.print(line, soft_wrap=True), group_size=config.group_size)
        with stopping_after_the_step(trainer, self.console):
            for metrics in trainer.train(steps.within):
                if self.is_main:
                    self.directory.add_metrics(metrics)
                    self.accelerator.log(metrics, step=int(metrics["step"]))
                if config.trainer == "reinforcement":
                    advice.hear(metrics)
                note = f"success {metrics['success_rate']:.0%}, reward {metrics['reward']:.2f}"
                steps.reach(int(metrics["step"]), note)
        steps.end(note)
        advice.conclude()

    def _evaluate(self, stage: str, progress: Progress) -> None:
        """Evaluate on the panel, every process a part of it; in a game each seat that is learned in."""
        agent = make_agent(self.config, self.model, eval_temperature(self.config))
        for seat, players in evaluated_companies(self.config, self.model, agent):
            self._evaluate_in(seat, players, agent, stage, progress)

    def _evaluate_in(
        self, seat: str, players: Agent | Company, agent: LLMAgent, stage: str, progress: Progress
    ) -> None:
        config, accelerator = self.config, self.accelerator
        share = slice(accelerator.process_index, None, accelerator.num_processes)
        n_mine = len(range(config.eval_episodes)[share])
        name = f"evaluate {stage}" + (f" as {seat}" if seat else "")
        ended, seen = progress.count(name, n_mine, unit="episode"), set[str]()

        def count(trajectory: Trajectory) -> None:
            seen.add(trajectory.episode)
            ended.reach(len(seen))

        with agent.engine.serving(self.model.model, self.trainer.step):
            evaluation = evaluate(
                players,
                partial(make_env, config, config.eval_split),
                env=config.env_id,
                agent=str(self.directory.path) if stage == "after" else config.model,
                split=config.eval_split,
                seed=config.eval_seed,
                episodes=config.eval_episodes,
                num_envs=config.num_envs,
                workers=config.env_workers,
                share=share,
                gather=gather_object,
                on_episode=count,
            )
        ended.end(f"success {evaluation.success_rate:.1%}")
        if self.is_main:
            self.directory.add_evaluation(evaluation, stage=stage, step=self.trainer.step)

    def _conclude(self, finished: bool) -> None:
        report = write_report(self.directory.path)
        results = self.directory.evaluations()
        if results:
            plain_console().print(*evaluation_tables(results, label="stage"))
        if not finished:
            self.console.print(
                f"stopped after step {self.trainer.step}; go on with: {self.command_to_go_on()}", soft_wrap=True
            )
        self.console.print(f"run directory: {self.directory.path}", soft_wrap=True)
        self.console.print(f"report:        {report}", soft_wrap=True)

    def command_to_go_on(self) -> str:
        """The command that goes on with the run from its last checkpoint."""
        words = [str(self.directory.path / CONFIG), "--resume_from_checkpoint", "true"]
        return command_line(words, processes=self.accelerator.num_processes)


def _as_main_process(decide: Callable[[], T]) -> T:
    """What the main process decides, or the fault that it finds, in every process."""
    outcome: list[Any] = [None]
    if PartialState().is_main_process:
        try:
            outcome = [decide()]
        except ValueError as error:
            outcome = [error]
    broadcast_object_list(outcome)
    if isinstance(outcome[0], ValueError):
        raise outcome[0]
    return cast("T", outcome[0])


def quieten_libraries() -> None:
    """Leave standard error to our own messages and progress bars."""
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # without a network it warns at every retry


def _flat(config: RunConfig) -> dict[str, Any]:
    """The configuration as trackers take it: no nesting."""
    return {k: v if isinstance(v, int | float | str) else str(v) for k, v in config.model_dump().items()}


if __name__ == "__main__":
    stop_when_gone(started_by.pid if (started_by := launcher()) else None)
    number = processes_to_start()
    if number == 1:
        sys.exit(main())
    followed = _is_launcher_followed(plain_console(stderr=True))  # this process alone can see all that was asked for
    sys.exit(run_processes(number, "agentgym.train", sys.argv[1:]) if followed else 2)
