"""What is wrong with a call is said at once and in words: sizes, names, parameters that belong to something else."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from agentgym.agents.model_names import BUILTIN, ModelError
from agentgym.agents.models import load_model
from agentgym.cli import app
from agentgym.config import RunConfig, load_config
from agentgym.envs import registered, registration
from agentgym.overrides import ConfigError
from tests.small_model import LAKE, make_trainer


def refused(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def load(tmp_path, text: str, *overrides: str) -> tuple[RunConfig, list[str]]:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    said: list[str] = []
    return load_config(path, overrides, say=said.append), said


def test_help_tells_every_key_wherever_it_is_asked_for():
    shown = [CliRunner().invoke(app, ["train", *words]).stdout for words in (["--help"], ["x.yaml", "--a", "1", "-h"])]
    assert shown[0] == shown[1]
    assert [key for key, field in RunConfig.model_fields.items() if not field.description] == []
    assert [key for key in RunConfig.model_fields if f"\n  --{key}  " not in shown[0]] == []
    assert '--lr_scheduler_type  constant | linear | cosine  [default: "constant"]' in shown[0]
    assert "--top_p  float > 0 ≤ 1  [default: 1.0]" in shown[0]
    words = shown[0].replace(",", " ").replace(".\n", " ").split()
    assert set(BUILTIN) <= set(words) and "hiper" in words and set(registered()) - set(words) <= {"odd/Odd-v0"}


@pytest.mark.parametrize(
    "call",
    [
        *(
            f"train run.yaml --{key} nope"
            for key in ("learning_rat", "credit", "credit_kwargs.gama", "format", "model")
        ),
        "train run.yaml --help",
        f"eval --env {LAKE} --agent Random",
        f"eval --env {LAKE} --agent random --episodes 1",
    ],
)
def test_what_needs_no_model_needs_no_torch(tmp_path, call):
    (tmp_path / "run.yaml").write_text(f"env_id: {LAKE}\n")
    script = (
        "import sys, agentgym.cli\n"
        "try: agentgym.cli.main()\n"
        "finally: assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *call.split()], capture_output=True, text=True, cwd=tmp_path)
    fits = call.endswith(("--help", "--episodes 1"))
    assert done.returncode == (0 if fits else 2), done.stderr
    assert fits or done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("max_steps: 1000000000000", "max_steps: 1,000,000,000,000 steps of 128 episodes would be needed"),
        ("group_size: 10000000", "groups_per_step × group_size: 160,000,000 episodes a step would be needed"),
        ("max_new_tokens: 1000000000", "max_new_tokens: 1,000,000,000 tokens a response"),
        ("lora_r: 100000000", "lora_r: 3,276,800,000,000 bytes for each adapted matrix"),
        ("window: 1000000000", "window: 1,000,000,000 turns in a prompt"),
        ("learning_rate: .inf", "learning_rate: input should be a finite number, not inf"),
        ("learning_rate: 1e30", "learning_rate: input should be less than or equal to 1, not 1e+30"),
        ("weight_decay: .nan", "weight_decay: input should be a finite number, not nan"),
        ("temperature: .inf", "temperature: input should be a finite number, not inf"),
        ("seed: 100000000000000000000", "seed: input should be less than "),
    ],
)
def test_sizes_that_cannot_be(tmp_path, settings, words):
    with pytest.raises(ConfigError) as failure:
        load(tmp_path, f"env_id: x\n{settings}")
    assert words in str(failure.value) and "\n" not in str(failure.value)


def test_parameters_belong_to_what_they_are_for(tmp_path):
    text = (
        "env_id: a/B-v0\nenv_kwargs: {size: 3}\ncredit: gigpo\ncredit_kwargs: {mode: mean_norm}\n"
        "policy_loss: gspo\npolicy_loss_kwargs: {x: 1}\n"
    )
    config, said = load(tmp_path, text, "--credit", "gigpo", "--credit_kwargs.gamma", "0.5")
    assert config.credit_kwargs == {"mode": "mean_norm", "gamma": 0.5} and said == []
    config, said = load(tmp_path, text, "--credit", "grpo", "--credit_kwargs.scale", "none")
    assert config.credit_kwargs == {"scale": "none"} and config.env_kwargs == {"size": 3}
    assert said == [f"credit_kwargs of {tmp_path / 'run.yaml'} are left out: they are for credit gigpo, not grpo"]
    config, said = load(tmp_path, text, "--env_id", "a/C-v0", "--policy_loss", "ppo")
    assert (config.env_kwargs, config.policy_loss_kwargs, len(said)) == ({}, {}, 2)
    recorded = f"{text}epsilon: 3.0e-4\nratio_level: sequence\nloss_aggregation: sequence-mean\n"  # as a run keeps it
    config, said = load(tmp_path, recorded, "--policy_loss", "ppo", "--ratio_level", "turn")
    assert (config.epsilon, config.ratio_level, config.loss_aggregation) == (None, "turn", None)
    assert said[0].startswith("policy_loss_kwargs, epsilon, ratio_level, loss_aggregation of ")


def test_names_that_are_no_path_and_no_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "ENDPOINT", "http://nobody.invalid")  # nobody is asked
    assert "there is no agent 'Random': did you mean 'random'?" in refused("eval", "--env", LAKE, "--agent", "Random")
    (tmp_path / "run.yaml").write_text(f"env_id: {LAKE}\n")
    line = refused("train", "run.yaml", "--model", "tiny-houshold")
    assert line.startswith("error: there is no model 'tiny-houshold': did you mean 'tiny-household'")
    assert line.count("\n") == 1


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it was asked again"))
    with pytest.raises(ModelError, match=r"cannot load the model 'org/name'.*http://127\.0\.0\.1:9 cannot be reached"):
        load_model("org/name")


def test_an_environment_that_cannot_be_made_takes_nothing_away(monkeypatch):
    def broken(**kwargs):
        raise RuntimeError("no [display]\nhere")

    monkeypatch.setattr(registration, "_ours", set(registration._ours))
    registration.register("odd/Broken-v0", broken)
    rows = {row["id"]: row for row in json.loads(CliRunner().invoke(app, ["envs", "--json"]).stdout)}
    assert rows["odd/Broken-v0"]["data"].startswith("cannot be made: RuntimeError: ")
    assert "no [display]" in rows["odd/Broken-v0"]["data"]
    assert rows[LAKE]["max_turns"] == 10


def test_schemes_say_what_training_provides():
    shown = CliRunner().invoke(app, ["schemes"], env={"COLUMNS": "120"}).stdout
    middle = [line[24:48].strip() for line in shown.splitlines()]
    below = set(pairwise(middle))
    for need, answer in (
        ("state_key", "yes"), ("entropy_K", "yes"), ("answer_logprob_T", "yes"), ("duration_T", "in some worlds"),
        ("reward_parts.*_T", "in some worlds"), ("role_K", "in some formats"), ("wrong_votes_T", "if configured"),
    ):  # fmt: skip
        assert (need, answer) in below


@pytest.mark.parametrize(("scheme", "need"), [("g_ra", "reward_parts"), ("duration_weighted", "duration_T")])
def test_schemes_that_a_world_cannot_feed_are_refused_before_a_model_is_loaded(tmp_path, monkeypatch, scheme, need):
    monkeypatch.setattr("agentgym.train.make_model", lambda *args: pytest.fail("a model is loaded"))
    (tmp_path / "run.yaml").write_text(f"env_id: {LAKE}\ncredit: {scheme}\noutput_dir: {tmp_path / 'run'}\n")
    line = refused("train", tmp_path / "run.yaml")
    assert need in line and f"{LAKE} does not tell" in line and line.count("\n") == 1


def test_no_warnings_of_libraries(cloned_model, tmp_path, recwarn):
    """Of those that are shown by default: a user can do nothing about them."""
    make_trainer(cloned_model, tmp_path, gradient_checkpointing=True)
    assert [
        str(warning.message) for warning in recwarn if issubclass(warning.category, FutureWarning | UserWarning)
    ] == []


OWN = """
from agentgym import TextEnv, register

