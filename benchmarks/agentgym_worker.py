"""One training run of agentgym's Trainer for `update_vs_trl.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from update_task import Run, Setting, StepCounts, prompt_texts, read_setting, reward

from agentgym.agents.contexts import ChatPieces, Context
from agentgym.agents.engines import SamplingParams
from agentgym.agents.engines.transformers import TransformersEngine
from agentgym.agents.formats import get_format
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.models import add_lora, load_model
from agentgym.agents.trajectory import Trajectory
from agentgym.envs import TextEnv
from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.trainer import Trainer


class PromptEnv(TextEnv):
    """One turn: a prompt is answered, the answer rewarded. A new seed takes the next prompt of the list."""

    instructions = ""
    task_types = ("prompt",)

    def __init__(self, prompts: list[str], tasks: dict[int, int]):
        """`tasks`, shared by all instances: which task has which prompt."""
        super().__init__(max_turns=1)
        self.prompts = prompts
        self.tasks = tasks

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self.task = int(rng.integers(2**62))
        return self.prompts[self.tasks.setdefault(self.task, len(self.tasks))]

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        return "", reward(action), True, True

    def _situation(self) -> dict[str, Any]:
        return {"success": False, "task_id": str(self.task), "task_type": "prompt", "state_key": str(self.task)}


class CountingTrainer(Trainer):
    """Keeps what the last step played."""

    def collect(self) -> list[Trajectory]:
        self.played = super().collect()
        return self.played


def make_trainer(setting: Setting) -> CountingTrainer:
    base = load_model(setting.model, dtype="float32")
    model = add_lora(base, r=16, alpha=32, dropout=0.0, target_modules="all-linear", seed=setting.seed)
    agent = LLMAgent(
        TransformersEngine(model.model, [model.tokenizer.eos_token_id]),
        model.tokenizer,
        context=Context(),
        format=get_format("plain"),
        sampling=SamplingParams(max_new_tokens=setting.new_tokens),
        context_length=model.context_length,
    )
    config = TrainerConfig(
        seed=setting.seed,
        max_steps=setting.all_steps,
        groups_per_step=setting.prompts,
        group_size=setting.group_size,
        num_envs=setting.prompts * setting.group_size,
        credit="grpo",
        learning_rate=setting.learning_rate,
        loss_aggregation="sequence-mean",
        save_steps=10**9,  # the last step is saved anyway, after its time was taken
    )
    prompts = prompt_texts(setting, len(ChatPieces(model.tokenizer, "").opening("")))
    tasks: dict[int, int] = {}
    return CountingTrainer(
        config,
        model,
        agent,
        env_id="benchmark/Prompt-v0",
        make_env=lambda: PromptEnv(prompts, tasks),
        run_dir=Path(setting.output_dir),
        accelerator=Accelerator(cpu=True),
    )


def main() -> None:
    setting = read_setting()
    torch.set_num_threads(setting.threads)
    trainer = make_trainer(setting)
    run = Run(
        trainable_parameters=sum(p.numel() for p in trainer.parameters),
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        packages=("agentgym", "torch", "transformers", "peft", "accelerate"),
    )
    run.begin_step()
    for metrics in trainer.train():
        run.end_step()
        turns = [turn for trajectory in trainer.played for turn in trajectory.turns]
        run.add(
            StepCounts([len(turn.prompt_ids) for turn in turns], [turn.response_ids for turn in turns]),
            rollout_seconds=metrics["time/rollout"] + metrics["time/signals"],
            **{name: metrics[name] for name in ("loss", "grad_norm", "reward") if name in metrics},
        )
        run.begin_step()
    squares = (p.detach().square().sum().item() for name, p in trainer.model.named_parameters() if "lora_B" in name)
    run.print(adapter_norm=sum(squares) ** 0.5)


if __name__ == "__main__":
    main()
