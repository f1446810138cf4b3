"""A tokenizer's chat template, whatever its habits: messages in, text out."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError

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
RESPONSE = "\N{OBJECT REPLACEMENT CHARACTER}response\N{OBJECT REPLACEMENT CHARACTER}"
#: What is shown where a template refuses a message without text.
NOTHING = "(nothing)"

_PROBE = "\N{OBJECT REPLACEMENT CHARACTER}probe\N{OBJECT REPLACEMENT CHARACTER}"
_DATE = {"%d": "26", "%-d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%y": "24", "%A": "Friday"} | {
    "%a": "Fri", "%H": "12", "%I": "12", "%M": "00", "%S": "00", "%p": "PM",
}  # fmt: skip
#: Goes before templates that print today's date: the same prompt tomorrow. The date is Llama 3.2's own for want of one.
_PINNED_DATE = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('{code}', '{value}')" for code, value in _DATE.items())
    + " }}{%- endmacro -%}"
)


class ChatTemplateError(ValueError):
    """A chat template that a dialogue cannot be written with; the message, one line, says why."""


class ChatTemplate:
    """Renders dialogues of text messages, as dictionaries with "role" and "content"."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        """Raises `ChatTemplateError` for a template that does not show its messages."""
        self._tokenizer = tokenizer
        self.source = str(tokenizer.get_chat_template()) if tokenizer.chat_template else DEFAULT_CHAT_TEMPLATE
        if "strftime_now" in self.source:
            self.source = _PINNED_DATE + self.source
        self._in_parts = False
        self._refuses_empty = False
        self._in_parts = _PROBE not in self._attempt(_user(_PROBE))
        if self._in_parts and _PROBE not in self._attempt(_user(_PROBE)):
            raise ChatTemplateError(f"the chat template shows no message of a user: {self._complaint(_user(_PROBE))}")
        self._refuses_empty = not self._attempt(_user(""))
        if RESPONSE not in self._attempt(*self.dialogue("", NOTHING)):
            complaint = self._complaint(*self.dialogue("", NOTHING))
            raise ChatTemplateError(f"the chat template shows no response in a dialogue: {complaint}")

    @cached_property
    def _has_system_role(self) -> bool:
        """Whether there is a place for instructions before the first message, and not again in every turn."""
        shown = self._attempt({"role": "system", "content": _PROBE}, *self._turns(NOTHING, NOTHING))
        return bool(shown) and _PROBE not in shown.partition(RESPONSE)[2]

    def opening(self, instructions: str, observation: str) -> str:
        """Everything up to the first response. Without a system role, the first message begins with `instructions`."""
        return self._render(*self._instructed(instructions, observation))

    def around_response(self, instructions: str, observation: str) -> tuple[str, str]:
        """What is shown before a response, and after it up to the next, with `observation` between them."""
        before, _, after = self._render(*self.dialogue(instructions, observation)).partition(RESPONSE)
        return before, after

    def dialogue(self, instructions: str, observation: str) -> list[dict[str, str]]:
        """The messages of a dialogue in which the second observation is `observation`."""
        return [*self._instructed(instructions, NOTHING), *self._turns(NOTHING, observation)[1:]]

    def _instructed(self, instructions: str, observation: str) -> list[dict[str, str]]:
        if not instructions:
            return [_user(observation)]
        if self._has_system_role:
            return [{"role": "system", "content": instructions}, _user(observation)]
        return [_user(f"{instructions}\n\n{observation}")]

    def _turns(self, first: str, second: str) -> list[dict[str, str]]:
        return [_user(first), {"role": "assistant", "content": RESPONSE}, _user(second)]

    def _attempt(self, *messages: dict[str, str]) -> str:
        """The rendering, or nothing if the template refuses."""
        try:
            return self._render(*messages)
        except _REFUSALS:
            return ""

    def _complaint(self, *messages: dict[str, str]) -> str:
        try:
            self._render(*messages)
        except _REFUSALS as error:
            return " ".join(str(error).split()) or type(error).__name__
        return "it leaves it out"

    def _render(self, *messages: dict[str, str]) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                [{**message, "content": self._content(message["content"])} for message in messages],
                chat_template=self.source,
                add_generation_prompt=True,
                tokenize=False,
            )
        )

    def _content(self, text: str) -> Any:
        text = text or (NOTHING if self._refuses_empty else "")
        return [{"type": "text", "text": text}] if self._in_parts else text


_REFUSALS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
