"""The trainer learns, and would not with credit of the wrong sign or a mask off by one."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from agentgym.agents.trajectory import read_trajectories
from agentgym.trainers import experience
from agentgym.trainers import trainer as trainer_module
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.layout import Layout, TokenSequence, lay_out
from agentgym.trainers.policy import logprob
from tests.small_model import make_trainer

# A lake of one row: four actions, of which only "right" leads anywhere. One token a response, so that the
# mask off by one has nothing of the action left in it.
CORRIDOR = {"env_kwargs": {"map": ["SFFG"], "max_turns": 6}, "max_new_tokens": 1}


def credited(trainer) -> tuple[TurnBatch, Layout]:
    """The first step's table as it was written down, and the layout of what was played."""
    name = "step-000000.process-0"
    played = list(read_trajectories(trainer.records.run_dir / "trajectories" / f"{name}.jsonl.gz"))
    return TurnBatch.load(trainer.records.run_dir / "credit" / f"{name}.npz"), lay_out(played)


def success_rates(model_dir, run_dir, steps: int = 10, **changes: object) -> list[float]:
    settings = {"groups_per_step": 4, "group_size": 8, "max_steps": steps, "save_steps": 100}
    trainer = make_trainer(model_dir, run_dir, **CORRIDOR, **settings, **changes)
    return [metrics["success_rate"] for metrics in trainer.train()]


GRAPH_ALONE = {"credit": "graphgpo", "credit_kwargs": {"episode_weight": 0.0, "invalid_action_penalty": 0.0}}


@pytest.mark.parametrize("credit", [{}, GRAPH_ALONE], ids=["gigpo", "the graph of graphgpo alone"])
def test_success_rises(cloned_model, tmp_path, credit):
    rates = success_rates(cloned_model, tmp_path, **credit)
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


def with_credit(monkeypatch, change) -> None:
    """Have the trainer's credit changed by `change(credit, batch)`."""
    compute = trainer_module.compute

    def changed(scheme, batch, /, **params):
        return change(compute(scheme, batch, **params), batch)

    monkeypatch.setattr(trainer_module, "compute", changed)


@pytest.mark.parametrize("masked", [True, False])
def test_tokens_that_are_not_trained_on_teach_nothing(cloned_model, tmp_path, monkeypatch, masked):
    """Every other turn is told the opposite, three times as loud; masked, that does no harm."""

    def poisoned(credit, batch):
        honest_T = np.arange(batch.n_turns) % 2 == 0
        advantage_T = np.where(honest_T, credit.advantage_T, -3 * credit.advantage_T)
        return replace(credit, advantage_T=advantage_T, trained_K=honest_T[batch.turn_K] if masked else None)

    with_credit(monkeypatch, poisoned)
    rates = success_rates(cloned_model, tmp_path)
    assert (fmean(rates[-4:]) > rates[0] + 0.15) is masked


def test_a_clip_scale_holds_the_policy_back(cloned_model, tmp_path, monkeypatch):
    """With hardly any room for the ratio, nearly every token is clipped after the first of several steps."""

    def clipped(scale: float) -> tuple[float, float]:
        settings = {"max_steps": 1, "num_iterations": 4, "learning_rate": 1e-3, "group_size": 8, **CORRIDOR}
        trainer = make_trainer(cloned_model, tmp_path / str(scale), **settings)
        (metrics,) = trainer.train()
        batch, layout = credited(trainer)
        now = trainer.policy.read(layout, {"logprob": logprob})["logprob"]
        return metrics["clip_ratio"], float(np.abs(now - batch.signal("logprob_K")).mean())

    free_share, free_move = clipped(1.0)
    with_credit(monkeypatch, lambda credit, batch: replace(credit, clip_scale_T=np.full(batch.n_turns, 1e-3)))
    held_share, held_move = clipped(1e-3)
    assert held_share > free_share + 0.3
    assert held_move < free_move


def test_mask_shifted_by_one_does_not_learn(cloned_model, tmp_path, monkeypatch):
    lay_out = experience.lay_out

    def shifted(trajectories):
        layout = lay_out(trajectories)
        before = [TokenSequence(s.ids, tuple(i - 1 for i in s.sampled)) for s in layout.sequences]
        tokens = np.array([s.ids[i] for s in before for i in s.sampled])[layout.slot_K]
        return Layout(before, layout.slot_K, tokens)

    monkeypatch.setattr(experience, "lay_out", shifted)
    rates = success_rates(cloned_model, tmp_path)
    assert fmean(rates[-4:]) < rates[0] + 0.1


@pytest.mark.parametrize("scheme", ["reinforce", "grpo", "rloo", "gigpo"])
@pytest.mark.parametrize("window", [0, None])
def test_one_step_raises_what_was_rewarded(cloned_model, tmp_path, scheme, window):
    """After one small step, Σ A log π over the step's own tokens has risen, whatever the scheme and context."""
    trainer = make_trainer(
        cloned_model,
        tmp_path,
        **CORRIDOR,
        credit=scheme,
        window=window,
        group_size=8,
        learning_rate=1e-4,
        loss_aggregation="constant",
    )
    trainer.max_steps = 1
    acted = [parameter.detach().clone() for parameter in trainer.policy.parameters]
    list(trainer.train())
    batch, layout = credited(trainer)

    def objective() -> float:
        return float((batch.signal("advantage_K") * trainer.policy.read(layout, {"logprob": logprob})["logprob"]).sum())

    after = objective()
    for parameter, value in zip(trainer.policy.parameters, acted, strict=True):
        parameter.data.copy_(value)
    assert after > objective() + 1e-4
