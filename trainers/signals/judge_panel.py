"""Votes on questions: asked of a server side by side, kept as they come."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from agentgym.agents.chat_client import ChatClient, ChatError, Message
from agentgym.agents.strict_json import ask_json
from agentgym.trainers.signals.judge_cache import JudgeCache
from agentgym.trainers.signals.judge_questions import Question, Values


@dataclass(frozen=True)
class Ask:
    """One vote on one question about one episode."""

    question: Question
    n_turns: int
    messages: Sequence[Message]
    vote: int
    """From 0; the seed that is sent."""
    key: str
    """`JudgePanel.key` of the messages and the vote."""


class JudgePanel:
    """A model behind a server with the memory of what it has said."""

    def __init__(
        self,
        client: ChatClient,
        cache: JudgeCache,
        *,
        temperature: float,
        max_tokens: int,
        asks: int,
        num_connections: int,
    ):
        """`asks`: how often a question is put whose answer cannot be used. `num_connections`: requests at a time."""
        self.client, self.cache, self.asks, self.num_connections = client, cache, asks, num_connections
        self.settings = {"temperature": temperature, "max_tokens": max_tokens}

    def key(self, messages: Sequence[Message], vote: int) -> str:
        """A hash of all that an answer depends on, wherever the model is served."""
        return JudgeCache.key([self.client.model, list(messages), self.settings, vote])

    def knows(self, ask: Ask) -> bool:
        """Whether there is an answer of use from before."""
        try:
            return bool(self.said(ask))
        except (KeyError, ValueError):  # none, or in a file that somebody has changed
            return False

    def said(self, ask: Ask) -> Values:
        """The columns of what was answered. Raises `KeyError` where nothing was."""
        return ask.question.read(self.cache[ask.key], ask.n_turns)

    def answer(self, asks: Sequence[Ask]) -> dict[str, ChatError]:
        """Have all answered; return the errors of those that fail, by key.

        After a failure that every request would meet no more is asked, and all the rest fail so.
        """
        failed: dict[str, ChatError] = {}
        for_all: list[ChatError] = []

        def answer(ask: Ask) -> None:
            try:
                if for_all:
                    raise for_all[0]
                self.cache.put(ask.key, self._ask(ask))
            except ChatError as error:
                failed[ask.key] = error
                for_all.extend([error] * error.for_all)

        with self.client, ThreadPoolExecutor(self.num_connections, "judge") as pool:
            list(pool.map(answer, asks))
        return failed

    def _ask(self, ask: Ask) -> dict[str, Any]:
        def usable(answer: dict[str, Any]) -> dict[str, Any]:
            ask.question.read(answer, ask.n_turns)
            return answer

        schema = ask.question.schema(ask.n_turns)
        return ask_json(self.client, ask.messages, schema, usable, asks=self.asks, seed=ask.vote, **self.settings)
