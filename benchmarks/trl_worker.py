"""One training run of TRL's GRPOTrainer for `update_vs_trl.py`; runs in TRL's own virtual environment."""

from __future__ import annotations

import time
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found]  # it is in the other virtual environment
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]
from update_task import Run, Setting, StepCounts, prompt_texts, read_setting, reward


def rewards(completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
    return [reward(completion[0]["content"]) for completion in completions]


class CountingTrainer(GRPOTrainer):  # type: ignore[misc]
    """Keeps what the last step generated, and how long that took, rewards and advantages included."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        begin = time.perf_counter()
        generated = super()._generate_and_score_completions(inputs)
        self.rollout_seconds = time.perf_counter() - begin
        self.generated = generated
        self.generations = getattr(self, "generations", 0) + 1
        return generated

    def counts(self) -> StepCounts:
        masks, ids = self.generated["completion_mask"].bool(), self.generated["completion_ids"]
        responses = [row[mask].tolist() for row, mask in zip(ids, masks, strict=True)]
        return StepCounts(self.generated["prompt_mask"].sum(1).tolist(), responses)


class Clock(TrainerCallback):  # type: ignore[misc]
    """Takes the time from the end of a step to the end of the next, its logging included."""

    def __init__(self, run: Run, trainer: CountingTrainer):
        self.run = run
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.run.begin_step()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "grad_norm" not in logs:  # the summary at the end
            return
        self.run.end_step()
        figures = {name: float(logs[name]) for name in ("loss", "grad_norm", "reward")}
        self.run.add(self.trainer.counts(), self.trainer.rollout_seconds, **figures)
        self.run.begin_step()


def make_trainer(setting: Setting) -> CountingTrainer:
    tokenizer = AutoTokenizer.from_pretrained(setting.model)
    model = AutoModelForCausalLM.from_pretrained(setting.model, dtype=torch.float32)
    marks = tokenizer.apply_chat_template(
        [{"role": "user", "content": ""}], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    prompts = [[{"role": "user", "content": text}] for text in prompt_texts(setting, len(marks))]
    config = GRPOConfig(
        output_dir=setting.output_dir,
        seed=setting.seed,
        max_steps=setting.all_steps,
        # The generation batch is the training batch: all sequences in one go, one optimizer step on them.
        per_device_train_batch_size=setting.prompts * setting.group_size,
        num_generations=setting.group_size,
        steps_per_generation=1,
        gradient_accumulation_steps=1,
        num_iterations=1,
        max_completion_length=setting.new_tokens,
        temperature=1.0,
        learning_rate=setting.learning_rate,
        lr_scheduler_type="constant",
        beta=0.0,
        loss_type="grpo",
        scale_rewards="group",
        disable_dropout=True,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        shuffle_dataset=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,  # agentgym, too, computes its metrics in every step
    )
    return CountingTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        reward_funcs=rewards,
        peft_config=LoraConfig(
            r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )


def main() -> None:
    setting = read_setting()
    torch.set_num_threads(setting.threads)
    trainer = make_trainer(setting)
    run = Run(
        trainable_parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        packages=("trl", "torch", "transformers", "peft", "accelerate"),
    )
    trainer.add_callback(Clock(run, trainer))
    trainer.train()
    if trainer.generations != setting.all_steps:
        raise RuntimeError(f"{trainer.generations} generations in {setting.all_steps} steps: not one batch a step")
    squares = (p.detach().square().sum().item() for name, p in trainer.model.named_parameters() if "lora_B" in name)
    run.print(adapter_norm=sum(squares) ** 0.5)


if __name__ == "__main__":
    main()
