"""What a judge is asked about an episode, in which form it answers, and which columns its answers become.

Turns are answered for by their numbers, `"1"` to `"n"`, so that a model that miscounts is found out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeAlias

from agentgym.trainers.credit.process.sotopia_rl import HIGHEST_ATTRIBUTION

Values: TypeAlias = dict[str, list[Any]]
"""A column's name → its entries for one trajectory: one for each turn, or one."""
Schema: TypeAlias = dict[str, Any]

HIGHEST = 10
"""Scores are asked for as integers from 0 to this."""


class Question(ABC):
    """One thing that a judge is asked about an episode."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that answers become."""

    @abstractmethod
    def words(self, n_turns: int) -> str:
        """What is asked, and the JSON object that is expected."""

    @abstractmethod
    def schema(self, n_turns: int) -> Schema:
        """JSON schema of the answer."""

    @abstractmethod
    def read(self, answer: Mapping[str, Any], n_turns: int) -> Values:
        """The columns of an answer. Raises `ValueError` in words for the judge where it cannot be used."""

    def combine(self, votes: Sequence[Values]) -> Values:
        """The columns of several answers: the means of their entries."""
        return {name: [fmean(each) for each in zip(*(v[name] for v in votes), strict=True)] for name in votes[0]}


@dataclass(frozen=True)
class WrongTurns(Question):
    """Which turns are wrong (CAPO): the share of the votes that say so."""

    columns = ("wrong_votes_T",)

    def words(self, n_turns: int) -> str:
        """See `Question`."""
        return (
            "Criticise the agent's turns, then say of each whether it is wrong: a mistake, or of no use for the task. "
            f'Form: {{"critique": "…", "wrong": {{{_numbered(n_turns, "true or false")}}}}}'
        )

    def schema(self, n_turns: int) -> Schema:
        """See `Question`."""
        return _object(critique=_TEXT, wrong=_of_turns(n_turns, {"type": "boolean"}))

    def read(self, answer: Mapping[str, Any], n_turns: int) -> Values:
        """See `Question`."""
        said = _keyed(answer, "wrong", _numbers(n_turns), _is_bool, "true or false")
        return {"wrong_votes_T": [float(wrong) for wrong in said]}


@dataclass(frozen=True)
class TurnScores(Question):
    """How good each turn is, from `lowest` to `highest` (PPR, PURE)."""

    lowest: float
    highest: float
    columns = ("process_reward_T",)

    def words(self, n_turns: int) -> str:
        """See `Question`."""
        return (
            "Criticise the agent's turns, then score how much each, by itself, is the right thing to do: an integer "
            f'from 0 (harmful) to {HIGHEST} (could not be better). Form: {{"critique": "…", "scores": '
            f"{{{_numbered(n_turns, 'integer')}}}}}"
        )

    def schema(self, n_turns: int) -> Schema:
        """See `Question`."""
        return _object(critique=_TEXT, scores=_of_turns(n_turns, _integer(0, HIGHEST)))

    def read(self, answer: Mapping[str, Any], n_turns: int) -> Values:
        """See `Question`."""
        said = _keyed(answer, "scores", _numbers(n_turns), *_integers(0, HIGHEST))
        span = self.highest - self.lowest
        return {"process_reward_T": [self.lowest + span * score / HIGHEST for score in said]}


@dataclass(frozen=True)
class Stages(Question):
    """Which stage each turn belongs to, and how good each stage is, from 0 to 1 (RubricEM)."""

    names: tuple[str, ...]
    columns = ("stage_T", "stage_score_T")

    def words(self, n_turns: int) -> str:
        """See `Question`."""
        scores = ", ".join(f'"{name}": integer' for name in self.names)
        return (
            f"The agent's work has the stages {', '.join(self.names)}. Say of each turn which stage it belongs to, and "
            f"score each stage with an integer from 0 to {HIGHEST}; one that no turn belongs to with 0. Form: "
            f'{{"critique": "…", "stages": {{{_numbered(n_turns, "stage")}}}, "scores": {{{scores}}}}}'
        )

    def schema(self, n_turns: int) -> Schema:
        """See `Question`."""
        stage = {"type": "string", "enum": list(self.names)}
        scores = _object(**dict.fromkeys(self.names, _integer(0, HIGHEST)))
        return _object(critique=_TEXT, stages=_of_turns(n_turns, stage), scores=scores)

    def read(self, answer: Mapping[str, Any], n_turns: int) -> Values:
        """See `Question`."""
        stages = _keyed(answer, "stages", _numbers(n_turns), self.names.__contains__, f"one of {self.names}")
        scores = _keyed(answer, "scores", self.names, *_integers(0, HIGHEST))
        of_stage = dict(zip(self.names, scores, strict=True))
        return {"stage_T": stages, "stage_score_T": [of_stage[stage] / HIGHEST for stage in stages]}

    def combine(self, votes: Sequence[Values]) -> Values:
        """The stage that most name, of equally many the first; and the mean score of its stage by those."""
        values: Values = {"stage_T": [], "stage_score_T": []}
        for said in zip(*(zip(v["stage_T"], v["stage_score_T"], strict=True) for v in votes), strict=True):
            stage = Counter(name for name, _ in said).most_common(1)[0][0]
            values["stage_T"].append(stage)
            values["stage_score_T"].append(fmean(score for name, score in said if name == stage))
        return values


