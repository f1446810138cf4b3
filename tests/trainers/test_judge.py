"""Judges over a real connection: what is asked, what its answers become, what a failure leaves, and that they teach."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch

from agentgym.agents import chat_client
from agentgym.agents.evaluation import NothingPlayedError
from agentgym.agents.run_files import list_checkpoints
from agentgym.build import check_training, told_by
from agentgym.config import RunConfig
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.experience import Experience
from agentgym.trainers.parts import StepError
from agentgym.trainers.processes import Processes
from agentgym.trainers.signals.judge import Judge
from agentgym.trainers.signals.judge_cache import JudgeCache
from agentgym.trainers.trainer import Trainer
from tests.judge_server import Answer, JudgeServer, episode, judge_server, of_turns
from tests.small_model import SETTINGS, make_trainer

CORRIDOR = {"env_kwargs": {"map": ["SFFG"], "max_turns": 6}, "max_new_tokens": 1, "save_steps": 100}
KEY = "sk-secret-1234567890"


def is_wrong(said: str) -> bool:
    """In the corridor only "right" leads anywhere."""
    return said.strip() != "right"


def rule_based_judge(body: dict[str, Any]) -> Answer:
    """Answers whatever is asked by `is_wrong`."""
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    if "wrong" in properties:
        return {"critique": "ü 🦊", "wrong": of_turns(body, is_wrong)}
    if "stages" in properties:
        stages = of_turns(body, lambda said: "review" if is_wrong(said) else "plan")
        return {"critique": "", "stages": stages, "scores": {"plan": 10, "research": 0, "review": 3, "answer": 0}}
    if "attribution" in properties:
        return {"critique": "", "attribution": of_turns(body, lambda said: -1 if is_wrong(said) else 3)}
    scores = properties["scores"]["properties"]
    if "goal" in scores:
        return {"critique": "", "scores": {name: scores[name]["maximum"] for name in scores}}
    return {"critique": "", "scores": of_turns(body, lambda said: 0 if is_wrong(said) else 10)}


def judged(model: Path, run_dir: Path, server: JudgeServer, scheme: str, **settings: Any) -> Trainer:
    """A trainer in the corridor. `judge`, among the settings: those of the judge."""
    judge = {"base_url": server.url, "model": "rule", "retries": 1, **settings.pop("judge", {})}
    return make_trainer(model, run_dir, **{**CORRIDOR, "credit": scheme, "signals": {"judge": judge}, **settings})


def first_step(trainer: Trainer) -> TurnBatch:
    next(trainer.train())
    return TurnBatch.load(trainer.records.run_dir / "credit" / "step-000000.process-0.npz")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_PAUSE", 0.001)


def wrong_turns(trainer: Trainer) -> np.ndarray:
    experience = Experience.of(0, trainer.rollouts.next(0, lambda *_: None).learned)
    return np.array([is_wrong(turn.response) for t in experience.trajectories for turn in t.turns])


@pytest.mark.parametrize(
    ("scheme", "judge", "expected"),
    [
        ("capo_credit", {"votes": 2}, {"wrong_votes_T": (1, 0)}),
        ("pure", {"reward_range": [-1.0, 1.0], "criteria": "haste"}, {"process_reward_T": (-1, 1)}),
        ("ppr", {}, {"process_reward_T": (0, 1)}),
        ("rubricem", {}, {"stage_T": ("review", "plan"), "stage_score_T": (0.3, 1)}),
        (
            "sotopia_rl",
            {"dimensions": {"goal": [0, 10], "secret": [-10, 0]}},
            {"attribution.goal_T": (-1, 3), "attribution.secret_T": (-1, 3)},
        ),
    ],
)
def test_what_each_scheme_needs_is_asked_and_becomes_its_columns(cloned_model, tmp_path, scheme, judge, expected):
    with judge_server(rule_based_judge) as server:
        trainer = judged(cloned_model, tmp_path, server, scheme, judge=judge)
        wrong_T = wrong_turns(trainer)
        table = first_step(trainer)
    assert 0 < wrong_T.sum() < len(wrong_T)
    for name, (of_wrong, of_right) in expected.items():
        assert table.columns[name].tolist() == [of_wrong if wrong else of_right for wrong in wrong_T]
    if scheme == "sotopia_rl":
        assert set(table.columns["score.goal_N"]) == {10} and set(table.columns["score.secret_N"]) == {0}
        assert Counter("attribution" in str(body["response_format"]) for body in server.asked)[True] > 0
    system = server.asked[0]["messages"][0]["content"]
    assert ("Judge by this: haste" in system) is ("criteria" in judge)
    asked = [json.dumps(body["messages"]) + str(body["seed"]) for body in server.asked]
    assert len(set(asked)) == len(asked)  # equal episodes are asked about once
    assert {body["temperature"] for body in server.asked} == {1.0 if "votes" in judge else 0.0}
    shown = episode(server.asked[0])
    assert shown.keys() == {"rules", "turns", "after_the_last_turn"} and "frozen lake" in shown["rules"]


def test_a_failed_judgement_excludes_the_trajectory_and_is_counted(cloned_model, tmp_path, caplog) -> None:
    """Prose at first, a number of scores that is wrong, and for one kind of episode never an answer of use."""
    tries: Counter[str] = Counter()

    def poor(body: dict[str, Any]) -> Answer:
        shown = body["messages"][1]["content"]
        tries[shown] += 1
        if tries[shown] == 1:
            return "The third turn is wrong."
        if len(episode(body)["turns"]) == 6:  # episodes that are cut off
            return {"wrong": {"1": False}} if tries[shown] == 2 else (500, {}, "oh")
        return rule_based_judge(body)

    with judge_server(poor) as server:
        trainer = judged(cloned_model, tmp_path, server, "capo_credit", groups_per_step=4)
        experience = Experience.of(0, trainer.rollouts.next(0, lambda *_: None).learned)
        metrics = next(trainer.train())
        table = TurnBatch.load(tmp_path / "credit" / "step-000000.process-0.npz")
    cut_N = experience.batch.n_turns_N == 6
    others = [i for i, cut in enumerate(cut_N) if not cut]
    lonely = [i for i in others if sum(experience.batch.group_N[others] == experience.batch.group_N[i]) == 1]
    kept = [i for i in others if i not in lonely]
    assert 0 < len(kept) < len(others) or 0 < len(kept) < len(cut_N)
    assert table.columns["place_N"].tolist() == kept
    assert metrics["judge/failed"] == cut_N.sum() and metrics["episodes/excluded"] == len(cut_N) - len(kept)
    assert metrics["tokens/trained"] == table.n_tokens and "excluded_N" not in table.columns
    assert metrics["judge/requests"] == len(server.asked) and metrics["judge/asked_again"] >= metrics["judge/questions"]
    assert metrics["judge/completion_tokens"] > 0 and metrics["judge/cached"] == 0
    (warning,) = [message for message in caplog.messages if "judged" in message]
    assert "status 500: oh" in warning and "\n" not in warning


@pytest.mark.parametrize("fault", ["prose", "key"])
def test_a_judge_of_no_use_ends_the_run_in_one_line(cloned_model, tmp_path, monkeypatch, fault) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    answers: dict[str, Answer] = {"prose": "I like it.", "key": (401, {}, f"wrong key {KEY}")}
    with judge_server(lambda _: answers[fault]) as server:
        trainer = judged(cloned_model, tmp_path, server, "capo_credit", judge={"api_key_env": "JUDGE_KEY"})
        messages = {
            "prose": "step 1: of 8 episodes none can be learned from: Judge failed so many",
            "key": "status 401",
        }
        with pytest.raises(NothingPlayedError if fault == "prose" else StepError, match=messages[fault]) as error:
            next(trainer.train())
        assert KEY not in str(error.value) and "\n" not in str(error.value)
        assert len(server.asked) <= 8 or fault == "prose"  # nobody goes on asking who is refused
    with pytest.raises(ValueError, match=r"judge: rule at http\S+: cannot be reached"):
        judged(cloned_model, tmp_path / "down", server, "capo_credit")


def test_a_resumed_run_goes_on_with_what_was_judged(cloned_model, tmp_path, monkeypatch, caplog) -> None:
    """Though the judge answers by chance, and is gone; and the key is in no file and no log."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    caplog.set_level(0)
    chance = random.Random(0)

    def moody(body: dict[str, Any]) -> Answer:
        return {"critique": KEY, "wrong": of_turns(body, lambda _: chance.random() < 0.5)}

    settings = {"judge": {"api_key_env": "JUDGE_KEY", "votes": 2}, "max_steps": 4, "save_steps": 2}
    settings["credit_kwargs"] = {"voting": "majority"}
    with judge_server(moody) as server:
        whole = judged(cloned_model, tmp_path, server, "capo_credit", **settings)
        metrics = list(whole.train())
        assert server.keys == {f"Bearer {KEY}"}
    file = tmp_path / "judgements" / "process-000.jsonl"
    with file.open("ab") as cut_short:
        cut_short.write(b'{"key": "a kill')
    settings["judge"]["base_url"] = "http://127.0.0.1:1/v1"  # it has moved, and is not asked
    resumed = judged(cloned_model, tmp_path, server, "capo_credit", **settings)
    resumed.resume(list_checkpoints(tmp_path)[0])
    rest = list(resumed.train())
    assert 0.1 < fmean(m["judge/spread"] for m in metrics) < 0.4  # ½ for votes that are one and one, 0 for agreement
    assert all(m["judge/requests"] == 0 and m["judge/cached"] == m["judge/questions"] > 0 for m in rest)
    assert [learned(m) for m in rest] == [learned(m) for m in metrics[2:]]
    assert all(map(torch.equal, whole.policy.parameters, resumed.policy.parameters))
    assert len(set(file.read_text().splitlines())) > 4
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in files) and KEY not in caplog.text