class Own(TextEnv):
    def __init__(self, split="train", max_turns=2, render_mode=None, fault=""):
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.fault = fault
        if fault == "make":
            self.broken
    instructions, task_types = "say up", ("up",)
    def _start(self, rng, options):
        if self.fault == "reset":
            return {}["nothing"]
        return "start"
    def _act(self, action): return "on", 0.5, False, True
    def _situation(self): return dict(success=False, task_id="a", task_type="up", state_key="a")

register("own/Own-v0", Own)
"""


def test_a_world_in_the_working_directory_and_its_faults(tmp_path):
    """By the console script, whose sys.path has not the working directory."""
    (tmp_path / "own_world.py").write_text(OWN)
    (tmp_path / "cut_world.py").write_text("import json\n\nclass (:\n")
    console_script = "import sys; sys.path = [p for p in sys.path if p]; from agentgym.cli import main; main()"

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", console_script, *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    env = ["--env", "own_world:own/Own-v0", "--agent", "random", "--episodes", "2"]
    done = call("eval", *env)
    assert done.returncode == 0, done.stderr
    for command, line, reason in (
        (["eval", *env, "--env-kwargs", "{fault: make}"], 9, "AttributeError: 'Own' object has no attribute 'broken'"),
        (["play", "cut_world:own/Own-v0"], 3, "SyntaxError: invalid syntax"),
    ):
        done = call(*command)
        first, place, *_, last = done.stderr.splitlines()
        assert (done.returncode, last) == (2, reason), done.stderr
        assert first.startswith("error: ") and f'_world.py", line {line}' in place, done.stderr
        assert "agentgym" not in place and "Traceback" not in done.stderr
    for command in (["eval", *env], ["play", "own_world:own/Own-v0"]):
        first = call(*command, "--env-kwargs", "{fault: reset}").stderr.splitlines()[0]
        assert first.endswith(f"KeyError: 'nothing' ({tmp_path / 'own_world.py'}, line 13); trying again afresh")
    assert "cannot import 'no_world'" in call("play", "no_world:own/Own-v0").stderr
