"""Search question answering (`agentgym/SearchQA-v0`): find the passages that lead to an answer, then answer.

The task and its actions are those of Search-R1 (arXiv:2503.09516): what the agent writes between `<search>` marks is
searched, what is found comes back as `<information>`, and what it writes between `<answer>` marks ends the episode.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from agentgym.envs.search_qa.actions import Action, parse_action
from agentgym.envs.search_qa.builtin import BuiltinSource
from agentgym.envs.search_qa.data import read_source
from agentgym.envs.search_qa.passages import Passage, Retriever, information
from agentgym.envs.search_qa.questions import Question, QuestionSource
from agentgym.envs.search_qa.retrievers import BM25, make_retriever
from agentgym.envs.search_qa.scoring import exact_match, f1
from agentgym.envs.text_env import NoPlanError, TextEnv
from agentgym.envs.user_path import user_path

Reward = Literal["em", "f1"]

BUILTIN = "builtin"


class SearchQaEnv(TextEnv):
    """Answer a question with what a search finds.

    Args:
        data: "builtin", questions of 2 to 4 hops about a made-up world (`world`); or a file or directory of
            questions in the formats of HotpotQA, MuSiQue and Search-R1, or simpler (`rows`, `data`).
        corpus: a file of passages to search, with those that `data` has: JSONL of {`title`, `text`} or Search-R1's
            {`contents`}.
        retriever: "bm25"; the URL of a server that speaks Search-R1's protocol (`agentgym serve-retriever`); the
            directory of a sentence-transformers model; or an object with the method `search` (see `Retriever`).
        top_k: how many passages a search shows; 3 as in Search-R1.
        reward: what an answer earns: "em", 1 if it equals a right answer after SQuAD's normalization, else 0; or
            "f1", the F1 of its tokens. Every other turn earns 0. `score` is the F1 and `success` the exact match
            in either case.
        split: as the data has them; a single file is divided into train, valid and test.
        max_turns: turns until truncation. By default 6: a search for each of up to 4 hops, one to spare, and the
            answer.
        timeout, retries: for a server, seconds to wait and how often to ask again. After that a search raises
            `RetrieverError`, and the episode counts as failed for technical reasons.
    """

    instructions = (
        "You are asked a question that takes several steps. Do not guess: search for what you need to know, one thing "
        "after the other.\n"
        "Each turn you do one of two things.\n"
        "To search, write: <search> your query </search>\n"
        "The passages that fit best are shown to you between <information> and </information>.\n"
        "When you know what was asked, write: <answer> your answer </answer>\n"
        "Give only the name, date or number that was asked, without explanation. You can do it once."
    )

    answer_form = "<answer> {answer} </answer>"

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {"_source", "_retriever"}

    def __init__(
        self,
        *,
        data: str | Path = BUILTIN,
        corpus: str | Path | None = None,
        retriever: str | Path | Retriever = BM25,
        top_k: int = 3,
        reward: Reward = "em",
        split: str = "train",
        max_turns: int = 6,
        timeout: float = 10.0,
        retries: int = 3,
        render_mode: str | None = None,
    ):
        """See the class. Raises `ValueError` for data that cannot be used and for arguments out of range."""
        if reward not in get_args(Reward):
            raise ValueError(f"reward must be one of {', '.join(get_args(Reward))}, not {reward!r}")
        if not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k must be a whole number of at least 1, not {top_k!r}")
        self._source: QuestionSource = open_source(data, corpus)
        self.splits, self.task_types = self._source.splits, self._source.task_types
        if split not in self.splits:
            raise ValueError(f"{data}: no split {split!r}, only {', '.join(self.splits)}")
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.data_source = str(data)
        self.top_k, self.reward = top_k, reward
        if isinstance(retriever, str | Path):
            retriever = make_retriever(retriever, self._source, timeout=timeout, retries=retries)
        if not callable(getattr(retriever, "search", None)):
            raise ValueError(f"retriever must be a text, a path or an object that can search, not {retriever!r}")
        self._retriever: Retriever = retriever
        self.waits = getattr(retriever, "waits", False)
        self.action_space.examples = ("<search> a town </search>", "search[who founded it]", "<answer> 1850 </answer>")

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self._question: Question = self._source.draw(self.split, rng)
        self._read: frozenset[str] = frozenset()  # the keys of all passages that were shown
        self._searched = False
        self._answer: str | None = None
        return f"Question: {self._question.text}"

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        parsed = parse_action(action)
        if isinstance(parsed, str):
            return parsed, 0.0, False, False
        if parsed.kind == "search":
            return self._search(parsed.text), 0.0, False, True
        self._answer = parsed.text
        right = self._is_right()
        reward = float(right) if self.reward == "em" else self._score()
        return f"Your answer is {'right' if right else 'wrong'}.", reward, True, True

    def _search(self, query: str) -> str:
        hits = self._retriever.search(query, self.top_k)
        self._searched = True
        self._read |= {hit.passage.key for hit in hits}
        return information(hits)

    def _is_right(self) -> bool:
        return self._answer is not None and exact_match(self._answer, self._question.answers)

    def _score(self) -> float:
        return 0.0 if self._answer is None else f1(self._answer, self._question.answers)

    def _situation(self) -> dict[str, Any]:
        # What an agent can know is what it has read, in whatever order and by whatever queries.
        known = "\n".join([self._question.id, *sorted(self._read), f"answer: {self._answer}"])
        return {
            "success": self._is_right(),
            "score": self._score(),
            "task": self._question.text,
            "task_id": self._question.id,
            "task_type": self._question.task_type,
            "state_key": blake2b(known.encode(), digest_size=16).hexdigest(),
            "answers": list(self._question.answers),
        }

    def expert(self) -> str:
        """Search for each supporting passage that was not read yet, in the order of the hops; then the answer.

        It asks the retriever itself which of a few queries finds the passage. Where the supporting passages are not
        known, it searches for the question once. Raises `NoPlanError` if no query finds a passage, or if it is too
        late for a search: an answer that was not read would be no example.
        """
        missing = [passage for passage in self._question.supporting if passage.key not in self._read]
        if not self._question.supporting and not self._searched:
            return f"<search> {self._question.text} </search>"
        if missing and self.turn + 1 >= self.max_turns:
            raise NoPlanError(f"{self._question.id}: no turn is left to search for {missing[0].title!r}")
        queries = [self._query_for(passage) for passage in missing]
        if queries:
            return f"<search> {queries[0]} </search>"
        return self.answer_form.format(answer=self._question.answers[0])

    def _query_for(self, passage: Passage) -> str:
        """The first of some queries that finds `passage`: its title, its title in the question, its own words."""
        opening = passage.text.partition(". ")[0]
        titled = f"{passage.title} {self._question.text}"
        for query in (passage.title, titled, f"{passage.title} {opening}", opening, passage.contents):
            understood = parse_action(f"<search> {query} </search>")
            if not isinstance(understood, Action):
                continue
            if any(hit.passage == passage for hit in self._retriever.search(understood.text, self.top_k)):
                return understood.text
        raise NoPlanError(f"{self._question.id}: no query finds {passage.title!r}")


def open_source(data: str | Path, corpus: str | Path | None = None) -> QuestionSource:
    """The questions and passages that the arguments of `SearchQaEnv` mean. Raises `ValueError` as it does."""
    if data != BUILTIN:
        return read_source(user_path(data), None if corpus is None else user_path(corpus))
    if corpus is not None:
        raise ValueError(f"corpus={str(corpus)!r} needs data: the questions of {BUILTIN!r} have passages of their own")
    return BuiltinSource()