@dataclass(frozen=True)
class Attribution(Question):
    """How much each turn did for a dimension of the episode's score: 0 to 3, or −1 for one that is invalid
    (Sotopia-RL). The judge is not shown the score."""

    dimension: str

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Question`."""
        return (f"attribution.{self.dimension}_T",)

    def words(self, n_turns: int) -> str:
        """See `Question`."""
        return (
            f"Say how much each of the agent's turns contributed to how the episode ended in this regard: "
            f"{self.dimension}. 0: nothing; 1, 2: something; 3: it was decisive; -1: the turn is invalid. Form: "
            f'{{"critique": "…", "attribution": {{{_numbered(n_turns, "integer")}}}}}'
        )

    def schema(self, n_turns: int) -> Schema:
        """See `Question`."""
        return _object(critique=_TEXT, attribution=_of_turns(n_turns, _integer(-1, int(HIGHEST_ATTRIBUTION))))

    def read(self, answer: Mapping[str, Any], n_turns: int) -> Values:
        """See `Question`."""
        said = _keyed(answer, "attribution", _numbers(n_turns), *_integers(-1, int(HIGHEST_ATTRIBUTION)))
        return {self.columns[0]: [float(each) for each in said]}

    def combine(self, votes: Sequence[Values]) -> Values:
        """−1 where more than half say so, else the mean of the others' attributions."""
        combined = []
        for said in zip(*(vote[self.columns[0]] for vote in votes), strict=True):
            valid = [each for each in said if each >= 0]
            combined.append(fmean(valid) if 2 * len(valid) >= len(said) else -1.0)
        return {self.columns[0]: combined}


@dataclass(frozen=True)
class Scores(Question):
    """How the episode ended in each dimension (Sotopia): integers in the dimensions' ranges."""

    ranges: tuple[tuple[str, int, int], ...]
    """The dimensions with their lowest and highest scores."""

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Question`."""
        return tuple(f"score.{dimension}_N" for dimension, _, _ in self.ranges)

    def words(self, n_turns: int) -> str:
        """See `Question`."""
        scores = ", ".join(f'"{name}": integer from {low} to {high}' for name, low, high in self.ranges)
        return (
            "Score how well the agent did in the whole episode in each of these regards. "
            f'Form: {{"critique": "…", "scores": {{{scores}}}}}'
        )

    def schema(self, n_turns: int) -> Schema:
        """See `Question`."""
        return _object(critique=_TEXT, scores=_object(**{name: _integer(*bounds) for name, *bounds in self.ranges}))

    def read(self, answer: Mapping[str, Any], n_turns: int) -> Values:
        """See `Question`."""
        values: Values = {}
        of_all = _keyed(answer, "scores", [name for name, _, _ in self.ranges], _is_int, "an integer")
        for (name, *bounds), score in zip(self.ranges, of_all, strict=True):
            fits, expected = _integers(*bounds)
            if not fits(score):
                raise ValueError(f"scores: {name} is {score}: it should be {expected}")
            values[f"score.{name}_N"] = [float(score)]
        return values


_TEXT: Schema = {"type": "string"}


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _integer(lowest: int, highest: int) -> Schema:
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def _of_turns(n_turns: int, each: Schema) -> Schema:
    return _object(**dict.fromkeys(_numbers(n_turns), each))


def _numbers(n_turns: int) -> list[str]:
    return [str(number) for number in range(1, n_turns + 1)]


def _numbered(n_turns: int, what: str) -> str:
    """How an object with a key for each turn is written."""
    return f'"1": {what}' + (f', …, "{n_turns}": {what}' if n_turns > 1 else "")


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integers(lowest: int, highest: int) -> tuple[Callable[[Any], bool], str]:
    """A test for integers in a range, and what is expected in words."""
    return lambda value: _is_int(value) and lowest <= value <= highest, f"an integer from {lowest} to {highest}"


def _keyed(
    answer: Mapping[str, Any], name: str, keys: Sequence[str], fits: Callable[[Any], bool], expected: str
) -> list[Any]:
    """What stands in `answer[name]` under exactly these keys, in their order."""
    values = answer.get(name)
    if not isinstance(values, dict):
        raise ValueError(f'"{name}" should be an object with the keys {", ".join(keys)}')
    if lacking := [key for key in keys if key not in values]:
        raise ValueError(f'"{name}" lacks {", ".join(lacking)}')
    if more := [key for key in values if key not in keys]:
        raise ValueError(f'"{name}" has {", ".join(more)}, and there is no such one')
    for key in keys:
        if not isinstance(values[key], str | int) or not fits(values[key]):
            raise ValueError(f'"{name}": {key} is {values[key]!r:.40}: it should be {expected}')
    return [values[key] for key in keys]
