"""ALFWorld's genuine games in agentgym and in the official package (PyPI alfworld 0.4.2): steps and resets per second.

    .venv/bin/python benchmarks/alfworld_vs_official.py --peer-python /tmp/peers-alfworld/bin/python

The official package lives in a virtual environment of its own (it compiles a planner, about 3 minutes):

    python3 -m venv /tmp/peers-alfworld
    /tmp/peers-alfworld/bin/pip install alfworld==0.4.2 textworld==1.7.0

Both sides play the same games of the official layout, some of each task type, by the same random admissible
commands, and give the list of admissible commands with every step. What both said in the first walk through each
game is compared, and the run fails where it differs. The official side is the environment that `AlfredTWEnv`
registers: `AlfredDemangler` and `AlfredInfos` around textworld's `PddlEnv`. The sides take turns, each run is a
process of its own on one core, and medians are compared. CPU seconds are judged, which other programs on the
machine disturb less; wall seconds are in the file too.

A *first* reset is one of a game whose file has not been read, with all reading and parsing; *resets* are those after
it. The registered environment reads the file anew with every reset; `resets` is what it takes without that.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "alfworld" / "official_layout.zip"
PACKAGES = {"agentgym": ("agentgym", "gymnasium", "numpy"), "official": ("alfworld", "textworld", "numpy")}
FIGURES = ("steps", "resets", "first_resets")
LONGEST_WALK = 30
PASSES = 20
"""How often agentgym reads and parses all games, forgetting them in between."""


class Clock:
    """Counts what was done, and the CPU and wall seconds that it took."""

    def __init__(self) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.wall: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timing(self, figure: str, count: int = 1) -> Iterator[None]:
        begin = now()
        yield
        self.add(figure, begin, count)

    def add(self, figure: str, begin: tuple[float, float], count: int) -> None:
        cpu, wall = now()
        self.cpu[figure] += cpu - begin[0]
        self.wall[figure] += wall - begin[1]
        self.counts[figure] += count

    def report(self) -> dict[str, Any]:
        return {
            "per_cpu_second": {name: self.counts[name] / self.cpu[name] for name in FIGURES},
            "per_wall_second": {name: self.counts[name] / self.wall[name] for name in FIGURES},
            "counts": dict(self.counts),
        }


def now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


# One run, in the interpreter of its side ------------------------------------------------------------------


def measure_agentgym(directory: str, games: list[str], seed: int, resets: int, walks: int) -> dict[str, Any]:
    from agentgym.envs.alfworld.env import AlfworldEnv

    clock, said = Clock(), dict[str, str]()
    for _ in range(PASSES):
        time_first_resets(clock, directory, games)
    for game in games:
        env = AlfworldEnv(data=Path(directory, "train", game, "game.tw-pddl"), list_help=True, max_turns=LONGEST_WALK)
        env.reset()
        with clock.timing("resets", resets):
            for _ in range(resets):
                text, info = env.reset()

        def step(command: str, env: AlfworldEnv = env) -> tuple[str, list[str], bool]:
            text, _, terminated, _, info = env.step(command)
            return text, info["admissible_actions"], terminated

        for number in range(walks):
            text, info = env.reset()
            digest = walk(clock, f"{seed} {number} {game}", text, info["admissible_actions"], step)
            said.setdefault(game, digest)
    return {"said": said, **clock.report()}


def time_first_resets(clock: Clock, directory: str, games: list[str]) -> None:
    """Reset to one game after the other; only those not met since the files were forgotten count."""
    from agentgym.envs.alfworld.data import games_of
    from agentgym.envs.alfworld.env import AlfworldEnv

    games_of.cache_clear()
    env = AlfworldEnv(data=directory)
    met = {games[0]}  # an environment parses the first game when it is made
    while len(met) < len(games):
        begin = now()
        _, info = env.reset()
        if info["task_id"] not in met:
            clock.add("first_resets", begin, 1)
            met.add(info["task_id"])


def measure_official(directory: str, games: list[str], seed: int, resets: int, walks: int) -> dict[str, Any]:
    import textworld  # type: ignore[import-not-found]  # it is in the other virtual environment
    from alfworld.agents.environment.alfred_tw_env import (  # type: ignore[import-not-found]
        AlfredDemangler,
        AlfredInfos,
    )

    clock, said = Clock(), dict[str, str]()
    wanted = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
    for game in games:
        env = AlfredInfos(AlfredDemangler(textworld.envs.PddlEnv(wanted), shuffle=False))
        with clock.timing("first_resets"):
            env.load(str(Path(directory, "train", game, "game.tw-pddl")))
            state = env.reset()
        with clock.timing("resets", resets):
            for _ in range(resets):
                state = env.reset()

        def step(command: str, env: Any = env) -> tuple[str, list[str], bool]:
            state, _, done = env.step(command)
            return state.feedback, state["admissible_commands"], done

        for number in range(walks):
            if number:
                state = env.reset()
            digest = walk(clock, f"{seed} {number} {game}", state.feedback, state["admissible_commands"], step)
            said.setdefault(game, digest)
    return {"said": said, **clock.report()}


def walk(
    clock: Clock, seed: str, text: str, admissible: list[str], step: Callable[[str], tuple[str, list[str], bool]]
) -> str:
    """Play random admissible commands; return a digest of everything that was said."""
    rng, seen, done, turns = random.Random(seed), [(text, admissible)], False, 0
    begin = now()
    while not done and turns < LONGEST_WALK:
        text, admissible, done = step(rng.choice(admissible))
        seen.append((text, admissible))
        turns += 1
    clock.add("steps", begin, turns)
    return blake2b(repr(seen).encode(), digest_size=8).hexdigest()


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {"agentgym": measure_agentgym, "official": measure_official}


def measure(side: str, **arguments: Any) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES[side]}
    return {**MEASURES[side](**arguments), "versions": {"python": platform.python_version(), **versions}}


# The comparison -------------------------------------------------------------------------------------------


def unpack(archive: Path, directory: Path, of_each_type: int) -> list[str]:
    """Write some games of each task type below `directory/train`; return their names, sorted."""
    games: list[str] = []
    with zipfile.ZipFile(archive) as files:
        by_type: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(files.namelist()):
            if "/valid_seen/" in name and name.endswith("/game.tw-pddl"):
                by_type[name.split("/")[-3].split("-")[0]].append(name)
        for names in by_type.values():
            for name in names[:: max(1, len(names) // of_each_type)][:of_each_type]:
                games.append("/".join(name.split("/")[-3:-1]))
                file = directory / "train" / games[-1] / "game.tw-pddl"
                file.parent.mkdir(parents=True)
                file.write_bytes(files.read(name))
    return sorted(games)


def run_side(python: str, side: str, core: int, arguments: dict[str, Any]) -> dict[str, Any]:
    child = subprocess.run(
        [python, __file__, "--worker"],
        input=json.dumps({"side": side, **arguments}),
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "ALFWORLD_DATA": arguments["directory"],
        },
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return result


def compare(options: argparse.Namespace, directory: str, games: list[str]) -> dict[str, Any]:
    """Runs of both sides, now the one and now the other first."""
    pythons = {"agentgym": sys.executable, "official": options.peer_python}
    amounts = {"agentgym": {"resets": 500, "walks": 40}, "official": {"resets": 1, "walks": 1}}
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in MEASURES}
    for number in range(options.runs):
        for side in sorted(MEASURES, reverse=number % 2 == 1):
            arguments = {"directory": directory, "games": games, "seed": number, **amounts[side]}
            results[side].append(run_side(pythons[side], side, options.core, arguments))
        ours, theirs = (results[side][-1].pop("said") for side in MEASURES)
        differing = [game for game in games if ours[game] != theirs[game]]
        if differing:
            raise SystemExit(f"the two sides did not say the same in {', '.join(differing)}")
    report: dict[str, Any] = {"amounts": amounts, "runs": results}
    for unit in ("per_cpu_second", "per_wall_second"):
        medians = {
            side: {f: statistics.median(run[unit][f] for run in results[side]) for f in FIGURES} for side in MEASURES
        }
        ratios = {f: medians["agentgym"][f] / medians["official"][f] for f in FIGURES}
        report[unit] = {"medians": medians, "ratios": ratios}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", default="/tmp/peers-alfworld/bin/python", help="the interpreter with alfworld")
    parser.add_argument("--data", type=Path, default=DATA, help="a zip file with genuine games in the official layout")
    parser.add_argument("--games", type=int, default=1, help="games of each task type")
    parser.add_argument("--runs", type=int, default=5, help="runs of each side")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "alfworld_vs_official.json", help="JSON file"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(**json.load(sys.stdin))))
        return
    report: dict[str, Any] = {
        **provenance(core=options.core),
    }
    if not options.data.is_file():
        print(f"not run: no genuine games, {options.data} is no file (--data names another)", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as directory:
        report["games"] = unpack(options.data, Path(directory), options.games)
        report |= compare(options, directory, report["games"])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    for unit, figure in itertools.product(("per_cpu_second", "per_wall_second"), FIGURES):
        ours, theirs = (report[unit]["medians"][side][figure] for side in ("agentgym", "official"))
        ratio = report[unit]["ratios"][figure]
        print(f"{figure:12} {unit:15} agentgym {ours:10,.0f}  official {theirs:8.2f}  ratio {ratio:9,.0f}")
    print(f"written to {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
