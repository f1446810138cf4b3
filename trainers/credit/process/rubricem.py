"""RubricEM's SS-GRPO: stages of a trajectory, judged one by one and credited for the stages that they enable."""

from __future__ import annotations

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import Positive
from agentgym.trainers.segments import intersect, segment_mean

PLAN_RESEARCH_REVIEW_ANSWER = [[1.0, 0.4, 0.6, 0.8], [0.0, 1.0, 0.4, 0.8], [0.0, 0.0, 1.0, 0.8], [0.0, 0.0, 0.0, 1.0]]
"""Λ of the paper's appendix F.1.2, for its four stages."""


@credit(
    "rubricem",
    paper="arXiv:2605.10899",
    needs=["stage_T", "stage_score_T"],
    granularity="segment",
    requires_groups=True,
)
def rubricem(
    batch: TurnBatch,
    *,
    dependence: list[list[float]] = PLAN_RESEARCH_REVIEW_ANSWER,
    epsilon: Positive = 1e-8,
) -> Credit:
    """RubricEM: stage-structured GRPO, SS-GRPO (arXiv:2605.10899, §3.3).

        G_{i,k} = Σ_{j≥k} λ_{k,j}·R_{i,j}
        A_{i,k} = (G_{i,k} − mean_i G_{i,k})/(std_i G_{i,k} + ε)    over the trajectories of the task

    R_{i,j} is the judge's score of the j-th stage of trajectory i: `stage_score_T`, which the turns of a stage have
    in common (of different ones the mean is taken). Stages count in the order in which the trajectory enters
    them; those of equal name (`stage_T`) are compared. All turns of a stage get its advantage. The rewards of
    the environment do not enter.

    - `dependence` Λ: what each stage (row) earns from each (column), 1 on the diagonal and 0 below it. The
      default is the paper's (appendix F.1.2) for its four stages: plan, research, review, answer.
    - `epsilon` 1e-8, and std with ddof 0: those of open-instruct, which the authors' code is built on. The paper
      gives neither.

    Λ may have more rows than a trajectory has stages. A stage that only one trajectory of the task has gets 0, as
    the equations have it. Raises `ValueError` for a Λ that does not fit.

    Paper and code: no official code was found. The paper's trajectories have all stages, always; what becomes of
    skipped ones is ours.
    """
    unit_T = intersect(batch.trajectory_T, batch.categories("stage_T"))
    first = np.unique(unit_T, return_index=True)[1]  # units are numbered in the order of their first turns
    trajectory = batch.trajectory_T[first]
    place = np.arange(len(first)) - np.searchsorted(trajectory, trajectory)
    matrix = _dependence_matrix(dependence, int(place.max(initial=-1)) + 1)

    score_NS = np.zeros((batch.n_trajectories, len(matrix)))
    score_NS[trajectory, place] = segment_mean(batch.signal("stage_score_T"), unit_T, len(first))
    return_T = (score_NS @ matrix.T)[trajectory, place][unit_T]

    begins_T = np.zeros(batch.n_turns, dtype=np.bool_)
    begins_T[first] = True
    peers_T = intersect(batch.group_T, batch.categories("stage_T"))
    advantage_T = compare(return_T, peers_T, scale="std", singleton="zero", among=begins_T, ddof=0, epsilon=epsilon)
    return Credit(advantage_T=advantage_T, parts={"stage_return_T": return_T})


def _dependence_matrix(dependence: list[list[float]], n_stages: int) -> FloatArray:
    """Λ as an array. Raises `ValueError` unless it is square, large enough, unit and upper triangular."""
    size = len(dependence)
    if any(len(row) != size for row in dependence):
        raise ValueError(f"rubricem: dependence has {size} rows, so each should have {size} numbers")
    if size < n_stages:
        raise ValueError(
            f"rubricem: dependence is for {size} stages, but a trajectory has {n_stages}: give a larger one"
        )
    matrix = np.array(dependence, dtype=np.float64).reshape(size, size)
    if np.tril(matrix, -1).any() or (np.diag(matrix) != 1).any():
        raise ValueError(
            "rubricem: dependence should have 1 on the diagonal and 0 below it, as no stage enables an earlier one"
        )
    return matrix
