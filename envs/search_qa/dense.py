"""Dense retrieval: passages and queries as vectors, by any sentence-transformers model directory.

Read through transformers alone. `modules.json` says what follows the transformer: pooling (mean, [CLS] or maximum)
and normalization.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentgym.envs.index_cache import cached
from agentgym.envs.search_qa.bm25 import best
from agentgym.envs.search_qa.passages import Hit, Passage
from agentgym.envs.text_env import NotInstalledError

if TYPE_CHECKING:
    import torch

_BATCH = 32
_VECTORS = "vectors.npy"
_POOLINGS = ("pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_max_tokens")

_logger = logging.getLogger(__name__)


class SentenceEncoder:
    """Texts to vectors."""

    def __init__(self, directory: Path):
        """`directory`: a sentence-transformers model. Raises `ValueError` if it is none that is understood."""
        try:
            import torch
            import transformers
        except ImportError as error:
            raise NotInstalledError(f"a dense retriever needs torch and transformers: {error}") from None
        self._torch = torch
        self._pooling, self._normalize, limit = _read_modules(directory)
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
            self._model: Any = transformers.AutoModel.from_pretrained(directory, local_files_only=True).eval()
        except Exception as error:  # of many kinds and of many lines, as a file is missing or damaged
            reason = " ".join(str(error).split())
            raise ValueError(f"{directory}: no model can be loaded: {reason}"[:500]) from None
        self._limit = limit or min(self._tokenizer.model_max_length, self._model.config.max_position_embeddings)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, float32 of shape (texts, dimensions); of each text the model's first tokens count (256 or so)."""
        # Batches of similar lengths: padding costs as much as text.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        vectors = [self._encode_batch([texts[i] for i in order[b : b + _BATCH]]) for b in range(0, len(order), _BATCH)]
        return np.concatenate(vectors)[np.argsort(order)]

    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        inputs = self._tokenizer(texts, padding=True, truncation=True, max_length=self._limit, return_tensors="pt")
        with self._torch.inference_mode():
            states = self._model(**inputs).last_hidden_state.float()
            vectors = self._pool(states, inputs["attention_mask"].unsqueeze(-1))
            if self._normalize:
                vectors = self._torch.nn.functional.normalize(vectors, dim=-1)
        return np.asarray(vectors.numpy(), dtype=np.float32)

    def _pool(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`states` (texts, tokens, dimensions) to one vector for each text; `mask` (texts, tokens, 1)."""
        if self._pooling == "pooling_mode_cls_token":
            return states[:, 0]
        if self._pooling == "pooling_mode_max_tokens":
            return states.masked_fill(mask == 0, float("-inf")).amax(dim=1)
        return (states * mask).sum(dim=1) / mask.sum(dim=1)


class DenseRetriever:
    """Ranks passages by the inner product of their vectors with the query's: exact, by one matrix product."""

    def __init__(self, passages: Sequence[Passage], directory: Path):
        """Load the vectors from the cache, or compute them (6,000 passages with MiniLM: minutes on one core)."""
        self._passages = passages
        self._encoder = SentenceEncoder(directory)
        weights = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in directory.iterdir())
        texts = [f"{passage.title}\n{passage.text}" for passage in passages]
        self._vectors: np.ndarray = cached(
            "dense",
            (repr(weights), *texts),
            make=lambda: self._encode(texts),
            save=lambda vectors, folder: np.save(folder / _VECTORS, vectors),
            load=lambda folder: np.asarray(np.load(folder / _VECTORS, mmap_mode="r")),
        )

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Retriever`. There is always a nearest passage, however far."""
        scores = self._vectors @ self._encoder.encode([query])[0]
        return [Hit(self._passages[i], float(scores[i])) for i in best(scores, top_k)]

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        _logger.info("encoding %d passages", len(texts))
        return self._encoder.encode(texts)


def _read_modules(directory: Path) -> tuple[str, bool, int | None]:
    """(the pooling, whether vectors are normalized, the most tokens if the model says so)."""
    modules = _read_json(directory / "modules.json", list)
    if not all(isinstance(module, dict) and {"type", "path"} <= module.keys() for module in modules):
        raise ValueError(f"{directory / 'modules.json'}: expected objects with 'type' and 'path'")
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    unknown = set(kinds) - {"Transformer", "Pooling", "Normalize"}
    if unknown or kinds[:2] != ["Transformer", "Pooling"] or modules[0]["path"]:
        raise ValueError(f"{directory}: its modules are {', '.join(kinds)}; Transformer, Pooling, Normalize are known")
    pooling = _read_json(directory / str(modules[1]["path"]) / "config.json", dict)
    chosen = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value]
    if len(chosen) != 1 or chosen[0] not in _POOLINGS:
        raise ValueError(f"{directory}: its pooling is {chosen}; one of {', '.join(_POOLINGS)} is known")
    settings = directory / "sentence_bert_config.json"
    limit = _read_json(settings, dict).get("max_seq_length") if settings.is_file() else None
    return chosen[0], "Normalize" in kinds, limit


def _read_json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"{path}: no sentence-transformers model here: {reason}") from None
    except ValueError as error:
        raise ValueError(f"{path}: invalid JSON: {error}") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path}: expected a JSON {'list' if kind is list else 'object'}, not {type(value).__name__}")
    return value
