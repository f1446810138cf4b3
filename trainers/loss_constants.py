"""What a loss must know of the whole minibatch, wherever its tokens lie: constants of each token.

They are columns named `constant.…_K`, set once before the first gradient, from the tokens of all processes in an order
that does not depend on the processes.
"""

from __future__ import annotations

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.experience import Experience
from agentgym.trainers.losses import Minibatch
from agentgym.trainers.losses.ratios import unit_mean
from agentgym.trainers.objective import Objective
from agentgym.trainers.policy import Policy, Reading, entropy, logprob
from agentgym.trainers.processes import Processes

CONSTANT = "constant."
TURN_ENTROPY = "turn_entropy_K"
"""The constant that entropy smoothing over turns needs: the mean entropy of the token's turn."""


def with_constants(policy: Policy, objective: Objective, minibatch: Experience, seed: int) -> Experience:
    """`minibatch` with what the objective must know of the whole of it under the present policy.

    One pass without gradient, if anything is to be known; not even that where every ratio is 1. To be called by all
    processes, before the first gradient of the minibatch. `seed`: for losses that draw tokens, the same in all.
    """
    if not objective.needs_present_policy:
        return minibatch
    batch, columns = minibatch.batch, minibatch.batch.columns
    readings: dict[str, Reading] = {"logprob": logprob} if "old_logprob_K" in columns else {}
    readings |= {"entropy": entropy} if objective.needs_turn_entropy else {}
    read = policy.read(minibatch.layout, readings) if readings else {}
    logprob_K = read.get("logprob", columns["logprob_K"])
    old_logprob_K = columns.get("old_logprob_K", logprob_K)
    log_ratio_K = logprob_K - np.where(np.isnan(old_logprob_K), logprob_K, old_logprob_K)
    rng = np.random.default_rng(seed)
    constants = _of_policy_loss(minibatch, objective, logprob_K, log_ratio_K, rng, policy.processes)
    if "entropy" in read:
        constants[TURN_ENTROPY] = unit_mean(read["entropy"], batch.turn_K, columns["trained_K"])
    return minibatch.with_columns({f"{CONSTANT}{name}": values_K for name, values_K in constants.items()})


def _of_policy_loss(
    experience: Experience,
    objective: Objective,
    logprob_K: FloatArray,
    log_ratio_K: FloatArray,
    rng: np.random.Generator,
    processes: Processes,
) -> dict[str, FloatArray]:
    """The policy loss's constants of this process's tokens, from those of all processes in the order of groups."""
    loss, level = objective.policy_loss, objective.ratio_level
    if not loss.needs_constants(level):
        return {}
    batch, columns = experience.batch, experience.batch.columns
    unit_K = {"token": np.arange(len(logprob_K)), "turn": batch.turn_K, "sequence": batch.trajectory_K}[level]
    scale_K = columns.get("clip_scale_K", np.ones(len(logprob_K)))
    group_K = columns["group_number_N"][batch.trajectory_K]
    own = (group_K, unit_K, logprob_K, log_ratio_K, columns["advantage_K"], columns["trained_K"], scale_K)
    parts = processes.gather(own)

    group, _, logprobs, log_ratio, advantage, trained, scale = map(np.concatenate, zip(*parts, strict=True))
    first_units = np.cumsum([0, *(int(part[1].max(initial=-1)) + 1 for part in parts)])
    unit = np.concatenate([part[1] + first for part, first in zip(parts, first_units[:-1], strict=True)])
    order = np.argsort(group, kind="stable")
    minibatch = Minibatch(
        logprobs[order], log_ratio[order], advantage[order], unit[order], trained[order], scale[order], rng
    )
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    first = sum(len(part[0]) for part in parts[: processes.index])
    mine = place[first : first + len(logprob_K)]
    found = loss.minibatch_constants(minibatch, level, objective.policy_params)
    return {name: values[mine] for name, values in found.items()}
