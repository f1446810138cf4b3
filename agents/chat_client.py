"""A client of OpenAI-compatible servers: `POST …/chat/completions`, sent again where that can help, and counted.

Servers differ in what they take, and some ignore what they do not know (`n`, `logprobs`, and in transformers' server
`response_format` too): so one choice a request is asked for, and nothing is believed that the answer does not show.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpx2

logger = logging.getLogger(__name__)

Message: TypeAlias = Mapping[str, str]
"""`{"role": "system" | "user" | "assistant", "content": …}`."""

_AGAIN = (408, 409, 429)
"""Statuses below 500 that pass: time-out, conflict, too many requests."""
_FOR_ALL = (401, 402, 404, 405)
"""Statuses that every other request would get too: no key, no credit, no such model, no such address."""
_MAX_BYTES = 16 << 20
_NAMED_WITHIN = 400
"""Characters of a refusal in which a field that is refused is named; later ones may quote what was asked."""
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_RETRY_AFTER = 0.5, 8.0, 60.0
"""Seconds. The first two and the doubling between them are the official client's."""


class ChatError(ValueError):
    """A request that was not answered; one line says why. No key is in it."""

    def __init__(self, message: str, *, for_all: bool = False):
        """`for_all`: whether every other request would fare the same."""
        super().__init__(message)
        self.for_all = for_all


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    text: str
    is_whole: bool
    """Whether the answer ended by itself, rather than by the limit of its length."""


@dataclass(frozen=True)
class _Answer:
    status: int
    """0 where nothing came, or not all."""
    text: str
    """What came, or what happened. Without the key."""
    retry_after: float | None = None
    is_reached: bool = True


