"""Three steps of several runs: `python -m tests.distributed_runs MODEL_DIR OUT_DIR`, in one process or several."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from tests.small_model import make_trainer

#: Groups of one task each, with episodes of 2 to 5 turns: the processes have different numbers of turns and tokens.
RUNS: dict[str, dict[str, Any]] = {
    "gigpo": {},
    "reinforce": {
        "credit": "reinforce",
        "beta": 0.1,
        "window": None,
        "num_minibatches": 2,
        "num_iterations": 2,
    },
    "sequence-mean": {
        "credit": "grpo",
        "loss_aggregation": "sequence-mean",
        "max_tokens_per_micro_batch": 64,
    },
    # Three groups for two processes, a group an optimizer step: one process has nothing to add to it.
    "uneven": {"groups_per_step": 3, "num_minibatches": 3, "loss_aggregation": "constant", "window": 1},
}


def run_all(model_dir: Path, out: Path) -> None:
    """Write each run's parameters, and its metrics, to `out`."""
    for name, settings in RUNS.items():
        trainer = make_trainer(
            model_dir, out / name, **{"groups_per_step": 4, "entropy_coef": 0.01, "save_steps": 9, **settings}
        )
        metrics = list(trainer.train())
        if trainer.accelerator.is_main_process:
            parameters = torch.cat([p.detach().flatten() for p in trainer.parameters])
            processes = trainer.accelerator.num_processes
            torch.save({"parameters": parameters, "metrics": metrics, "processes": processes}, out / f"{name}.pt")


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), Path(sys.argv[2]))
