"""An agent behind an OpenAI-compatible server: text only, never trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack

from agentgym.agents.agent import Decision, View
from agentgym.agents.chat_client import ChatClient, ChatError, Message
from agentgym.agents.seeds import derived_seed

API_KEY = "AGENTGYM_API_KEY"
"""The environment variable whose key is sent, where it is set. It is in no message and no log."""


class ChatAgent:
    """A model behind a server, in any seat: it is shown the rules and the dialogue so far, and what it writes is done.

    Several are asked at once, and each is carried out as its answer comes. An answer that does not come after all
    tries, or has no text in it, is a technical failure (`Decision.error`), and never a silence of the seat.
    """

    trainable = False

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        temperature: float = 1.0,
        max_tokens: int = 512,
        timeout: float = 60.0,
        retries: int = 5,
        at_once: int = 8,
    ):
        """`base_url`, `model`, `timeout` (seconds), `retries`: see `ChatClient`. `max_tokens`: of one answer.

        `at_once`: the most requests under way. Raises `ValueError` in one line for an address that is none.
        """
        key = API_KEY if os.environ.get(API_KEY) else None
        self.client = ChatClient(base_url, model, api_key_env=key, timeout=timeout, retries=retries)
        """Its `counts` tell what was asked and what it cost in tokens."""
        self.temperature, self.max_tokens = temperature, max_tokens
        self._open = ExitStack()
        self._open.enter_context(self.client)
        self._pool = self._open.enter_context(ThreadPoolExecutor(at_once, "chat"))
        self._asked: dict[Future[Decision], View] = {}

    def ask(self, views: Sequence[View]) -> None:
        """See `Agent.ask`."""
        for view in views:
            self._asked[self._pool.submit(self._decide, view)] = view

    def answers(self) -> list[tuple[View, Decision]]:
        """See `Agent.answers`."""
        done, _ = wait(self._asked, return_when=FIRST_COMPLETED)
        return [(self._asked.pop(future), future.result()) for future in done]

    def close(self) -> None:
        """Wait for what is under way and close the connections."""
        self._open.close()

    def _decide(self, view: View) -> Decision:
        seed = derived_seed(view.seed, "chat", view.turn) % 2**31
        try:
            reply = self.client.ask(messages(view), temperature=self.temperature, max_tokens=self.max_tokens, seed=seed)
        except ChatError as error:
            return Decision("", error=error)
        text = reply.text.strip()
        if not text:
            return Decision(
                "", error=ChatError(f"{self.client.model} at {self.client.base_url}: an answer without text")
            )
        return Decision(text, response=text)


def messages(view: View) -> list[Message]:
    """A seat's dialogue as a server takes it: the rules, then what the seat was told and what it answered, in turns."""
    said: list[Message] = [{"role": "system", "content": view.rules}]
    for turn in view.turns:
        said.append({"role": "user", "content": turn.observation})
        said.append({"role": "assistant", "content": turn.response or turn.action})
    return [*said, {"role": "user", "content": view.observation}]