@dataclass
class ChatClient:
    """A model behind a server: `with client: client.ask(…)`, by several threads if need be.

    What a server refuses as a form of asking (status 400 that names the field) is left out or written otherwise from
    then on, with a warning: a `json_schema`, a seed, a temperature, `max_tokens` in place of `max_completion_tokens`.
    """

    base_url: str
    """Such as "http://127.0.0.1:8000/v1"."""
    model: str
    """The name by which the server knows the model."""
    api_key_env: str | None = None
    """The environment variable that holds the key; None sends no key. The key is in no message and no log."""
    timeout: float = 60.0
    """Seconds to wait for the connection, and for the whole answer."""
    retries: int = 5
    """How often a request is sent again that was not answered, or with status 408, 409, 429 or 5xx: after what
    `Retry-After` says, up to 60 s, else after 0.5 s, 1 s, 2 s … 8 s."""
    counts: Counter[str] = field(default_factory=Counter)
    """`requests` that were sent, `retries` among them, `prompt_tokens`, `completion_tokens` as told by the server,
    `unmetered` answers, which tell no tokens."""

    def __post_init__(self) -> None:
        """Raises `ValueError` in one line, which never shows a key."""
        try:
            parts = urlsplit(self.base_url)
            understood = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of an address or a port that is none
            understood = False
        if not understood:
            raise ValueError(f"base_url must be like http://127.0.0.1:8000/v1, not {self.base_url!r}")
        if parts.username is not None or parts.query:
            raise ValueError("base_url must hold no password or key: name an environment variable as api_key_env")
        if not self.model:
            raise ValueError(f"model is missing: the name by which {self.base_url} knows the model")
        self._key = _key(self.api_key_env)
        self._forms = dict.fromkeys(_FORMS, 0)
        self._lock = threading.Lock()
        self._random = random.Random()
        self._headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def __enter__(self) -> ChatClient:
        """Keep connections, until the context is left."""
        self._http = httpx2.Client(headers=self._headers, timeout=self.timeout)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._http.close()

    def check_reachable(self) -> None:
        """Raise `ChatError` unless something answers at the address, whatever it says. Asked once."""
        try:
            httpx2.get(f"{self.base_url.rstrip('/')}/models", headers=self._headers, timeout=self.timeout)
        except httpx2.HTTPError as error:
            raise self._error(f"cannot be reached: {_in_words(error)}", for_all=True) from None

    def ask(
        self,
        messages: Sequence[Message],
        *,
        temperature: float,
        max_tokens: int,
        seed: int,
        schema: Mapping[str, Any] | None = None,
    ) -> Reply:
        """The answer to a chat. Raises `ChatError` where there is none after all tries.

        `schema`: JSON schema of the answer; the server may ignore it, so whoever asks checks.
        """
        asked = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "response_format": schema}
        pause, tries = _FIRST_PAUSE, 0
        while True:
            forms = dict(self._forms)
            body = {"model": self.model, "messages": list(messages)}
            for name, value in asked.items():
                if value is not None:
                    body |= _FORMS[name][forms[name]](value)
            answer = self._post(body)
            if answer.status == 200:
                return self._reply(answer.text)
            if answer.status == 400 and self._adapt(answer.text, forms):
                continue
            fault = f"status {answer.status}: {_said(answer.text)}" if answer.status else answer.text
            if "insufficient_quota" in answer.text or answer.status in _FOR_ALL:
                raise self._error(fault, for_all=True)
            if 0 < answer.status < 500 and answer.status not in _AGAIN:
                raise self._error(fault)
            tries += 1
            if tries > self.retries:
                raise self._error(f"{fault} (asked {tries} times)", for_all=not answer.is_reached)
            time.sleep(pause * self._random.uniform(0.75, 1.0) if answer.retry_after is None else answer.retry_after)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self.count(retries=1)

    def _post(self, body: Mapping[str, Any]) -> _Answer:
        self.count(requests=1)
        deadline = time.monotonic() + self.timeout
        received = b""
        try:
            # ASCII: JSON's escapes can say whatever an agent wrote, halves of characters too.
            content = json.dumps(body).encode("ascii")
            url, kind = f"{self.base_url.rstrip('/')}/chat/completions", {"Content-Type": "application/json"}
            with self._http.stream("POST", url, content=content, headers=kind) as response:
                for piece in response.iter_bytes():
                    received += piece
                    if time.monotonic() > deadline or len(received) > _MAX_BYTES:
                        return _Answer(0, f"the answer is not whole after {self.timeout:g} s or {_MAX_BYTES >> 20} MiB")
                text = self._redacted(received.decode("utf-8", "replace"))
                return _Answer(response.status_code, text, retry_after=_retry_after(response.headers))
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return _Answer(0, f"cannot be reached: {_in_words(error)}", is_reached=False)
        except httpx2.TimeoutException:
            return _Answer(0, f"no answer within {self.timeout:g} s")
        except httpx2.HTTPError as error:
            return _Answer(0, _in_words(error))

    def _adapt(self, text: str, forms: Mapping[str, int]) -> bool:
        """Whether the server refuses a form of asking that there is another one for; it is asked so from now on."""
        for name, known in _FORMS.items():
            if name in text[:_NAMED_WITHIN] or (name == "response_format" and "json_schema" in text[:_NAMED_WITHIN]):
                with self._lock:
                    if self._forms[name] != forms[name]:  # another thread has met it already
                        return True
                    if forms[name] + 1 < len(known):
                        self._forms[name] += 1
                        logger.warning("%s", self._error(f"refuses {name} as it was asked; it is asked otherwise now"))
                        return True
        return False

    def _reply(self, text: str) -> Reply:
        try:
            answer = json.loads(text)
            choice = answer["choices"][0]
            content = choice["message"].get("content")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise self._error(f"the answer is no chat completion: {_said(text)}") from None
        usage = answer.get("usage")
        tokens = {
            name: usage[name]
            for name in ("prompt_tokens", "completion_tokens")
            if isinstance(usage, dict) and isinstance(usage.get(name), int)
        }
        self.count(**tokens, unmetered=int(len(tokens) < 2))
        return Reply(content if isinstance(content, str) else "", choice.get("finish_reason") != "length")

    def count(self, **numbers: int) -> None:
        """Add to `counts`."""
        with self._lock:
            self.counts.update(numbers)

    def _error(self, what: str, *, for_all: bool = False) -> ChatError:
        return ChatError(self._redacted(f"{self.model} at {self.base_url}: {what}"), for_all=for_all)

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


_Form: TypeAlias = Callable[[Any], dict[str, Any]]
_FORMS: dict[str, list[_Form]] = {
    "response_format": [
        lambda schema: {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            }
        },
        lambda _: {"response_format": {"type": "json_object"}},
        lambda _: {},
    ],
    "max_tokens": [lambda limit: {"max_tokens": limit}, lambda limit: {"max_completion_tokens": limit}],
    "seed": [lambda seed: {"seed": seed}, lambda _: {}],
    "temperature": [lambda temperature: {"temperature": temperature}, lambda _: {}],
}
"""How a thing is asked: the first form that the server does not refuse."""


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise ValueError("api_key_env must be the name of an environment variable, and never the key itself")
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"api_key_env: the environment variable {variable} is not set")
    if not key.isascii() or not key.isprintable():
        raise ValueError(f"api_key_env: what {variable} holds is no key: it has characters that no header may have")
    return key


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, where the server says how many; no more than are waited for."""
    said = headers.get("retry-after", "")
    return min(float(said), _LONGEST_RETRY_AFTER) if re.fullmatch(r"\d+(\.\d+)?", said) else None


def _said(text: str) -> str:
    return shorten(text, 200, placeholder=" …") or "nothing"


def _in_words(error: Exception) -> str:
    return shorten(str(error), 200, placeholder=" …") or type(error).__name__
