"""Scenarios and characters: from SOTOPIA's files, or from ours, which have the same form.

A directory holds `agent_profiles.jsonl` and `environment_profiles.jsonl`, and who plays what: in
`env_agent_combos.jsonl`, or, for scenarios that are not there, all those whose relationship in
`relationship_profiles.jsonl` is the scenario's and whom its constraints on age and occupation let play.
Ours add one key to a scenario: `rule`, what a goal is scored by (`deals`).
"""

from __future__ import annotations

import ast
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

from agentgym.envs.json_files import objects_of
from agentgym.envs.social.sotopia.deals import Rule, read_rule
from agentgym.envs.splits import split_of
from agentgym.envs.user_path import user_path

logger = logging.getLogger(__name__)

BUILTIN = Path(__file__).parent / "data"
_LEVELS = 6


@dataclass(frozen=True, slots=True)
class Character:
    """Who sits at the table. What the files hold besides (traits, values) nobody is ever shown."""

    id: str
    name: str
    age: int
    occupation: str
    gender: str
    pronouns: str
    public: str
    personality: str
    secret: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is to happen between whom."""

    id: str
    text: str
    """With marks for single seats' parts."""
    goals: tuple[str, ...]
    """One a seat, in the seats' order; with marks."""
    level: int
    """Of the relationship, 0 to 5."""
    rule: Rule | None = field(compare=False)
    """What the goals are scored by; None leaves them to a judge."""


@dataclass(frozen=True, slots=True)
class Task:
    """A scenario and who plays it, in the seats' order."""

    scenario: Scenario
    characters: tuple[Character, ...]

    @property
    def id(self) -> str:
        """Names the scenario and its characters, in order."""
        return f"{self.scenario.id}/{'/'.join(character.id for character in self.characters)}"

    @property
    def split(self) -> str:
        """The split, which the same scenario and characters in other seats are in too."""
        return split_of(f"{self.scenario.id}/{'/'.join(sorted(character.id for character in self.characters))}")


def find_tasks(data: str | Path, seats: int, goals: str, split: str) -> dict[str, list[Task]]:
    """The tasks of a split by scenario, in the files' order. Raises `ValueError` in one line if there is none."""
    directory = BUILTIN if data == "builtin" else user_path(data)
    of_kind = [
        task
        for task in _all_tasks(directory, seats)
        if goals == "all" or (task.scenario.rule is not None) == (goals == "rule")
    ]
    if not of_kind:
        other = "judged" if goals == "rule" else "rule"
        raise ValueError(f"{directory}: no goal of {seats} seats is {_SCORED[goals]}: set goals to {other!r}")
    found: dict[str, list[Task]] = defaultdict(list)
    for task in of_kind:
        if task.split == split:
            found[task.scenario.id].append(task)
    if not found:
        raise ValueError(f"{directory}: of {len(of_kind)} pairs of scenario and characters none is in split {split!r}")
    return dict(found)


_SCORED = {"rule": "scored by a rule", "judged": "left to a judge"}


@lru_cache(maxsize=8)
def _all_tasks(directory: Path, seats: int) -> tuple[Task, ...]:
    characters = _read_characters(directory / "agent_profiles.jsonl")
    scenarios, constraints = _read_scenarios(directory / "environment_profiles.jsonl")
    fitting = {name: scenario for name, scenario in scenarios.items() if len(scenario.goals) == seats}
    if not fitting:
        sizes = sorted({len(scenario.goals) for scenario in scenarios.values()})
        raise ValueError(
            f"{directory / 'environment_profiles.jsonl'}: no scenario has {seats} characters, as seats says: they have "
            f"{' or '.join(map(str, sizes))}"
        )
    if left_out := len(scenarios) - len(fitting):
        log = logger.debug if directory == BUILTIN else logger.warning
        log("%s: %d of %d scenarios are not for %d seats", directory, left_out, len(scenarios), seats)
    casts = _read_casts(directory / "env_agent_combos.jsonl", scenarios, characters)
    known = _read_relationships(directory / "relationship_profiles.jsonl", characters)
    tasks = []
    for name, scenario in fitting.items():
        of_scenario = casts.get(name) or _derived(scenario, constraints[name], characters, known)
        tasks += [Task(scenario, tuple(characters[each] for each in cast)) for cast in of_scenario]
    return tuple(tasks)


def _derived(
    scenario: Scenario,
    constraints: Sequence[Sequence[Any] | None],
    characters: Mapping[str, Character],
    known: Mapping[frozenset[str], int],
) -> Iterator[tuple[str, ...]]:
    """All whose relationship is the scenario's and whom its constraints let play, in each order."""
    ages, occupations = constraints
    if scenario.level:
        members = sorted({each for pair, level in known.items() if level == scenario.level for each in pair})
    else:
        members = sorted(characters)
    for cast in permutations(members, len(scenario.goals)):
        pairs = [frozenset(pair) for pair in permutations(cast, 2)]
        if any(known.get(pair, 0) != scenario.level for pair in pairs):
            continue
        seated = [characters[each] for each in cast]
        fits_age = ages is None or all(low <= c.age <= high for c, (low, high) in zip(seated, ages, strict=True))
        fits_work = occupations is None or all(
            not allowed or c.occupation.casefold() in _words(allowed)
            for c, allowed in zip(seated, occupations, strict=True)
        )
        if fits_age and fits_work:
            yield cast


