"""From a response to an action."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.agents.formats import FORMATS, get_format


@pytest.mark.parametrize(
    ("response", "action"),
    [("up", "up"), ("  go to shelf 1\n", "go to shelf 1"), ("a\nb", "a\nb"), ("", ""), (" \n", "")],
)
def test_plain(response: str, action: str) -> None:
    assert get_format("plain").parse(response).action == action


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("<think>left is a wall</think><action>up</action>", "up"),
        ("<action> click[buy\nnow] </action> Done.", "click[buy\nnow]"),
        ("<think><action>up</action>? No.</think><action>down</action>", "down"),
        ("<think>I write <action> and then…</think><action>down</action>", "down"),
        ("<think>as in </action></think><action>down</action></action>", "down"),
        ("<action></action>", ""),
        ("up", ""),
        ("<action>up", ""),
        ("up</action>", ""),
        ("</action>up<action>", ""),
        ("<ACTION>up</ACTION>", ""),
        ("", ""),
    ],
)
def test_think(response: str, action: str) -> None:
    assert get_format("think").parse(response).action == action


@pytest.mark.parametrize("name", FORMATS)
@given(
    response=st.lists(st.sampled_from(["<action>", "</action>", "<think>", "</think>", "x", " ", "\n"])).map("".join)
)
def test_an_action_is_part_of_the_response_and_has_no_marks(name: str, response: str) -> None:
    parsed = get_format(name).parse(response)
    action = parsed.action
    assert action in response
    assert action == action.strip()
    if name == "think":
        assert not re.search("</?action>", action)
    assert action or parsed.fault


def test_a_response_without_end_takes_no_time() -> None:
    for name in ("think", "hiper"):
        assert get_format(name).parse("<action>" * 100_000).action == ""


def test_unknown_formats() -> None:
    with pytest.raises(ValueError, match=r"unknown response format 'thin': did you mean 'think'\? there is hiper"):
        get_format("thin")
    with pytest.raises(ValueError, match="the response format 'nowhere:json': cannot import 'nowhere'"):
        get_format("nowhere:json")
    assert all(FORMATS[name].name == name for name in FORMATS)


@pytest.mark.parametrize(
    ("response", "action", "parts", "fault"),
    [
        (
            "<switch>KEEP</switch><subgoal>find a mug</subgoal><action>go to desk 1</action>",
            "go to desk 1",
            {"switch": "KEEP", "subgoal": "find a mug"},
            "",
        ),
        ("<switch> switch </switch> x <action>up</action>", "up", {"switch": "SWITCH"}, "no <subgoal>…</subgoal>"),
        (
            "<SWITCH>SWITCH</SWITCH><switch></switch><subgoal><subgoal> </subgoal><action>\n</action>",
            "",
            {"subgoal": "<subgoal>"},
            "the switch is '', not KEEP or SWITCH; an empty action",
        ),
        (
            "<switch>maybe</switch><subgoal>a</subgoal><action>up</action><action>down</action>",
            "up",
            {"switch": "MAYBE", "subgoal": "a"},
            "the switch is 'MAYBE', not KEEP or SWITCH",
        ),
        (
            "<switch>KEEP</switch><subgoal>a</subgoal><action>u",
            "",
            {"switch": "KEEP", "subgoal": "a"},
            "no <action>…</action>",
        ),
        (
            "",
            "",
            {},
            "no <switch>…</switch>; no <subgoal>…</subgoal>; no <action>…</action>",
        ),
    ],
)
def test_hiper(response: str, action: str, parts: dict[str, str], fault: str) -> None:
    parsed = get_format("hiper").parse(response)
    assert (parsed.action, parsed.parts, parsed.fault) == (action, {"switch": "", "subgoal": ""} | parts, fault)


def test_spans_have_their_marks() -> None:
    response = "<think>a</think> <action>up</action>."
    for name, expected in {
        "think": {"think": "<think>a</think>", "action": "<action>up</action>"},
        "hiper": {"action": "<action>up</action>"},
        "plain": {},
    }.items():
        spans = get_format(name).parse(response).spans
        assert {part: response[start:end] for part, (start, end) in spans.items()} == expected
    cut_off = "<switch>KEEP</switch><subgoal>a</sub"
    assert get_format("hiper").parse(cut_off).spans == {"action": (0, len(cut_off)), "switch": (0, 21)}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read(name: str) -> None:
    format = get_format(name)
    parts = {"switch": "KEEP", "subgoal": "find a mug", "think": "hm"}
    parsed = format.parse(format.write("go to desk 1", **parts))
    assert (parsed.action, parsed.fault) == ("go to desk 1", "")
    assert parsed.parts == {part: text for part, text in parts.items() if part in parsed.parts}
    assert {*parsed.parts, *parsed.spans} <= set(format.reads)
