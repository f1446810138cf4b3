"""What a training run can be told. Names are TRL's, PEFT's and transformers' where they have one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentgym.trainers.choices import Aggregation, KLEstimator, RatioLevel, ScheduleType


class TrainerConfig(BaseModel):
    """The training loop's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
    free_on_resume: ClassVar[frozenset[str]] = frozenset(
        {
            "save_steps",
            "save_total_limit",
            "num_envs",
            "env_workers",
            "env_timeout",
            "trajectory_steps",
            "demonstration_workers",
        }
    )
    """What a resumed run may be told otherwise than the interrupted one, and still be the same run."""

    seed: int = Field(0, ge=-(2**63), lt=2**63)
    """All randomness of a run derives from it: tasks, sampling, LoRA's initialisation, minibatches."""
    max_steps: int = Field(100, ge=1)
    """Training steps: each collects groups and updates on them."""
    groups_per_step: int = Field(16, ge=1)
    """Tasks a step, over all processes together."""
    group_size: int = Field(8, ge=1)
    """Episodes of one task."""
    num_envs: int = Field(128, ge=1)
    """Episodes that are live at a time, in each process."""
    env_workers: int = Field(16, ge=1)
    """Environments that are reset and stepped side by side, of those that wait for something."""
    env_timeout: float | None = Field(None, gt=0)
    """Seconds for a reset or a step. If given, each environment lives in a process of its own, which is ended and
    replaced when its time is up, and all are stepped side by side."""

    trainer: Literal["reinforcement", "offline", "cloning"] = "reinforcement"
    """What is learned from: what the agent plays, by its rewards; "offline", what somebody has played, by its rewards;
    or "cloning", demonstrations, word by word. Then the credit scheme, the policy loss and signals have no say, and
    tasks, filters and replay in neither of the two."""
    demonstrations: str = "expert"
    """What cloning learns from: "expert", the environment's own; a file of trajectories; or a run, of which the
    successes are taken. Offline a file or a run, of which everything is taken, group by group."""
    demonstration_noise: float = Field(0.0, ge=0, le=1)
    """How often the expert does something random instead, so that what is cloned goes on exploring."""
    demonstration_workers: int = Field(1, ge=0)
    """Processes in which demonstrations are played ahead; 0 plays them in the training process."""

    task_sampler: str = "uniform"
    """Which tasks are drawn: "uniform", "curriculum" (those half mastered more often), or one of your own as
    "module:Class" (`agentgym.trainers.tasks`)."""
    task_sampler_kwargs: dict[str, Any] = Field(default_factory=dict)
    """The sampler's parameters."""
    group_filter: str | None = None
    """Which groups are learned from: null for all, "spread" for those whose returns differ (dynamic sampling), or
    "module:function". Groups that are dropped are drawn anew."""
    success_replay: bool = False
    """Whether a group that failed as a whole learns from an earlier success of its task (ARPO)."""
    success_replay_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Its parameters (`agentgym.trainers.replay.SuccessReplay`)."""
    retry: str | None = None
    """Who reflects on failed episodes, which are tried again from the turn that the reflection names (R³L): null for
    nobody, "policy", or one of your own as "module:Class" (`agentgym.agents.reflection`)."""
    retry_kwargs: dict[str, Any] = Field(default_factory=dict)
    """The reflector's parameters."""
    learn_reflections: bool = True
    """With `retry`: whether reflections that have helped, and retries as they were played, are learned from too."""

    replayed_states: int = Field(0, ge=0)
    """Of how many situations of all episodes so far, answered anew, the policy learns in each step, in place of what
    was just played; for a critic with a replay buffer (credit archer). 0 for none."""

    credit: str = "gigpo"
    """A credit scheme; `agentgym schemes` lists them."""
    credit_kwargs: dict[str, Any] = Field(default_factory=dict)
    """The scheme's parameters."""
    signals: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Signals of your own, "module:Class", and their parameters; those that need none are found by themselves."""
    critic_warmup: int = Field(0, ge=0)
    """Training steps before the policy's first, in which only critics and other signals learn."""

    learning_rate: float = Field(1e-5, gt=0, le=1)
    """AdamW's, after the warm-up."""
    lr_scheduler_type: ScheduleType = "constant"
    """How the learning rate goes on after the warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Optimizer steps in which the learning rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's."""
    max_grad_norm: float = Field(1.0, gt=0)
    """The gradient is scaled down to this norm where it is larger."""
    num_iterations: int = Field(1, ge=1)
    """Passes over each batch (μ in GRPO)."""
    num_minibatches: int = Field(1, ge=1)
    """Optimizer steps a pass; whole groups are dealt to them."""
    max_tokens_per_micro_batch: int = Field(16384, ge=1)
    """A minibatch's gradient is accumulated over micro-batches of at most this many tokens, padding counted."""
    policy_loss: str = "ppo"
    """What is made of ratios and advantages: ppo, dual_clip, gspo, cispo, …; `agentgym schemes` lists them."""
    policy_loss_kwargs: dict[str, Any] = Field(default_factory=dict)
    """The policy loss's parameters."""
    epsilon: float | None = Field(None, gt=0)
    """The clip range, and its lower half where `epsilon_high` is given; the policy loss's own (0.2 in ppo) if null."""
    epsilon_high: float | None = Field(None, gt=0)
    """The upper half of the clip range; `epsilon` if null."""
    ratio_level: RatioLevel | None = None
    """Of what the ratio to the old policy is taken: token, turn or sequence; the policy loss's own if null."""
    loss_aggregation: Aggregation | None = None
    """What the loss is averaged over; the policy loss's own (token-mean in ppo) if null."""
    beta: float = Field(0.0, ge=0)
    """Weight of the KL divergence to the reference policy, the model without its adapter."""
    kl_estimator: KLEstimator = "k3"
    """How that divergence is estimated."""
    entropy_coef: float = Field(0.0, ge=0)
    """Weight of the entropy bonus."""
    entropy_smoothing: str | None = None
    """A penalty, within the entropy bonus, on entropies that leave the range of the past: a regulariser of
    `agentgym schemes`, such as epo."""
    entropy_smoothing_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Its parameters."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again for the gradient: slower, with less memory."""

    save_steps: int = Field(10, ge=1)
    """Steps between checkpoints; the last step is always saved."""
    save_total_limit: int = Field(2, ge=1)
    """How many checkpoints are kept."""
    trajectory_steps: int = Field(1, ge=1)
    """Of so many steps one keeps its trajectories and their credit on the disk."""
