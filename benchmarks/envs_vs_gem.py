"""Sokoban in agentgym and in GEM (PyPI gem-llm 0.1.0): steps and resets per second, on one core.

    .venv/bin/python benchmarks/envs_vs_gem.py --peer-python /tmp/peers/bin/python

GEM lives in a virtual environment of its own:

    python3 -m venv /tmp/peers
    /tmp/peers/bin/pip install --no-deps gem-llm==0.1.0 msgspec==0.19.0 nltk==3.9.1
    /tmp/peers/bin/pip install reasoning-gym==0.1.23 numpy

Two settings, each the same on both sides: GEM's own "game:Sokoban-v0-easy" (6x6, 2 boxes, 20 turns), and
agentgym's default (6x6, 1 box, 15 turns). Actions are drawn beforehand, uniformly from up, down, left and
right. Steps and resets are timed apart. The sides take turns, each run is a process of its own, and medians
are compared.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provenance import provenance

SETTINGS = {
    "6x6, 2 boxes, 20 turns": {"boxes": 2, "max_turns": 20},
    "6x6, 1 box, 15 turns": {"boxes": 1, "max_turns": 15},
}
MOVES = ("up", "down", "left", "right")
PACKAGES = {"agentgym": ("agentgym", "gymnasium", "numpy"), "gem": ("gem-llm", "numpy")}


# One run, in the interpreter of its side ------------------------------------------------------------------


def make_agentgym(boxes: int, max_turns: int) -> tuple[Any, list[str]]:
    from agentgym.envs import make

    return make("agentgym/Sokoban-v0", size=6, boxes=boxes, max_turns=max_turns), list(MOVES)


def make_gem(boxes: int, max_turns: int) -> tuple[Any, list[str]]:
    import gem  # type: ignore[import-not-found]  # it is in the other virtual environment

    env = gem.make("game:Sokoban-v0-easy", num_boxes=boxes, max_turns=max_turns)
    assert (env.num_boxes, env.max_turns, env.dim_room) == (boxes, max_turns, (6, 6))
    return env, [f"\\boxed{{{move}}}" for move in MOVES]


SIDES: dict[str, Callable[[int, int], tuple[Any, list[str]]]] = {"agentgym": make_agentgym, "gem": make_gem}


def measure(side: str, boxes: int, max_turns: int, seed: int, seconds: float) -> dict[str, Any]:
    """Play random episodes for `seconds`."""
    env, moves = SIDES[side](boxes, max_turns)
    env.reset(seed=seed)
    rng = random.Random(seed)
    steps = resets = 0
    step_time = reset_time = 0.0
    while step_time + reset_time < seconds:
        actions = rng.choices(moves, k=max_turns)
        begin = time.perf_counter()
        env.reset()
        begun = time.perf_counter()
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            steps += 1
            if terminated or truncated:
                break
        step_time += time.perf_counter() - begun
        reset_time += begun - begin
        resets += 1
    return {
        "steps_per_second": steps / step_time,
        "resets_per_second": resets / reset_time,
        "steps_per_second_with_resets": steps / (step_time + reset_time),
        "steps": steps,
        "resets": resets,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES[side]},
        },
    }


# The comparison -------------------------------------------------------------------------------------------


def run_side(python: str, side: str, core: int, seed: int, seconds: float, setting: dict[str, int]) -> Any:
    arguments = {"side": side, "seed": seed, "seconds": seconds, **setting}
    child = subprocess.run(
        [python, __file__, "--worker", json.dumps(arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(child.stdout.splitlines()[-1])


def compare(peer_python: str, runs: int, seconds: float, core: int, setting: dict[str, int]) -> dict[str, Any]:
    """`runs` runs of both sides, now the one and now the other first."""
    pythons = {"agentgym": sys.executable, "gem": peer_python}
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(runs):
        for side in sorted(SIDES, reverse=number % 2 == 1):
            results[side].append(run_side(pythons[side], side, core, number, seconds, setting))
    figures = ("steps_per_second", "resets_per_second", "steps_per_second_with_resets")
    medians = {s: {f: statistics.median(run[f] for run in results[s]) for f in figures} for s in SIDES}
    return {
        "medians": medians,
        "ratios": {f: medians["agentgym"][f] / medians["gem"][f] for f in figures},
        "runs": results,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", default="/tmp/peers/bin/python", help="the interpreter that has gem-llm")
    parser.add_argument("--runs", type=int, default=7, help="runs of each side and setting")
    parser.add_argument("--seconds", type=float, default=3.0, help="of playing in each run")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "envs_vs_gem.json", help="JSON file"
    )
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(**options.worker)))
        return
    report: dict[str, Any] = {
        **provenance(core=options.core),
        "settings": {
            name: compare(options.peer_python, options.runs, options.seconds, options.core, setting)
            for name, setting in SETTINGS.items()
        },
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    for name, result in report["settings"].items():
        for figure, ratio in result["ratios"].items():
            ours, theirs = (result["medians"][side][figure] for side in ("agentgym", "gem"))
            print(f"{name:24} {figure:30} agentgym {ours:10,.0f}  gem {theirs:10,.0f}  ratio {ratio:6.1f}")
    print(f"written to {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
