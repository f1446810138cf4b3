"""Reflect, then retry (R³L): what a retry begins with, what is learned from it, and that it teaches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from agentgym.agents.agent import Decision, InstantAgent, View
from agentgym.agents.branching import Branching
from agentgym.agents.engines import Request, Sample
from agentgym.agents.episode import Branch, EpisodeSpec
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.reflection import PolicyReflector, read_reflection
from agentgym.agents.rollout import play
from agentgym.agents.trajectory import Trajectory, Turn
from agentgym.trainers import trainer as trainer_module
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit
from agentgym.trainers.trainer import Trainer
from tests.riddle_lake import HINT, RIDDLE, FirstMistake
from tests.small_model import make_trainer

# One row, and one turn to spare: three of four moves must be right.
RETRIED: dict[str, Any] = {
    "env_id": RIDDLE,
    "env_kwargs": {"map": ["SFFG"], "max_turns": 4},
    "max_new_tokens": 1,
    "retry": f"{FirstMistake.__module__}:FirstMistake",
    "credit": "r3l",
    "policy_loss": "opmd",
    "groups_per_step": 8,
    "group_size": 4,
    "max_steps": 12,
    "learning_rate": 1e-2,
    "save_steps": 100,
}
NO_RETRY: dict[str, Any] = {"retry": None}


def rise(model_dir: Path, run_dir: Path, **settings: Any) -> float:
    """By how much the success rate of attempts, which are told nothing, rises."""
    metrics = list(make_trainer(model_dir, run_dir, **(RETRIED | {"learn_reflections": False} | settings)).train())
    rates = [each["success_rate"] for each in metrics]
    return fmean(rates[-3:]) - fmean(rates[:2])


@pytest.mark.parametrize("seed", range(5))
def test_what_is_done_when_told_is_learned_untold(cloned_model: Path, tmp_path: Path, seed: int) -> None:
    assert rise(cloned_model, tmp_path, seed=seed) > 0.25


def test_with_ratios_too(cloned_model: Path, tmp_path: Path) -> None:
    assert rise(cloned_model, tmp_path, credit="grpo", policy_loss="ppo", num_iterations=2) > 0.25


@pytest.mark.parametrize("seed", range(2))
def test_not_without_retries(cloned_model: Path, tmp_path: Path, seed: int) -> None:
    assert rise(cloned_model, tmp_path, seed=seed, **NO_RETRY) < 0.1


@pytest.mark.parametrize("seed", range(2))
def test_not_from_others_credit(cloned_model: Path, tmp_path: Path, monkeypatch: Any, seed: int) -> None:
    compute = trainer_module.compute

    def shuffled(scheme: str, batch: TurnBatch, /, **params: object) -> Credit:
        credit = compute(scheme, batch, **params)
        assert credit.advantage_T is not None
        return replace(credit, advantage_T=np.random.default_rng(0).permutation(credit.advantage_T))

    monkeypatch.setattr(trainer_module, "compute", shuffled)
    assert rise(cloned_model, tmp_path, seed=seed) < 0.1


# What a retry is --------------------------------------------------------------------------------------------


class Repeat(InstantAgent):
    """Says, whatever it is shown, what was said at the same turn of a trajectory."""

    trainable = True

    def __init__(self, agent: LLMAgent, said: Trajectory):
        super().__init__()
        self.agent, self.said = agent, said

    def decide(self, view: View) -> Decision:
        turn = self.said.turns[view.turn]
        said = Decision(turn.action, turn.response, False, [], turn.response_ids)
        return self.agent.after(view, said)


def prompts_of(trajectory: Trajectory, agent: LLMAgent) -> list[str]:
    return [str(agent.tokenizer.decode(prompt)) for prompt in trajectory.prompts()]


def retried(model_dir: Path, run_dir: Path, **settings: Any) -> tuple[Trainer, LLMAgent, list[Trajectory]]:
    """A step's trajectories, all that is learned from."""
    trainer = make_trainer(model_dir, run_dir, **RETRIED | settings)
    collected = trainer.rollouts.next(0, lambda *_: None)
    return trainer, trainer.rollouts.retries.agent, collected.learned


