"""`agentgym serve-retriever`: any retriever behind Search-R1's protocol, for agents in other processes.

`POST /retrieve` with `{"queries": [text, …], "topk": k, "return_scores": true}` is answered with
`{"result": [[{"document": {"id", "title", "text", "contents"}, "score"}, …], …]}`, a list for each query, and without
`return_scores` with the documents alone. `contents` is `"title"`, in quotes, and the text on the next lines, as
Search-R1's models and environments read it. `GET /health` is answered with `{"status": "ok"}`.

    agentgym serve-retriever --port 8000
    curl -s 127.0.0.1:8000/retrieve -d '{"queries": ["The Broken Road"], "topk": 3}'
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from agentgym.envs.search_qa.data import Corpus
from agentgym.envs.search_qa.env import BUILTIN, open_source
from agentgym.envs.search_qa.passages import Hit, Retriever
from agentgym.envs.search_qa.questions import PassageSource
from agentgym.envs.storable import storable
from agentgym.envs.user_path import user_path

LOOPBACK = "127.0.0.1"
MAX_REQUEST_BYTES = 1 << 20
MAX_QUERIES = 256
MAX_TOP_K = 100
_DEFAULT_TOP_K = 3
_PATIENCE = 30.0  # seconds for a client to send what it announced

logger = logging.getLogger(__name__)


class _Request(NamedTuple):
    queries: list[str]
    top_k: int
    return_scores: bool


class RetrieverServer(ThreadingHTTPServer):
    """Answers each connection in a thread of its own; searches run one at a time, as retrievers expect."""

    daemon_threads = True

    def __init__(self, retriever: Retriever, host: str = LOOPBACK, port: int = 8000):
        """Binds to `host` and `port` (0: a free one). Raises `ValueError` if that cannot be had."""
        self.retriever = retriever
        self._one_at_a_time = threading.Lock()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ValueError(f"cannot listen on {host}:{port}: {error}") from None

    @property
    def url(self) -> str:
        """Where to POST."""
        return f"http://{self.server_address[0]!s}:{self.server_port}/retrieve"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news, and is no reason for a traceback on standard error."""
        logger.debug("the connection with %s failed", client_address, exc_info=True)

    def search(self, query: str, top_k: int) -> list[Hit]:
        """What the retriever finds."""
        with self._one_at_a_time:
            return self.retriever.search(query, top_k)


def open_passages(data: str | None, corpus: Path | None) -> PassageSource:
    """What is served: those of `data` (as for `SearchQaEnv`) and `corpus`, of `corpus` alone, or the built-in ones.

    Raises `ValueError` with the file and line of what is wrong.
    """
    if data is None and corpus is not None:
        return Corpus(user_path(corpus))
    return open_source(data or BUILTIN, corpus)


def serve(
    retriever: Retriever,
    host: str = LOOPBACK,
    port: int = 8000,
    on_ready: Callable[[str], None] = lambda url: logger.info("serving %s", url),
) -> None:
    """Serve until Ctrl-C. Raises `ValueError` if `host` and `port` cannot be had.

    There is no authentication: by default only this machine is answered. Requests are limited to 1 MiB, 256 queries
    and 100 passages for each. `on_ready` is told the URL once the retriever has its index and requests are answered.
    """
    with RetrieverServer(retriever, host, port) as server:
        server.search("warm up", 1)  # load or build the index now, not while the first client waits
        on_ready(server.url)
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: RetrieverServer
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/health":
            self._answer(200, {"status": "ok"})
        else:
            self._answer(404, {"error": "there is only POST /retrieve and GET /health"})

    def do_POST(self) -> None:
        if urlsplit(self.path).path.rstrip("/") != "/retrieve":
            self._refuse(404, "there is only POST /retrieve and GET /health")
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._refuse(411, "the header Content-Length is missing or no number")
            return
        if len(length) > len(str(MAX_REQUEST_BYTES)) or int(length) > MAX_REQUEST_BYTES:
            self._refuse(413, f"the request is longer than {MAX_REQUEST_BYTES:,} bytes")
            return
        try:
            request = _parse(self.rfile.read(int(length)))
        except ValueError as error:
            self._answer(400, {"error": str(error)})
            return
        try:
            found = [self.server.search(query, request.top_k) for query in request.queries]
        except Exception as error:  # whatever a retriever does wrong, the server goes on and says so
            logger.exception("a search failed")
            reason = " ".join(str(error).split())
            self._answer(500, {"error": f"the search failed: {type(error).__name__}: {reason}"})
            return
        self._answer(200, {"result": [[_item(hit, request.return_scores) for hit in hits] for hits in found]})

    def _refuse(self, status: int, reason: str) -> None:
        """Answer without having read the request's body: the connection cannot be used again."""
        self.close_connection = True
        self._answer(status, {"error": reason})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Not on standard error for every request, as the standard library does."""
        logger.debug(format, *args)


def _parse(body: bytes) -> _Request:
    """Raises `ValueError` with one line for whoever sent it."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the request is no JSON: {error}") from None
    if not isinstance(request, dict):
        raise ValueError(f"the request must be a JSON object, not {type(request).__name__}")
    queries, top_k = request.get("queries"), request.get("topk")
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise ValueError("'queries' must be a list of texts")
    if len(queries) > MAX_QUERIES:
        raise ValueError(f"'queries' may hold up to {MAX_QUERIES} texts, not {len(queries)}")
    if top_k is None:
        top_k = _DEFAULT_TOP_K
    if type(top_k) is not int or not 1 <= top_k <= MAX_TOP_K:
        raise ValueError(f"'topk' must be a whole number from 1 to {MAX_TOP_K}")
    return_scores = request.get("return_scores", False)
    if not isinstance(return_scores, bool):
        raise ValueError("'return_scores' must be true or false")
    return _Request([storable(query) for query in queries], top_k, return_scores)


def _item(hit: Hit, return_scores: bool) -> dict[str, Any]:
    passage = hit.passage
    document = {"id": passage.key, "title": passage.title, "text": passage.text, "contents": passage.contents}
    return {"document": document, "score": hit.score} if return_scores else document
