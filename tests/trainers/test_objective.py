"""The trainer's losses and signals: what is refused, what is computed, and that a resumed run goes on exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agentgym.agents.run_files import list_checkpoints
from agentgym.trainers.config import TrainerConfig
from agentgym.trainers.credit import Credit, credit
from agentgym.trainers.credit.registry import _SCHEMES
from agentgym.trainers.experience import Experience
from agentgym.trainers.losses import losses
from agentgym.trainers.metrics import PhaseClock
from agentgym.trainers.objective import Objective
from agentgym.trainers.signal_names import SIGNALS
from agentgym.trainers.signals.entropy_history import EntropyHistory
from tests.small_model import make_trainer


@pytest.fixture
def scheme():
    """Registers a scheme for the test: `scheme(function, **what the decorator takes)` returns its name."""
    names = []

    def register(function, **kwargs) -> str:
        names.append("of_a_test")
        credit(names[-1], paper="", **kwargs)(function)
        return names[-1]

    yield register
    for name in names:
        _SCHEMES.pop(name, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy_loss": "gsop"}, "unknown policy loss 'gsop': did you mean 'gspo'?"),
        ({"policy_loss_kwargs": {"epsilom": 0.1}}, "ppo: unknown parameter 'epsilom': did you mean 'epsilon'"),
        ({"policy_loss": "reinforce", "epsilon": 0.1}, "reinforce: unknown parameter 'epsilon'"),
        ({"epsilon": 0.1, "policy_loss_kwargs": {"epsilon": 0.1}}, "epsilon given twice"),
        ({"entropy_smoothing": "epo"}, "entropy_smoothing is epo, but entropy_coef is 0"),
        ({"entropy_smoothing_kwargs": {"max_ratio": 2.0}}, "entropy_smoothing_kwargs are given, but"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(settings, message):
    with pytest.raises(ValueError) as failure:
        Objective.of(TrainerConfig(**settings), 1)
    assert str(failure.value).startswith(message)
    assert "\n" not in str(failure.value)


def test_the_loss_decides_what_the_configuration_leaves_open():
    gspo = Objective.of(TrainerConfig(policy_loss="gspo"), 1)
    assert (gspo.ratio_level, gspo.aggregation) == ("sequence", "sequence-mean")
    assert gspo.policy_params == {"epsilon": 3e-4, "epsilon_high": 4e-4}
    # One half given: the other is as wide, whatever the loss's own is.
    assert Objective.of(TrainerConfig(policy_loss="gspo", epsilon=0.1), 1).policy_params["epsilon_high"] is None
    ppo = Objective.of(TrainerConfig(), 1)
    assert (ppo.ratio_level, ppo.aggregation) == ("token", "token-mean")
    assert ppo.policy_params == {"epsilon": 0.2, "epsilon_high": None}


def test_a_scheme_that_needs_what_training_lacks_is_refused_before_anything_runs(cloned_model, tmp_path, scheme):
    name = scheme(lambda batch: Credit(advantage_T=batch.signal("stratum_N")), needs=["state_key", "stratum_N"])
    with pytest.raises(ValueError) as failure:
        make_trainer(cloned_model, tmp_path, credit=name)
    assert str(failure.value).startswith(
        f"of_a_test needs 'stratum_N' ({SIGNALS['stratum_N']}), which training does not"
    )


def test_parts_that_the_format_does_not_read_are_refused_before_anything_runs(cloned_model, tmp_path, scheme):
    name = scheme(lambda batch: Credit(advantage_T=batch.reward_T), needs=["parts.subgoal_T"])
    with pytest.raises(ValueError, match=r"of_a_test needs 'parts.subgoal_T'.*responses of this format do not tell"):
        make_trainer(cloned_model, tmp_path, credit=name)
    make_trainer(cloned_model, tmp_path, credit=name, format="hiper", window=1)


def test_a_clip_scale_for_a_loss_that_does_not_clip_is_refused(cloned_model, tmp_path, scheme):
    name = scheme(lambda batch: Credit(advantage_T=batch.reward_T, clip_scale_T=np.ones(batch.n_turns)))
    trainer = make_trainer(cloned_model, tmp_path, credit=name, policy_loss="sapo")
    with pytest.raises(ValueError, match="of_a_test scales the clip range of each turn, but sapo does not clip"):
        list(trainer.train())


def test_signals_are_computed_when_a_scheme_needs_them(cloned_model, tmp_path, scheme):
    """The three signals of a window context against the distributions they are defined by."""
    seen = {}

    def remember(batch):
        seen.update(batch.columns)
        return Credit(advantage_T=batch.reward_T)

    needs = ["entropy_K", "sum_pi_squared_K", "reference_logprob_K"]
    trainer = make_trainer(cloned_model, tmp_path, window=1, max_steps=1, credit=scheme(remember, needs=needs))
    torch.manual_seed(0)
    for parameter in trainer.policy.parameters:  # a fresh adapter would be the reference
        torch.nn.init.normal_(parameter, std=0.5)
    experience = Experience.of(0, trainer.rollouts.next(0).learned)
    trainer.annotate(experience, PhaseClock())

    def probabilities(adapter):
        readings = {"p": lambda of: of.logits.softmax(-1)[of.slot_K]}
        return trainer.policy.read(experience.layout, readings, adapter=adapter)["p"]

    policy, reference = probabilities("default"), probabilities(None)
    tokens = np.arange(len(policy)), experience.batch.token_K
    assert seen["entropy_K"] == pytest.approx(-(policy * np.log(policy)).sum(1), abs=1e-5)
    assert seen["sum_pi_squared_K"] == pytest.approx((policy**2).sum(1), abs=1e-5)
    assert seen["reference_logprob_K"] == pytest.approx(np.log(reference[tokens]), abs=1e-5)
    assert seen["logprob_K"] == pytest.approx(np.log(policy[tokens]), abs=1e-4)
    assert np.abs(policy - reference).max() > 1e-2


def test_no_signal_is_computed_that_nobody_needs(cloned_model, tmp_path):
    assert not make_trainer(cloned_model, tmp_path).signals
    (reference,) = make_trainer(cloned_model, tmp_path, beta=0.1).signals  # once, for the loss and for any scheme
    assert reference.wanted == {"reference_logprob_K"}


SMOOTH = {
    "entropy_coef": 0.1,
    "entropy_smoothing": "epo",
    "entropy_smoothing_kwargs": {"penalty": "hinge", "min_ratio": 0.9, "max_ratio": 1.1, "history": "per_turn"},
    "max_steps": 4,
    "save_steps": 2,
}


def history_of(trainer) -> EntropyHistory:
    return next(signal for signal in trainer.signals if isinstance(signal, EntropyHistory))


def test_a_run_with_entropy_smoothing_is_resumed_exactly(cloned_model, tmp_path):
    whole = make_trainer(cloned_model, tmp_path / "whole", **SMOOTH)
    metrics = list(whole.train())
    assert all(step["entropy_penalty"] > 0 for step in metrics)
    assert len(history_of(whole).steps) == 4

    resumed = make_trainer(cloned_model, tmp_path / "resumed", **SMOOTH)
    resumed.resume(list_checkpoints(tmp_path / "whole")[0])
    assert history_of(resumed).steps == history_of(whole).steps[:2]
    again = list(resumed.train())
    assert [step["loss"] for step in again] == [step["loss"] for step in metrics[2:]]
    for one, other in zip(whole.policy.parameters, resumed.policy.parameters, strict=True):
        assert torch.equal(one, other)


def test_every_loss_trains(cloned_model, tmp_path):
    """Two steps of each on a few tokens: whatever is prepared, gathered and reported fits together."""
    for loss in losses("policy"):
        settings = {"policy_loss": loss.name, "max_steps": 2, "num_iterations": 2, "window": None, "beta": 0.1}
        trainer = make_trainer(cloned_model, tmp_path / loss.name, **settings, kl_estimator="k2")
        steps = list(trainer.train())
        assert all(np.isfinite(list(step.values())).all() for step in steps)
        assert ("clip_ratio/bounded" in steps[0]) is (loss.name == "dual_clip")
        assert steps[1]["kl"] > 0
