"""The client against a server with the faults that servers have, over real connections."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agentgym.agents import chat_client
from agentgym.agents.chat_client import ChatClient, ChatError
from agentgym.agents.strict_json import ask_json, parse_object
from tests.judge_server import Answer, judge_server

HELLO = [{"role": "user", "content": "say 1; é 漢 🦊 \ud83e"}]
KEY = "sk-secret-1234567890"
ASKED: dict[str, Any] = {"temperature": 0.0, "max_tokens": 5, "seed": 0}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_PAUSE", 0.001)


def one_after_the_other(*answers: Answer) -> Any:
    """Answers in this order, and the last for ever."""
    left: Iterator[Answer] = iter(answers[:-1])
    return lambda _: next(left, answers[-1])


def test_what_passes_is_sent_again_and_counted() -> None:
    busy = (429, {"Retry-After": "0"}, "busy")
    dropped = (200, {"Content-Encoding": "gzip"}, "no gzip")
    with judge_server(one_after_the_other(busy, (500, {}, "oh"), 1.0, dropped, "schön 🦊")) as server:
        client = ChatClient(server.url, "m", timeout=0.3, retries=4)
        with client:
            assert client.ask(HELLO, **ASKED).text == "schön 🦊"
    assert client.counts == {"requests": 5, "retries": 4, "prompt_tokens": 100, "completion_tokens": 10, "unmetered": 0}
    assert server.asked[0]["messages"] == HELLO and server.asked[0] == server.asked[-1]


@pytest.mark.parametrize(
    ("answer", "requests", "for_all", "message"),
    [
        ((500, {}, "broken\nhere"), 3, False, r"m at http\S+: status 500: broken here \(asked 3 times\)"),
        ((429, {}, '{"error": {"code": "insufficient_quota"}}'), 1, True, "status 429: .*insufficient_quota"),
        ((401, {}, f"no such key: {KEY}"), 1, True, r"status 401: no such key: \[key\]"),
        ((400, {}, "the context is 8192 tokens long"), 1, False, "status 400: the context"),
        ((307, {"Location": "http://elsewhere"}, ""), 1, False, "status 307"),
        ((200, {}, "[]"), 1, False, r"the answer is no chat completion: \[\]"),
        ((200, {}, '{"choices": []}'), 1, False, "the answer is no chat completion"),
    ],
)
def test_what_does_not_pass_is_one_line(monkeypatch, answer, requests, for_all, message) -> None:
    monkeypatch.setenv("A_KEY", KEY + "\n")
    with judge_server(lambda _: answer) as server:
        client = ChatClient(server.url, "m", "A_KEY", retries=2)
        with client, pytest.raises(ChatError, match=message) as error:
            client.ask(HELLO, **ASKED)
    assert (client.counts["requests"], error.value.for_all) == (requests, for_all)
    assert server.keys == {f"Bearer {KEY}"} and KEY not in f"{error.value} {client!r}" and "\n" not in str(error.value)


def test_nobody_answers() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        client = ChatClient(f"http://127.0.0.1:{unheard.getsockname()[1]}/v1", "m", retries=1)
        for ask in (client.check_reachable, lambda: client.ask(HELLO, **ASKED)):
            with client, pytest.raises(ChatError, match="cannot be reached") as error:
                ask()
            assert error.value.for_all


def test_what_a_server_refuses_is_asked_otherwise_from_then_on(caplog) -> None:
    """As OpenAI's newer models refuse `max_tokens` and temperatures, and older servers a JSON schema."""

    def picky(body: dict[str, Any]) -> Answer:
        kind = body.get("response_format", {}).get("type")
        for refused in ("max_tokens", "temperature", "seed"):
            if refused in body:
                return 400, {}, json.dumps({"error": {"message": f"Unsupported parameter: '{refused}'"}})
        return (400, {}, "unknown json_schema") if kind == "json_schema" else str(kind)

    with judge_server(picky) as server:
        with ChatClient(server.url, "m", retries=0) as client, ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(lambda _: client.ask(HELLO, **ASKED, schema={"type": "object"}), range(8)))
        assert {reply.text for reply in replies} == {"json_object"}
        assert server.asked[-1]["max_completion_tokens"] == 5
    assert len(caplog.messages) == 4 and all("refuses" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "127.0.0.1:8000"}, "base_url must be like"),
        ({"base_url": f"http://me:{KEY}@host/v1"}, "base_url must hold no password or key"),
        ({"model": ""}, "model is missing"),
        ({"api_key_env": KEY}, "api_key_env must be the name of an environment variable, and never the key"),
        ({"api_key_env": "UNSET_KEY"}, "the environment variable UNSET_KEY is not set"),
        ({"api_key_env": "ODD_KEY"}, "what ODD_KEY holds is no key"),
    ],
)
def test_wrong_settings_show_no_key(monkeypatch, settings, message) -> None:
    monkeypatch.setenv("ODD_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(ValueError, match=message) as error:
        ChatClient(**{"base_url": "http://host/v1", "model": "m", **settings})
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Here:\n```json\n{"a": {"b": "}{"}}\n``` Done.', {"a": {"b": "}{"}}),
        ('<think>{"a": 2}</think>{"a": "é 🦊"}', {"a": "é 🦊"}),
        ('{not this} {"a": 1}', {"a": 1}),
        ('{"a": 1} or {"a": 2}', "one JSON object .* there are 2"),
        ("I would say 7 of 10.", "there are none"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": NaN}', "NaN is no JSON"),
        ("[" * 100_000, "there are none"),
        ('{"a":' * 100_000, "nested too deeply|there are none"),
    ],
)
def test_one_json_object(text, found) -> None:
    if isinstance(found, dict):
        assert parse_object(text) == found
    else:
        with pytest.raises(ValueError, match=found):
            parse_object(text)


def test_an_answer_that_cannot_be_used_is_asked_for_again_with_what_was_wrong() -> None:
    cut = (200, {}, '{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}')
    rule = one_after_the_other("seven", cut, {"score": 7})
    with judge_server(rule) as server, ChatClient(server.url, "m") as client:

        def ask(asks: int) -> int:
            return ask_json(client, HELLO, {"type": "object"}, lambda answer: answer["score"], asks=asks, **ASKED)

        assert ask(3) == 7
        first, second, third = ([(m["role"], m["content"][:40]) for m in body["messages"][1:]] for body in server.asked)
        assert first == [] and second == [("assistant", "seven"), ("user", "That cannot be used: there should be one")]
        assert third == [("user", "That cannot be used: the answer was cut ")]
        assert (client.counts["asked_again"], client.counts["unmetered"]) == (2, 1)
        server.rule = lambda _: "prose"
        with pytest.raises(ChatError, match="no answer of 2 can be used: there should be one JSON object"):
            ask(2)


def test_no_key_is_logged_at_any_level(monkeypatch, caplog) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with judge_server(lambda _: f"you sent {KEY}") as server, ChatClient(server.url, "m", "A_KEY") as client:
        assert client.ask(HELLO, **ASKED).text == "you sent [key]"
    assert caplog.records and KEY not in caplog.text
