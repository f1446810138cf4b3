"""One question of a data set, in whichever of the known formats, as a `Question` and its passages.

HotpotQA: `question`, `answer`, `context` [[title, [sentence, …]], …], `supporting_facts` [[title, number], …], either
as JSON text too.
MuSiQue: `question`, `answer`, `answer_aliases`, `paragraphs` [{`title`, `text` or `paragraph_text`,
`is_supporting`}], and in `decomposition` or `question_decomposition` the order of the hops. Search-R1: `question`
or `prompt`, `golden_answers` or `reward_model`, `data_source`. Simple: `question`, `answers`, and if there are any
`passages` [{`title`, `text`, `supporting`?}, or text].
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from agentgym.envs.search_qa.passages import Passage, parse_contents
from agentgym.envs.search_qa.questions import Question
from agentgym.envs.storable import storable

_SEARCH_R1_PREFIX = "searchR1_"


class Row(NamedTuple):
    """What a row holds."""

    question: Question
    passages: tuple[Passage, ...]


def parse_row(row: dict[str, Any], fallback_id: str) -> Row | None:
    """The question in `row`, or None if there is no answer to it: in test files, and where MuSiQue says `answerable`.

    Raises `ValueError` with what is wrong, without the place.
    """
    if row.get("answerable") is False:
        return None
    try:
        if "context" in row:
            return _hotpotqa(row, fallback_id)
        if "paragraphs" in row:
            return _musique(row, fallback_id)
        if "reward_model" in row or "golden_answers" in row:
            return _search_r1(row, fallback_id)
        return _simple(row, fallback_id)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"not in a known format: {type(error).__name__}: {error}") from None


def parse_passage(value: Any) -> Passage:
    """A passage of a corpus: {`title`, `text`}, Search-R1's {`contents`}, or a text without a title."""
    if isinstance(value, dict):
        if "contents" in value:
            return _passage(*parse_contents(_text(value, "contents")))
        return _passage(_text(value, "title") if value.get("title") else "", _text(value, "text"))
    if isinstance(value, str) and value.strip():
        return _passage("", value)
    raise ValueError(f"a passage must be an object with 'title' and 'text', or a text, not {type(value).__name__}")


def is_question(row: dict[str, Any]) -> bool:
    """Whether `row` is meant as a question, whatever may be wrong with it."""
    return "question" in row or "prompt" in row


def _hotpotqa(row: dict[str, Any], fallback_id: str) -> Row | None:
    context, facts = _parsed(row["context"]), _parsed(row.get("supporting_facts")) or ()
    if isinstance(context, dict):  # as Hugging Face's datasets lay it out: by columns
        context = list(zip(context["title"], context["sentences"], strict=True))
        facts = [(title,) for title in facts["title"]] if isinstance(facts, dict) else facts
    passages = {paragraph[0]: _passage(paragraph[0], "".join(paragraph[1])) for paragraph in context}
    titles = dict.fromkeys(fact[0] for fact in facts)
    kind = f"hotpotqa-{len(titles) or 2}hop" + (f"-{row['type']}" if row.get("type") else "")
    # In the fullwiki files, what an imperfect search had found is the context: it may lack what supports the answer.
    supporting = tuple(passages[title] for title in titles) if titles.keys() <= passages.keys() else ()
    return _row(row, [row.get("answer")], kind, supporting, fallback_id, tuple(passages.values()))


def _parsed(value: Any) -> Any:
    """Lists as they are, or written as JSON text: so 2WikiMultihopQA's Parquet files hold them."""
    return json.loads(value) if isinstance(value, str) else value


def _musique(row: dict[str, Any], fallback_id: str) -> Row | None:
    passages, supporting = [], {}
    for number, paragraph in enumerate(row["paragraphs"]):
        text = paragraph.get("text", paragraph.get("paragraph_text"))
        passages.append(_passage(paragraph["title"], text))
        if paragraph.get("is_supporting"):
            supporting[paragraph.get("idx", number)] = passages[-1]
    hops = row.get("decomposition") or row.get("question_decomposition") or ()
    order = dict.fromkeys([*(hop.get("paragraph_support_idx") for hop in hops), *supporting])
    found = tuple(supporting[index] for index in order if index in supporting)
    answers = [row.get("answer"), *_several(row.get("answer_aliases"))]
    return _row(row, answers, f"musique-{len(found)}hop", found, fallback_id, tuple(passages))


def _search_r1(row: dict[str, Any], fallback_id: str) -> Row | None:
    if not row.get("question"):  # its prompt ends with the question
        row = row | {"question": row["prompt"][-1]["content"].rpartition("Question:")[2].strip()}
    answers = row.get("golden_answers")
    if answers is None:
        answers = row["reward_model"]["ground_truth"]["target"]
    source = str(row.get("data_source") or "search-r1").removeprefix(_SEARCH_R1_PREFIX)
    return _row(row, _several(answers), source, (), fallback_id, ())


def _simple(row: dict[str, Any], fallback_id: str) -> Row | None:
    passages, supporting = [], []
    if not isinstance(row.get("passages", []), list | None):
        raise ValueError(f"'passages' is no list: {row['passages']!r}"[:100])
    for value in row.get("passages") or ():
        passages.append(parse_passage(value))
        if isinstance(value, dict) and value.get("supporting"):
            supporting.append(passages[-1])
    answers = _several(row.get("answers", row.get("answer")))
    kind = str(row.get("task_type") or (f"qa-{len(supporting)}hop" if supporting else "qa"))
    return _row(row, answers, kind, tuple(supporting), fallback_id, tuple(passages))


def _row(
    row: dict[str, Any],
    answers: Iterable[Any],
    task_type: str,
    supporting: tuple[Passage, ...],
    fallback_id: str,
    passages: tuple[Passage, ...],
) -> Row | None:
    known = [storable(str(answer)) for answer in answers if isinstance(answer, str | int | float)]
    known = list(dict.fromkeys(answer for answer in known if answer.strip()))
    text = _text(row, "question")
    if not known:
        return None
    found = row.get("id", row.get("_id"))
    source = task_type.partition("-")[0]
    question_id = f"{source}/{fallback_id if found is None else found}"
    return Row(Question(question_id, text, tuple(known), task_type, supporting), passages)


def _several(answers: Any) -> list[Any]:
    if not isinstance(answers, list | str | int | float | None):  # such as SQuAD's {"text": […], "answer_start": […]}
        raise ValueError(f"answers must be a text or a list of texts, not {answers!r}"[:100])
    return answers if isinstance(answers, list) else [] if answers is None else [answers]


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"there is no {key!r}" if value is None else f"{key!r} is no text: {value!r}"[:100])
    return storable(value.strip())


def _passage(title: str, text: str) -> Passage:
    """With single blanks, so that a passage is one line in what an agent reads."""
    return Passage(" ".join(storable(title).split()), " ".join(storable(text).split()))
