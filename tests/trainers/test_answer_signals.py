"""The true answer's probability: the answer's own tokens after exactly what the agent saw, and nobody else sees it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agentgym.agents.formats import FORMATS, get_format
from agentgym.agents.trajectory import StopReason
from agentgym.trainers.experience import Experience
from agentgym.trainers.signals.answers import AnswerProbability
from agentgym.trainers.signals.forced_answers import forced_answers
from tests.small_model import make_trainer

SEARCH = {
    "env_id": "agentgym/SearchQA-v0",
    "env_kwargs": {"top_k": 1, "max_turns": 3},
    "model": "tiny-searcher",
    "max_new_tokens": 24,
    "groups_per_step": 2,
    "group_size": 3,
    "max_steps": 1,
    "credit": "igpo",
    "max_tokens_per_micro_batch": 900,
}


@pytest.fixture(scope="module", params=[{"window": None}, {"window": 1}, {"window": None, "format": "think"}], ids=str)
def trainer(request, tmp_path_factory):
    """Of a model that searches, with what it played."""
    trainer = make_trainer("tiny-searcher", tmp_path_factory.mktemp("run"), **{**SEARCH, **request.param})
    return trainer, trainer.rollouts.next(0).learned


def agent_of(trainer):
    return trainer.rollouts.players


def told_of(trainer):
    return trainer.signals[0].resources.told


def forced_in(trainer, trajectories):
    return [
        forced_answers(agent_of(trainer), each, told_of(trainer).rules(""), told_of(trainer).answer_form)
        for each in trajectories
    ]


def test_it_is_what_one_forward_pass_each_would_say(trainer):
    trainer, trajectories = trainer
    signal = AnswerProbability(trainer.signals[0].resources, frozenset(AnswerProbability.gives))
    signals = signal.compute(Experience.of(0, trajectories))
    slow = [[slowly(trainer, trajectory, t) for t in range(len(trajectory.turns) + 1)] for trajectory in trajectories]
    before, after = [m for each in slow for m in each[:-1]], [each[-1] for each in slow]
    assert len({round(m, 3) for m in before}) > 3  # what is compared differs
    np.testing.assert_allclose(signals["answer_logprob_T"], before, atol=1e-4)
    np.testing.assert_allclose(signals["final_answer_logprob_N"], after, atol=1e-4)
    np.testing.assert_allclose(signals["answer_prob_T"], np.exp(before), atol=1e-4)
    np.testing.assert_allclose(signals["final_answer_prob_N"], np.exp(after), atol=1e-4)


@torch.no_grad()
def slowly(trainer, trajectory, t: int) -> float:
    """The mean log-probability of the answer's tokens before turn `t`: token by token, from text and prompt alone."""
    agent, tokenizer = agent_of(trainer), agent_of(trainer).tokenizer
    if t < len(trajectory.turns):
        prompt = trajectory.prompts()[t]
    else:
        prompt = agent.prompts(trajectory, told_of(trainer).rules(""))[-1]
    response = agent.format.write(f"<answer> {trajectory.answers[0]} </answer>")
    ids = [*prompt, *tokenizer.encode(response, add_special_tokens=False)]
    logps = []
    for place in range(len(prompt), len(ids)):
        written = tokenizer.decode(ids[len(prompt) : place + 1])
        if response.index(trajectory.answers[0]) < len(written) and trajectory.answers[0] not in tokenizer.decode(
            ids[len(prompt) : place]
        ):
            logits = trainer.policy.model(input_ids=torch.tensor([ids[:place]])).logits[0, -1]
            logps.append(float(torch.log_softmax(logits.double(), -1)[ids[place]]))
    return float(np.mean(logps))


