"""Every recipe in configs/ and on the pages of docs/ can be trained with as it stands."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentgym.agents.model_names import TINY_MODELS
from agentgym.build import make_agent, make_model, make_trainer
from agentgym.config import RunConfig
from agentgym.envs import make
from agentgym.overrides import read_yaml
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


PAPERS = sorted((ROOT / "configs" / "papers").glob("*.yaml"))
TINY = {"ALFWorld": "tiny-household", "WebShop": "tiny-shopper", "SearchQA": "tiny-searcher"}
SMALL: dict[str, Any] = {
    "gradient_checkpointing": False, "max_new_tokens": 4, "groups_per_step": 2, "max_steps": 1, "num_minibatches": 1,
    "critic_warmup": 0, "eval_episodes": 0,
}  # fmt: skip


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_a_papers_recipe_takes_a_step_with_a_tiny_model_on_data_of_our_own(path: Path, tmp_path: Path) -> None:
    recipe = read_yaml(path)
    assert recipe["model"].startswith("Qwen/Qwen2.5-") and recipe["env_kwargs"]["data"] != "builtin"
    world = next(name for name in TINY if name in recipe["env_id"])
    env_kwargs = recipe["env_kwargs"] | {"data": "builtin"} | ({"size": "small"} if world == "ALFWorld" else {})
    changed = SMALL | {"model": TINY[world], "env_kwargs": env_kwargs, "group_size": min(recipe["group_size"], 2)}
    if "replayed_states" in recipe:
        changed["replayed_states"] = 4
        changed["signals"] = {"twin_critic": recipe["signals"]["twin_critic"] | {"num_updates": 1, "batch_size": 4}}
    config = RunConfig.model_validate(recipe | changed | {"max_turns": 2})
    loaded = make_model(config)
    trainer = make_trainer(config, loaded, make_agent(config, loaded, config.temperature), tmp_path)
    (metrics,) = trainer.train()
    assert metrics["tokens/trained"] > 0


def test_the_pages_have_recipes() -> None:
    assert {"quickstart.yaml", "webshop_and_search_qa.md 0"} <= RECIPES.keys()
