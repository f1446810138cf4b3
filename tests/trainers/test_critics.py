"""Value critics: they come to know values that are known exactly, and the policy learns by them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch

from agentgym.agents.run_files import list_checkpoints
from agentgym.agents.trajectory import Turn
from agentgym.trainers.credit import compute
from agentgym.trainers.experience import Experience
from agentgym.trainers.policy import Policy, hidden, logprob
from agentgym.trainers.signals.critic import Critic, first_of_action
from agentgym.trainers.signals.heads import ValueHead
from agentgym.trainers.trainer import Trainer
from tests.small_model import make_trainer

GAMMA = 0.9
SINGLES = {"groups_per_step": 32, "group_size": 1, "max_new_tokens": 1, "save_steps": 100}
QUICK = {"critic": {"learning_rate": 5e-3, "num_iterations": 4}}
TURN_PPO = {"credit": "turn_ppo", "credit_kwargs": {"gamma": GAMMA}, "signals": QUICK}


def played(trainer: Trainer, step: int) -> Experience:
    return Experience.of(step, trainer.rollouts.next(step, lambda *_: None).learned)


def test_values_and_the_policy_gradient_are_those_of_the_chain(cloned_model: Path, tmp_path: Path) -> None:
    """Three squares and a goal behind them: V solves V = R + γ P V for the policy's own probabilities."""
    chain = {"env_kwargs": {"map": ["SFFG"], "max_turns": 60}, **SINGLES, **TURN_PPO}
    trainer = make_trainer(cloned_model, tmp_path, **chain, critic_warmup=30, max_steps=31)
    metrics = list(islice(trainer.train(), 30))
    assert metrics[-1]["critic/value_T/explained_variance"] > metrics[0]["critic/value_T/explained_variance"]

    experience = played(trainer, 31)
    square_T = np.array([["P__G", "_P_G", "__PG"].index(seen[-4:]) for seen in experience.batch.observation_T])
    value_S = exact_values(trainer, experience, square_T)

    experience = experience.with_columns(trainer.signals[0].compute(experience))
    assert experience.batch.columns["value_T"] == pytest.approx(value_S[square_T], abs=0.05)

    exact = experience.with_columns({"value_T": value_S[square_T]})
    gradients = [policy_gradient(trainer.policy, each) for each in (experience, exact)]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def exact_values(trainer: Trainer, experience: Experience, square_T: np.ndarray) -> np.ndarray:
    """Of the three squares from the left. What is no move, one in a hundred, leaves one where one is."""
    tokenizer = trainer.rollouts.players.tokenizer
    words = np.array([tokenizer.decode([token]).strip() for token in range(len(tokenizer))])
    readings = {"log_probs": lambda of: of.log_probs[of.slot_K]}
    probability_TV = np.exp(trainer.policy.read(experience.layout, readings)["log_probs"])
    first_S = [int(np.flatnonzero(square_T == square)[0]) for square in range(3)]
    right_S, left_S = (probability_TV[first_S][:, words == word].sum(1) for word in ("right", "left"))
    moves_SS = np.diag(1 - right_S - left_S) + np.diag(right_S[:2], 1) + np.diag(left_S[1:], -1)
    moves_SS[0, 0] += left_S[0]
    return np.linalg.solve(np.eye(3) - GAMMA * moves_SS, np.array([0, 0, right_S[2]]))


def policy_gradient(policy: Policy, experience: Experience) -> torch.Tensor:
    """Of Σ A log π, with the advantages r + γ V' − V."""
    credit = compute("turn_ppo", experience.batch, gamma=GAMMA, gae_lambda=0.0, whiten=False)
    advantage_K = credit.token_advantages(experience.batch)
    loss = sum((each.pick(advantage_K) * each.logprob_K).sum() for each in policy.passes(experience.layout))
    gradients = torch.autograd.grad(loss, policy.parameters)  # type: ignore[arg-type]
    return torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("credit", ["ppo", "turn_ppo"])
