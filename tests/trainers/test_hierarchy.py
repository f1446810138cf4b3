"""HiPER: an agent that names sub-goals learns to, and would not with the credit of its levels mixed up."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from agentgym.agents.formats import Parsed
from agentgym.envs.frozen_lake import FrozenLakeEnv
from agentgym.trainers import trainer as trainer_module
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit
from tests.small_model import make_trainer, save_cloned_model


class Words:
    """HiPER's parts in a word each, for a model that can hardly spell: "down right right" is a switch to the right."""

    name = "words"
    instructions = ""
    reads = ("switch", "subgoal", "action")

    def parse(self, response: str) -> Parsed:
        words = list(re.finditer(r"\S+", response))
        if len(words) < 3:
            lacking = {"switch": "", "subgoal": ""}
            return Parsed("", lacking, {"action": (0, len(response))}, fault="fewer than three words")
        spans = dict(zip(self.reads, (word.span() for word in words), strict=False))
        switch = "SWITCH" if words[0][0] == "down" else "KEEP"
        return Parsed(words[2][0], {"switch": switch, "subgoal": words[1][0]}, spans)

    def write(self, action: str, **parts: str) -> str:
        return f"down {parts.get('subgoal', action)} {action}"


WORDS = Words()


class WordyLake(FrozenLakeEnv):
    """A lake whose actions are three words, of which the last is the move: for demonstrations of `Words`."""

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        return super()._act(action.split()[-1])

    def _situation(self) -> dict[str, Any]:
        situation = super()._situation()
        moves = situation["admissible_actions"]
        return situation | {"admissible_actions": [f"{word} {m} {m}" for word in ("up", "down") for m in moves]}

    def expert(self) -> str:
        move = super().expert()
        return f"{'up' if self.turn % 2 else 'down'} {move} {move}"


@pytest.fixture(scope="module")
def wordy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_cloned_model(tmp_path_factory.mktemp("wordy"), make_env=partial(WordyLake, size=3))


HIPER = {
    "env_kwargs": {"map": ["SFFFG"], "max_turns": 8},
    "max_new_tokens": 4,
    "format": f"{__name__}:WORDS",
    "credit": "hiper",
    "credit_kwargs": {"gamma": 0.9, "gae_lambda": 0.0, "segment_gae_lambda": 0.0, "invalid_action_penalty": 0.0},
    "signals": {"critic": {"learning_rate": 5e-3, "num_iterations": 4}},
    "critic_warmup": 3,
    "learning_rate": 5e-3,
    "groups_per_step": 48,
    "group_size": 1,
    "max_steps": 12,
    "save_steps": 100,
}


@pytest.mark.parametrize(("seed", "is_told"), [*((seed, True) for seed in range(5)), (0, False), (1, False)])
def test_success_rises_by_the_credit_of_the_levels(wordy_model, tmp_path, monkeypatch, seed, is_told) -> None:
    """And not if the same advantages are given to the tokens of other turns."""
    compute = trainer_module.compute

    def shuffled(scheme: str, batch: TurnBatch, /, **params: object) -> Credit:
        credit = compute(scheme, batch, **params)
        return replace(credit, advantage_K=np.random.default_rng(0).permutation(credit.advantage_K))

    if not is_told:
        monkeypatch.setattr(trainer_module, "compute", shuffled)
    metrics = list(make_trainer(wordy_model, tmp_path, **HIPER, seed=seed).train())
    rates = [each["success_rate"] for each in metrics]
    assert (fmean(rates[-3:]) > fmean(rates[:4]) + 0.3) is is_told
    if is_told:
        for name in ("value_low_T", "value_high_T", "value_switch_T"):
            assert max(each[f"critic/{name}/explained_variance"] for each in metrics) > 0.1  # until all succeed
