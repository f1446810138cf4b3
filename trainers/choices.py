"""What losses and schedules can be told to be: known without torch, so that a wrong word is answered at once."""

from __future__ import annotations

from typing import Literal, TypeAlias

RatioLevel: TypeAlias = Literal["token", "turn", "sequence"]
"""Of what the ratio is taken; a sequence is a trajectory."""
Aggregation: TypeAlias = Literal["token-mean", "sequence-mean", "sequence-mean-token-sum", "constant"]
"""What a loss is averaged over; see `agentgym.trainers.losses.token_weights`."""
KLEstimator: TypeAlias = Literal["k1", "k2", "k3", "abs"]
"""How a divergence is estimated; see `agentgym.trainers.losses.kl_to_reference`."""
ScheduleType: TypeAlias = Literal["constant", "linear", "cosine"]
"""How the learning rate goes on after the warm-up."""
