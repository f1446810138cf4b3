"""Answers of language models as JSON: one object, read strictly, asked for again where it cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from agentgym.agents.chat_client import ChatClient, ChatError, Message

T = TypeVar("T")


def parse_object(text: str) -> dict[str, Any]:
    """The one JSON object in a text. Thoughts, fences and prose around it are left out.

    Raises `ValueError` in words for the model that wrote it: no object or several, a key that stands twice, NaN.
    """
    text = text.rpartition("</think>")[2]
    decoder = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_refuse)
    found: list[dict[str, Any]] = []
    place = text.find("{")
    while place >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
            found.append(value)
        except json.JSONDecodeError:
            place += 1
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
        place = text.find("{", place)
    if len(found) != 1:
        raise ValueError(f"there should be one JSON object in the answer, and there are {len(found) or 'none'}")
    return found[0]


def ask_json(
    client: ChatClient,
    messages: Sequence[Message],
    schema: Mapping[str, Any],
    read: Callable[[dict[str, Any]], T],
    *,
    asks: int = 3,
    **settings: Any,
) -> T:
    """What `read` makes of the JSON object that answers `messages`.

    `read` raises `ValueError` for an object that cannot be used; the model is then told so and asked again, `asks`
    times in all (the client counts `asked_again`). `settings`: of `ChatClient.ask`. Raises `ChatError` where no answer
    can be used.
    """
    said: list[Message] = []
    for ask in range(asks):
        if ask:
            client.count(asked_again=1)
        reply = client.ask([*messages, *said], schema=schema, **settings)
        try:
            if not reply.is_whole:
                raise ValueError("the answer was cut off: be brief")
            return read(parse_object(reply.text))
        except ValueError as error:
            fault = str(error)
            correction = f"That cannot be used: {fault}. Answer again with the one JSON object that was asked for."
            # An empty message of the assistant is refused by some servers.
            said = [{"role": "user", "content": correction}]
            if reply.text.strip():
                said.insert(0, {"role": "assistant", "content": reply.text[:4000]})
    raise ChatError(f"{client.model} at {client.base_url}: no answer of {asks} can be used: {fault}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice in the JSON object")
    return dict(pairs)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")
