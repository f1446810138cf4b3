"""From characters to tokens, in four kinds of tokenizers."""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from agentgym.agents.models import load_model
from agentgym.agents.token_spans import token_spans
from tests.smollm2 import smollm2

PIECES = [
    "<switch>",
    "</switch>",
    "KEEP",
    "find",
    " a",
    " mug",
    "é",
    "ï",
    "naïve",
    "😀",
    "👩‍🔬",
    " ",
    "\n",
    "日本",
    "x",
]
BYTES = {character: byte for byte, character in bytes_to_unicode().items()}


def byte_fallback() -> PreTrainedTokenizerFast:
    """Words begin with ▁; what the vocabulary lacks is spelled in bytes, as in Llama 2's."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"abcdefghijklmnopqrstuvwxyz<>/▁", "KEEP", "▁mug"]
    merges = [("▁", "m"), ("▁m", "u"), ("▁mu", "g")]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "▁m", "▁mu"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


letters = st.characters(exclude_categories=["Cs"], exclude_characters="\N{REPLACEMENT CHARACTER}")


@cache
def tokenizer_of(name: str) -> Any:
    if name == "byte fallback":
        return byte_fallback()
    return (smollm2() if name == "smollm2" else load_model(name)).tokenizer


def bytes_of(token: str, name: str) -> bytes:
    """The bytes that a token stands for, from the vocabulary alone."""
    if name != "byte fallback":
        return bytes(BYTES[character] for character in token)
    return bytes([int(token[3:5], 16)]) if token.startswith("<0x") else token.replace("▁", " ").encode()


@pytest.mark.parametrize("name", ["tiny", "tiny-household", "smollm2", "byte fallback"])
@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES) | st.text(letters, max_size=3)),
    borders=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@example(pieces=["naïve", "😀", "</switch>"], borders=(0.35, 0.6))
def test_the_tokens_of_a_span_are_those_that_have_its_bytes(
    name: str, pieces: list[str], borders: tuple[float, float]
) -> None:
    tokenizer = tokenizer_of(name)
    ids = [token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False)]
    said = [bytes_of(token, name) for token in tokenizer.convert_ids_to_tokens(ids)]
    text = "".join(pieces)
    assume(b"".join(said) == text.encode())  # SmolLM2 lacks some bytes

    def decode(tokens: Any) -> str:
        return tokenizer.decode(tokens, skip_special_tokens=True)

    assert decode(ids) == text
    start, end = sorted(round(border * len(text)) for border in borders)
    first_byte, last_byte = len(text[:start].encode()), len(text[:end].encode())
    ends = list(accumulate(map(len, said)))
    begins = [0, *ends[:-1]]
    inside = [i for i in range(len(ids)) if begins[i] < last_byte and ends[i] > first_byte]
    if start < end:
        (span,) = token_spans(decode, ids, {"part": (start, end)}).values()
        assert list(range(*span)) == inside


def test_end_marks_are_in_no_span() -> None:
    tokenizer = tokenizer_of("tiny")
    ids = [*tokenizer.encode("up", add_special_tokens=False), tokenizer.eos_token_id]
    decode = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True)  # noqa: E731
    assert token_spans(decode, ids, {"action": (0, 2)}) == {"action": (0, len(ids) - 1)}
    assert token_spans(decode, [], {"action": (0, 0)}) == {"action": (0, 0)}
