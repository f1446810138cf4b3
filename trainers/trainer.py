"""The training loop: collect groups → credit → loss → step.

One loop for all credit schemes. Under `accelerate launch` every process plays whole groups of its own; credit
is computed on the groups of all, so that no scheme ever sees half of what it compares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from transformers import get_scheduler

from agentgym.agents.answers import forced_answers
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import LoadedModel, adapter_merged
from agentgym.agents.rollout import EpisodeSpec, MakeEnv, check_groups, play
from agentgym.agents.trajectory import Trajectory, write_trajectories
from agentgym.trainers import metrics
from agentgym.trainers.batch import TurnBatch, usable_trajectories
from agentgym.trainers.checkpoint import load_checkpoint, save_checkpoint
from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.credit import compute, get_scheme
from agentgym.trainers.layout import SequenceBatch
from agentgym.trainers.losses import weight_total
from agentgym.trainers.losses.regularisers import EntropyHistory
from agentgym.trainers.objective import Objective
from agentgym.trainers.scoring import log_probabilities
from agentgym.trainers.signals.answers import ANSWER_SIGNALS, answer_signals
from agentgym.trainers.signals.computed import TOKEN_SIGNALS, check_provided, compute_signals, entropy_by_turn
from agentgym.trainers.token_data import TokenCredit, TokenData
from agentgym.trainers.update import Past, accumulate_gradient, sum_gradients, with_constants

TRAJECTORIES = "trajectories"
"""The folder of a run directory that holds what was played."""


@dataclass(frozen=True)
class Experience:
    """What one step trains on: this process's trajectories and their credit."""

    trajectories: list[Trajectory]
    credits: list[TokenCredit]
    """For each trajectory that of its sampled tokens."""


