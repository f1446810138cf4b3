"""Every recipe in configs/ and on the pages of docs/ can be trained with as it stands."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from agentgym.agents.model_names import TINY_MODELS
from agentgym.config import RunConfig
from agentgym.envs import make
from agentgym.trainers.credit import get_scheme

ROOT = Path(__file__).parents[2]
RECIPES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "configs").glob("*.yaml"))}
for page in sorted((ROOT / "docs").glob("*.md")):
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    whole = [block for block in blocks if "env_id:" in block]
    RECIPES |= {f"{page.name} {number}": block for number, block in enumerate(whole)}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_what_there_is(name: str) -> None:
    config = RunConfig.model_validate(yaml.safe_load(RECIPES[name]))
    make(config.env_id, **config.env_kwargs, split=config.eval_split)
    get_scheme(config.credit).check_parameters(config.credit_kwargs)
    if config.model in TINY_MODELS:
        assert (files("agentgym.agents") / TINY_MODELS[config.model] / "model.safetensors").is_file()
    else:  # or a run that another recipe makes
        made = [yaml.safe_load(recipe).get("output_dir") for recipe in RECIPES.values()]
        assert config.model in ("smollm2", *made)


def test_the_pages_have_recipes() -> None:
    assert {"quickstart.yaml", "webshop_and_search_qa.md 0"} <= RECIPES.keys()
