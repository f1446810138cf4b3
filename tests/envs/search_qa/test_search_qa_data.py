"""Question sets on disk: every format, splits, and what is said of bad data."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from agentgym.envs.search_qa.data import FileSource, read_source
from agentgym.envs.search_qa.env import SearchQaEnv
from agentgym.envs.search_qa.passages import Passage, parse_contents
from agentgym.envs.search_qa.questions import Question
from agentgym.envs.text_env import NotInstalledError

HOTPOTQA = {
    "_id": "5a",
    "question": "Which river?",
    "answer": "Seine",
    "type": "bridge",
    "supporting_facts": [["Paris", 1], ["France", 0], ["Paris", 0]],
    "context": [["France", ["A  country.", " In Europe."]], ["Paris", ["A city."]], ["Rome", ["Another."]]],
}
MUSIQUE = {
    "id": "3hop1__1",
    "question": "When?",
    "answer": "1850",
    "answer_aliases": ["in 1850", "1850"],
    "answerable": True,
    "paragraphs": [
        {"idx": 0, "title": "A", "paragraph_text": "a", "is_supporting": True},
        {"idx": 1, "title": "B", "paragraph_text": "b", "is_supporting": False},
        {"idx": 2, "title": "C", "paragraph_text": "c", "is_supporting": True},
    ],
    "question_decomposition": [{"paragraph_support_idx": 2}, {"paragraph_support_idx": 0}],
}
SEARCH_R1 = {
    "id": "train_0",
    "golden_answers": ["Oslo", "Christiania"],
    "data_source": "searchR1_nq",
    "prompt": [{"role": "user", "content": "Answer the given question. Question: where is it?\n"}],
    "reward_model": {"style": "rule", "ground_truth": {"target": ["Oslo"]}},
    "extra_info": {"split": "train", "index": 0},
}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def only(path: Path, corpus: Path | None = None) -> tuple[Question, FileSource]:
    source = FileSource(path, corpus)
    (split,) = source.splits
    (question,) = source.questions(split)
    return question, source


def test_hotpotqa(tmp_path: Path) -> None:
    question, source = only(write(tmp_path / "q.jsonl", HOTPOTQA))
    paris, france = Passage("Paris", "A city."), Passage("France", "A country. In Europe.")
    assert question == Question("hotpotqa/5a", "Which river?", ("Seine",), "hotpotqa-2hop-bridge", (paris, france))
    assert source.passages == (france, paris, Passage("Rome", "Another."))


def test_hotpotqa_without_its_supporting_passages(tmp_path: Path) -> None:
    rows = ({"supporting_facts": [["Paris", 0], ["Oslo", 0]]}, {"supporting_facts": None})
    for row in rows:
        question, _ = only(write(tmp_path / "q.jsonl", HOTPOTQA | row))
        assert question.supporting == () and question.task_type == "hotpotqa-2hop-bridge"


def test_hotpotqa_by_columns_and_as_a_list(tmp_path: Path) -> None:
    context = {"title": ["France", "Paris"], "sentences": [["A  country.", " In Europe."], ["A city."]]}
    facts = {"title": ["Paris", "France"], "sent_id": [0, 0]}
    path = tmp_path / "hotpot_dev.json"
    path.write_text(json.dumps([HOTPOTQA | {"context": context, "supporting_facts": facts}]))
    assert only(path)[0].supporting == only(write(tmp_path / "q.jsonl", HOTPOTQA))[0].supporting


def test_musique(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", MUSIQUE, MUSIQUE | {"id": "no", "question": "What?", "answerable": False})
    question, source = only(path)
    assert (question.id, question.answers) == ("musique/3hop1__1", ("1850", "in 1850"))
    assert (question.task_type, [p.title for p in question.supporting]) == ("musique-2hop", ["C", "A"])
    assert [passage.text for passage in source.passages] == ["a", "b", "c"]
    assert only(write(path, MUSIQUE | {"answer_aliases": "in 1850"}))[0].answers == ("1850", "in 1850")


def test_simple(tmp_path: Path) -> None:
    passages = [{"title": "A", "text": "b", "supporting": True}, "no title"]
    question, source = only(write(tmp_path / "q.jsonl", {"question": " W? ", "answers": "a", "passages": passages}))
    assert (question.text, question.answers, question.task_type) == ("W?", ("a",), "qa-1hop")
    assert question.supporting == (Passage("A", "b"),) and source.passages[1] == Passage("", "no title")
    assert re.fullmatch("qa/[0-9a-f]{16}", question.id)


def test_search_r1_with_a_corpus(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "train.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([SEARCH_R1]), path)
    corpus = write(tmp_path / "wiki.jsonl", {"id": "7", "contents": '"Oslo "City""\nIs in\nNorway.'})
    question, source = only(path, corpus)
    assert question == Question("nq/train_0", "where is it?", ("Oslo", "Christiania"), "nq")
    assert source.passages == (Passage('Oslo "City"', "Is in Norway."),)
    path.write_bytes(b"PAR1" + bytes(50) + b"PAR1")
    with pytest.raises(ValueError, match=re.escape(f"{path}: cannot be read: ") + r"[^\n]+\Z"):
        FileSource(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=re.escape(f"{path}: invalid Parquet")):
        FileSource(path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "q.parquet").write_bytes(b"")
    with pytest.raises(NotInstalledError, match=r"needs pyarrow: pip install 'agentgym\[parquet\]'"):
        FileSource(tmp_path / "q.parquet")


def test_search_r1_answers_in_its_reward_model() -> None:
    from agentgym.envs.search_qa.rows import parse_row

    parsed = parse_row({key: SEARCH_R1[key] for key in ("prompt", "reward_model", "data_source")}, "x")
    assert parsed is not None and parsed.question == Question("nq/x", "where is it?", ("Oslo",), "nq")


@pytest.mark.parametrize("passage", [Passage("a", "b\nc"), Passage('"', ""), Passage("", "x"), Passage('a "b"', "c")])
def test_contents_can_be_read_back(passage: Passage) -> None:
    assert parse_contents(passage.contents) == passage


def test_splits_of_a_directory(tmp_path: Path) -> None:
    rows = [{"question": f"Q{n}?", "answers": ["a"]} for n in range(6)]
    write(tmp_path / "train_1.jsonl", *rows[:4])
    write(tmp_path / "dev.jsonl", rows[2], rows[4])
    with gzip.open(tmp_path / "test.jsonl.gz", "wt") as file:
        file.write(json.dumps(rows[5]))
    write(tmp_path / "corpus.jsonl", {"title": "A", "text": "b  c"}, {"title": "A", "text": "b c"})
    source = FileSource(tmp_path)
    asked = {split: [question.text for question in source.questions(split)] for split in source.splits}
    # What the valid split asks is left out of train; copies of a passage are one.
    assert asked == {"train": ["Q0?", "Q1?", "Q3?"], "valid": ["Q2?", "Q4?"], "test": ["Q5?"]}
    assert source.passages == (Passage("A", "b c"),)


def test_official_names_say_the_split(tmp_path: Path) -> None:
    names = {"hotpot_dev_distractor_v1": "valid", "hotpot_train_v1.1": "train", "musique_ans_v1.0_test": "test"}
    for name in names:
        write(tmp_path / f"{name}.jsonl", {"question": f"{name}?", "answers": ["a"]})
    source = read_source(tmp_path, None)
    asked = {question.text: split for split in source.splits for question in source.questions(split)}
    assert asked == {f"{name}?": split for name, split in names.items()}


def test_a_single_file_is_divided(tmp_path: Path) -> None:
    path = write(tmp_path / "dev.jsonl", *({"id": n % 50, "question": f"Q{n}?", "answers": ["a"]} for n in range(200)))
    source = read_source(path, None)
    parts = {split: {question.text for question in source.questions(split)} for split in source.splits}
    assert {split: len(part) // 10 for split, part in parts.items()} == {"train": 16, "valid": 1, "test": 1}
    assert len(set.union(*parts.values())) == 200
    assert len({question.id for split in parts for question in source.questions(split)}) == 200
    assert pickle.loads(pickle.dumps(source)) is source


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"question": "Q?", "answers": ["a"]}\n\n{"question": "Q2?"', "line 3: invalid JSON"),
        ("[1]\n", "line 1: expected a JSON object, not list"),
        ('{"answers": ["a"]}\n', "line 1: there is no 'question'"),
        ('{"question": "Q?", "answers": {"text": ["a"]}}\n', "line 1: answers must be a text or a list of texts"),
        ('{"question": "Q?", "answers": ["a"], "passages": "bcd"}\n', "line 1: 'passages' is no list: 'bcd'"),
        ('{"question": 7, "answers": ["a"]}\n', "line 1: 'question' is no text: 7"),
        ('{"question": "Q?", "answers": {"a": []}, "passages": [7]}\n', "line 1: a passage must be an object"),
        ('{"question": "Q?", "answer": "a", "context": [["T"]], "supporting_facts": []}\n', "line 1: not in a known"),
        ("[" * 100_000, "line 1: JSON nested too deeply"),
        ("\n", "no question with an answer in it"),
        (b"\xff\xfe{}", "line 1: not UTF-8"),
    ],
)
def test_bad_lines(tmp_path: Path, content: str | bytes, reason: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        SearchQaEnv(data=path)
    assert str(caught.value).startswith(str(path)) and reason in str(caught.value)


@pytest.mark.parametrize("answers", [{}, {"answers": ["", " "]}, {"answer": None, "paragraphs": []}])
def test_questions_without_an_answer_are_left_out(tmp_path: Path, answers: dict[str, Any]) -> None:
    unanswered = {"question": "Q?", **answers}
    path = write(tmp_path / "q.jsonl", unanswered, {"question": "Q2?", "answers": ["a"]})
    with pytest.warns(UserWarning, match=f"{re.escape(str(path))}: 1 questions without an answer were left out"):
        source = read_source(path, None)
    assert [q.text for split in source.splits for q in source.questions(split)] == ["Q2?"]
    alone = write(tmp_path / "alone.jsonl", unanswered)
    with pytest.warns(UserWarning, match="1 questions"), pytest.raises(ValueError, match="no question with an answer"):
        read_source(alone, None)


def test_an_official_directory_as_downloaded(tmp_path: Path) -> None:
    """Test files have no answers, and MuSiQue's names its single-hop questions in a file of another form."""
    write(tmp_path / "musique_ans_v1.0_dev.jsonl", {"question": "Q?", "answers": ["a"]})
    write(tmp_path / "musique_ans_v1.0_test.jsonl", {"question": "T?", "paragraphs": []})
    write(tmp_path / "dev_test_singlehop_questions_v1.0.json", {"natural_questions": ["a"]})
    write(tmp_path / "wiki-18.jsonl", {"id": "1", "contents": "T\nText."})
    with pytest.warns(UserWarning) as caught:
        source = read_source(tmp_path, None)
    assert {split: len(source.questions(split)) for split in source.splits} == {"valid": 1}
    told = sorted(str(warning.message) for warning in caught)
    assert [message.partition(":")[0].removeprefix(f"{tmp_path}/") for message in told] == [
        "dev_test_singlehop_questions_v1.0.json",
        "musique_ans_v1.0_test.jsonl",
        "wiki-18.jsonl, line 1",
    ]


