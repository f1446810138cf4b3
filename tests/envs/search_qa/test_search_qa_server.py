"""The retrieval server: client and server against one another, and requests that are none."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agentgym.envs.search_qa.env import SearchQaEnv
from agentgym.envs.search_qa.passages import Hit, Passage, RetrieverError
from agentgym.envs.search_qa.remote import HttpRetriever
from agentgym.envs.search_qa.server import MAX_QUERIES, MAX_REQUEST_BYTES, RetrieverServer, open_passages, serve


class Echo:
    """Finds what was asked, `top_k` times; fails at "fail"; notices searches at the same time."""

    def __init__(self) -> None:
        self.running = 0

    def search(self, query: str, top_k: int) -> list[Hit]:
        assert self.running == 0
        self.running += 1
        time.sleep(0.001)
        self.running -= 1
        if query == "fail":
            raise RuntimeError("no index\nat all")
        return [Hit(Passage(f'the "{query}"', f"number {n}"), 1 / (n + 1)) for n in range(top_k)]


@pytest.fixture
def server() -> Iterator[RetrieverServer]:
    with RetrieverServer(Echo(), port=0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server: RetrieverServer, body: bytes | dict[str, Any], method: str = "POST", path: str = "/retrieve") -> Any:
    """(status, the JSON that came back)."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    try:
        connection.request(method, path, text)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_client_and_server_understand_one_another(server: RetrieverServer) -> None:
    hits = HttpRetriever(server.url).search("הנה é 🧊 \ud800", 2)
    assert hits == [Hit(Passage('the "הנה é 🧊 ?"', f"number {n}"), 1 / (n + 1)) for n in range(2)]
    assert len(HttpRetriever(server.url).search("x" * 10_000, 100)) == 100
    with pytest.raises(RetrieverError, match=r"status 400: .*'topk' must be a whole number from 1 to 100"):
        HttpRetriever(server.url).search("x", 101)


def test_search_r1_s_protocol(server: RetrieverServer) -> None:
    status, answer = ask(server, {"queries": ["a", "b"], "topk": 1, "return_scores": True})
    assert status == 200 and [len(found) for found in answer["result"]] == [1, 1]
    (item,) = answer["result"][0]
    assert item["score"] == 1 and item["document"]["contents"] == '"the "a""\nnumber 0'
    status, answer = ask(server, {"queries": ["a"]})  # three documents, without scores
    assert status == 200 and [document["text"] for document in answer["result"][0]] == [f"number {n}" for n in range(3)]
    assert ask(server, {"queries": [], "topk": 3}) == (200, {"result": []})
    assert ask(server, b"", "GET", "/health") == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "the request is no JSON"),
        (b"\xff", 400, "the request is no JSON"),
        (b"[" * 100_000, 400, "the request is no JSON"),
        (b"[]", 400, "must be a JSON object, not list"),
        ({"query": "a"}, 400, "'queries' must be a list of texts"),
        ({"queries": "a"}, 400, "'queries' must be a list of texts"),
        ({"queries": ["a", 1]}, 400, "'queries' must be a list of texts"),
        ({"queries": ["a"] * (MAX_QUERIES + 1)}, 400, "up to 256 texts, not 257"),
        ({"queries": ["a"], "topk": 0}, 400, "'topk' must be"),
        ({"queries": ["a"], "topk": True}, 400, "'topk' must be"),
        ({"queries": ["a"], "topk": 2.5}, 400, "'topk' must be"),
        ({"queries": ["a"], "return_scores": "yes"}, 400, "'return_scores' must be true or false"),
        ({"queries": ["fail"]}, 500, "the search failed: RuntimeError: no index"),
    ],
)
def test_bad_requests(server: RetrieverServer, body: Any, status: int, reason: str) -> None:
    received, answer = ask(server, body)
    assert received == status and reason in answer["error"] and "\n" not in answer["error"]
    assert ask(server, {"queries": ["still there"]})[0] == 200


def test_other_paths_and_methods(server: RetrieverServer) -> None:
    assert ask(server, {"queries": ["a"]}, path="/")[0] == ask(server, b"", "GET")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request("DELETE", "/retrieve")
    assert connection.getresponse().status == 501
    connection.close()


@pytest.mark.parametrize(
    ("length", "status"), [(str(MAX_REQUEST_BYTES + 1), 413), ("9" * 5000, 413), ("-1", 411), ("x", 411)]
)
def test_the_announced_length(server: RetrieverServer, length: str, status: int) -> None:
    """A request that announces too much is refused before anything of it is read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.putrequest("POST", "/retrieve")
    connection.putheader("Content-Length", length)
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == status and response.getheader("Connection") == "close"
    connection.close()


def test_a_connection_serves_many_requests_and_many_serve_at_once(server: RetrieverServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    for _ in range(3):
        connection.request("POST", "/retrieve", b'{"queries": ["a"]}')
        assert len(json.loads(connection.getresponse().read())["result"]) == 1
    connection.close()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: HttpRetriever(server.url, retries=0).search(str(n), 1), range(40)))
    assert [hits[0].passage.title for hits in found] == [f'the "{n}"' for n in range(40)]


def test_only_loopback_and_a_free_port(server: RetrieverServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    for port in (server.server_port, 70_000):
        with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve(Echo(), port=port)


def test_what_is_served(tmp_path: Path) -> None:
    corpus = tmp_path / "wiki.jsonl"
    corpus.write_text('{"id": "0", "contents": "\\"T\\"\\nu"}\n{"title": "V", "text": "w"}\n')
    assert open_passages(None, corpus).passages == (Passage("T", "u"), Passage("V", "w"))
    assert open_passages(None, None) == open_passages("builtin", None) != open_passages(None, corpus)
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"question": "Q?", "answers": ["a"], "passages": ["x"]}')
    assert len(open_passages(str(questions), corpus).passages) == 3
    corpus.write_text("{}")
    with pytest.raises(ValueError, match=r"wiki\.jsonl, line 1: there is no 'text'"):
        open_passages(None, corpus)


def test_ready_is_said_when_requests_are_answered() -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def ready(url: str) -> None:
        urls.append(url)
        raise Stop

    urls: list[str] = []
    with pytest.raises(Stop):
        serve(Echo(), port=0, on_ready=ready)
    assert urls[0].startswith("http://127.0.0.1:") and urls[0].endswith("/retrieve")


def test_an_episode_is_the_same_here_and_over_the_wire() -> None:
    local = SearchQaEnv()
    with RetrieverServer(local._retriever, port=0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        far = SearchQaEnv(retriever=running.url)
        for seed in range(3):
            assert local.reset(seed=seed) == far.reset(seed=seed)
            over = False
            while not over:
                action = far.expert()
                assert action == local.expert()
                here, there = local.step(action), far.step(action)
                assert here == there
                over = here[2] or here[3]
            assert here[4]["success"]
        running.shutdown()
        thread.join()
