"""SOTOPIA: episodes, visibility, ends and odd utterances of the official code; judges' answers and their means."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from agentgym.agents.strict_json import parse_object
from agentgym.trainers.signals.judge_questions import Scores
from tests.envs.social.sotopia_replay import check_ends, check_episode, check_utterance, check_visibility

from ..compare import Case


def sotopia(path: Path) -> Iterator[Case]:
    """The adapter of the sotopia folder. A file's name says what its cases are."""
    given = json.loads(path.read_text(encoding="utf-8"))
    kind = path.stem.removeprefix("v014_").removeprefix("source_2026_01_").rstrip("_0123456789")
    if kind == "episode":
        yield Case("episode", partial(check_episode, given))
        return
    visibility = partial(check_visibility, own_only=given["sotopia"] != "0.1.4") if kind == "visibility" else None
    checks = {
        "aggregation": check_aggregation,
        "judge_answers": check_judge_answer,
        "visibility": visibility,
        "ends": check_ends,
        "utterances": check_utterance,
    }
    for number, case in enumerate(given["cases"]):
        yield Case(f"case {number}", partial(checks[kind], case))


SEVEN = Scores(
    (
        ("believability", 0, 10),
        ("relationship", -5, 5),
        ("knowledge", 0, 10),
        ("secret", -10, 0),
        ("social_rules", -10, 0),
        ("financial_and_material_benefits", -5, 5),
        ("goal", 0, 10),
    )
)
"""SOTOPIA's dimensions."""
QUIRKS = (
    "score as string", "score as whole float", "score true", "dimension too many", "agent_2 first", "three agents",
    "keys are names", "one agent only", "no agents", "wrapped in properties", "server error",
)  # fmt: skip
"""Answers that the official code takes for what they are not, or passes over."""
READ_AT_ONCE = ("fenced json", "fence not closed", "prose before", "prose after")
"""Answers for which it asks a second time, and ours need not."""


def check_judge_answer(case: dict[str, Any], report: Any) -> None:
    """Which answers can be used, and what they say. Ours is asked about one seat at a time, in a form of its own."""
    if case["name"] in QUIRKS:
        return
    for number, text in enumerate(case["answers"][: case["requests"]], 1):
        is_used = number == case["requests"] and case["agent_1"] is not None
        scores = _scores(text or "")
        if scores is None or case["name"] not in READ_AT_ONCE:
            report.same(f"answer {number} can be used", scores is not None, is_used)
        if scores is not None and is_used:
            for agent in ("agent_1", "agent_2"):
                _, expected = case[agent]
                expected = {name: score for name, score in expected.items() if name != "overall_score"}
                report.same(f"scores of {agent}", scores[agent], expected)


def _scores(text: str) -> dict[str, dict[str, float]] | None:
    """What an official answer says of both, read as strictly as ours; None if it cannot be used."""
    try:
        given = parse_object(text)
        of_014 = {key.removesuffix("_evaluation"): of for key, of in given.items() if key.endswith("_evaluation")}
        of_agent = of_014 or given["evaluations"]
        read = {
            agent: SEVEN.read({"scores": {name: entry[1] for name, entry in of_agent[agent].items()}}, 0)
            for agent in ("agent_1", "agent_2")
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return {agent: {name[6:-2]: score for name, (score,) in values.items()} for agent, values in read.items()}


def check_aggregation(case: dict[str, Any], report: Any) -> None:
    """Scores of several votes: the mean of each dimension over the votes, and the mean of those."""
    for agent in ("agent_1", "agent_2"):
        votes: dict[int, dict[str, int]] = defaultdict(dict)
        for vote, of_agent, dimension, score in case["answers"]:
            if of_agent == agent:
                votes[vote][dimension] = score
        expected_overall, of_dimensions = case[agent]
        expected = {name: score for name, score in of_dimensions.items() if name != "overall_score"}
        asked = Scores(tuple((name, -10, 10) for name in expected))
        said = [asked.read({"scores": scores}, 0) for scores in votes.values()]
        got = {name: asked.combine(said)[f"score.{name}_N"][0] for name in expected}
        report.number(f"{agent}: dimensions", list(got.values()), list(expected.values()))
        report.number(f"{agent}: overall", fmean(got.values()), expected_overall)
