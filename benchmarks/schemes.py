"""Every credit scheme that trains, in the same worlds, from the same adapter, for the same number of turns.

    OMP_NUM_THREADS=1 python benchmarks/schemes.py run [--shard 0/2]
    python benchmarks/schemes.py report

A run is a world, a scheme and a seed. Each writes one file below `results/schemes/` when it is done, and is passed over
where that is there: interrupt it, go on, share the runs out over machines with `--shard i/n`. `report` reads what is
there and writes `docs/schemes.md` and its pictures: the interquartile mean of held-out success with stratified
bootstrap intervals and the probability of improvement over `grpo` (Agarwal et al., arXiv:2108.13264).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from provenance import ROOT, provenance

from agentgym.agents.evaluation import evaluate
from agentgym.build import make_agent, make_env, make_model, make_trainer
from agentgym.config import load_config

RESULTS = ROOT / "benchmarks" / "results" / "schemes"
PAGE = ROOT / "docs" / "schemes.md"
SMALL_CRITIC = {"critic": {"learning_rate": 3e-3, "num_minibatches": 4}}
"""A critic for tiny models, whose learning rates are a hundred times those of large ones."""
SETTINGS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "gigpo": {},
    "ppo": {"signals": SMALL_CRITIC},
    "turn_ppo": {"signals": SMALL_CRITIC},
    "archer": {
        "signals": {"twin_critic": {"learning_rate": 3e-3, "num_updates": 5, "batch_size": 64}},
        "policy_loss": "reinforce",
        "critic_warmup": 5,
    },
    "igpo": {},
    "istar": {},
    "spa": {"signals": {"progress": {"learning_rate": 3e-3}, **SMALL_CRITIC}},
    "spa-without-grounding": {
        "credit": "spa",
        "credit_kwargs": {"grounding_reward": 0.0},
        "signals": {"progress": {"learning_rate": 3e-3}, **SMALL_CRITIC},
    },
    "prime": {},
    "graphgpo": {},
    "hgpo": {},
    "rloo": {},
    "remax": {},
    "empg": {},
    "reinforce": {},
}
"""What each scheme is given besides its defaults. HiPER is not here: the tiny models do not write its format."""
START = "start"
"""The result of the adapter that all runs start from, which does nothing yet: of no scheme."""
WORLDS = {
    "sokoban": ("configs/quickstart.yaml", 40_000),
    "alfworld": ("configs/alfworld.yaml", 25_000),
    "search_qa": ("configs/search_qa.yaml", 20_000),
}
"""The recipe of each world, and for how many environment turns a run trains there."""


def train(world: str, scheme: str, seed: int, episodes: int) -> dict[str, Any]:
    """One run: its curve, and its success on each held-out task. Raises `ValueError` where the world cannot feed it."""
    recipe, turns = WORLDS[world]
    words = ["--seed", str(seed), "--max_steps", "100000", "--lr_scheduler_type", "constant"]
    settings = {"credit": scheme, "credit_kwargs": {}, **SETTINGS[scheme]} if scheme != START else {}
    config = load_config(ROOT / recipe, words).model_copy(update=settings)
    loaded = make_model(config)
    with TemporaryDirectory() as directory:
        agent = make_agent(config, loaded, config.temperature)
        trainer = make_trainer(config, loaded, agent, Path(directory))
        begun, curve, played, tokens = time.process_time(), [], 0, 0
        for metrics in () if scheme == START else trainer.train():
            played += round(metrics["turns/mean"] * metrics["episodes"])
            tokens += int(metrics["num_tokens"])
            curve.append({"turns": played, "success": metrics["success_rate"], "reward": metrics["reward"]})
            trainer.stop_requested = played >= turns
        seconds = time.process_time() - begun
        with agent.engine.serving(loaded.model, trainer.step):
            evaluation = evaluate(
                make_agent(config, loaded, config.temperature),
                partial(make_env, config, config.eval_split),
                env=config.env_id, agent=scheme, split=config.eval_split, seed=config.eval_seed, episodes=episodes,
            )  # fmt: skip
    return {
        "world": world, "scheme": scheme, "seed": seed, "turns": played, "tokens": tokens, "cpu_seconds": seconds,
        "success_rate": evaluation.success_rate, "reward": evaluation.mean_reward, "episodes": episodes, "curve": curve,
    }  # fmt: skip


def run(worlds: list[str], schemes: list[str], seeds: list[int], shard: str, episodes: int) -> None:
    """Make the runs of a shard that are not there yet, seed by seed, so that an interruption leaves whole rounds."""
    index, count = map(int, shard.split("/"))
    wanted = [(0, world, START) for world in worlds]
    wanted += [(seed, world, scheme) for seed in seeds for world in worlds for scheme in schemes]
    for seed, world, scheme in wanted[index::count]:
        path = RESULTS / world / f"{scheme}-{seed}.json"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            result = train(world, scheme, seed, episodes)
        except ValueError as error:
            result = {"world": world, "scheme": scheme, "seed": seed, "refused": str(error)}
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({**provenance(packages=["torch", "transformers"]), **result}, indent=1) + "\n")
        unfinished.rename(path)
        print(world, scheme, seed, result.get("success_rate", result.get("refused")), flush=True)


def interquartile_mean(score_RW: NDArray[np.float64]) -> float:
    """The mean of the middle half of all scores, of shape (runs, worlds)."""
    ordered, cut = np.sort(score_RW, axis=None), score_RW.size // 4
    return float(ordered[cut : ordered.size - cut].mean())


def stratified_interval(score_RW: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of `interquartile_mean`, runs drawn anew within each world."""
    rng = np.random.default_rng(0)
    runs, worlds = score_RW.shape
    drawn = [score_RW[rng.integers(runs, size=(runs, worlds)), np.arange(worlds)] for _ in range(2000)]
    low, high = np.quantile([interquartile_mean(each) for each in drawn], [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def probability_of_improvement(score_RW: NDArray[np.float64], other_RW: NDArray[np.float64]) -> float:
    """P(X > Y) + ½ P(X = Y) for a run of each in the same world, the mean over worlds."""
    difference = score_RW[:, None, :] - other_RW[None, :, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def read() -> Iterator[dict[str, Any]]:
    """All results that are there."""
    for path in sorted(RESULTS.glob("*/*.json")):
        yield json.loads(path.read_text())


def report() -> None:
    """Write the page of what is there."""
    results = list(read())
    done = [each for each in results if "refused" not in each]
    lines = [
        "# Credit schemes side by side",
        "",
        "Written by `python benchmarks/schemes.py report`, which says how. All schemes start from the same adapter and",
        "play the same number of environment turns, with their defaults but for what `SETTINGS` there gives them. IQM:",
        "the interquartile mean of held-out success over the runs, with its stratified bootstrap interval (95 %). Few",
        "runs: the intervals show how far these runs differ and not how far the next ones would; schemes whose",
        "intervals overlap are not told apart. `start` is the adapter that all runs begin with. The pictures have the",
        "success of the training episodes, the mean over the seeds and over every 2,000 turns.",
        "",
        "SPA pays 0.5 for every move that can be carried out (its grounding reward), and solving a level ends the pay:",
        "here it unlearns what the start can. Without that reward it does too, if less (one run). ArCher hardly moves,",
        "probably since its critic knows too little of positions by then. Neither is evidence about large models.",
    ]
    for world in dict.fromkeys(each["world"] for each in done if each["scheme"] != START):
        draw(world, [each for each in done if each["world"] == world])
        lines += ["", f"## {world}", "", _budget(world), "", f"![learning curves](schemes_{world}.png)", ""]
        lines += ["| scheme | seeds | IQM success | interval | P(better than grpo) | tokens | CPU seconds |"]
        lines += ["|---|---|---|---|---|---|---|"]
        of_world = [each for each in done if each["world"] == world]
        score = {
            name: np.array([[each["success_rate"]] for each in of_world if each["scheme"] == name])
            for name in dict.fromkeys(each["scheme"] for each in of_world)
        }
        for name in sorted(score, key=lambda name: -interquartile_mean(score[name])):
            own = [each for each in of_world if each["scheme"] == name]
            low, high = stratified_interval(score[name])
            comparable = name != "grpo" and min(len(score[name]), len(score.get("grpo", ()))) > 1
            better = "" if not comparable else (
                f"{probability_of_improvement(score[name], score['grpo']):.2f}"
            )  # fmt: skip
            interval = f"{low:.3f} to {high:.3f}" if len(own) > 1 else "one run"
            middle = f"{interquartile_mean(score[name]):.3f} | {interval} | {better}"
            cost = f"{fmean(e['tokens'] for e in own):,.0f} | {fmean(e['cpu_seconds'] for e in own):.0f}"
            lines.append(f"| `{name}` | {len(own)} | {middle} | {cost} |")
    ran = {(each["world"], each["scheme"]) for each in results}
    lines += ["", "## Not run yet", ""]
    for world in WORLDS:
        if missing := [f"`{scheme}`" for scheme in SETTINGS if (world, scheme) not in ran]:
            lines.append(f"- {world}: {', '.join(missing)}")
    if refused := {(each["world"], each["scheme"]): each["refused"] for each in results if "refused" in each}:
        lines += ["", "## Refused, and why", ""]
        lines += [f"- `{scheme}` in {world}: {why}" for (world, scheme), why in refused.items()]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written: {PAGE}")


def draw(world: str, results: list[dict[str, Any]], every: int = 2000) -> None:
    """The picture of a world's learning curves, beside the page."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    curves: dict[str, NDArray[np.float64]] = {}
    for scheme in dict.fromkeys(each["scheme"] for each in results if each["curve"]):
        edges = np.arange(0, WORLDS[world][1] + 1, every)
        of_seeds = [each["curve"] for each in results if each["scheme"] == scheme]
        at = np.concatenate([[step["turns"] for step in curve] for curve in of_seeds])
        success = np.concatenate([[step["success"] for step in curve] for curve in of_seeds])
        total, count = (np.histogram(at, edges, weights=weights)[0] for weights in (success, None))
        curves[scheme] = total / np.where(count, count, np.nan)
    middle = edges[:-1] + every / 2
    for number, scheme in enumerate(sorted(curves, key=lambda name: -np.nanmean(curves[name][-3:]))):
        axes.plot(middle, curves[scheme], label=scheme, color=f"C{number % 10}", ls="-" if number < 10 else "--")
    axes.set(xlabel="environment turns", ylabel="success in training", ylim=(0, 1), title=world)
    axes.legend(ncols=1, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(PAGE.parent / f"schemes_{world}.png", dpi=110)


def _budget(world: str) -> str:
    recipe, turns = WORLDS[world]
    return f"`{recipe}`, {turns:,} turns."


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    runs.add_argument("--schemes", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    runs.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    runs.add_argument("--shard", default="0/1", help="i/n: every n-th run, from the i-th on")
    runs.add_argument("--episodes", type=int, default=400, help="held-out tasks")
    commands.add_parser("report")
    given = parser.parse_args()
    if given.command == "report":
        report()
    else:
        run(given.worlds, given.schemes, given.seeds, given.shard, given.episodes)


if __name__ == "__main__":
    sys.exit(main())
