"""Three steps of several runs: `python -m tests.distributed_runs MODEL_DIR OUT_DIR`, in one process or several."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit, credit, schemes
from agentgym.trainers.policy import Policy
from agentgym.trainers.signals.plan import provision
from tests.riddle_lake import RIDDLE, FirstMistake
from tests.seated_games import TUG
from tests.small_model import make_trainer
from tests.telling_lake import TELLING_LAKE

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
    # What a loss must know of the whole minibatch: units that lie in several micro-batches, tokens of all processes.
    "gmpo": {
        "credit": "every_other_turn",
        "policy_loss": "gmpo",
        "window": 1,
        "num_iterations": 2,
        "max_steps": 2,
        "max_tokens_per_micro_batch": 64,
        "entropy_smoothing": "epo",
        "entropy_smoothing_kwargs": {"penalty": "hinge", "mask_mode": "seq", "min_ratio": 0.8, "max_ratio": 1.2},
    },
    # One process keeps and refills, the other is left with nothing, of which a loss wants constants.
    "nothing left": {
        "groups_per_step": 2,
        "group_filter": "tests.telling_lake:is_even",
        "policy_loss": "gspo",
        "num_iterations": 2,
        "beta": 0.1,
    },
    # All that stands in front of the trainer; a success that one process found is replayed by the other.
    "replay": {
        "credit": "remax",
        "env_kwargs": {"map": ["SFFFG"], "max_turns": 5},
        "success_replay": True,
        "task_sampler": "curriculum",
        "task_sampler_kwargs": {"warmup": 1},
        "group_filter": "spread",
        "groups_per_step": 3,
    },
    "cloning": {
        "trainer": "cloning",
        "groups_per_step": 3,
        "group_size": 1,
        "window": None,
        "demonstration_noise": 0.3,
        "demonstration_workers": 0,
    },
    # Three heads of one critic, of which one process may have no place in a minibatch; several epochs of it.
    "hiper": {
        "credit": "hiper",
        "credit_kwargs": {"consistency_penalty": 0.1},
        "format": "hiper",
        "window": 1,
        "groups_per_step": 3,
        "max_steps": 2,
        "signals": {"critic": {"num_iterations": 2, "num_minibatches": 3, "learning_rate": 1e-2}},
        "max_tokens_per_micro_batch": 64,
    },
    # Retries whose tokens have no sampler's log-probabilities, reflections that are groups of their own.
    "retry": {
        "env_id": RIDDLE,
        "env_kwargs": {"map": ["SFFG"], "max_turns": 4},
        "retry": f"{FirstMistake.__module__}:FirstMistake",
        "credit": "r3l",
        "groups_per_step": 3,
        "num_iterations": 2,
        "window": 1,
    },
    # A judge fails for some trajectories, which takes others' last siblings with them.
    "excluded": {
        "credit": "capo_credit",
        "groups_per_step": 3,
        "group_size": 2,
        "window": 1,
        "signals": {"tests.rule_based_judge:RuleBasedJudge": {}},
    },
    # Replayed states and turns, of which one process draws more than the other, in a world where three in ten succeed.
    "archer": {
        "credit": "archer",
        "env_kwargs": {"map": ["SFFG"], "max_turns": 6},
        "groups_per_step": 3,
        "window": 0,
        "replayed_states": 5,
        "policy_loss": "reinforce",
        "signals": {"twin_critic": {"num_updates": 3, "batch_size": 7, "capacity": 60, "learning_rate": 1e-2}},
        "max_tokens_per_micro_batch": 64,
    },
    # Pairs of a minibatch that lie in one process alone; the second step's rewards are those that the first has taught.
    "istar": {
        "credit": "istar",
        "credit_kwargs": {"step_weight": 3.0},
        "groups_per_step": 3,
        "group_size": 6,
        "max_steps": 2,
        "window": 1,
        "signals": {"implicit_step_reward": {"num_minibatches": 3}},
    },
    "spa": {
        "credit": "spa",
        "groups_per_step": 3,
        "max_steps": 2,
        "group_size": 6,
        "learning_rate": 6e-3,
        "signals": {"progress": {"num_minibatches": 3, "epochs": 2}},
    },
    # A learner in both seats: baselines by seat count episodes in the order of all processes' groups.
    "self-play": {"env_id": TUG, "env_kwargs": {}, "players": "self-play", "credit": "spiral", "groups_per_step": 3},
    # Partners drawn for each task, of whom one shares the weights in training and one is their past.
    "pool": {
        "env_id": TUG,
        "env_kwargs": {},
        "players": {"west": "learner", "east": {"pool": 3, "moody": 1}},
        "pool_steps": 1,
        "credit": "ppo",
        "groups_per_step": 3,
    },
    "kl_cov": {"policy_loss": "kl_cov", "policy_loss_kwargs": {"kl_cov_ratio": 0.3}, "num_iterations": 2},
}

#: Every scheme that trains, for a step of three groups, of which one process has two and the other one.
PROVIDED = {"yes", "in some worlds"}
FEW_UPDATES = {"archer": {"twin_critic": {"num_updates": 2, "batch_size": 8}}}
RUNS |= {
    f"scheme {scheme.name}": {
        "env_id": TELLING_LAKE,
        "credit": scheme.name,
        "groups_per_step": 3,
        "window": 1,
        "max_steps": 1,
        "num_iterations": 2,
        "signals": FEW_UPDATES.get(scheme.name, {}),
    }
    for scheme in schemes()
    if scheme.function.__module__.startswith("agentgym.") and PROVIDED.issuperset(map(provision, scheme.needs))
}

#: In its first step no episode succeeds: SPIRAL, whose baseline is 0 then, would have nothing to learn from.
RUNS["scheme spiral"] |= {"groups_per_step": 5, "max_steps": 3, "window": 0}


@credit("every_other_turn", paper="", needs=["entropy_K"])
def every_other_turn(batch: TurnBatch) -> Credit:
    """Trains on every other turn of each trajectory, with a clip range that depends on the turn's uncertainty."""
    entropy_T = np.bincount(batch.turn_K, batch.signal("entropy_K"), batch.n_turns) / np.maximum(batch.n_tokens_T, 1)
    return Credit(
        advantage_T=batch.episode_return_N[batch.trajectory_T] - batch.episode_return_N.mean(),
        trained_K=(batch.turn_index_T % 2 == 0)[batch.turn_K],
        clip_scale_T=0.5 + entropy_T,
    )


class Counted(Policy):
    """Counts its passes."""

    n_passes = 0

    def _run(self, *args: Any) -> Any:
        Counted.n_passes += 1
        return super()._run(*args)


def run_all(model_dir: Path, out: Path, **changes: Any) -> None:
    """Write each run's parameters, its metrics and how often the model was run, to `out`.

    `changes`: of the settings of all runs.
    """
    for name, settings in RUNS.items():
        Counted.n_passes = 0
        trainer = make_trainer(
            model_dir,
            out / name,
            **{"groups_per_step": 4, "entropy_coef": 0.01, "save_steps": 9, **settings, **changes},
        )
        trainer.policy.__class__ = Counted
        metrics = list(trainer.train())
        passes = trainer.processes.gather(Counted.n_passes)
        if trainer.processes.is_main:
            parameters = torch.cat([p.detach().flatten() for p in trainer.policy.parameters])
            processes = trainer.processes.count
            found = {"parameters": parameters, "metrics": metrics, "processes": processes, "passes": passes}
            torch.save(found, out / f"{name}.pt")


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), Path(sys.argv[2]))
