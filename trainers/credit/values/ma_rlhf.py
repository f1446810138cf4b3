"""MA-RLHF: credit for macro actions, which are runs of tokens."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Field

from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit.blocks import gae, response_rewards
from agentgym.trainers.credit.registry import Credit, credit, require
from agentgym.trainers.credit.values.ppo import end_values
from agentgym.trainers.parameters import NonNegative, UnitInterval
from agentgym.trainers.segments import last_entries, segment_of, segment_sum

Count: TypeAlias = Annotated[int, Field(ge=1, description="≥ 1")]
Seed: TypeAlias = Annotated[int, Field(ge=0, description="≥ 0")]
Termination: TypeAlias = Literal["ngram", "randomized_ngram", "perplexity"]
Variant: TypeAlias = Literal["official", "paper"]
Weights: TypeAlias = Literal["equal", "position", "unit"]

NGRAMS: dict[Variant, tuple[int, ...]] = {"official": (1, 2, 3, 5, 10), "paper": (2, 3, 5, 10)}
"""The lengths that randomised macro actions are drawn from."""


@credit(
    "ma_rlhf",
    paper="arXiv:2410.02743",
    needs=["tokens", "value_K"],
    needs_with={"bootstrap_truncated": ["final_value_N"], "termination=perplexity": ["perplexity_K"]},
    granularity="segment",
)
def ma_rlhf(
    batch: TurnBatch,
    *,
    termination: Termination = "ngram",
    ngram: Count = 5,
    ngram_repeats: Count = 3,
    seed: Seed = 0,
    weights: Weights = "equal",
    gamma: UnitInterval = 1.0,
    gae_lambda: UnitInterval = 0.95,
    variant: Variant = "official",
    bootstrap_truncated: bool = False,
    invalid_action_penalty: NonNegative = 0.0,
) -> Credit:
    """MA-RLHF: generalised advantage estimation over macro actions, runs of tokens (arXiv:2410.02743, §3.2).

        V_τ = Σ_l σ_l·V_l,   R_τ = Σ_l σ_l·r_l (in the paper Σ_l r_l)   over the tokens l of macro action τ
        δ_τ = R_τ + γ·V_{τ+1} − V_τ,   A_τ = δ_τ + γλ·A_{τ+1}
        target of V_l = A_τ + V_τ

    Each turn is cut into macro actions; the chain runs over those of all turns of a trajectory. All tokens of a
    macro action get its advantage. Advantages are not whitened. Rewards of tokens are as in `ppo`.

    - `termination`: "ngram" ends a macro action after `ngram` tokens (5 in most experiments);
      "randomized_ngram" after lengths drawn for each turn with `seed`, each length `ngram_repeats` times, after
      which the rest is one macro action; "perplexity" where the perplexity rises (`perplexity_K`).
    - `weights` σ: "equal" 1/n; "position" 1/(j + 1) for the j-th token of the macro action, from 0, made to
      sum to 1; "unit" 1 for its last token.
    - `gamma` 1, `gae_lambda` λ = 0.95: the paper's.
    - `bootstrap_truncated`: V after the last token of a truncated episode is `final_value_N`, not 0.
    - `invalid_action_penalty`: subtracted from the reward of a turn with an invalid action.

    Turns without tokens have no macro action; their reward goes to the token before. No groups are compared.

    Paper and code: under `variant="official"` the last token of a turn, which has its reward, is a macro action of
    its own; a rise in perplexity ends the macro action before the token that precedes the rise; the lengths of
    random n-grams include 1; rewards are weighted like values; and where a cut falls on the last token, an empty
    macro action with value and reward 0 stands before it, which only the code's arithmetic explains.
    `variant="paper"`: none of these; the token that raises the perplexity begins a macro action, rewards are
    summed. Macro actions from parse trees are not offered.
    """
    begins_K = _cuts(batch, termination, ngram, ngram_repeats, seed, variant)
    first_M = np.repeat(np.arange(batch.n_tokens), _count_of_macros_at(batch, begins_K, variant))  # M: macro actions
    offsets_M = np.append(first_M, batch.n_tokens)
    value_K, reward_K = batch.signal("value_K"), response_rewards(batch, invalid_action_penalty)
    weight_K = _weights(offsets_M, weights)
    macro_K, n_macros = segment_of(offsets_M), len(first_M)

    value_M = segment_sum(weight_K * value_K, macro_K, n_macros)
    reward_M = segment_sum(weight_K * reward_K if variant == "official" else reward_K, macro_K, n_macros)
    macros_N = np.searchsorted(first_M, batch.token_offsets_N)
    end_N = end_values(batch, bootstrap_truncated, "ma_rlhf")
    advantage_M = gae(reward_M, value_M, macros_N, gamma=gamma, lam=gae_lambda, end_value=end_N)
    return_M = advantage_M + value_M

    return Credit(
        advantage_K=advantage_M[macro_K],
        targets={"value_K": return_M[macro_K]},
        parts={
            "first_token_M": first_M,
            "value_M": value_M,
            "reward_M": reward_M,
            "advantage_M": advantage_M,
            "return_M": return_M,
        },
    )


def _cuts(
    batch: TurnBatch, termination: Termination, ngram: int, ngram_repeats: int, seed: int, variant: Variant
) -> BoolArray:
    """The tokens that the rule begins a macro action with; among them the first of every turn."""
    first_T = batch.known_token_offsets()[:-1]
    position_K = np.arange(batch.n_tokens) - first_T[batch.turn_K]
    begins_K: BoolArray = position_K == 0
    if termination == "ngram":
        begins_K |= position_K % ngram == 0
    elif termination == "randomized_ngram":
        lengths = np.tile(np.repeat(NGRAMS[variant], ngram_repeats), (batch.n_turns, 1))
        ends = np.cumsum(np.random.default_rng(seed).permuted(lengths, axis=1), axis=1)
        begins_K[(first_T[:, None] + ends)[ends < batch.n_tokens_T[:, None]]] = True
    else:
        require(batch, "perplexity_K", "ma_rlhf with termination='perplexity'")
        perplexity_K = batch.signal("perplexity_K")
        rises_K = position_K > 0
        rises_K[1:] &= perplexity_K[1:] > perplexity_K[:-1]
        begins_K |= np.append(rises_K[1:], False)[: batch.n_tokens] if variant == "official" else rises_K
    return begins_K


def _count_of_macros_at(batch: TurnBatch, begins_K: BoolArray, variant: Variant) -> IntArray:
    """How many macro actions begin at each token: two where an empty one stands before the last token of a turn."""
    count_K = begins_K.astype(np.int64)
    if variant == "official":
        count_K[last_entries(batch.known_token_offsets())] += 1
    return count_K


def _weights(offsets_M: IntArray, weights: Weights) -> FloatArray:
    """σ_K: what each token counts in its macro action. They sum to 1."""
    macro_K, length_M = segment_of(offsets_M), np.diff(offsets_M)
    position_K = np.arange(len(macro_K)) - offsets_M[macro_K]
    weight_K = np.ones(len(macro_K))
    if weights == "position":
        weight_K /= position_K + 1
    if weights == "unit":
        weight_K[position_K < length_M[macro_K] - 1] = 0.0
    return weight_K / segment_sum(weight_K, macro_K, len(length_M))[macro_K]
