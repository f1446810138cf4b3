"""Seconds that each credit scheme takes, and how they grow with the batch.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/credit.py

Random batches of 320, 1,280, 6,400 and 12,800 turns with 64 tokens each: groups of 8 trajectories of 20 turns on
average, 20 states a task, and every signal that a scheme may need. Timed is `compute` with the scheme's defaults and
the way to the tokens, on a batch of which nothing has been used yet; the median of several runs counts, in seconds of
the CPU (one thread), which other programs on the machine disturb less than those of the clock. Growth is that of the
quickest runs, per doubling of the turns. Beside them GiGPO as a plain program, with the ids as texts and a mask over
all turns for every trajectory, task and state, as a reading of the definition suggests; its result must be ours.

Exit status 1 if a scheme more than 2.5-folds where turns double, if GiGPO takes more than 0.05 s for 12,800 turns, or
if the plain program takes less than 50 times as long.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.batch_json import distinct, offsets_of
from agentgym.trainers.credit import compute, schemes
from agentgym.trainers.signal_names import SIGNALS

SIZES = (320, 1_280, 6_400, 12_800)
TOKENS = 64
TURNS_A_TRAJECTORY, GROUP_SIZE, STATES = 20, 8, 20
MOST_GROWTH, MOST_SECONDS, LEAST_RATIO = 2.5, 0.05, 50

PARTS = ("outcome", "format")
"""What the star in a signal such as `reward_parts.*_T` stands for."""


# The batches ----------------------------------------------------------------------------------------------


def random_batch(n_turns: int, seed: int) -> TurnBatch:
    """A batch with everything that a scheme may need."""
    rng = np.random.default_rng(seed)
    n_trajectories = n_turns // TURNS_A_TRAJECTORY
    cuts = np.sort(rng.choice(np.arange(1, n_turns), n_trajectories - 1, replace=False))
    turn_offsets_N = np.concatenate([[0], cuts, [n_turns]])
    group_N = np.arange(n_trajectories) // GROUP_SIZE
    state_T = rng.integers(STATES, size=n_turns)
    ends_T = np.zeros(n_turns, dtype=bool)
    ends_T[turn_offsets_N[1:] - 1] = True
    return TurnBatch(
        group_N=group_N,
        turn_offsets_N=turn_offsets_N,
        reward_T=np.where(ends_T, 10.0 * rng.integers(2, size=n_turns), 0.0),
        valid_T=rng.random(n_turns) < 0.9,
        state_T=distinct(state_T.tolist()),
        observation_T=[f"You are in room {state} and see a table, a lamp and a door." for state in state_T],
        token_offsets_T=offsets_of([TOKENS] * n_turns),
        token_K=rng.integers(32_000, size=n_turns * TOKENS),
        truncated_N=rng.random(n_trajectories) < 0.1,
        columns={
            name.replace("*", part): random_signal(rng, name, n_trajectories, n_turns)
            for name in SIGNALS
            for part in (PARTS if "*" in name else ("",))
        },
    )


def random_signal(rng: np.random.Generator, name: str, n_trajectories: int, n_turns: int) -> np.ndarray[Any, Any]:
    size = {"_N": n_trajectories, "_T": n_turns, "_K": n_turns * TOKENS}[name[-2:]]
    if name == "role_K":
        return rng.choice(np.array(["switch", "subgoal", "action", ""], dtype=object), size)
    if "category" in SIGNALS[name]:
        return rng.choice(np.array(["one", "two", "three"], dtype=object), size)
    if SIGNALS[name].startswith("whether"):
        return rng.integers(2, size=size).astype(np.float64)
    if name == "attribution.*_T":
        return rng.integers(-1, 4, size=size).astype(np.float64)
    value = rng.random(size)
    return np.log(value) if "logprob" in name else value


# GiGPO, plainly -------------------------------------------------------------------------------------------


def plain_gigpo(batch: TurnBatch, gamma: float = 0.95, penalty: float = 0.1) -> FloatArray:
    """The advantage of each turn, from the definition: mean_norm, statistics over turns."""
    task = np.array([f"task-{group}" for group in batch.group_T], dtype=object)
    trajectory = np.array([f"trajectory-{i}" for i in batch.trajectory_T], dtype=object)
    state = np.array(batch.observation_T, dtype=object)
    score, step_return = np.zeros(batch.n_turns), np.zeros(batch.n_turns)
    for one in dict.fromkeys(trajectory):
        turns = np.flatnonzero(trajectory == one)
        following = 0.0
        for turn in turns[::-1]:
            following = batch.reward_T[turn] + gamma * following
            step_return[turn] = following - penalty * (not batch.valid_T[turn])
        for turn in turns:
            score[turn] = batch.reward_T[turns].sum() - penalty * (not batch.valid_T[turn])
    advantage = np.zeros(batch.n_turns)
    for one in dict.fromkeys(task):
        turns = np.flatnonzero(task == one)
        advantage[turns] += score[turns] - (score[turns].mean() if len(turns) > 1 else 0.0)
        for seen in dict.fromkeys(state[turns]):
            same = np.flatnonzero((task == one) & (state == seen))
            advantage[same] += step_return[same] - step_return[same].mean()
    return advantage


# The measurement ------------------------------------------------------------------------------------------


def seconds(work: Callable[[TurnBatch], object], batch: TurnBatch) -> tuple[float, float]:
    """What the work on a fresh copy of the batch takes, of the CPU and by the clock."""
    fresh = replace(batch)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    work(fresh)
    return round(time.process_time() - cpu_begin, 7), round(time.perf_counter() - begin, 7)


def measure(runs: int, plain_runs: int, seed: int) -> dict[str, Any]:
    """All schemes take turns, so that what disturbs one run of each does not disturb all runs of one."""
    works = {s.name: lambda fresh, n=s.name: compute(n, fresh).token_advantages(fresh) for s in schemes()}
    taken: dict[str, dict[int, list[tuple[float, float]]]] = {name: {} for name in [*works, "plain_gigpo"]}
    for size in SIZES:
        print(f"{size} turns", file=sys.stderr)
        batch = random_batch(size, seed)
        for work in works.values():  # a run that does not count
            work(replace(batch))
        for _ in range(runs):
            for name, work in works.items():
                taken[name].setdefault(size, []).append(seconds(work, batch))
        taken["plain_gigpo"][size] = [seconds(plain_gigpo, batch) for _ in range(plain_runs)]
        np.testing.assert_allclose(compute("gigpo", batch).advantage_T, plain_gigpo(batch), atol=1e-9)
    return {name: summary(of_name) for name, of_name in taken.items()}


def summary(taken: dict[int, list[tuple[float, float]]]) -> dict[str, Any]:
    cpu, wall = (
        {size: statistics.median(run[which] for run in runs) for size, runs in taken.items()} for which in (0, 1)
    )
    least = {size: min(run[0] for run in runs) for size, runs in taken.items()}
    growth = {
        f"{small} to {large}": (least[large] / least[small]) ** (1 / log2(large / small))
        for small, large in pairwise(SIZES)
    }
    return {"cpu_seconds": cpu, "wall_seconds": wall, "growth_per_doubling": growth, "runs": taken}


def complaints(results: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    found = [
        f"{name}: from {sizes} turns it grows by {growth:.2f} per doubling"
        for name, of_name in results.items()
        for sizes, growth in of_name["growth_per_doubling"].items()
        if name != "plain_gigpo" and growth > MOST_GROWTH
    ]
    ours, plain = (results[name]["cpu_seconds"][SIZES[-1]] for name in ("gigpo", "plain_gigpo"))
    if ours > MOST_SECONDS:
        found.append(f"gigpo takes {ours:.3f} s for {SIZES[-1]} turns")
    if plain < LEAST_RATIO * ours:
        found.append(f"the plain program takes only {plain / ours:.0f} times as long as gigpo")
    return found


def print_table(results: dict[str, Any]) -> None:
    width = max(map(len, results))
    print(f"{'milliseconds':{width}}", *[f"{size:>9,}" for size in SIZES], "  growth per doubling", sep="")
    for name, of_name in results.items():
        cells = [f"{1000 * taken:9.2f}" for taken in of_name["cpu_seconds"].values()]
        growths = [f"{growth:6.2f}" for growth in of_name["growth_per_doubling"].values()]
        print(f"{name:{width}}", *cells, "  ", *growths, sep="")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="runs of each scheme and size that count")
    parser.add_argument("--plain-runs", type=int, default=3, help="runs of the plain program")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "credit.json", help="JSON file"
    )
    options = parser.parse_args()
    report: dict[str, Any] = {
        **provenance(packages=("agentgym", "numpy")),
        "setting": {"turns": SIZES, "tokens_a_turn": TOKENS, "turns_a_trajectory": TURNS_A_TRAJECTORY,
                    "group_size": GROUP_SIZE, "states_a_task": STATES, "runs": options.runs, "seed": options.seed},
    }  # fmt: skip
    results = measure(options.runs, options.plain_runs, options.seed)
    ours, plain = (results[name]["cpu_seconds"][SIZES[-1]] for name in ("gigpo", "plain_gigpo"))
    report |= {"ratio_plain_to_gigpo": plain / ours, "complaints": complaints(results), "results": results}
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print_table(results)
    print(f"plain_gigpo to gigpo at {SIZES[-1]:,} turns: {plain / ours:.0f}")
    print(*report["complaints"], sep="\n", file=sys.stderr)
    print(f"written to {options.output}", file=sys.stderr)
    return 1 if report["complaints"] else 0


if __name__ == "__main__":
    sys.exit(main())
