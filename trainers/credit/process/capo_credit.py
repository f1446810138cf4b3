"""CAPO (credit assignment): critiques by a language model take from the outcome reward where a step is wrong."""

from __future__ import annotations

from typing import Literal

from agentgym.trainers.arrays import BoolArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import compare
from agentgym.trainers.credit.registry import Credit, credit
from agentgym.trainers.parameters import NonNegative, Positive


@credit("capo_credit", paper="arXiv:2508.02298", needs=["tokens", "wrong_votes_T"], requires_groups=True)
def capo_credit(
    batch: TurnBatch,
    *,
    voting: Literal["intersection", "majority", "union"] = "intersection",
    outcome_weight: NonNegative = 2.0,
    process_weight: NonNegative = 1.0,
    scale: Literal["std", "none"] = "std",
    epsilon: Positive = 1e-6,
) -> Credit:
    """CAPO: generative credit assignment (Xie et al., arXiv:2508.02298). A step is a turn here.

        r_l = C·R_i − P·[token l belongs to a turn that is voted wrong]
        A_l = (r_l − mean r)/(std r + ε)    over all tokens of the task

    R_i, the episode's return, should be 1 for a correct outcome, else 0. The share of the critiques that call a
    turn wrong is `wrong_votes_T`, in [0, 1]. With C > P, success with a mistake (C − P) still ranks above
    failure without one (0), and that above failure with one (−P).

    - `voting`: a turn is wrong if all critiques say so ("intersection", best for the paper's smaller models), if
      at least half do ("majority"), or if any does ("union"; these are better for its largest).
    - `outcome_weight` C = 2, `process_weight` P = 1: the best of the paper's ablation.
    - `scale="none"`: without the division. `epsilon` and ddof 1 are verl's, as in `grpo`.

    Long turns weigh more in mean and std. Turns without tokens get nothing. A trajectory alone in its task is
    compared with its own tokens; a token alone keeps its reward.

    Paper and code: no official code was found (the repository announces it). The paper's text was not at hand
    either: the reward, C, P and the votes are as two independent summaries of it give them, the mean over all
    tokens of a task as a review of it does. That the deviation is divided by its std is what GRPO does and a
    third party's reimplementation; the paper's own equation could not be read.
    """
    wrong_T = voted_wrong(batch, voting)
    reward_T = outcome_weight * batch.episode_return_N[batch.trajectory_T] - process_weight * wrong_T
    group_K = batch.group_T[batch.turn_K]
    advantage_K = compare(reward_T[batch.turn_K], group_K, scale=scale, epsilon=epsilon)
    return Credit(advantage_K=advantage_K, parts={"reward_T": reward_T})


def voted_wrong(batch: TurnBatch, voting: Literal["intersection", "majority", "union"]) -> BoolArray:
    """The turns that the critiques call wrong, by the rule of `voting`. Raises `ValueError` for no share of votes."""
    share_T = batch.signal("wrong_votes_T")
    outside = (share_T < 0) | (share_T > 1)
    if outside.any():
        raise ValueError(
            f"capo_credit: wrong_votes is {share_T[outside][0]:g}: it should be the share of critiques, from 0 to 1"
        )
    wrong_T: dict[str, BoolArray] = {"intersection": share_T == 1, "majority": share_T >= 0.5, "union": share_T > 0}
    return wrong_T[voting]
