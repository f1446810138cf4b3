"""How an episode becomes a prompt, in tokens.

A context is the dialogue so far, or its last turns. Sampled responses enter it as the token ids that were
sampled: only the text around them (instructions, observations, the template's marks) is ever tokenised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError

from agentgym.agents.trajectory import Turn, tokens_through

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: For tokenizers without a chat template (base models). A prompt does not end with a blank: in most
#: vocabularies words begin with theirs.
DEFAULT_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}\n\n"
    "{% elif m.role == 'user' %}Observation:\n{{ m.content }}\nAction:"
    "{% else %}{{ m.content }}\n{% endif %}{% endfor %}"
)
#: Stands for a sampled response while the template is rendered around it.
_RESPONSE = "\N{OBJECT REPLACEMENT CHARACTER}response\N{OBJECT REPLACEMENT CHARACTER}"


class ChatPieces:
    """The token pieces that a chat template puts around sampled responses.

    A dialogue is `opening + response + continuation + response + …`; each piece is tokenised by itself, so
    the prompt of a turn always begins with the tokens of the turn before it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, instructions: str):
        """`instructions` becomes the system message; in templates without one it opens the first user's."""
        self._tokenizer = tokenizer
        self._instructions = instructions
        self.opening = lru_cache(maxsize=65536)(self._opening)
        self.continuation = lru_cache(maxsize=65536)(self._continuation)

    def _opening(self, observation: str) -> tuple[int, ...]:
        """Everything up to the first response."""
        return self._encode(self._render([self._user(observation, first=True)], to_be_continued=True))

    def _continuation(self, observation: str, closed: bool) -> tuple[int, ...]:
        """From the end of a response to the start of the next, with `observation` between them.

        `closed`: the response ended with the end-of-turn token, which then is not repeated.
        """
        ids = self._encode(self._after_response(observation))
        return ids[len(self._closing) :] if closed else ids

    @cached_property
    def end_of_turn_id(self) -> int | None:
        """The token that the template closes a response with.

        It need not be the tokenizer's end token (Gemma's is the end of a text), which it is where the
        template has no such mark.
        """
        return self._closing[-1] if self._closing else self._tokenizer.eos_token_id

    @cached_property
    def _closing(self) -> tuple[int, ...]:
        """What the template puts after a response up to its mark; empty if text follows without a mark."""
        marks = self._tokenizer.added_tokens_decoder
        ids = self._encode(self._after_response(""))
        for i, token in enumerate(ids):
            if token in marks:
                return ids[: i + 1]
            if str(self._tokenizer.decode([token])).strip():
                break
        return ()

    def _after_response(self, observation: str) -> str:
        dialogue = [
            self._user("", first=True),
            {"role": "assistant", "content": _RESPONSE},
            self._user(observation, first=False),
        ]
        return self._render(dialogue, to_be_continued=True).split(_RESPONSE, 1)[1]

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    @cached_property
    def _has_system_role(self) -> bool:
        try:
            self._apply([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}], True)
        except TemplateError:
            return False
        return True

    def _user(self, observation: str, *, first: bool) -> dict[str, str]:
        if first and self._instructions and not self._has_system_role:
            observation = f"{self._instructions}\n\n{observation}"
        return {"role": "user", "content": observation}

    def _render(self, messages: list[dict[str, str]], *, to_be_continued: bool) -> str:
        if self._instructions and self._has_system_role:
            messages = [{"role": "system", "content": self._instructions}, *messages]
        return self._apply(messages, to_be_continued)

    def _apply(self, messages: list[dict[str, str]], to_be_continued: bool) -> str:
        template = None if self._tokenizer.chat_template else DEFAULT_CHAT_TEMPLATE
        text: Any = self._tokenizer.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=to_be_continued, tokenize=False
        )
        return str(text)


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