def test_a_cut_off_episode_goes_on_with_the_value_of_what_was_seen_last(cloned_model, tmp_path, credit) -> None:
    kwargs = {"gamma": GAMMA, "bootstrap_truncated": True}

    def lake(max_turns: int) -> Trainer:
        world = {"env_kwargs": {"map": ["SFFG"], "max_turns": max_turns}, **SINGLES}
        run_dir = tmp_path / str(max_turns)
        return make_trainer(cloned_model, run_dir, **world, credit=credit, credit_kwargs=kwargs, signals=QUICK)

    trainer = lake(3)
    experience = played(trainer, 0)
    cut_N = experience.batch.truncated_N
    (critic,) = trainer.signals
    critic.head.linear.weight.data.normal_()
    final_value_N = critic.compute(experience)["final_value_N"]
    following = played(lake(4), 0)  # the same episodes; those cut off have one turn more
    fourth_T = following.batch.turn_offsets_N[:-1][cut_N] + 3
    at = following.batch.token_offsets_T[fourth_T] if credit == "ppo" else fourth_T
    expected = critic.compute(following)["value_K" if credit == "ppo" else "value_T"][at]
    assert cut_N.any() and final_value_N[cut_N] == pytest.approx(expected, abs=1e-5)
    assert not final_value_N[~cut_N].any()


def test_the_critic_shares_the_base_and_nothing_else(cloned_model: Path, tmp_path: Path) -> None:
    trainer = make_trainer(cloned_model, tmp_path, **SINGLES, **TURN_PPO, lora_dropout=0.1)
    experience = played(trainer, 0)
    (critic,) = trainer.signals
    policy = trainer.policy
    states = [policy.read(experience.layout, {"h": hidden}, with_logits=w)["h"] for w in (True, False)]
    assert np.array_equal(*states)
    before = policy.read(experience.layout, {"logprob": logprob})["logprob"]
    weights = [parameter.clone() for parameter in policy.parameters]
    columns = critic.compute(experience)
    for _ in range(3):
        critic.fit(experience.with_columns(columns), {"value_T": np.ones(experience.batch.n_turns)})
    assert np.array_equal(policy.read(experience.layout, {"logprob": logprob})["logprob"], before)
    assert all(map(torch.equal, policy.parameters, weights)) and all(p.requires_grad for p in policy.parameters)
    assert np.abs(critic.compute(experience)["value_T"] - columns["value_T"]).min() > 0


def test_the_size_of_rewards_makes_no_difference(cloned_model: Path, tmp_path: Path) -> None:
    """What ten times the returns teach is ten times the values, clip range and all; and a larger return keeps them."""
    facts, values = [], []
    for size in (1.0, 10.0):
        trainer = make_trainer(cloned_model, tmp_path / str(size), **SINGLES, **TURN_PPO)
        experience = played(trainer, 0)
        (critic,) = trainer.signals
        for _ in range(3):
            experience = experience.with_columns(critic.compute(experience))
            facts.append(critic.fit(experience, {"value_T": size * np.linspace(-1, 1, experience.batch.n_turns)}))
        values.append(critic.compute(experience)["value_T"] / size)
    assert values[1] == pytest.approx(values[0], abs=1e-4) and np.abs(values[0]).max() > 0.1
    for one, ten in zip(facts[:3], facts[3:], strict=True):
        same = {name for name in one if "return" not in name}
        assert {name: ten[name] for name in same} == pytest.approx({name: one[name] for name in same}, abs=1e-3)

    head = ValueHead(4, 2, torch.device("cpu"))
    torch.nn.init.normal_(head.linear.weight)
    states = torch.randn(3, 4)
    before = head.unit * head(states)
    for largest in (0.0, 0.25, 7.0, 3.0):
        head.widen(largest)
        assert torch.allclose(head.unit * head(states), before)
    assert head.unit == 7.0


