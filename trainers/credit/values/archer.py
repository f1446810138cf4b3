"""ArCHer: a critic of whole turns, learned off-policy, and a policy of tokens that follows it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import discounted_returns, successors
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.parameters import UnitInterval

V_TARGETS = {"td": ("target_q1_policy_T", "target_q2_policy_T"), "iql": ("target_q1_T", "target_q2_T")}
"""What V1 and V2 are regressed on."""


@credit(
    "archer",
    paper="arXiv:2402.19446",
    needs=["q1_T", "q2_T", "v1_T", "v2_T"],
    needs_with={
        "critic_targets": ["target_v1_T", "target_v2_T"],
        **{f"critic_targets={variant}": needed for variant, needed in V_TARGETS.items()},
        "token_baseline": ["tokens", "value_K"],
    },
)
def archer(
    batch: TurnBatch,
    *,
    gamma: UnitInterval = 0.95,
    critic_targets: Literal["td", "iql"] | None = "td",
    token_baseline: bool = False,
) -> Credit:
    """ArCHer: how much better a turn's action is than the policy's usual one, by twin critics (arXiv:2402.19446).

        Â_t = min(Q_1, Q_2)(s_t, a_t) − min(V_1, V_2)(s_t)
        target of Q_j(s_t, a_t) = r_t + γ·V̄_j(s_{t+1}), r_t at the last turn
        target of V_j(s_t) = Q̄_j(s_t, a), a ~ π(·|s_t); for "iql" Q̄_j(s_t, a_t)

    for the critics j = 1, 2; V̄ and Q̄ are those of slowly following copies. Each learns from its own copy: the
    minimum is taken for the policy alone. All tokens of a turn share Â_t.

    - `gamma` 0.95: the official configuration's; its trainer's signature has 0.9.
    - `critic_targets` "td": the official online code's, which needs `target_v1_T`, `target_v2_T`,
      `target_q1_policy_T` and `target_q2_policy_T`. "iql": for offline data, where V_j is to become a high expectile of
      Q̄_j over the actions that were taken, and no other is ever asked about (IQL, arXiv:2110.06169); needs
      `target_q1_T` and `target_q2_T` in place of the last two. None: the advantages alone.
    - `token_baseline`: tokens get Â_t − b_l with b = `value_K`, which is then regressed on Â_t.

    The last turn of every trajectory counts as done, that of a truncated one too. Turns without tokens count like
    others. No groups are compared.

    Paper and code: the online code has "td", that of OfflineArcher "iql", and neither has `ppo`-like clipping. The
    Monte Carlo return that the code stores and does not use is among the parts.
    """
    v1_T, v2_T = batch.signal("v1_T"), batch.signal("v2_T")
    advantage_T = np.minimum(batch.signal("q1_T"), batch.signal("q2_T")) - np.minimum(v1_T, v2_T)
    targets = _critic_targets(batch, gamma, critic_targets) if critic_targets else {}
    parts = {"mc_return_T": discounted_returns(batch.reward_T, batch.turn_offsets_N, gamma)}
    if not token_baseline:
        return Credit(advantage_T=advantage_T, targets=targets, parts=parts)
    for need in ("tokens", "value_K"):
        require(batch, need, "archer with token_baseline")
    advantage_K = advantage_T[batch.turn_K]
    return Credit(
        advantage_K=advantage_K - batch.signal("value_K"), targets=targets | {"value_K": advantage_K}, parts=parts
    )


def _critic_targets(batch: TurnBatch, gamma: float, variant: str) -> dict[str, FloatArray]:
    for need in ("target_v1_T", "target_v2_T", *V_TARGETS[variant]):
        require(batch, need, "archer with critic_targets")

    def q_target_T(target_v_T: FloatArray) -> FloatArray:
        return batch.reward_T + gamma * successors(target_v_T, batch.turn_offsets_N)

    return {
        "q1_T": q_target_T(batch.signal("target_v1_T")),
        "q2_T": q_target_T(batch.signal("target_v2_T")),
        **{f"v{j}_T": batch.signal(name) for j, name in enumerate(V_TARGETS[variant], 1)},
    }
