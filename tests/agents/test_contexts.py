"""Prompts: the template's own rendering around sampled tokens that nobody touches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from agentgym.agents.agent import View
from agentgym.agents.chat_template import DEFAULT_CHAT_TEMPLATE
from agentgym.agents.contexts import ChatPieces, Context
from agentgym.agents.engines import Request, Sample, SamplingParams
from agentgym.agents.formats import get_format
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.trajectory import Trajectory, Turn, added_prompt, tokens_through
from agentgym.trainers.tiny_model import make_tokenizer

CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + CONTENT + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Style:
    """A family of chat templates."""

    template: str | None
    special: tuple[str, ...] = ()
    eos: str = "<|end|>"
    """`tokenizer.eos_token`."""
    end_of_turn: str = "<|end|>"
    """What the template closes a response with."""
    bos: str | None = None


STYLES = {
    "built-in": Style(make_tokenizer().chat_template),
    "qwen2.5": Style(
        CHATML.replace("CONTENT", "m.content"), ("<|im_start|>", "<|im_end|>"), "<|im_end|>", "<|im_end|>"
    ),
    "qwen3": Style(  # earlier thinking is stripped from the history
        CHATML.replace("CONTENT", "(m.content if loop.last else m.content.split('</think>')[-1].lstrip('\n'))"),
        ("<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
        "<|im_end|>",
    ),
    "llama3": Style(
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' "
        "+ m.content | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        "<|eot_id|>",
        "<|begin_of_text|>",
    ),
    "gemma": Style(  # no system role; a turn ends with another token than a text
        "{{ bos_token }}{% for m in messages %}"
        "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}"
        "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim "
        "+ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<eos>",
        "<end_of_turn>",
        "<bos>",
    ),
    "mistral": Style(  # a blank before the end mark, none of it sampled
        "{{ bos_token }}{% for m in messages %}"
        "{% if m.role == 'system' %}{{ raise_exception('Only user and assistant roles are supported!') }}"
        "{% elif m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        "</s>",
        "</s>",
        "<s>",
    ),
    "none": Style(None),
}
#: Templates that render a response as it was sampled, and close it with a mark.
FAITHFUL = ["built-in", "qwen2.5", "llama3", "gemma"]
RULES = "Push the box.\nAnswer with one word."


@cache
def tokenizer_of(style: str) -> PreTrainedTokenizerFast:
    how, tokenizer = STYLES[style], deepcopy(make_tokenizer())
    tokenizer.add_tokens(list(how.special), special_tokens=True)
    tokenizer.chat_template = how.template
    tokenizer.eos_token = how.eos
    if how.bos is not None:
        tokenizer.bos_token = how.bos
    return tokenizer


def added(turns: Sequence[Turn], prompt: list[int]) -> dict[str, Any]:
    """How a turn after `turns` records its prompt."""
    continues, ids = added_prompt(tokens_through(turns), prompt)
    return {"continues": continues, "prompt_ids": ids}


class Dialogue:
    """Plays responses against observations with one context."""

    def __init__(self, style: str, context: Context | None = None, instructions: str = RULES):
        self.tokenizer = tokenizer_of(style)
        self.context = context or Context()
        self.pieces = ChatPieces(self.tokenizer, instructions)
        self.end = self.tokenizer.convert_tokens_to_ids(STYLES[style].end_of_turn)
        self.turns: list[Turn] = []

    def prompt(self, observation: str) -> list[int]:
        return self.context.prompt(self.pieces, self.turns, observation, self.pieces.end_of_turn_id)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def play(self, observation: str, response: str | list[int], *, cut_off: bool = False) -> None:
        ids = self.encode(response) if isinstance(response, str) else response
        ids = ids if cut_off else [*ids, self.end]
        self.turns.append(
            Turn(
                observation,
                "",
                "",
                response=self.decode(ids),
                **added(self.turns, self.prompt(observation)),
                response_ids=ids,
            )
        )

    def rendered(self, observations: Sequence[str], responses: Sequence[str]) -> str:
        """The template's own rendering of the whole dialogue."""
        system = bool(self.tokenizer.chat_template is None or "raise_exception" not in self.tokenizer.chat_template)
        messages = [{"role": "system", "content": RULES}] if system else []
        opening = "" if system else f"{RULES}\n\n"
        for seen, said in zip(observations, [*responses, None], strict=True):
            messages.append({"role": "user", "content": opening + seen})
            messages += [] if said is None else [{"role": "assistant", "content": said}]
            opening = ""
        template = None if self.tokenizer.chat_template else DEFAULT_CHAT_TEMPLATE
        return self.tokenizer.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, tokenize=False
        )


OBSERVATIONS = ["# # #\n# P _", "You cannot go there.", "# # #\n# _ P", "√"]
RESPONSES = ["up", "go left", "<think>hm\nhm</think>down"]


