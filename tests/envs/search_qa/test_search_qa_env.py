"""The environment: every promise of `TextEnv`, rewards, what is shown and what is not, the expert."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentgym.envs import check_text_env
from agentgym.envs.search_qa.env import SearchQaEnv
from agentgym.envs.search_qa.passages import Hit, Passage
from agentgym.envs.splits import SPLITS


class Nothing:
    """A retriever that finds nothing, and remembers what was asked."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def search(self, query: str, top_k: int) -> list[Hit]:
        self.queries.append(query)
        return []


def test_every_promise() -> None:
    check_text_env(SearchQaEnv, second_process=True)
    check_text_env(partial(SearchQaEnv, reward="f1", top_k=1, max_turns=8), seeds=(5,))


@pytest.mark.parametrize("name", ["hotpotqa", "musique"])
def test_every_promise_with_genuine_questions(test_data: Path, name: str) -> None:
    if not (test_data / name).is_dir():
        pytest.skip(f"no questions: {test_data / name}")
    check_text_env(partial(SearchQaEnv, data=test_data / name), seeds=(0, 1))


def test_an_episode() -> None:
    env = SearchQaEnv(split="train", top_k=2)
    observation, info = env.reset(seed=3)
    assert observation == f"Question: {info['task']}"
    assert (info["success"], info["score"], info["is_action_valid"]) == (False, 0.0, True)
    keys = [info["state_key"]]
    for _ in range(int(info["task_type"][-4])):
        observation, reward, terminated, _, info = env.step(env.expert())
        assert observation.startswith('<information>Doc 1(Title: "') and "\nDoc 2(" in observation
        assert "Doc 3(" not in observation and observation.endswith("</information>")
        assert (reward, terminated, info["is_action_valid"]) == (0.0, False, True)
        keys.append(info["state_key"])
    observation, _, _, _, info = env.step("dunno")
    assert not info["is_action_valid"] and "<search>" in observation and "<answer>" in observation
    assert info["state_key"] == keys[-1]  # nothing was learned
    assert env.expert() == f"<answer> {info['answers'][0]} </answer>"
    observation, reward, terminated, truncated, info = env.step(env.expert())
    assert (observation, reward, terminated, truncated) == ("Your answer is right.", 1.0, True, False)
    assert info["success"] and info["score"] == 1.0
    assert len({*keys, info["state_key"]}) == len(keys) + 1


def simple(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


ROW = {"question": "Who?", "answers": ["the River Thames", "Isis"], "passages": [{"title": "T", "text": "U"}]}


@pytest.mark.parametrize(
    ("answer", "em", "f1"),
    [("thames", 0.0, 2 / 3), ("ISIS!", 1.0, 1.0), ("river  thames", 1.0, 1.0), ("Rhine", 0.0, 0.0)],
)
def test_rewards(tmp_path: Path, answer: str, em: float, f1: float) -> None:
    simple(tmp_path / "train.jsonl", ROW)
    for reward, expected in (("em", em), ("f1", f1)):
        env = SearchQaEnv(data=tmp_path, reward=reward)  # type: ignore[arg-type]
        env.reset(seed=0)
        _, received, terminated, _, info = env.step(f"<answer>{answer}</answer>")
        assert received == pytest.approx(expected) and terminated
        assert info["success"] == (em == 1.0) and info["score"] == pytest.approx(f1)


def test_state_is_what_was_read_in_whatever_order() -> None:
    keys = []
    for queries in (("The Broken Road", "The Salt Kite"), ("The Salt Kite", "unheard", "The Broken Road")):
        env = SearchQaEnv()
        env.reset(seed=0)
        infos = [env.step(f"search[{query}]")[-1] for query in queries]
        keys.append(infos[-1]["state_key"])
        assert infos[0]["state_key"] != keys[-1]
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    "query", ["שלום 上に行く 🧊 \ud800 é", "x" * 10_000, "why " * 2_500, '"<q>[]{}\\%', "the of a", "\0"]
)
def test_odd_queries_are_searched(query: str) -> None:
    env = SearchQaEnv()
    env.reset(seed=0)
    observation, *_, info = env.step(f"<search>{query}</search>")
    assert info["is_action_valid"] and observation == "<information>Nothing was found.</information>"