def test_a_process_knows_what_others_were_told_and_goes_on_with_its_own(tmp_path) -> None:
    caches = [JudgeCache(tmp_path, process) for process in range(3)]
    assert all(cache.is_empty for cache in caches)
    for cache in caches:
        with pytest.raises(KeyError):
            cache["same"]
    for cache, said in zip(caches, "abc", strict=True):
        cache.put("same", {"said": said})
        cache.put(said, {"said": said})
    for process, said in enumerate("abc"):
        again = JudgeCache(tmp_path, process)
        assert again["same"] == {"said": said} and again["a"] == {"said": "a"} and not again.is_empty


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"signals": {}}, "capo_credit needs 'wrong_votes_T' .*: configure the signal judge"),
        ({"signals": {}, "credit": "pure"}, "configure the signal judge or process_reward_model"),
        ({"credit": "grpo"}, "signals: judge is configured, but nothing needs what it gives"),
        ({"judge": {"base_url": "localhost"}}, "judge: base_url must be like"),
        ({"judge": {"api_key_env": KEY}}, "judge: api_key_env must be the name of an environment variable"),
        ({"judge": {"votes": 0}}, "judge: votes should be greater than or equal to 1, not 0"),
        ({"judge": {"reward_range": [1.0, -1.0]}}, "judge: reward_range goes from 1 to -1: give the lowest first"),
        ({"judge": {"dimensions": {"goal": [3, 3]}}}, r"judge: dimensions.goal goes from 3 to 3"),
        ({"judge": {"stages": ["plan", "plan"]}}, "judge: stages has a name twice"),
    ],
)
def test_wrong_settings_are_one_line_before_a_model_is_loaded(settings: dict[str, Any], message: str) -> None:
    judge = {"base_url": "http://127.0.0.1:1/v1", "model": "m", **settings.pop("judge", {})}
    values = {**SETTINGS, "model": "tiny", "credit": "capo_credit", "signals": {"judge": judge}, **settings}
    config = RunConfig.model_validate(values)
    with pytest.raises(ValueError, match=message) as error:
        check_training(config, told_by(config), Processes())
    assert KEY not in str(error.value) and "\n" not in str(error.value)


