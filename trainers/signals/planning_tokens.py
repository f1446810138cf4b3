"""HICRA's planning tokens: those of phrases that recur in the solutions of many tasks (arXiv:2509.03646)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.token_spans import token_spans
from agentgym.agents.trajectory import Turn
from agentgym.trainers.arrays import BoolArray
from agentgym.trainers.experience import Experience
from agentgym.trainers.parameters import UnitInterval
from agentgym.trainers.signals.signal import Resources, Signal

LENGTHS = range(3, 6)
"""Words of a gram: the paper's."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")
_CLAUSE = re.compile(r"[^.!?;:\n<>{}]+")
"""What no gram goes beyond: sentences, lines and tags."""


class Gram(NamedTuple):
    """A phrase in a text."""

    key: int
    """Equal for phrases that are spelt alike, but for capitals and numbers."""
    start: int
    end: int


class PlanningTokens(Signal):
    """Whether each token belongs to a *strategic gram*, a phrase that recurs from task to task.

    Known of the paper's rule, from descriptions of it: grams are 3 to 5 words of successful solutions; they are
    clustered by the embeddings of a sentence encoder; a cluster's document frequency is the number of distinct
    solutions that have one of its grams; those of the highest fifth are strategic.

    Ours, which can be computed from rollouts alone: a cluster is what is spelt alike, but for capitals and numbers, in
    place of an encoder; a document is a task with all its present successes, since what only siblings share are the
    task's own words; of the grams that at least two tasks have, those are strategic whose frequency is above that of
    all but the highest `share`. Documents are the last `max_tasks` tasks that were solved, each as it was solved last,
    by all processes; the present step's are among them. Where the format reads a part "think", only thoughts have
    grams: an action executes.

    `phrases`: a text file with a phrase a line, of any length, to be taken as strategic instead.
    """

    gives = ("planning_K",)

    def __init__(
        self,
        resources: Resources,
        wanted: frozenset[str],
        *,
        share: UnitInterval = 0.2,
        max_tasks: Annotated[int, Field(ge=2, description="≥ 2")] = 1024,
        phrases: str | None = None,
    ):
        """Raises `ValueError` in one line for a file of phrases that cannot be read or has none."""
        super().__init__(resources, wanted)
        self.share, self.max_tasks = share, max_tasks
        self.phrases = None if phrases is None else read_phrases(Path(phrases).expanduser())
        self.documents: dict[str, NDArray[np.uint64]] = {}
        """By task, the one that was solved last at the end."""

    def compute(self, experience: Experience) -> Mapping[str, BoolArray]:
        """Take the step's solutions in; mark the tokens: shape (K,)."""
        lengths = LENGTHS if self.phrases is None else sorted({len(phrase.split()) for phrase in self.phrases})
        agent = self.resources.agent
        grams = [[list(grams_of(turn, agent, lengths)) for turn in t.turns] for t in experience.trajectories]
        if self.phrases is None:
            self._take_in(experience, grams)
            strategic: Set[int] = self._strategic()
        else:
            strategic = {_key(phrase) for phrase in self.phrases}
        marks = [
            _marked(turn, [gram for gram in of_turn if gram.key in strategic], agent)
            for trajectory, of_turns in zip(experience.trajectories, grams, strict=True)
            for turn, of_turn in zip(trajectory.turns, of_turns, strict=True)
        ]
        return {"planning_K": np.concatenate([*marks, np.zeros(0, np.bool_)])}

    def _take_in(self, experience: Experience, grams: Sequence[Sequence[Sequence[Gram]]]) -> None:
        own = [
            (int(t.group.rpartition("/")[2]), t.task_id, {gram.key for of_turn in of_turns for gram in of_turn})
            for t, of_turns in zip(experience.trajectories, grams, strict=True)
            if t.success
        ]
        solved: dict[str, set[int]] = {}
        everyone = [each for of_process in self.resources.processes.gather(own) for each in of_process]
        for _, task, keys in sorted(everyone, key=lambda each: each[0]):
            solved.setdefault(task, set()).update(keys)
        for task, keys in solved.items():
            self.documents.pop(task, None)
            self.documents[task] = np.array(sorted(keys), np.uint64)
        for task in list(self.documents)[: -self.max_tasks]:
            del self.documents[task]

    def _strategic(self) -> set[int]:
        count = Counter(key for document in self.documents.values() for key in document.tolist())
        recurring = sorted((tasks for tasks in count.values() if tasks > 1), reverse=True)
        n_chosen = int(self.share * len(recurring))
        least = recurring[n_chosen] if n_chosen < len(recurring) else 1
        return {key for key, tasks in count.items() if tasks > least}

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        keys = np.concatenate([*self.documents.values(), np.zeros(0, np.uint64)])
        return {
            "tasks": list(self.documents),
            "sizes": [len(document) for document in self.documents.values()],
            "grams": torch.from_numpy(keys.view(np.int64).copy()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        keys = state["grams"].numpy().view(np.uint64)
        documents = np.split(keys, np.cumsum(state["sizes"])[:-1]) if state["sizes"] else []
        self.documents = dict(zip(state["tasks"], documents, strict=True))


def grams_of(turn: Turn, agent: LLMAgent, lengths: Sequence[int]) -> Iterator[Gram]:
    """The phrases of a turn's response, or of its thought where the format has thoughts."""
    first, last = 0, len(turn.response)
    if "think" in agent.format.reads:
        first, last = (len(agent.decode(turn.response_ids[:n])) for n in turn.spans.get("think", (0, 0)))
    for clause in _CLAUSE.finditer(turn.response, first, last):
        words = [(_plain(word[0]), *word.span()) for word in _WORD.finditer(turn.response, *clause.span())]
        for n in lengths:
            for i in range(len(words) - n + 1):
                phrase = words[i : i + n]
                yield Gram(_key(" ".join(word for word, _, _ in phrase)), phrase[0][1], phrase[-1][2])


def _marked(turn: Turn, grams: Sequence[Gram], agent: LLMAgent) -> BoolArray:
    """The tokens of a response that belong to some of its phrases."""
    marked_K = np.zeros(len(turn.response_ids), np.bool_)
    spans: dict[str, tuple[int, int]] = {}
    end = -1
    for gram in sorted(grams, key=lambda gram: gram.start):
        if gram.start >= end:
            name = str(gram.start)
            spans[name] = gram.start, gram.end
        else:
            spans[name] = spans[name][0], max(end, gram.end)
        end = spans[name][1]
    if spans:
        for first, last in token_spans(agent.decode, turn.response_ids, spans).values():
            marked_K[first:last] = True
    return marked_K


def read_phrases(path: Path) -> frozenset[str]:
    """The phrases of a file, one a line, as grams spell them. Raises `ValueError` in one line where there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"planning_tokens: the phrases {path} cannot be read: {error}") from None
    phrases = frozenset(filter(None, (" ".join(map(_plain, _WORD.findall(line))) for line in lines)))
    if not phrases:
        raise ValueError(f"planning_tokens: there is no phrase in {path}: write one a line")
    return phrases


def _plain(word: str) -> str:
    return "0" if word.isdigit() else word.casefold()


@lru_cache(maxsize=2**18)
def _key(phrase: str) -> int:
    return int.from_bytes(blake2b(phrase.encode(), digest_size=8).digest(), "big")