# The dialogue ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_a_dialogue_only_grows(style: str, cut_off: bool) -> None:
    dialogue = Dialogue(style)
    for observation, response in zip(OBSERVATIONS, RESPONSES, strict=False):
        dialogue.play(observation, response, cut_off=cut_off)
    prompts = [*Trajectory("", 0, "", "", "", dialogue.turns).prompts(), dialogue.prompt(OBSERVATIONS[-1])]
    assert [turn.continues for turn in dialogue.turns] == [False, True, True]
    for turn, prompt, following in zip(dialogue.turns, prompts, prompts[1:], strict=False):
        before = prompt + turn.response_ids
        assert following[: len(before)] == before
        assert len(following) > len(before)
    assert dialogue.decode(prompts[-1]).count(RULES) == (0 if style == "built-in" else 1)


@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize("style", FAITHFUL)
def test_a_dialogue_is_the_templates_rendering(style: str, cut_off: bool) -> None:
    """A cut-off response gets the closing mark that it did not come to."""
    dialogue = Dialogue(style)
    for observation, response in zip(OBSERVATIONS, RESPONSES, strict=False):
        dialogue.play(observation, response, cut_off=cut_off)
    prompt, rendered = dialogue.prompt(OBSERVATIONS[-1]), dialogue.rendered(OBSERVATIONS, RESPONSES)
    assert dialogue.decode(prompt) == rendered
    assert prompt == dialogue.encode(rendered)


def test_a_dialogue_without_a_template() -> None:
    """The end mark was sampled, so it stays, though no template asks for it; no prompt ends with a blank.

    A vocabulary has " up" as a token, and a model that was given the blank already would have to do without.
    """
    dialogue = Dialogue("none")
    dialogue.play("a", " up", cut_off=True)
    dialogue.play("b", " up")
    prompt = dialogue.prompt("c")
    texts = [f"{RULES}\n\nObservation:\na\nAction:", " up", "\nObservation:\nb\nAction:", " up<|end|>"]
    assert dialogue.decode(prompt) == "".join([*texts, "\nObservation:\nc\nAction:"])
    assert prompt == dialogue.encode(dialogue.decode(prompt))


@pytest.mark.parametrize("style", STYLES)
def test_an_ended_response_is_not_closed_twice(style: str) -> None:
    dialogue = Dialogue(style)
    dialogue.play("a", "up")
    (turn,) = dialogue.turns
    following = dialogue.decode(dialogue.prompt("b")[len(turn.prompt_ids + turn.response_ids) :])
    assert following.strip() and not following.strip().startswith(STYLES[style].end_of_turn)


@pytest.mark.parametrize("style", STYLES)
def test_sampled_tokens_survive(style: str) -> None:
    """Among them tokens that the tokenizer would not choose for their text, and marks in wrong places."""
    dialogue = Dialogue(style)
    letters = [dialogue.encode(letter)[0] for letter in "down"]
    assert letters != dialogue.encode("down")
    odd = [*letters, dialogue.end, *letters, *dialogue.encode("<|user|>"), *dialogue.encode(" ")]
    dialogue.play("a", odd, cut_off=True)
    dialogue.play("b", odd)
    first, second = Trajectory("", 0, "", "", "", dialogue.turns).prompts()
    assert second[len(first) :][: len(odd)] == odd
    assert dialogue.prompt("c")[len(second) :][: len(odd) + 1] == [*odd, dialogue.end]


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffc"), max_size=20)


