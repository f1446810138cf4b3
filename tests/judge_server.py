"""A server that speaks /v1/chat/completions and judges by a rule, or has the faults that a test gives it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = str | dict[str, Any] | tuple[int, dict[str, str], str] | float
"""What a request is answered: a text, a JSON object, a status with headers and body; or seconds to hang."""


@dataclass
class JudgeServer:
    """What was asked of it, and what it answers."""

    rule: Callable[[dict[str, Any]], Answer]
    """From the body of a request to the answer."""
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)


@contextmanager
def judge_server(rule: Callable[[dict[str, Any]], Answer]) -> Iterator[JudgeServer]:
    """A server on this machine as long as the context lasts."""
    told = JudgeServer(rule)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.reply(500, {}, "no list of models")  # as transformers' server without a network

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.asked.append(body)
            told.keys.add(self.headers["Authorization"])
            if self.path != "/v1/chat/completions":
                return self.reply(404, {}, f"no {self.path}")
            answer = told.rule(body)
            if isinstance(answer, float):
                time.sleep(answer)
                answer = "late"
            if isinstance(answer, tuple):
                return self.reply(*answer)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 100, "completion_tokens": 10}
            self.reply(200, {}, json.dumps({"choices": [choice], "usage": usage}))

        def reply(self, status: int, headers: Mapping[str, str], text: str) -> None:
            content = text.encode()
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # who asked has gone
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()


def episode(body: Mapping[str, Any]) -> dict[str, Any]:
    """The episode that a request asks about."""
    shown: dict[str, Any] = json.loads(body["messages"][1]["content"])
    return shown


def of_turns(body: Mapping[str, Any], judge: Callable[[str], Any]) -> dict[str, Any]:
    """What is said of each of the agent's turns."""
    return {str(turn["turn"]): judge(turn["agent"]) for turn in episode(body)["turns"]}