def learned(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if "time" not in name and "judge/" not in name}


LEARNED_FROM_THE_JUDGE_ALONE: dict[str, dict[str, Any]] = {
    "capo_credit": {"credit_kwargs": {"outcome_weight": 0.0}},
    "pure": {"judge": {"reward_range": [-1.0, 1.0]}},
}
# CAPO rose in 5 of 5 seeds, by 20 to 45 points in six steps, which takes too long here.


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("scheme", LEARNED_FROM_THE_JUDGE_ALONE)
def test_a_policy_learns_by_a_judge_alone(cloned_model, tmp_path, monkeypatch, scheme, is_told) -> None:
    """What the environment gives does not enter. With the scores of other turns nothing is learned."""
    told = Judge.compute

    def shuffled(self: Judge, experience: Experience) -> Any:
        rng = np.random.default_rng(experience.step)
        return {name: rng.permutation(values) for name, values in told(self, experience).items()}

    if not is_told:
        monkeypatch.setattr(Judge, "compute", shuffled)
    sizes = {"groups_per_step": 4, "group_size": 8, "max_steps": 6}
    with judge_server(rule_based_judge) as server:
        trainer = judged(cloned_model, tmp_path, server, scheme, **sizes, **LEARNED_FROM_THE_JUDGE_ALONE[scheme])
        rates = [metrics["success_rate"] for metrics in trainer.train()]
    assert (fmean(rates[-3:]) > rates[0] + 0.15) is is_told
