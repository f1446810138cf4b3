"""Search by a server that speaks Search-R1's protocol: `agentgym serve-retriever`, or Search-R1's own.

`POST {"queries": [query, …], "topk": k, "return_scores": true}` is answered with
`{"result": [[{"document": {"contents": "\\"title\\"\\ntext"}, "score": s}, …], …]}`, a list for each query. Without
scores, a server gives the documents themselves; both are understood.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from agentgym.envs.search_qa.passages import Hit, RetrieverError
from agentgym.envs.search_qa.rows import parse_passage

MAX_RESPONSE_BYTES = 16 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirected, a POST would become a GET without the query, and fail for a reason that says nothing."""

    def redirect_request(self, *args: Any) -> None:
        """Leave it to the caller: status 3xx is an error."""


_open = urllib.request.build_opener(_NoRedirect).open


class HttpRetriever:
    """Asks a retrieval server.

    Args:
        url: where to POST, such as "http://127.0.0.1:8000/retrieve"; without a path `/retrieve` is added.
        timeout: seconds to wait for the connection and for each piece of the response.
        retries: how often a failed request is sent again, after pauses of 0.2 s, 0.4 s, 0.8 s … 10 s. A request
            that the server refuses (status 4xx, but for 429, too many requests) or redirects is not sent again.
    """

    waits = True  # see TextEnv.waits

    def __init__(self, url: str, *, timeout: float = 10.0, retries: int = 3):
        """Raises `ValueError` for arguments out of range. Nothing is sent yet."""
        try:
            parts = urlsplit(url)
            understood = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of an address or a port that is none
            understood = False
        if not understood:
            raise ValueError(f"the retriever's URL must be like http://127.0.0.1:8000/retrieve, not {url!r}")
        if not timeout > 0 or retries < 0:
            raise ValueError(f"timeout must be above 0 and retries at least 0, not {timeout} and {retries}")
        self.url = url if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/retrieve"
        self.timeout, self.retries = timeout, retries

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Retriever`. Raises `RetrieverError` when the server does not answer, or not in this protocol."""
        body = json.dumps({"queries": [query], "topk": top_k, "return_scores": True}).encode()
        text = self._post(body)
        try:
            return _hits(json.loads(text))[:top_k]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise RetrieverError(
                f"{self.url}: the answer is not in Search-R1's protocol ({type(error).__name__}: {error})"
            ) from None

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))
            request = urllib.request.Request(self.url, body, headers)
            try:
                with _open(request, timeout=self.timeout) as response:
                    text: bytes = response.read(MAX_RESPONSE_BYTES + 1)
                    missing = response.length or 0  # of the length that was announced
            except urllib.error.HTTPError as error:
                reason = _one_line(f"status {error.code}: {_explanation(error)}")
                if error.code < 500 and error.code != 429:
                    raise RetrieverError(f"{self.url}: {reason}") from None
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = _one_line(str(getattr(error, "reason", None) or error) or type(error).__name__)
            else:
                if len(text) > MAX_RESPONSE_BYTES:
                    raise RetrieverError(f"{self.url}: the answer is longer than {MAX_RESPONSE_BYTES:,} bytes")
                if not missing:
                    return text
                reason = f"the answer broke off {missing:,} bytes before its end"
        raise RetrieverError(f"{self.url}: {reason} (tried {self.retries + 1} times)")


def _explanation(error: urllib.error.HTTPError) -> str:
    """What the server says of it, or where it redirects to; the status alone if it does not get to say it."""
    with error:
        if 300 <= error.code < 400:
            return f"redirected to {error.headers.get('Location')}: give that URL"
        try:
            return error.read(200).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            return error.reason


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _hits(answer: Any) -> list[Hit]:
    (found,) = answer["result"]
    if not isinstance(found, list):
        raise ValueError(f"'result' must hold a list of documents, not {type(found).__name__}")
    hits = []
    for item in found:
        document, score = (item["document"], item["score"]) if "document" in item else (item, 0.0)
        hits.append(Hit(parse_passage(document), float(score)))
    return hits
