"""The pieces that credit schemes are made of: a handful of segment operations on flat arrays.

Nearly every scheme is one expression with different words in it:

- `agentgym.trainers.segments`: **which unit** is judged. A segmentation gives each entry (turn, token) the number of
  its segment (task, task and state, sub-goal, trajectory); `offsets` delimit segments that lie one after the other.
- `earnings`: **what it earned**: the episode's score, rewards on tokens, the gain of a potential, the minimum.
- `gathering`: **how earnings gather** over time: discounted sums, generalised advantage estimation.
- `comparison`: **whom it is compared with**, and how the comparison is **scaled**.

How it reaches the tokens is `Credit.token_advantages`: evenly, unless a scheme gives one number a token.
"""

from agentgym.trainers.credit.blocks.comparison import (
    Scale,
    Statistics,
    compare,
    counted_turns,
    rate_of_others,
    standardise,
    whiten,
)
from agentgym.trainers.credit.blocks.earnings import (
    episode_scores,
    gains,
    min_form_weights,
    penalised,
    response_rewards,
    token_rewards,
)
from agentgym.trainers.credit.blocks.gathering import discounted_returns, gae, peak_normalised, successors

__all__ = [
    "Scale",
    "Statistics",
    "compare",
    "counted_turns",
    "discounted_returns",
    "episode_scores",
    "gae",
    "gains",
    "min_form_weights",
    "peak_normalised",
    "penalised",
    "rate_of_others",
    "response_rewards",
    "standardise",
    "successors",
    "token_rewards",
    "whiten",
]