def test_lists_written_as_json_text(tmp_path: Path) -> None:
    row = {"question": "Q?", "answer": "a", "context": '[["T", ["One.", " Two."]]]', "supporting_facts": '[["T", 0]]'}
    source = read_source(write(tmp_path / "dev.jsonl", row), None)
    assert [p.text for split in source.splits for q in source.questions(split) for p in q.supporting] == ["One. Two."]


def test_bad_files(tmp_path: Path) -> None:
    cases: dict[str, bytes] = {
        "q.txt": b"",
        "q.json": b"{}",
        "q.jsonl.gz": b"no gzip",
        "r.jsonl.gz": gzip.compress(b"{}" * 99)[:-9],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    reasons = {
        "none.jsonl": "no such file or directory",
        f"{'x' * 300}.jsonl": "cannot be read: File name too long",
        "q.txt": "a file of questions ends in .jsonl",
        "q.json": "expected a JSON array of objects",
        "q.jsonl.gz": "cannot be read: Not a gzipped file",
        "r.jsonl.gz": "cannot be read: ",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=re.escape(f"{tmp_path / name}: {reason}")):
            SearchQaEnv(data=tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no questions here"):
        SearchQaEnv(data=tmp_path / "empty")


def test_nothing_to_search(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", {"question": "Q?", "answers": ["a"]})
    with pytest.raises(ValueError, match="there are no passages to search: give corpus=FILE"):
        SearchQaEnv(data=tmp_path)
    with pytest.raises(ValueError, match=r"c\.jsonl: no such file|c\.jsonl: cannot be read: No such file"):
        SearchQaEnv(data=path, corpus=tmp_path / "c.jsonl")
    bad = write(tmp_path / "c.jsonl", {"title": "A", "text": "b"}, {"title": "A"})
    with pytest.raises(ValueError, match=r"c\.jsonl, line 2: there is no 'text'"):
        SearchQaEnv(data=path, corpus=bad)


def test_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"question": "Q\\ud800?", "answers": ["a\\ud800"], "passages": ["b\\ud800"]}')
    question, source = only(path)
    assert (question.text, question.answers, source.passages[0].text) == ("Q??", ("a?",), "b?")


def test_genuine_questions(test_data: Path) -> None:
    for name, kinds in {"hotpotqa": ["2hop-bridge", "2hop-comparison"], "musique": ["2hop", "3hop", "4hop"]}.items():
        if not (test_data / name).is_dir():
            pytest.skip(f"no questions: {test_data / name}")
        source = read_source(test_data / name, None)
        assert source.task_types == tuple(f"{name}-{kind}" for kind in kinds)
        passages = set(source.passages)
        for split in source.splits:
            for question in source.questions(split):
                assert len(question.supporting) > 1 and passages.issuperset(question.supporting)
