"""One training run of agentgym's Trainer for `update_vs_trl.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from update_task import Run, Setting, StepCounts, prompt_texts, read_setting, reward

from agentgym import build
from agentgym.agents.contexts import ChatPieces
from agentgym.agents.run_files import trajectory_path
from agentgym.agents.trajectory import read_trajectories
from agentgym.config import RunConfig
from agentgym.envs import TextEnv, register
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


def make_trainer(setting: Setting) -> Trainer:
    prompts: list[str] = []
    tasks: dict[int, int] = {}
    register("benchmark/Prompt-v0", lambda split: PromptEnv(prompts, tasks))
    config = RunConfig(
        env_id="benchmark/Prompt-v0",
        model=setting.model,
        dtype="float32",
        lora_r=16,
        lora_alpha=32,
        max_new_tokens=setting.new_tokens,
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
    model = build.make_model(config)
    prompts += prompt_texts(setting, len(ChatPieces(model.tokenizer, "").opening("")))
    agent = build.make_agent(config, model, config.temperature)
    return build.make_trainer(config, model, agent, Path(setting.output_dir))


def main() -> None:
    setting = read_setting()
    torch.set_num_threads(setting.threads)
    trainer = make_trainer(setting)
    run = Run(
        trainable_parameters=sum(p.numel() for p in trainer.policy.parameters),
        parameters=sum(p.numel() for p in trainer.policy.model.parameters()),
        packages=("agentgym", "torch", "transformers", "peft", "accelerate"),
    )
    run.begin_step()
    for metrics in trainer.train():
        run.end_step()
        played = list(read_trajectories(trajectory_path(trainer.records.run_dir, int(metrics["step"]) - 1, process=0)))
        turns = [turn for trajectory in played for turn in trajectory.turns]
        run.add(
            StepCounts([len(ids) for t in played for ids in t.prompts()], [turn.response_ids for turn in turns]),
            rollout_seconds=metrics["time/rollout"] + metrics["time/credit"],
            **{name: metrics[name] for name in ("loss", "grad_norm", "reward") if name in metrics},
        )
        run.begin_step()
    squares = (
        p.detach().square().sum().item() for name, p in trainer.policy.model.named_parameters() if "lora_B" in name
    )
    run.print(adapter_norm=sum(squares) ** 0.5)


if __name__ == "__main__":
    main()