@settings(max_examples=60, deadline=None)
@given(
    style=st.sampled_from(FAITHFUL),
    observations=st.lists(text, min_size=4, max_size=4),
    responses=st.lists(text.map(str.strip), min_size=3, max_size=3),
    cut_off=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_any_text_is_rendered_as_the_template_would(
    style: str, observations: list[str], responses: list[str], cut_off: list[bool]
) -> None:
    dialogue = Dialogue(style)
    for observation, response, cut in zip(observations, responses, cut_off, strict=False):
        dialogue.play(observation, response, cut_off=cut)
    assert dialogue.decode(dialogue.prompt(observations[-1])) == dialogue.rendered(observations, responses)


def test_thinking_stays_where_a_template_would_strip_it() -> None:
    """Else the prompt of a turn would not begin with the tokens of the one before, and one could not train on both."""
    dialogue = Dialogue("qwen3")
    dialogue.play(OBSERVATIONS[0], "<think>left?</think>up")
    dialogue.play(OBSERVATIONS[1], "<think>right?</think>down")
    prompt = dialogue.decode(dialogue.prompt(OBSERVATIONS[2]))
    assert "left?" in prompt and "right?" in prompt
    stripped = dialogue.rendered(OBSERVATIONS[:3], [turn.response for turn in dialogue.turns])
    assert "left?" not in stripped and "right?" not in stripped


def test_instructions_without_a_system_role_open_the_first_message() -> None:
    opening = Dialogue("gemma").pieces.opening("a")
    expected = f"<bos><start_of_turn>user\n{RULES}\n\na<end_of_turn>\n<start_of_turn>model\n"
    assert tokenizer_of("gemma").decode(opening) == expected
    without = Dialogue("gemma", instructions="").pieces.opening("a")
    assert tokenizer_of("gemma").decode(without) == "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\n"


# Windows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("window", [0, 1, 2, 3, 7])
def test_a_window_shows_the_last_turns_alone(style: str, window: int) -> None:
    dialogue = Dialogue(style)
    for observation, response in zip(OBSERVATIONS, RESPONSES, strict=False):
        dialogue.play(observation, response)
    shown = Dialogue(style)
    for turn in dialogue.turns[-window:] if window else []:
        shown.play(turn.observation, turn.response_ids, cut_off=True)
    dialogue.context = Context(window)
    assert dialogue.prompt(OBSERVATIONS[-1]) == shown.prompt(OBSERVATIONS[-1])


def test_a_window_without_the_first_observation_begins_with_the_task() -> None:
    dialogue = Dialogue("built-in", Context(window=1))
    task = {"task": "Your task is to: put a mug in desk."}

    def prompt(observation: str) -> str:
        end = dialogue.pieces.end_of_turn_id
        return dialogue.decode(dialogue.context.prompt(dialogue.pieces, dialogue.turns, observation, end, task))

    dialogue.play("first", "up")
    assert "Your task" not in prompt("second")  # the first observation, which tells it, is shown
    dialogue.play("second", "down")
    assert prompt("third").startswith("<|user|>Your task is to: put a mug in desk.\n\nsecond<|end|>")
    assert prompt("third").count("Your task") == 1


@pytest.mark.parametrize("window", [None, 2])
def test_admissible_actions_follow_the_present_observation(window: int | None) -> None:
    dialogue = Dialogue("built-in", Context(window, show_admissible_actions=True))
    engine = Scripted(lambda: [*dialogue.encode("up"), dialogue.end])
    agent = LLMAgent(
        engine,
        dialogue.tokenizer,
        context=dialogue.context,
        format=get_format("plain"),
        sampling=SamplingParams(max_new_tokens=8),
        context_length=500,
    )
    turns: list[Turn] = []
    for observation, actions in (("first", ["up", "down"]), ("second", ["left"])):
        agent.ask([View("", "", "", observation, {"admissible_actions": actions}, turns, 0, None)])
        ((_, decision),) = agent.answers()
        turn = Turn(
            observation,
            "",
            "up",
            continues=decision.continues,
            prompt_ids=decision.prompt_ids,
            response_ids=decision.response_ids,
        )
        turns.append(turn)
    first, second = engine.prompts
    listed = "<|user|>first\n\nAdmissible actions:\nup\ndown<|end|><|assistant|>"
    assert dialogue.decode(first) == listed
    # A dialogue goes on from what was shown; a window shows what is admissible now alone.
    before = listed if window is None else "<|user|>first<|end|><|assistant|>"
    assert (
        dialogue.decode(second) == f"{before}up<|end|><|user|>second\n\nAdmissible actions:\nleft<|end|><|assistant|>"
    )


def test_a_negative_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window must be at least 0 turns, or None for the dialogue, not -1"):
        Context(-1)


# The agent ------------------------------------------------------------------------------------------------


class Scripted:
    """An engine that answers with given tokens, and remembers the prompts."""

    owns_weights = True

    def __init__(self, answer: Callable[[], list[int]]):
        self.answer = answer
        self.prompts: list[Sequence[int]] = []
        self.waiting: list[Request] = []

    def submit(self, requests: Sequence[Request]) -> None:
        self.prompts += [request.prompt for request in requests]
        self.waiting += requests

    def collect(self) -> list[Sample]:
        waiting, self.waiting = self.waiting, []
        ids = self.answer()
        return [Sample(request.key, list(ids), [-1.0] * len(ids)) for request in waiting]

    def serving(self, model: Any, step: int) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.mark.parametrize("style", FAITHFUL)
def test_an_agent_goes_on_where_its_response_ended(style: str) -> None:
    """Also where a template's mark is not the tokenizer's end token, as with Gemma."""
    dialogue = Dialogue(style)
    engine = Scripted(lambda: [*dialogue.encode("<think>x</think><action> up </action>"), dialogue.end])
    agent = LLMAgent(
        engine,
        dialogue.tokenizer,
        context=Context(),
        format=get_format("think"),
        sampling=SamplingParams(max_new_tokens=8),
        context_length=1000,
    )
    turns: list[Turn] = []
    for observation in "ab":
        agent.ask([View("", "", RULES, observation, {}, turns, 0, None)])
        ((_, decision),) = agent.answers()
        assert decision.action == "up"
        assert decision.response == "<think>x</think><action> up </action>"
        assert [*tokens_through(turns), *decision.prompt_ids] == engine.prompts[-1]
        turn = Turn(
            observation,
            "",
            "",
            continues=decision.continues,
            prompt_ids=decision.prompt_ids,
            response_ids=decision.response_ids,
        )
        turns.append(turn)
    between = dialogue.decode(engine.prompts[1][len(engine.prompts[0]) :])
    marks = dialogue.rendered(["a", "b"], ["<think>x</think><action> up </action>"])
    assert marks.endswith(between)
    assert get_format("think").instructions in dialogue.decode(engine.prompts[0]) or style == "built-in"
