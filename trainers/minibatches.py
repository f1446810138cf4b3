"""Minibatches: which groups of an experience an optimizer step learns from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from agentgym.agents.seeds import derived_seed
from agentgym.trainers.experience import Experience
from agentgym.trainers.processes import Processes


def deal(
    experience: Experience, processes: Processes, num_iterations: int, num_minibatches: int, purpose: Sequence[object]
) -> Iterator[Experience]:
    """This process's share of each optimizer step: whole groups, dealt out alike in every process.

    An iteration goes through all groups, in an order that derives from `purpose` (`derived_seed`).
    """
    labels = [trajectory.group for trajectory in experience.trajectories]
    everywhere = sorted({label for own in processes.gather(labels) for label in own}, key=natural)
    number = {label: i for i, label in enumerate(everywhere)}
    group_N = np.array([number[label] for label in labels], np.int64)
    experience = experience.with_columns({"group_number_N": group_N})
    for iteration in range(num_iterations):
        rng = np.random.default_rng(derived_seed(*purpose, iteration))
        for groups in np.array_split(rng.permutation(len(everywhere)), num_minibatches):
            yield experience.select(np.flatnonzero(np.isin(group_N, groups)))


def natural(label: str) -> list[tuple[bool, int, str]]:
    """Sorts "3/10" after "3/9": the same order of groups on any number of processes."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", label)]