def test_a_query_is_cleaned_before_it_is_sent() -> None:
    retriever = Nothing()
    env = SearchQaEnv(retriever=retriever)
    env.reset(seed=0)
    observation, *_ = env.step("<think>hm</think> <search>\n who \ud800 \n</search> thanks")
    assert retriever.queries == ["who ?"] and "Nothing was found" in observation


@pytest.mark.parametrize("split", SPLITS)
def test_the_expert_solves_every_task(split: str) -> None:
    env, solved = SearchQaEnv(split=split), Counter[tuple[str, bool]]()
    for seed in range(100):
        _, info = env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step(env.expert())
            over = terminated or truncated
        solved[info["task_type"], info["success"]] += 1
    assert set(solved) == {(kind, True) for kind in env.task_types}


def test_the_expert_reads_before_it_answers() -> None:
    env = SearchQaEnv(retriever=Nothing())
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="no query finds"):
        env.expert()
    env = SearchQaEnv(max_turns=1)
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="no turn is left"):
        env.expert()


def test_the_expert_searches_once_where_supporting_passages_are_unknown(tmp_path: Path) -> None:
    env = SearchQaEnv(data=simple(tmp_path / "q.jsonl", ROW), retriever=Nothing(), **split_of_one(tmp_path / "q.jsonl"))
    env.reset(seed=0)
    assert env.expert() == "<search> Who? </search>"
    env.step(env.expert())
    assert env.expert() == "<answer> the River Thames </answer>"


def split_of_one(path: Path) -> dict[str, str]:
    """The split into which the only question of a file fell."""
    from agentgym.envs.search_qa.data import FileSource

    return {"split": FileSource(path).splits[0]}


def shown(env: SearchQaEnv, seed: int) -> tuple[str, list[str]]:
    """Everything but found passages and the question that an agent is told in an episode, and the answers."""
    observation, info = env.reset(seed=seed)
    actions = ("", "<search> </search>", "search[", "answer", "<search> zzz </search>", "<answer> zzz </answer>")
    told = [env.instructions, observation.replace(info["task"], ""), *(env.step(action)[0] for action in actions)]
    return "\n".join(told), info["answers"]


def test_answers_are_never_shown() -> None:
    assert_never_shown(SearchQaEnv())


@pytest.mark.parametrize("name", ["hotpotqa", "musique"])
def test_genuine_answers_are_never_shown(test_data: Path, name: str) -> None:
    if not (test_data / name).is_dir():
        pytest.skip(f"no questions: {test_data / name}")
    assert_never_shown(SearchQaEnv(data=test_data / name))


def assert_never_shown(env: SearchQaEnv) -> None:
    for seed in range(60):
        told, answers = shown(env, seed)
        for answer in answers:
            assert not re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", told), (answer, told)


def test_built_in_questions_do_not_tell_their_answer() -> None:
    env = SearchQaEnv()
    for seed in range(200):
        observation, info = env.reset(seed=seed)
        assert not any(answer in observation or answer in env.instructions for answer in info["answers"])
        assert info["task"] in observation


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"reward": "bleu"}, "reward must be one of em, f1, not 'bleu'"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1, not 0"),
        ({"top_k": 2.5}, "top_k must be a whole number of at least 1, not 2.5"),
        ({"retriever": 5}, "retriever must be a text, a path or an object that can search, not 5"),
        ({"data": "~nobody_of_this_name/x"}, "no such file or directory"),
        ({"split": "dev"}, "no split 'dev', only train, valid, test"),
        ({"retriever": "bm26"}, "'bm26' is neither 'bm25' nor the directory of a sentence-transformers model"),
        ({"retriever": "http:/x"}, "the retriever's URL must be like"),
        ({"retriever": "http://x:80a"}, "the retriever's URL must be like"),
        ({"retriever": "http://[::1"}, "the retriever's URL must be like"),
        ({"retriever": "http://x", "timeout": 0}, "timeout must be above 0"),
        ({"corpus": "more.jsonl"}, "corpus='more.jsonl' needs data"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        SearchQaEnv(**arguments)


def test_passages_are_equal_by_what_they_say() -> None:
    assert Passage("a", "b").key == Passage("a", "b").key != Passage("a", "c").key


def test_a_world_whose_retriever_is_a_server_waits() -> None:
    assert SearchQaEnv(retriever="http://127.0.0.1:1").waits
    assert not SearchQaEnv().waits