def test_a_resumed_run_is_the_one_that_was_not_interrupted(cloned_model: Path, tmp_path: Path) -> None:
    settings = {**SINGLES, **TURN_PPO, "groups_per_step": 4, "max_steps": 4, "save_steps": 2, "lora_dropout": 0.1}
    whole = make_trainer(cloned_model, tmp_path / "whole", **settings)
    metrics = list(whole.train())
    resumed = make_trainer(cloned_model, tmp_path / "resumed", **settings)
    resumed.resume(list_checkpoints(tmp_path / "whole")[0])
    rest = list(resumed.train())
    assert [without_times(m) for m in rest] == [without_times(m) for m in metrics[2:]]
    states = [trainer.signals[0].state_dict() for trainer in (whole, resumed)]
    assert all(torch.equal(states[0]["adapter"][key], states[1]["adapter"][key]) for key in states[0]["adapter"])
    assert any(weight.any() for key, weight in states[0]["adapter"].items() if "lora_B" in key)


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if "time" not in name}


def test_a_model_of_its_own(cloned_model: Path, tmp_path: Path) -> None:
    own = {"critic": {"model": str(cloned_model), "lora_r": 2}}
    trainer = make_trainer(cloned_model, tmp_path / "a", **SINGLES, **TURN_PPO | {"signals": own}, max_steps=1)
    (critic,) = trainer.signals
    assert critic.model.reader is not trainer.policy
    assert next(trainer.train())["critic/value_T/loss"] >= 0
    own["critic"]["model"] = "tiny-shopper"
    with pytest.raises(ValueError, match="critic: tiny-shopper has another tokenizer than the policy"):
        make_trainer(cloned_model, tmp_path / "b", **TURN_PPO | {"signals": own})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"signals": QUICK, "credit": "grpo"}, "signals: critic is configured, but nothing needs what it gives"),
        ({"signals": {"critic": {"epsilon": 0}}, "credit": "ppo"}, "epsilon .*greater than 0"),
        ({"signals": {"critik": {}}, "credit": "ppo"}, "unknown signal 'critik': did you mean 'critic'"),
        ({"critic_warmup": 3, "credit": "ppo"}, "critic_warmup is 3 of 3 training steps"),
    ],
)
def test_wrong_settings(cloned_model: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(cloned_model, tmp_path, **settings)


def test_where_the_value_of_acting_is_read() -> None:
    def turn(**spans: tuple[int, int]) -> Turn:
        return Turn("", "", "", 0.0, True, response_ids=[1] * 9, spans=spans)

    assert first_of_action(turn(switch=(0, 2), subgoal=(2, 5), action=(5, 9))) == 5
    assert first_of_action(turn(switch=(0, 2), action=(2, 9))) == 2
    assert first_of_action(turn(action=(0, 9))) == 0
    assert first_of_action(turn(subgoal=(4, 9))) == 0  # nothing comes after it


def shuffled(compute):
    """The values of other turns."""

    def changed(self, experience):
        rng = np.random.default_rng(experience.step)
        return {name: rng.permutation(values) for name, values in compute(self, experience).items()}

    return changed


@pytest.mark.parametrize(("seed", "is_told"), [*((seed, True) for seed in range(5)), (0, False), (1, False)])
def test_a_policy_learns_by_the_critic_alone(cloned_model, tmp_path, monkeypatch, seed, is_told) -> None:
    """Without λ only the last step of an episode sees a reward; the way there is told by the critic, or by nobody."""
    if not is_told:
        monkeypatch.setattr(Critic, "compute", shuffled(Critic.compute))
    corridor = {"env_kwargs": {"map": ["SFFFFG"], "max_turns": 8}, **SINGLES}
    kwargs = {"gamma": GAMMA, "gae_lambda": 0.0}
    settings = {"credit_kwargs": kwargs, "learning_rate": 5e-3, "critic_warmup": 4, "max_steps": 16, "seed": seed}
    trainer = make_trainer(cloned_model, tmp_path, **corridor, **TURN_PPO | settings)
    rates = [metrics["success_rate"] for metrics in trainer.train()]
    assert (fmean(rates[-3:]) > fmean(rates[:5]) + 0.3) is is_told
