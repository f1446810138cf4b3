"""Run configurations: read, overridden, and refused with the path of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentgym.config import RunConfig, load_config
from agentgym.overrides import ConfigError, parse_overrides


def load(tmp_path: Path, text: str, *overrides: str) -> RunConfig:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return load_config(path, overrides)


def test_values_of_the_file_and_overrides_on_top(tmp_path):
    text = "env_id: a/B-v0\nlearning_rate: 1e-3\ncredit_kwargs: {gamma: 0.5, mode: mean_norm}\n"
    config = load(tmp_path, text, "--credit_kwargs.gamma", "0.9", "--max-steps=7", "--env_kwargs.data.path", "x")
    assert config.learning_rate == 1e-3  # a string in YAML 1.1
    assert config.credit_kwargs == {"gamma": 0.9, "mode": "mean_norm"}
    assert config.max_steps == 7
    assert config.env_kwargs == {"data": {"path": "x"}}


def test_overrides_are_yaml():
    words = ["--a", "1e-4", "--b", "[x, 2]", "--c=null", "--d", "true", "--e", "-1.5", "--f=a=b"]
    assert parse_overrides(words) == {"a": 1e-4, "b": ["x", 2], "c": None, "d": True, "e": -1.5, "f": "a=b"}


def test_the_shipped_recipes_are_valid():
    recipes = list((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        load_config(recipe)


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("env_id: x\nlearning_rat: 1", [], "unknown key 'learning_rat'; did you mean learning_rate?"),
        ("env_id: x", ["--zzz", "1"], "unknown key 'zzz'"),
        ("env_id: x\nmax_steps: many", [], "max_steps: input should be a valid integer"),
        ("env_id: x\ngroup_size: 0", [], "group_size: input should be greater than or equal to 1, not 0"),
        ("env_id: x\nlora_target_modules: 3", [], "lora_target_modules: input should be a valid string or "),
        ("env_id: x\nreport_to: [tensorboard, 3]", [], "report_to.1: input should be a valid string, not 3"),
        ("env_id: x\ndtype: half", [], "dtype: input should be 'auto', 'float32' or 'bfloat16', not 'half'"),
        ("env_id: x\ncredit_kwargs: 3", [], "credit_kwargs: input should be a valid dictionary, not 3"),
        ("max_steps: 3", [], "the key 'env_id' is missing"),
        ("env_id: x", ["--max_steps"], "--max_steps needs a value"),
        ("env_id: x", ["max_steps", "3"], "unexpected argument 'max_steps'"),
        ("env_id: x", ["--max_steps", "[1"], "--max_steps: '[1' is not a YAML value"),
        ("env_id: x", ["--env_id.sub", "1"], "--env_id.sub: env_id is not a group of keys"),
        ("- a\n- b", [], "must hold keys and values, not a list"),
        ("", [], "must hold keys and values, not a NoneType"),
        ("a: [1\nb: 2", [], "line 2 is not YAML"),
    ],
)
def test_a_fault_is_one_line_with_its_path(tmp_path, text, overrides, words):
    with pytest.raises(ConfigError) as failure:
        load(tmp_path, text, *overrides)
    assert words in str(failure.value)
    assert "\n" not in str(failure.value)


def test_several_faults_are_a_line_each(tmp_path):
    with pytest.raises(ConfigError) as failure:
        load(tmp_path, "env_id: x\nmax_steps: many\nlearning_rat: 1")
    assert len(str(failure.value).splitlines()) == 2


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"env_id: \xe9")
    for path in (tmp_path / "missing.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(ConfigError, match="cannot read the configuration") as failure:
            load_config(path)
        assert str(path) in str(failure.value)
