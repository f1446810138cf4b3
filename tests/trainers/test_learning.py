"""The trainer learns, and would not with credit of the wrong sign or a mask off by one."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from agentgym.trainers import trainer as trainer_module
from agentgym.trainers import update
from agentgym.trainers.sequences import TokenSequence
from tests.small_model import make_trainer

# A lake of one row: four actions, of which only "right" leads anywhere. One token a response, so that the
# mask off by one has nothing of the action left in it.
CORRIDOR = {"env_kwargs": {"map": ["SFFG"], "max_turns": 6}, "max_new_tokens": 1}


def success_rates(model_dir, run_dir, steps: int = 10) -> list[float]:
    settings = {"groups_per_step": 4, "group_size": 8, "max_steps": steps, "save_steps": 100}
    trainer = make_trainer(model_dir, run_dir, **CORRIDOR, **settings)
    return [metrics["success_rate"] for metrics in trainer.train()]


def test_success_rises(cloned_model, tmp_path):
    rates = success_rates(cloned_model, tmp_path)
    assert rates[0] < 0.5
    assert fmean(rates[-4:]) > rates[0] + 0.25


def test_negated_credit_unlearns(cloned_model, tmp_path, monkeypatch):
    compute = trainer_module.compute

    def negated(scheme, batch, /, **params):
        credit = compute(scheme, batch, **params)
        return replace(credit, advantage_T=-credit.advantage_T)

    monkeypatch.setattr(trainer_module, "compute", negated)
    rates = success_rates(cloned_model, tmp_path)
    assert fmean(rates[-4:]) < rates[0] - 0.1


def test_mask_shifted_by_one_does_not_learn(cloned_model, tmp_path, monkeypatch):
    build = update.build_sequences

    def shifted(trajectories):
        batch = build(trajectories)
        before = [TokenSequence(s.ids, tuple(i - 1 for i in s.sampled)) for s in batch.sequences]
        tokens = np.array([s.ids[i] for s in before for i in s.sampled])[batch.slot_K]
        return replace(batch, sequences=before, token_K=tokens)

    monkeypatch.setattr(update, "build_sequences", shifted)
    rates = success_rates(cloned_model, tmp_path)
    assert fmean(rates[-4:]) < rates[0] + 0.1


@pytest.mark.parametrize("scheme", ["reinforce", "grpo", "rloo", "gigpo"])
@pytest.mark.parametrize("window", [0, None])
def test_one_step_raises_what_was_rewarded(cloned_model, tmp_path, scheme, window):
    """After one small step, Σ A log π over the step's own tokens has risen, whatever the scheme and context."""
    trainer = make_trainer(
        cloned_model,
        tmp_path,
        credit=scheme,
        window=window,
        group_size=8,
        learning_rate=1e-4,
        loss_aggregation="constant",
    )
    experience = trainer.assign_credit(trainer.collect())
    data = list(trainer.minibatches(experience))

    def objective() -> float:
        logp = update.log_probabilities(trainer.model, data[0].batch, max_tokens=4096, temperature=1.0)
        return float((data[0].advantage_K * logp).sum())

    before = objective()
    trainer.update(data)
    assert objective() > before + 1e-4
