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
    assert get_format("plain").parse(response) == action


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
    assert get_format("think").parse(response) == action


@pytest.mark.parametrize("name", FORMATS)
@given(
    response=st.lists(st.sampled_from(["<action>", "</action>", "<think>", "</think>", "x", " ", "\n"])).map("".join)
)
def test_an_action_is_part_of_the_response_and_has_no_marks(name: str, response: str) -> None:
    action = get_format(name).parse(response)
    assert action in response
    assert action == action.strip()
    if name != "plain":
        assert not re.search("</?action>", action)


def test_a_response_without_end_takes_no_time() -> None:
    assert get_format("think").parse("<action>" * 100_000) == ""


def test_unknown_formats() -> None:
    with pytest.raises(ValueError, match="unknown response format 'json': use one of plain, think"):
        get_format("json")
    assert all(FORMATS[name].name == name for name in FORMATS)
