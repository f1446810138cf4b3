"""A run's configuration: a YAML file and dotted overrides, checked key by key."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import Field, ValidationError

from agentgym.agents.formats import get_format
from agentgym.agents.model_names import check_model_name
from agentgym.agents.run_files import CONFIG, METRICS
from agentgym.overrides import ConfigError, parse_overrides, read_yaml
from agentgym.sizes import check_sizes
from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.credit import get_scheme


class RunConfig(TrainerConfig):
    """Everything `agentgym train` can be told: the trainer's settings, and whom it trains where."""

    free_on_resume: ClassVar[frozenset[str]] = TrainerConfig.free_on_resume | {
        "eval_episodes", "eval_split", "eval_seed", "eval_temperature", "eval_partner",
        "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "report_to",
    }  # fmt: skip

    env_id: str
    """A registered environment; `agentgym envs` lists them."""
    env_kwargs: dict[str, Any] = Field(default_factory=dict)
    """The environment's constructor arguments, but for `split` and `max_turns`."""
    max_turns: int | None = Field(None, ge=1)
    """Turns until an episode is truncated; the environment's own limit if not given."""
    players: str | dict[str, str | dict[str, float]] | None = None
    """In a game of several seats: "self-play" for a learner in all of them, or by seat "learner" or a partner. That is
    a name of the game's, "mixture" (also for a seat that is left out), "start" (the model before training), "pool"
    (the run's own past), "expert", "random", a directory of a model or a run, server:URL#MODEL, or "module:name"; or
    several with weights, of which one is drawn for each task. Null plays one seat, by the environment's arguments."""
    pool_steps: int = Field(10, ge=1)
    """Training steps from one member of the partner "pool" to the next; the first is the start."""

    model: str = "tiny"
    """A built-in model, "smollm2" (two packages of PyPI, see README), a directory of a model, an adapter or a run, or
    a hub id like org/name."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """"auto" is bfloat16 where the device computes in it, else float32."""
    lora_r: int = Field(16, ge=1)
    """The adapter's rank."""
    lora_alpha: int = Field(32, ge=1)
    """The adapter is scaled by `lora_alpha` / `lora_r`."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of the adapter's inputs in updates."""
    lora_target_modules: str | list[str] = "all-linear"
    """The modules that get an adapter, by PEFT's rules."""

    format: str = "plain"
    """What a response looks like: "plain" (the action alone), "think" (thinking, then the action in tags), "hiper"
    (switch, sub-goal and action in tags), or "my_module:my_format"."""
    window: int | None = Field(None, ge=0)
    """Past turns in the prompt; null shows the whole dialogue."""
    show_admissible_actions: bool = False
    """Whether the prompt lists the actions that would be understood now, in worlds that can list them."""
    max_new_tokens: int = Field(64, ge=1)
    """The most tokens of a response, in each turn."""
    temperature: float = Field(1.0, gt=0)
    """Sampling's, in training."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Tokens are drawn from the most probable ones that make up this share of the probability."""

    eval_episodes: int = Field(100, ge=0)
    """Held-out tasks to evaluate on before and after training; 0 for no evaluation."""
    eval_split: str = "valid"
    """The split that the held-out tasks are of; `agentgym envs` lists an environment's."""
    eval_seed: int = Field(0, ge=0)
    """The panel is the tasks of the seeds from here on."""
    eval_temperature: float | None = Field(None, ge=0)
    """The temperature of evaluation; that of training if not given."""
    eval_partner: str | dict[str, float] | None = None
    """With `players`: who holds the other seats when a learner's seat is evaluated. If not given whoever does in
    training; where that is a learner the game's mixture, or "start" if it has none. "pool" stands for "start" here."""

    output_dir: str | None = None
    """The run directory; by default runs/<configuration>-<time>."""
    overwrite_output_dir: bool = False
    """Whether a run that is there already may be deleted."""
    resume_from_checkpoint: bool | str = False
    """A checkpoint directory, or true for the last one in `output_dir`."""
    report_to: list[str] = Field(default_factory=list)
    """Trackers of accelerate besides metrics.jsonl: tensorboard, wandb, …"""