def test_the_tokens_are_the_answers_and_the_prompts_those_that_were_shown(trainer):
    trainer, trajectories = trainer
    decode = agent_of(trainer).tokenizer.decode
    for trajectory, forced in zip(trajectories, forced_in(trainer, trajectories), strict=True):
        assert len(forced) == len(trajectory.turns) + 1
        for prompt, each in zip(trajectory.prompts(), forced, strict=False):
            assert list(each.ids[: len(prompt)]) == prompt
            assert decode([each.ids[place] for place in each.answer]).strip() == trajectory.answers[0]
            assert each.answer[-1] == len(each.ids) - 1
        if agent_of(trainer).context.window is None:  # a dialogue ends with what was seen last
            last = trajectory.prompts()[-1]
            assert list(forced[-1].ids[: len(last)]) == last
        # What ends an episode tells the outcome, and is shown to nobody.
        is_seen = trajectory.final_observation in decode(list(forced[-1].ids))
        assert is_seen is (trajectory.stop_reason is StopReason.MAX_TURNS)
    if agent_of(trainer).format.name == "plain":  # the only one in which this model can answer
        assert {each.stop_reason for each in trajectories} >= {StopReason.MAX_TURNS, StopReason.TERMINATED}


def test_no_prompt_has_the_answer_before_it_was_read(trainer):
    trainer, trajectories = trainer
    for trajectory in trajectories:
        read = ""
        for turn, prompt in zip(trajectory.turns, trajectory.prompts(), strict=True):
            read += turn.observation
            if trajectory.answers[0] not in read:
                assert trajectory.answers[0] not in agent_of(trainer).tokenizer.decode(prompt)
            read += turn.response


def test_a_prompt_that_leaves_no_room_is_cut_at_its_beginning(trainer, monkeypatch):
    trainer, (trajectory, *_) = trainer
    whole = forced_in(trainer, [trajectory])[0]
    length = len(whole[0].ids) - 5
    monkeypatch.setattr(agent_of(trainer), "context_length", length)
    cut = forced_in(trainer, [trajectory])[0]
    assert [each.ids for each in cut] == [each.ids[-length:] for each in whole]
    assert all(decoded(trainer, a) == decoded(trainer, b) for a, b in zip(cut, whole, strict=True))


def decoded(trainer, forced) -> str:
    return agent_of(trainer).tokenizer.decode([forced.ids[place] for place in forced.answer])


@pytest.mark.parametrize(("answers", "message"), [([], "has no answer"), ([""], "the answer is empty")])
def test_without_an_answer_there_is_no_signal(trainer, answers, message):
    trainer, (trajectory, *_) = trainer
    with pytest.raises(ValueError, match=message):
        forced_in(trainer, [replace(trajectory, answers=answers)])


@pytest.mark.parametrize("answer", ["Žižek", "東京", "a b", "1066", "U.S.", "{answer}", "<|end|>"])
def test_any_answer_has_tokens(trainer, answer):
    trainer, (trajectory, *_) = trainer
    forced = forced_in(trainer, [replace(trajectory, answers=[answer])])[0]
    assert answer in decoded(trainer, forced[0])


@pytest.mark.parametrize("name", FORMATS)
def test_a_forced_response_gives_the_action(name):
    action = "<answer> 42 </answer>"
    assert get_format(name).parse(get_format(name).write(action)).action == action


@pytest.mark.parametrize("credit", ["igpo", "a2tgpo", "grpo_vps"])
def test_schemes_that_need_it_train(tmp_path, credit):
    trainer = make_trainer(
        "tiny-searcher", tmp_path, **{**SEARCH, "credit": credit, "group_size": 8, "temperature": 1.5}
    )
    (metrics,) = trainer.train()
    assert metrics["grad_norm"] > 0


def test_a_world_without_answers_is_refused_before_anything_is_played(cloned_model, tmp_path):
    with pytest.raises(
        ValueError, match="the signal AnswerProbability needs 'answers', which agentgym/FrozenLake-v0 does not tell"
    ):
        make_trainer(cloned_model, tmp_path, credit="igpo")
