"""Seconds per training step: agentgym's Trainer beside TRL's GRPOTrainer (PyPI trl 1.16.0), on a CPU.

    .venv/bin/python benchmarks/update_vs_trl.py --peer-python /tmp/peers-trl/bin/python

TRL lives in a virtual environment of its own:

    python3 -m venv /tmp/peers-trl
    /tmp/peers-trl/bin/pip install torch==2.13.0
    /tmp/peers-trl/bin/pip install trl==1.16.0 peft jmespath

Both train the same LoRA (r 16, alpha 32, all linear layers) with GRPO in fp32: the same untrained Llama of the
built-in model's architecture, loaded from the same files; the same prompts; responses of the same length (the
tokenizer's end token is none of the model's tokens, so no response ends early); the same reward; one optimizer
step on each batch. A step is everything from batch to batch: sampling, rewards, advantages, update, metrics
(and, for agentgym, the file of trajectories). The sides take turns, each run is a process of its own, and
medians over all steps after the warm-up are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from provenance import provenance
from update_task import Setting

HERE = Path(__file__).parent
SIDES = ("agentgym", "trl")
COUNTS = ("sequences", "prompt_tokens", "response_tokens")


def make_model(directory: Path, seed: int) -> None:
    """Save an untrained model of the built-in one's architecture, with a tokenizer whose end token it lacks."""
    from agentgym.trainers.tiny_model import make_model, make_tokenizer

    tokenizer = make_tokenizer()
    model = make_model(tokenizer, hidden_size=96, seed=seed)
    free = model.config.vocab_size - len(tokenizer)
    tokenizer.add_tokens([f"<|unused {i}|>" for i in range(free)], special_tokens=True)
    tokenizer.add_special_tokens({"eos_token": "<|never|>"})
    if tokenizer.eos_token_id < model.config.vocab_size:
        raise RuntimeError("the end token is one of the model's: responses would differ in length")
    for settings in (model.config, model.generation_config):
        settings.eos_token_id = None
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def run_side(python: str, side: str, setting: Setting, log: Path) -> dict[str, Any]:
    """One run, in a process of its own; what it says besides its report goes to `log`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "setting.json"
        path.write_text(json.dumps(asdict(replace(setting, output_dir=folder))))
        threads = str(setting.threads)
        with log.open("a") as errors:
            child = subprocess.run(
                [python, str(HERE / f"{side}_worker.py"), str(path)],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": threads,
                    "MKL_NUM_THREADS": threads,
                    "TOKENIZERS_PARALLELISM": "false",
                    "HF_HUB_OFFLINE": "1",
                    "CUDA_VISIBLE_DEVICES": "",
                },
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
    if child.returncode:
        sys.exit(f"the run of {side} failed:\n{log.read_text()[-3000:]}")
    report: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return report


def check(setting: Setting, results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Raise unless every step of every run processed what was asked for, and trained; return what that was."""
    count = setting.prompts * setting.group_size
    expected = {
        "sequences": count,
        "prompt_tokens": count * setting.prompt_tokens,
        "response_tokens": count * setting.new_tokens,
        "shortest_response": setting.new_tokens,
        "longest_response": setting.new_tokens,
        "distinct_responses": count,
    }
    sizes = {(run["parameters"], run["trainable_parameters"]) for runs in results.values() for run in runs}
    if len(sizes) > 1:
        raise RuntimeError(f"the sides train models of different size: {sizes}")
    for side, runs in results.items():
        for run in runs:
            if len(run["steps"]) != setting.all_steps:
                raise RuntimeError(f"{side} made {len(run['steps'])} steps, not {setting.all_steps}")
            if not run["adapter_norm"] > 0:
                raise RuntimeError(f"{side} left its adapter as it was")
            for step in run["steps"]:
                found = {name: step[name] for name in expected}
                if found != expected:
                    raise RuntimeError(f"{side} processed {found} in a step, not {expected}")
                if not step["training"]["grad_norm"] > 0:
                    raise RuntimeError(f"{side} does not train: {step['training']}")
    return expected


def medians(setting: Setting, runs: list[dict[str, Any]]) -> dict[str, float]:
    """Over all steps after the warm-up of all runs."""
    steps = [step for run in runs for step in run["steps"][setting.warmup :]]
    seconds = statistics.median(step["seconds"] for step in steps)
    sequences = setting.prompts * setting.group_size
    return {
        "step_seconds": seconds,
        "rollout_seconds": statistics.median(step["rollout_seconds"] for step in steps),
        "update_seconds": statistics.median(step["seconds"] - step["rollout_seconds"] for step in steps),
        "cpu_seconds": statistics.median(step["cpu_seconds"] for step in steps),
        "response_tokens_per_second": sequences * setting.new_tokens / seconds,
        "tokens_per_second": sequences * (setting.prompt_tokens + setting.new_tokens) / seconds,
        "peak_rss_mib": statistics.median(run["peak_rss_mib"] for run in runs),
    }


def compare(peer_python: str, runs: int, setting: Setting, log: Path) -> dict[str, Any]:
    """`runs` runs of both sides, taking turns."""
    pythons = {"agentgym": sys.executable, "trl": peer_python}
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(runs):
        for side in SIDES:
            print(f"run {number + 1} of {runs}: {side}", file=sys.stderr)
            results[side].append(run_side(pythons[side], side, replace(setting, seed=setting.seed + number), log))
    per_step = check(setting, results)
    middle = {side: medians(setting, results[side]) for side in SIDES}
    versions = {side: results[side][0]["versions"] for side in SIDES}
    shared = ("torch", "transformers", "peft", "accelerate")
    return {
        "setting": {k: v for k, v in asdict(setting).items() if k != "output_dir"},
        "per_step": per_step,
        "versions": versions,
        "different_versions": [name for name in shared if len({v[name] for v in versions.values()}) > 1],
        "medians": middle,
        "ratios_trl_to_agentgym": {
            figure: middle["trl"][figure] / middle["agentgym"][figure] for figure in middle["trl"]
        },
        "runs": results,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", default="/tmp/peers-trl/bin/python", help="the interpreter that has trl")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side")
    parser.add_argument("--steps", type=int, default=8, help="steps of each run that count")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--prompts", type=int, default=8, help="prompts a step")
    parser.add_argument("--group-size", type=int, default=8, help="responses to each prompt")
    parser.add_argument("--prompt-tokens", type=int, default=48, help="length of every prompt")
    parser.add_argument("--new-tokens", type=int, default=64, help="length of every response")
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "update_vs_trl.json", help="JSON file")
    options = parser.parse_args()
    report: dict[str, Any] = {
        **provenance(),
    }
    settings = {k: v for k, v in vars(options).items() if k not in ("peer_python", "runs", "output")}
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(model=f"{folder}/model", output_dir="", **settings)
        make_model(Path(setting.model), options.seed)
        report |= compare(options.peer_python, options.runs, setting, Path(folder) / "log")
    report["setting"]["model"] = "untrained, of the built-in model's architecture"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    for figure, ratio in report["ratios_trl_to_agentgym"].items():
        ours, theirs = (report["medians"][side][figure] for side in SIDES)
        print(f"{figure:28} agentgym {ours:10,.3f}  trl {theirs:10,.3f}  trl/agentgym {ratio:6.2f}")
    amounts = [f"{report['per_step'][name]} {name}" for name in COUNTS]
    print(f"both, in every step: {', '.join(amounts)}")
    if report["different_versions"]:
        print(f"versions differ of: {', '.join(report['different_versions'])}")
    print(f"written to {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