OWNED = {
    "credit": ("credit_kwargs",),
    "policy_loss": ("policy_loss_kwargs", "epsilon", "epsilon_high", "ratio_level", "loss_aggregation"),
    "entropy_smoothing": ("entropy_smoothing_kwargs",),
    "task_sampler": ("task_sampler_kwargs",),
    "success_replay": ("success_replay_kwargs",),
    "retry": ("retry_kwargs",),
    "env_id": ("env_kwargs", "max_turns", "players", "eval_partner"),
}
"""A key → the keys that hold its value's parameters."""


def load_config(
    path: Path, overrides: Sequence[str] = (), *, say: Callable[[str], None] = lambda line: None
) -> RunConfig:
    """Read a YAML file and apply overrides such as `["--credit_kwargs.gamma", "0.9"]`.

    The file's `credit_kwargs` belong to the file's `credit`: where an override names another scheme they are left out,
    and `say` is told so in a line. The like for all in `OWNED`.

    The file that a run keeps stands for that run: its `output_dir` is where it lies.

    Raises `ConfigError`: a file that is missing or not YAML, a key that does not exist (with near matches),
    a value of the wrong type, an override without a value.
    """
    values = read_yaml(path)
    if path.name == CONFIG and (path.parent / METRICS).is_file():
        values["output_dir"] = str(path.parent)
    given = parse_overrides(overrides)
    for owner, params in OWNED.items():
        of_file = values.get(owner, RunConfig.model_fields[owner].default)
        if owner in given and given[owner] != of_file:
            dropped = [name for name in params if values.pop(name, None)]
            if dropped:
                names = " and ".join(dropped) if len(dropped) < 3 else ", ".join(dropped)
                say(f"{names} of {path} are left out: they are for {owner} {of_file}, not {given[owner]}")
    for key, value in given.items():
        _set(values, key, value)
    config = validate(values, source=str(path))
    check_sizes(config)
    return config


def check_choices(config: RunConfig) -> None:
    """Raise `ValueError` in one line for a name or parameter that does not exist, of those known without torch."""
    scheme = get_scheme(config.credit)
    scheme.check_parameters(config.credit_kwargs)
    get_format(config.format)
    check_model_name(config.model)


def command_line(words: Sequence[str], *, processes: int) -> str:
    """The command that trains with these words in so many processes, as a shell takes it."""
    if processes == 1:
        return f"agentgym train {shlex.join(words)}"
    return f"accelerate launch --num_processes {processes} -m agentgym.train {shlex.join(words)}"


def load_run_config(path: Path) -> RunConfig:
    """The configuration that a run keeps. Raises `ConfigError` in one line, also for that of something else."""
    try:
        return load_config(path)
    except ConfigError as error:
        first, *others = str(error).splitlines()
        more = f" (and {len(others)} more such lines)" if others else ""
        raise ConfigError(f"{first}{more}: this is no configuration of a run") from error


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the dotted `key` in nested dictionaries."""
    *parents, last = key.split(".")
    for name in parents:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--{key}: {name} is not a group of keys")
    values[last] = value


def validate(values: dict[str, Any], source: str) -> RunConfig:
    """Check `values`. Raises `ConfigError` naming every faulty key."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        faults: dict[str, list[dict[str, Any]]] = {}
        for fault in error.errors():
            faults.setdefault(_path(fault["loc"]), []).append(cast("dict[str, Any]", fault))
        raise ConfigError("\n".join(f"{source}: {_describe(*of_key)}" for of_key in faults.items())) from error


def try_environment(env_id: str, make_env: Callable[[], object]) -> None:
    """Make an environment once. Raises `ValueError` for what cannot be made, `ConfigError` for ill-typed arguments."""
    try:
        make_env()
    except TypeError as error:
        raise ConfigError(f"env_kwargs: {env_id} cannot be made with them: {error}") from error


def _path(location: tuple[int | str, ...]) -> str:
    """The dotted path of a key. The alternatives of a union, which pydantic also names, are no part of it."""
    return ".".join(str(part) for i, part in enumerate(location) if i == 0 or isinstance(part, int))


def _describe(key: str, faults: list[dict[str, Any]]) -> str:
    """What is wrong with a key: one fault, or one for each alternative of a union."""
    fault = faults[0]
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, RunConfig.model_fields, n=3)
        return f"unknown key {key!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
    if fault["type"] == "missing":
        return f"the key {key!r} is missing"
    reasons = " or ".join(f"{f['msg'][0].lower()}{f['msg'][1:]}" for f in faults)
    return f"{key}: {reasons}, not {fault['input']!r}"