class Trainer:
    """Trains the LoRA adapter of `loaded` on the episodes that `agent`, the same model, plays."""

    def __init__(
        self,
        config: TrainerConfig,
        loaded: LoadedModel,
        agent: LLMAgent,
        *,
        env_id: str,
        make_env: MakeEnv,
        run_dir: Path,
        accelerator: Accelerator,
        on_progress: Callable[[str, int, int], None] = lambda phase, done, of: None,
    ):
        """`on_progress(phase, done, of)` is told how far the present step has come.

        Raises `ValueError` for a credit scheme, a loss or a parameter that does not exist, a scheme that needs what
        training does not provide, groups of one for a scheme that compares siblings, and fewer groups than
        processes.
        """
        scheme = get_scheme(config.credit)
        scheme.check_parameters(config.credit_kwargs)
        check_provided(scheme.needs, scheme.name)
        if scheme.requires_groups and config.group_size < 2:
            raise ValueError(
                f"group_size is {config.group_size}, but {config.credit} compares the episodes of a group: "
                "it needs at least 2"
            )
        if config.groups_per_step < accelerator.num_processes:
            raise ValueError(
                f"groups_per_step is {config.groups_per_step}, but each of the {accelerator.num_processes} "
                "processes plays whole groups: it needs at least one each"
            )
        self.config = config
        self.model = loaded.model
        self.agent = agent
        self.env_id = env_id
        self.make_env = make_env
        self.run_dir = run_dir
        self.accelerator = accelerator
        self.on_progress = on_progress
        self.requires_groups = scheme.requires_groups
        self.needs = scheme.needs
        self.objective = Objective.of(config)
        self.entropy_history = EntropyHistory()
        self.temperature = agent.sampling.temperature or 1.0
        with make_env() as env:
            self.rules, self.answer_form = env.instructions, env.answer_form
            self.max_episode_tokens = env.max_turns * agent.sampling.max_new_tokens
            if not set(ANSWER_SIGNALS).isdisjoint(self.needs) and not env.reset(seed=0)[1].get("answers"):
                raise ValueError(f"{config.credit} needs the true answer's probability, and {env_id} tells no answers")
        self.step = 0
        """Finished steps."""
        self.stop_requested = False
        """Set it to end after the present step."""
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        kind = config.lr_scheduler_type
        self.schedule = get_scheduler(
            "constant_with_warmup" if kind == "constant" else kind,
            self.optimizer,
            num_warmup_steps=config.warmup_steps,
            num_training_steps=config.max_steps * config.num_iterations * config.num_minibatches,
        )
        if config.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
            self.model.enable_input_require_grads()

    # The loop ---------------------------------------------------------------------------------------------

    def train(self) -> Iterator[dict[str, float]]:
        """Run the remaining steps; yield the metrics of each."""
        while self.step < self.config.max_steps and not self.stop_requested:
            clock = metrics.PhaseClock()
            with clock.phase("rollout"):
                trajectories = self.collect()
            with clock.phase("signals"):
                experience = self.assign_credit(trajectories)
                minibatches = list(self.minibatches(experience))
            with clock.phase("update"):
                sums = self.update(minibatches)
            self.step += 1
            everything = gather_object([(trajectories, sums, self.stop_requested)])
            self.stop_requested = any(stop for _, _, stop in everything)
            yield self.summarise(everything, clock.seconds)
            if self.step % self.config.save_steps == 0 or self.stop_requested or self.step == self.config.max_steps:
                self.save()

    def collect(self) -> list[Trajectory]:
        """Play this process's groups of the present step, check them, and write them down."""
        config, accelerator = self.config, self.accelerator
        groups = range(accelerator.process_index, config.groups_per_step, accelerator.num_processes)
        specs = [
            EpisodeSpec(
                self.env_id,
                seed=self._seed("task", group) >> 32,
                group=f"{self.step}/{group}",
                sampling_seed=self._seed("episode", group, member),
            )
            for group in groups
            for member in range(config.group_size)
        ]
        ended = Counter[str]()

        def count(_: Trajectory) -> None:
            ended["episodes"] += 1
            self.on_progress("rollout", ended["episodes"], len(specs))

        with adapter_merged(self.model):
            trajectories = play(self.agent, self.make_env, specs, num_envs=config.num_envs, on_episode=count)
        check_groups(trajectories, config.group_size)
        path = self.run_dir / TRAJECTORIES / f"step-{self.step:06d}.process-{accelerator.process_index}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_trajectories(path, trajectories)
        return trajectories

    def assign_credit(self, trajectories: Sequence[Trajectory]) -> Experience:
        """The credit of every sampled token, from the groups of all processes together."""
        usable = usable_trajectories(trajectories, self.requires_groups)
        own = self._with_signals(TurnBatch.from_trajectories(usable), usable)
        batches: list[TurnBatch] = gather_object([own])
        batch = TurnBatch.concatenate(batches)
        if not batch.n_turns:
            raise RuntimeError(f"step {self.step}: not one episode could be played; see the warnings above")
        result = compute(self.config.credit, batch, **self.config.credit_kwargs)
        scale_T, loss = result.clip_scale_T, self.objective.policy_loss
        if scale_T is not None and not loss.clips:
            raise ValueError(f"{self.config.credit} scales the clip range of each turn, but {loss.name} does not clip")
        credit = TokenCredit(
            result.token_advantages(batch),
            np.ones(batch.n_tokens, np.bool_) if result.trained_K is None else result.trained_K,
            None if scale_T is None else scale_T[batch.turn_K],
        )
        first = sum(b.n_tokens for b in batches[: self.accelerator.process_index])
        ends = first + own.token_offsets_N
        return Experience(usable, [credit.part(start, end) for start, end in pairwise(ends.tolist())])

    def _with_signals(self, own: TurnBatch, trajectories: Sequence[Trajectory]) -> TurnBatch:
        """This process's batch with the signals that the scheme needs and the trainer computes."""
        needed = {name for name in self.needs if name in TOKEN_SIGNALS}
        smoothing = self.objective.smoothing is not None
        computed = compute_signals(
            needed | ({"entropy_K"} if smoothing else set()),
            self.model,
            trajectories,
            max_tokens=self.config.max_tokens_per_micro_batch,
            temperature=self.temperature,
        )
        if smoothing:
            self.entropy_history.append(gather_object([entropy_by_turn(own, computed["entropy_K"])]))
        if answers := {name for name in self.needs if name in ANSWER_SIGNALS}:
            forced = [forced_answers(self.agent, each, self.rules, self.answer_form) for each in trajectories]
            computed |= answer_signals(
                self.model,
                forced,
                max_tokens=self.config.max_tokens_per_micro_batch,
                temperature=self.temperature,
            )
        return replace(own, signals={**own.signals, **{name: computed[name] for name in needed | answers}})

    def minibatches(self, experience: Experience) -> Iterator[TokenData]:
        """This process's share of each optimizer step: whole groups, dealt out alike in every process."""
        config = self.config
        several_steps = config.num_iterations * config.num_minibatches > 1
        for iteration in range(config.num_iterations):
            rng = np.random.default_rng(self._seed("minibatches", iteration))
            order = rng.permutation(config.groups_per_step)
            for groups in np.array_split(order, config.num_minibatches):
                numbers = {f"{self.step}/{group}": int(group) for group in groups}
                chosen = [i for i, t in enumerate(experience.trajectories) if t.group in numbers]
                trajectories = [experience.trajectories[i] for i in chosen]
                data = TokenData.of(
                    trajectories,
                    TokenCredit.concatenate([experience.credits[i] for i in chosen]),
                    self.objective,
                    self.max_episode_tokens,
                    [numbers[t.group] for t in trajectories],
                )
                if several_steps:  # the policy that acted is the one to take ratios to
                    data = replace(data, old_logprob_K=data.sampler_logprob_K)
                if config.beta > 0:
                    data = replace(data, reference_logprob_K=self._reference(data.batch))
                yield data

    def _reference(self, batch: SequenceBatch) -> NDArray[np.float64]:
        """The tokens' log-probabilities under the model without its adapter."""
        with self.model.disable_adapter():
            return log_probabilities(
                self.model,
                batch,
                max_tokens=self.config.max_tokens_per_micro_batch,
                temperature=self.temperature,
            )

    def update(self, minibatches: Sequence[TokenData]) -> metrics.Sums:
        """One optimizer step for each minibatch; returns this process's sums for the metrics."""
        torch.manual_seed(self._seed("dropout", self.accelerator.process_index))
        self.model.train()
        sums = metrics.Sums()
        for number, data in enumerate(minibatches):
            self.optimizer.zero_grad()
            part = self._accumulate(data, number)
            if part is None:
                continue
            sum_gradients(self.accelerator, self.parameters)
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
            self.optimizer.step()
            self.schedule.step()
            if sums["optimizer_steps"]:  # by now the policy is not the one that acted
                for name in ("compared", "logp_difference", "logp_difference_max"):
                    part.pop(name, None)
            sums.add(part)
            sums["grad_norm"] += norm.item()
            sums["optimizer_steps"] += 1
            self.on_progress("update", number + 1, len(minibatches))
        return sums

    def _accumulate(self, data: TokenData, number: int) -> metrics.Sums | None:
        """Add this process's share of a minibatch's gradient; None if no process has a token to train on."""
        sizes = gather_object([(data.n_tokens, data.n_trajectories, data.last_turn)])
        n_tokens_P, n_trajectories_P, last_turn_P = zip(*sizes, strict=True)
        if sum(n_tokens_P) == 0:
            return None
        max_tokens = self.config.max_tokens_per_micro_batch
        data = with_constants(
            self.model,
            data,
            self.objective,
            max_tokens=max_tokens,
            temperature=self.temperature,
            seed=self._seed("loss", number),
            accelerator=self.accelerator,
        )
        return accumulate_gradient(
            self.model,
            data,
            weight_total(sum(n_tokens_P), sum(n_trajectories_P), self.objective.aggregation),
            self.objective,
            max_tokens=max_tokens,
            temperature=self.temperature,
            past=Past(self.entropy_history, self.step, max(last_turn_P)),
        )

    def summarise(self, everything: Sequence[Any], seconds: dict[str, float]) -> dict[str, float]:
        """The step's metrics over all processes."""
        trajectories = [t for played, _, _ in everything for t in played]
        return {
            "step": self.step,
            **metrics.of_trajectories(trajectories),
            **metrics.of_update([sums for _, sums, _ in everything], with_kl=self.config.beta > 0),
            "learning_rate": self.schedule.get_last_lr()[0],
            **{f"time/{phase}": value for phase, value in seconds.items()},
            "step_time": sum(seconds.values()),
        }

    # Checkpoints ------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint (the main process does)."""
        if self.accelerator.is_main_process:
            tensors = {
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
            if self.objective.smoothing:
                tensors["entropy_history"] = self.entropy_history.steps
            save_checkpoint(
                self.run_dir,
                self.step,
                self.model,
                tensors,
                self.fingerprint(),
                keep=self.config.save_total_limit,
            )
        self.accelerator.wait_for_everyone()

    def resume(self, checkpoint: Path) -> None:
        """Continue from `checkpoint` as if the run had never stopped. Raises `CheckpointError`."""
        self.step, tensors = load_checkpoint(checkpoint, self.model, self.fingerprint())
        self.optimizer.load_state_dict(tensors["optimizer"])
        self.schedule.load_state_dict(tensors["schedule"])
        self.entropy_history.steps = tensors.get("entropy_history", [])

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for a resumed run to go on as the interrupted one would have.

        Where the learning rate does not depend on the end, the end may be moved.
        """
        free = self.config.free_on_resume
        if self.config.lr_scheduler_type == "constant":
            free |= {"max_steps"}
        return {"env_id": self.env_id, **self.config.model_dump(mode="json", exclude=set(free))}

    def _seed(self, *what: object) -> int:
        """A seed in [0, 2⁶³) for a purpose within the present step: derived, so there is nothing to save."""
        text = "/".join(map(str, (self.config.seed, self.step, *what)))
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
