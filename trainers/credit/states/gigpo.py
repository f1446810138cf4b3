"""GiGPO: an advantage among episodes of one task, and one among turns that began in the same state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Literal

import numpy as np

from agentgym.trainers.arrays import IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import (
    Statistics,
    compare,
    counted_turns,
    discounted_returns,
    episode_scores,
    penalised,
)
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.parameters import NonNegative, Positive, UnitInterval
from agentgym.trainers.segments import intersect

_VERL_AGENT_NAMES = {
    "step_advantage_w": "step_weight",
    "invalid_action_penalty_coef": "invalid_action_penalty",
    "compute_mean_std_cross_steps": "statistics",
    "similarity_thresh": "similarity_threshold",
}


def official_names(params: Mapping[str, object]) -> dict[str, object]:
    """The parameters of gigpo with verl-agent's names and values in ours; other names stay as they are."""
    ours = {_VERL_AGENT_NAMES.get(name, name): value for name, value in params.items()}
    if len(ours) < len(params):
        raise ValueError(f"gigpo: a parameter is given under two names among {', '.join(params)}")
    for flag in ("compute_mean_std_cross_steps", "enable_similarity"):
        if not isinstance(params.get(flag, True), bool):
            raise ValueError(f"gigpo: {flag} should be true or false, not {params[flag]!r:.80}")
    if "compute_mean_std_cross_steps" in params:
        ours["statistics"] = "turns" if ours["statistics"] else "trajectories"
    if "enable_similarity" in params:
        enabled = ours.pop("enable_similarity")
        ours["similarity_threshold"] = ours.get("similarity_threshold", 0.95) if enabled else None
    return ours


@credit("gigpo", paper="arXiv:2505.10978", needs=["state_key"], requires_groups=True, aliases=official_names)
def gigpo(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 0.95,
    step_weight: float = 1.0,
    mode: Literal["mean_norm", "mean_std_norm"] = "mean_norm",
    epsilon: Positive = 1e-6,
    statistics: Statistics = "turns",
    similarity_threshold: UnitInterval | None = None,
    invalid_action_penalty: NonNegative = 0.1,
) -> Credit:
    """GiGPO: group-in-group advantages, of episodes and of turns in equal states (arXiv:2505.10978, §4).

        A^E_i     = (R_i − mean_g R)/F        over the episodes of the task g
        G_{i,t}   = Σ_{k≥t} γ^{k−t} r_{i,k}
        A^S_{i,t} = (G_{i,t} − mean_s G)/F    over the turns of the task that began in the anchor state s
        A_{i,t}   = A^E_i + ω·A^S_{i,t}

    - `mode`: F = 1 ("mean_norm") or F = std + ε with ddof 1 ("mean_std_norm"); the paper's "w/o std" and
      "w/ std". Default of the official function; its scripts use "mean_std_norm" for ALFWorld.
    - `gamma` 0.95, `step_weight` ω = 1, `epsilon` 1e-6: the official scripts' and the paper's.
    - `statistics`: what mean and std of A^E are taken over. Under "trajectories" the first turn's score stands
      for the trajectory, its penalty included, as in the official code.
    - `similarity_threshold`: joins states of similar text instead of equal key (see `similar_states`). Off by
      default; 0.95 in the official configuration, 0.9 in the paper's search experiments.
    - `invalid_action_penalty` c = 0.1: at a turn with an invalid action c is subtracted from R_i and from
      G_{i,t}, before anything is compared; other turns keep theirs.

    An episode alone in its task keeps its raw score (mean 0, std 1); a turn alone in its state gets A^S = 0.
    verl-agent's names of the parameters are understood too.

    Paper and code: the paper takes mean and std of A^E over trajectories, the official code by default over
    turns, so that long trajectories weigh more (`statistics`, by default the code's). The penalty for invalid
    actions is the official trainer's, not in the paper. States are similar by the paper's "longest matching
    subsequence", by difflib's ratio in the code and here.
    """
    score_T = episode_scores(batch, invalid_action_penalty)
    return_T = discounted_returns(batch.reward_T, batch.turn_offsets_N, gamma)
    penalised_return_T = penalised(return_T, batch, invalid_action_penalty)
    anchor_T = anchor_states(batch, similarity_threshold)

    scale: Literal["std", "none"] = "std" if mode == "mean_std_norm" else "none"
    among_T = counted_turns(batch, statistics)
    episode_T = compare(score_T, batch.group_T, scale=scale, among=among_T, epsilon=epsilon)
    step_T = compare(penalised_return_T, anchor_T, scale=scale, singleton="zero", epsilon=epsilon)

    return Credit(
        advantage_T=episode_T + step_weight * step_T,
        parts={
            "episode_return_N": batch.episode_return_N,
            "episode_score_penalised_T": score_T,
            "step_return_T": return_T,
            "step_return_penalised_T": penalised_return_T,
            "step_group_T": anchor_T,
            "episode_advantage_T": episode_T,
            "step_advantage_T": step_T,
        },
    )


def anchor_states(batch: TurnBatch, similarity_threshold: float | None = None) -> IntArray:
    """The turns of one task that began in the same state, numbered in the order of first appearance."""
    if similarity_threshold is not None:
        require(batch, "observation", "gigpo with similarity_threshold")
        return similar_states(batch, similarity_threshold)
    require(batch, "state_key", "gigpo")
    assert batch.state_T is not None
    return intersect(batch.group_T, batch.state_T)


def similar_states(batch: TurnBatch, threshold: float) -> IntArray:
    """The turns of one task with similar observations, numbered in the order of first appearance.

    One greedy pass in the order of the turns: a turn joins the first cluster of its task whose first member
    is similar enough (`difflib`'s ratio), else it opens one. The result depends on the order, as in the
    official code; the paper says "longest matching subsequence".
    """
    assert batch.observation_T is not None
    clusters: dict[int, list[tuple[int, SequenceMatcher[str]]]] = defaultdict(list)
    cluster_of: dict[tuple[int, str], int] = {}  # an equal text in the same task ends in the same cluster
    for group, text in zip(batch.group_T.tolist(), batch.observation_T, strict=True):
        if (group, text) in cluster_of:
            continue
        similar = (number for number, first in clusters[group] if _is_similar(text, first, threshold))
        number = next(similar, None)
        if number is None:
            number = sum(map(len, clusters.values()))
            clusters[group].append((number, SequenceMatcher(None, "", text)))
        cluster_of[group, text] = number
    keys = zip(batch.group_T.tolist(), batch.observation_T, strict=True)
    return np.array([cluster_of[key] for key in keys], dtype=np.int64)


def _is_similar(text: str, first: SequenceMatcher[str], threshold: float) -> bool:
    """Whether a text is similar to a cluster's first. The two bounds of the ratio are quicker to compute."""
    first.set_seq1(text)
    return all(bound() >= threshold for bound in (first.real_quick_ratio, first.quick_ratio, first.ratio))
