"""How an episode becomes a prompt, in tokens.

A context is the dialogue so far, or its last turns. Sampled responses enter it as the token ids that were
sampled: only the text around them (instructions, observations, the template's marks) is ever tokenised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agentgym.agents.chat_template import NOTHING, ChatTemplate
from agentgym.agents.token_cache import TokenCache
from agentgym.agents.trajectory import Turn, tokens_through

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_QUOTE = "\N{OBJECT REPLACEMENT CHARACTER}"
_QUOTED = re.compile(f"{_QUOTE}([0-9a-f]+){_QUOTE}")
"""Text, in hexadecimal, that is to be tokenised as text whatever it says."""


class ChatPieces:
    """The token pieces that a chat template puts around sampled responses.

    A dialogue is `opening + response + continuation + response + …`; each piece is tokenised by itself, so
    the prompt of a turn always begins with the tokens of the turn before it. Whatever an observation says, none of the
    template's marks and of the tokenizer's special tokens comes from it: these are spelt out there.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, instructions: str):
        """`instructions` becomes the system message; in templates without one it opens the first user's.

        Raises `ChatTemplateError` for a template that dialogues cannot be written with.
        """
        self._tokenizer = tokenizer
        self._instructions = instructions
        self._template = ChatTemplate(tokenizer)
        self._cache = TokenCache()

    def opening(self, observation: str) -> tuple[int, ...]:
        """Everything up to the first response."""
        return self._cache.get(
            ("opening", observation),
            lambda: self._encode(self._template.opening(self._instructions, self._quoted(observation))),
        )

    def continuation(self, observation: str, closed: bool) -> tuple[int, ...]:
        """From the end of a response to the start of the next, with `observation` between them.

        `closed`: the response ended with the end-of-turn token, which then is not repeated.
        """
        ids = self._cache.get(
            ("continuation", observation), lambda: self._encode(self._after_response(self._quoted(observation)))
        )
        return ids[len(self._closing) :] if closed else ids

    @cached_property
    def end_of_turn_id(self) -> int | None:
        """The token that a response ends with: what the template closes one with.

        It need not be the tokenizer's end token (Gemma's is the end of a text), which it is where the
        template has no such mark, and where the mark ends a message of which a turn has several (gpt-oss).
        """
        return self._closing[-1] if self._closing and not self._channel else self._tokenizer.eos_token_id

    def answer_start(self, response: str) -> int:
        """The character of a decoded response at which the answer begins.

        It is not the first in templates with channels, where thoughts are messages before; it is the response's
        length where no answer was come to.
        """
        if not self._channel:
            return 0
        before, found, _ = response.rpartition(self._channel)
        if found:
            return len(before) + len(found)
        first_mark = self._tokenizer.decode(self._encode(self._channel)[:1])
        return len(response) if first_mark in response else 0  # thoughts alone, or an answer without channels

    @cached_property
    def _channel(self) -> str:
        """What the template writes itself between the prompt and a response, if special tokens are in it; else ""."""
        before, _ = self._template.around_response(self._instructions, NOTHING)
        header = before.removeprefix(self._template.opening(self._instructions, NOTHING))
        special = {i for i, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        return header if header != before and special & set(self._encode(header)) else ""

    @cached_property
    def _closing(self) -> tuple[int, ...]:
        """What the template puts after a response up to its mark; empty if text follows without a mark."""
        marks = self._tokenizer.added_tokens_decoder
        ids = self._encode(self._after_response(NOTHING))
        for i, token in enumerate(ids):
            if token in marks:
                return ids[: i + 1]
            if str(self._tokenizer.decode([token])).strip():
                break
        return ()

    def _after_response(self, observation: str) -> str:
        return self._template.around_response(self._instructions, observation)[1]

    @cached_property
    def _marks(self) -> dict[int, str]:
        """Tokens that no observation may bring about: special ones, and others that the template writes."""
        return {
            i: token.content
            for i, token in self._tokenizer.added_tokens_decoder.items()
            if (token.special or token.content in self._template.source)
            and token.content.strip()
            and i != self._tokenizer.unk_token_id
        }

    @cached_property
    def _mark(self) -> re.Pattern[str]:
        longest_first = sorted(self._marks.values(), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, [*longest_first, _QUOTE])))

    def _quoted(self, text: str) -> str:
        quoted = self._mark.sub(lambda found: _quote(found[0]), text)
        if self._marks.keys() & set(self._encode(quoted)):  # some tokenizers find marks in other spellings too
            return "".join(map(_quote, text))
        return quoted

    def _encode(self, text: str) -> tuple[int, ...]:
        ids: list[int] = []
        for i, part in enumerate(_QUOTED.split(text)):
            if i % 2:
                ids += self._spell(bytes.fromhex(part).decode("utf-8", "surrogatepass"))
            elif part:
                ids += self._tokenizer.encode(part, add_special_tokens=False)
        return tuple(ids)

    def _spell(self, mark: str) -> list[int]:
        """The tokens of a mark as if it were none: its first character is tokenised apart from the others."""
        first, others = mark[:1], mark[1:]
        ids = list(self._tokenizer.encode(first, add_special_tokens=False))
        return [*ids, *self._encode(self._mark.sub(lambda found: _quote(found[0]), others))]


def _quote(text: str) -> str:
    return f"{_QUOTE}{text.encode('utf-8', 'surrogatepass').hex()}{_QUOTE}"


@dataclass(frozen=True)
class Context:
    """Which of an episode's turns the prompt shows.

    `window=None`: the whole dialogue, so that an episode is one growing sequence. `window=K`: the last K
    turns and the present observation, so that every turn is a sequence of its own; K = 0 is for worlds
    whose observation tells everything. Where a window no longer shows the first observation, it begins with
    the task in words, if the environment's `info` has one.
    """

    window: int | None = None
    show_admissible_actions: bool = False
    """Lists the actions that would be understood now after each present observation, where they are known."""

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 0:
            raise ValueError(f"window must be at least 0 turns, or None for the dialogue, not {self.window}")

    def prompt(
        self,
        pieces: ChatPieces,
        turns: Sequence[Turn],
        observation: str,
        end_of_turn_id: int | None,
        info: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The prompt's token ids for the turn after `turns`, at which `observation` and `info` are seen.

        In a dialogue the turns' own prompts are what was shown so far: they must have been played through
        this context.
        """
        info = info or {}
        present = self._present(observation, info)
        if self.window is None:
            if not turns:
                return list(pieces.opening(present))
            return [*tokens_through(turns), *_following(pieces, turns[-1], present, end_of_turn_id)]
        shown = turns[len(turns) - min(self.window, len(turns)) :]
        observations = [*(turn.observation for turn in shown), present]
        if len(shown) < len(turns) and info.get("task"):
            observations[0] = f"{info['task']}\n\n{observations[0]}"
        ids = list(pieces.opening(observations[0]))
        for turn, following in zip(shown, observations[1:], strict=True):
            ids += [*turn.response_ids, *_following(pieces, turn, following, end_of_turn_id)]
        return ids

    def _present(self, observation: str, info: Mapping[str, Any]) -> str:
        admissible = info.get("admissible_actions", ()) if self.show_admissible_actions else ()
        return "\n".join([observation, "", "Admissible actions:", *admissible]) if admissible else observation


def _following(pieces: ChatPieces, turn: Turn, following: str, end_of_turn_id: int | None) -> tuple[int, ...]:
    """What comes between a turn's response, as it was sampled, and the next."""
    closed = bool(turn.response_ids) and turn.response_ids[-1] == end_of_turn_id
    return pieces.continuation(following, closed)