@pytest.mark.parametrize("window", [None, 0, 2])
def test_a_distilled_retry_is_the_untold_episode_token_by_token(
    cloned_model: Path, tmp_path: Path, window: int | None
) -> None:
    trainer, agent, learned = retried(cloned_model, tmp_path, window=window)
    distilled = [t for t in learned if t.retry == "distilled"]
    guided = {t.episode: t for t in learned if t.retry == "guided"}
    assert len(distilled) > 8 and guided
    assert any(t.pivot > 0 for t in distilled)
    for trajectory in distilled[:12]:
        assert not any(HINT in prompt for prompt in prompts_of(trajectory, agent))
        start = EpisodeSpec(trajectory.env_id, trajectory.seed, "0/0", 0)
        (untold,) = play(Repeat(agent, trajectory), trainer.rollouts.make_env, [start])
        for ours, theirs in zip(trajectory.turns, untold.turns, strict=True):
            assert (ours.continues, ours.prompt_ids) == (theirs.continues, theirs.prompt_ids)
            assert (ours.observation, ours.reward) == (theirs.observation, theirs.reward)
        known = [bool(turn.logprobs) for turn in trajectory.turns]
        assert known == [t < trajectory.pivot for t in range(len(known))]
    for trajectory in guided.values():
        told = [HINT in prompt for prompt in prompts_of(trajectory, agent)]
        assert told == [t >= trajectory.pivot for t in range(len(told))]


def test_attempt_and_retry_are_learned_from_where_they_part(cloned_model: Path, tmp_path: Path) -> None:
    trainer = make_trainer(cloned_model, tmp_path, **RETRIED | {"max_steps": 1, "group_size": 12})
    (metrics,) = trainer.train()
    (file,) = (tmp_path / "credit").iterdir()
    batch = TurnBatch.load(file)
    pivot_N, trained_K = batch.columns["pivot_N"], batch.columns["trained_K"]
    assert 0 < metrics["retry/pivot"] < 1 and metrics["episodes"] == 8 * 12
    assert (trained_K == (batch.turn_index_T >= pivot_N[batch.trajectory_T])[batch.turn_K]).all()
    assert metrics["tokens/trained"] == trained_K.sum() < batch.n_tokens
    assert np.isnan(batch.columns["logprob_K"]).any()
    # What was sampled after these prompts was, guided retries too, as the trainer finds.
    assert metrics["sampler_logp_difference/max"] < 1e-4