def _words(allowed: Any) -> list[str]:
    return [str(each).casefold() for each in ([allowed] if isinstance(allowed, str) else allowed)]


def _read_characters(path: Path) -> dict[str, Character]:
    characters = {}
    for place, entry in _entries(path):
        first, last = (_text(entry, key, place) for key in ("first_name", "last_name"))
        age = entry.get("age")
        if not isinstance(age, int) or isinstance(age, bool):
            raise ValueError(f"{place}: age is {age!r:.40}: it should be a whole number")
        character = Character(
            _text(entry, "agent_id", place),
            " ".join(f"{first} {last}".split()),
            age,
            *(_text(entry, key, place) for key in ("occupation", "gender", "gender_pronoun", "public_info")),
            *(_text(entry, key, place) for key in ("personality_and_values", "secret")),
        )
        if character.id in characters:
            raise ValueError(f"{place}: a second agent_id {character.id!r}")
        characters[character.id] = character
    return characters


def _read_scenarios(path: Path) -> tuple[dict[str, Scenario], dict[str, list[Sequence[Any] | None]]]:
    """The scenarios by id, and who may play them: by age and by occupation, each a list by seat or None."""
    scenarios: dict[str, Scenario] = {}
    constraints: dict[str, list[Sequence[Any] | None]] = {}
    for place, entry in _entries(path):
        name, text = _text(entry, "env_id", place), _text(entry, "scenario", place)
        goals = entry.get("agent_goals")
        if not isinstance(goals, list) or not all(isinstance(goal, str) and goal.strip() for goal in goals):
            raise ValueError(f"{place}: agent_goals should be a list with a goal in words for each character")
        if len(goals) < 2:
            raise ValueError(f"{place}: {len(goals) or 'no'} goal, and at least two characters need one each")
        level = str(entry.get("relationship", ""))
        if level not in map(str, range(_LEVELS)):
            raise ValueError(f"{place}: relationship is {level or 'missing'}: it should be from 0 to {_LEVELS - 1}")
        if name in scenarios:
            raise ValueError(f"{place}: a second env_id {name!r}")
        rule = read_rule(entry["rule"], len(goals), place) if "rule" in entry else None
        scenarios[name] = Scenario(name, text, tuple(goals), int(level), rule)
        keys = ("age_constraint", "occupation_constraint")
        constraints[name] = [_constraint(entry, key, len(goals), place) for key in keys]
    return scenarios, constraints


def _constraint(entry: Mapping[str, Any], key: str, seats: int, place: str) -> Sequence[Any] | None:
    """A list by seat. The files hold Python literals as text, or bare words in brackets."""
    given = str(entry.get(key) or "nan").strip()
    if given in ("nan", "none", "None"):
        return None
    try:
        value = ast.literal_eval(given)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        value = [word.strip() for word in given.strip("[]()").split(",")]
    fits = isinstance(value, list | tuple) and len(value) == seats
    if fits and key == "age_constraint":
        fits = all(
            isinstance(bounds, list | tuple)
            and len(bounds) == 2
            and all(isinstance(age, int | float) for age in bounds)
            for bounds in value
        )
    if not fits:
        raise ValueError(f"{place}: {key} is {given!r:.60}: it should be a list with one entry for each of {seats}")
    return list(value)


def _read_casts(
    path: Path, scenarios: Mapping[str, Scenario], characters: Mapping[str, Character]
) -> dict[str, list[tuple[str, ...]]]:
    """Who plays each scenario, as the file says. Entries of scenarios that are elsewhere are passed over."""
    casts: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for place, entry in _entries(path) if path.exists() else ():
        name, cast = _text(entry, "env_id", place), entry.get("agent_ids")
        if name not in scenarios:
            continue
        if not isinstance(cast, list) or len(cast) != len(scenarios[name].goals):
            raise ValueError(
                f"{place}: agent_ids should name one character for each of {len(scenarios[name].goals)} goals"
            )
        _expect_known(cast, characters, place)
        casts[name].append(tuple(cast))
    return casts


def _read_relationships(path: Path, characters: Mapping[str, Character]) -> dict[frozenset[str], int]:
    known = {}
    for place, entry in _entries(path) if path.exists() else ():
        pair = [entry.get("agent1_id"), entry.get("agent2_id")]
        _expect_known(pair, characters, place)
        level = str(entry.get("relationship", ""))
        if level not in map(str, range(_LEVELS)):
            raise ValueError(f"{place}: relationship is {level or 'missing'}: it should be from 0 to {_LEVELS - 1}")
        known[frozenset(map(str, pair))] = int(level)
    return known


def _expect_known(names: Sequence[Any], characters: Mapping[str, Character], place: str) -> None:
    for name in names:
        if not isinstance(name, str) or name not in characters:
            raise ValueError(f"{place}: there is no character {name!r:.60} in agent_profiles.jsonl")
    if len(set(names)) < len(names):
        raise ValueError(f"{place}: a character sits at the table twice")


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise ValueError(
            f"{path.parent}: no {path.name}: `data` is a directory with SOTOPIA's agent_profiles.jsonl, "
            "environment_profiles.jsonl, and env_agent_combos.jsonl or relationship_profiles.jsonl"
        )
    return objects_of(path)


def _text(entry: Mapping[str, Any], key: str, place: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{place}: {key} is {'missing' if value is None else repr(value)[:40]}: it should be a text")
    return value.strip()