def test_old_policy_of_a_distilled_retry_is_the_policy_before_the_step(cloned_model: Path, tmp_path: Path) -> None:
    """So that all ratios are 1 while the policy stands still: not those to what it does when told."""
    norms = []
    for number in (1, 2):
        settings = {"policy_loss": "ppo", "learning_rate": 1e-9, "max_steps": 1, "num_iterations": number}
        (metrics,) = make_trainer(cloned_model, tmp_path / str(number), **RETRIED | settings).train()
        assert metrics["clip_ratio"] == 0
        norms.append(metrics["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@pytest.mark.parametrize("changes", [{}, {"env_state": None}])
def test_a_snapshot_and_the_same_actions_lead_to_the_same_moment(
    cloned_model: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    trainer, agent, _ = retried(cloned_model, tmp_path, env_id="agentgym/FrozenLake-v0")
    attempts = Branching(agent)
    whole = play(attempts, trainer.rollouts.make_env, [EpisodeSpec("", seed, "0/0", seed) for seed in range(6)])
    branches = [attempts.branch(t, len(t.turns) - 1, int(t.episode.rpartition("/")[2])) for t in whole]
    again = play(agent, trainer.rollouts.make_env, [replace(branch, **changes) for branch in branches])
    assert again == whole  # the same seed: the last turn is played alike


def test_an_environment_that_does_not_lead_back_costs_the_retry_and_no_more(cloned_model: Path, tmp_path: Path) -> None:
    trainer, agent, learned = retried(cloned_model, tmp_path)
    elsewhere = replace(learned[0], turns=[replace(learned[0].turns[0], observation="another place")], stop_reason=None)
    branch = Branch(EpisodeSpec("", learned[0].seed, "0/0", 1), None, [elsewhere], ("?", {"state_key": ""}))
    (lost,) = play(agent, trainer.rollouts.make_env, [branch])
    assert not lost.counts and "the same actions lead elsewhere after 0 turns" in (lost.error or "")


# Who reflects -----------------------------------------------------------------------------------------------


class Scripted:
    """An engine that answers with texts, one after the other."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]):
        self.tokenizer, self.texts, self.asked = tokenizer, list(texts), list[Request]()
        self.waiting: list[Request] = []

    def submit(self, requests: Sequence[Request]) -> None:
        self.waiting += requests
        self.asked += requests

    def collect(self) -> list[Sample]:
        ids = self.tokenizer.encode(self.texts.pop(0), add_special_tokens=False)
        return [Sample(self.waiting.pop(0).key, ids, [-1.0] * len(ids), 3)]


def test_the_policy_reflects_in_json_or_not_at_all(cloned_model: Path, tmp_path: Path) -> None:
    _, agent, learned = retried(cloned_model, tmp_path)
    failed = [t for t in learned if not t.success and not t.retry][:3]
    good = json.dumps({"root_cause": "I stood still.", "improvement": "Go right.", "retry_from_step": 1})
    agent.engine = Scripted(agent.tokenizer, [f"Well: {good} So there.", "I do not know."])
    agent.context_length = 4096
    failed[2] = replace(failed[2], turns=[replace(failed[2].turns[0], observation="far too long " * 2000)])
    reflections = PolicyReflector(agent, max_new_tokens=300).reflect("Cross the ice.", failed)
    assert [reflection is None for reflection in reflections] == [False, True, True]
    assert len(agent.engine.asked) == 2
    first = reflections[0]
    assert first is not None and first.guidance.turn == 1
    assert "I stood still." in first.guidance.text and "Go right." in first.guidance.text
    assert isinstance(first.written, Turn) and first.written.policy_step == 3 and first.written.logprobs
    shown = agent.tokenizer.decode(first.written.prompt_ids)
    assert "Cross the ice." in shown and "Step 3" in shown and "Step 4" not in shown


@pytest.mark.parametrize(
    "response",
    [
        "",
        "{",
        "{" * 100_000,
        '{"improvement": "Go."}',
        '{"improvement": "Go.", "retry_from_step": 4}',
        '{"improvement": "Go.", "retry_from_step": -1}',
        '{"improvement": "Go.", "retry_from_step": true}',
        '{"improvement": "Go.", "retry_from_step": "1"}',
        '{"improvement": 7, "retry_from_step": 1}',
    ],
)
def test_what_names_no_step_and_no_improvement_is_no_reflection(response: str) -> None:
    assert read_reflection(response, 4) is None


def test_a_helpful_reflection_is_learned_from_in_a_group_of_its_own(cloned_model: Path, tmp_path: Path) -> None:
    trainer = make_trainer(cloned_model, tmp_path, **RETRIED)
    retries, written = trainer.rollouts.retries, Turn("", "reflection", "", prompt_ids=[1], response_ids=[2, 3])
    plain = retries.reflector.reflect
    retries.reflector.reflect = lambda *given: [replace(each, written=written) for each in plain(*given)]
    collected = trainer.rollouts.next(0, lambda *_: None)
    kinds = {kind: [t for t in collected.learned if t.retry == kind] for kind in ("distilled", "guided", "reflection")}
    helped = [t for t in kinds["distilled"] if t.success]
    assert len(helped) == len(kinds["guided"]) == len(kinds["reflection"]) > 0
    alone = [t.group for t in chain(kinds["guided"], kinds["reflection"])]
    assert len({*alone}) == len(alone) and not {*alone} & {t.group for t in kinds["distilled"]}
    assert all(t.total_reward == 1 and len(t.turns) == 1 for t in kinds["reflection"])
    batch = TurnBatch.from_trajectories([t for t in collected.learned if t.retry in ("guided", "reflection")])
    assert (trainer.scheme.give(batch).advantage_T == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retry": None, "retry_kwargs": {"text": ""}}, "retry_kwargs are given, but retry is null"),
        ({"retry": "polcy"}, "unknown reflector 'polcy'.*'policy'"),
        ({"retry": "json:loads"}, "a class with a method `reflect` is expected"),
        ({"retry": "policy", "retry_kwargs": {"max_new_tokens": 0}}, "max_new_tokens"),
        ({"retry": "policy"}, "max_new_tokens 1024 leaves nothing of the context of 256 tokens"),
        ({"credit": "optimal_token_baseline"}, "needs 'logprob_K': the tokens of a retry"),
        ({"credit": "remax"}, "needs 'greedy_return_N': .* set learn_reflections to false"),
    ],
)
def test_what_cannot_be_retried_is_said_before_anything_is_played(
    cloned_model: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make_trainer(cloned_model, tmp_path, **RETRIED | settings)
    assert "\n" not in str(caught.value)
