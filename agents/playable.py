"""Whether a model that was loaded can play, and that it plays as it is trained."""

from __future__ import annotations

from typing import Any

from torch.nn.modules.dropout import _DropoutNd
from transformers import PreTrainedTokenizerBase

from agentgym.agents.contexts import ChatPieces
from agentgym.agents.engines.transformers import keeps_cache
from agentgym.agents.model_names import ModelError


def check_playable(name: str, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `ModelError` for a model, or a chat template, that dialogues cannot be played with."""
    if not keeps_cache(model) or model.get_output_embeddings() is None:
        raise ModelError(f"{name!r} is a {type(model).__name__}, which does not go on from a cache of its past")
    try:
        pieces = ChatPieces(tokenizer, "rules")
        shown = {*pieces.opening("seen"), *pieces.continuation("seen", False)}
    except ValueError as error:
        raise ModelError(f"cannot play with the model {name!r}: {error}") from error
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    highest = max(shown | set(tokenizer.get_vocab().values()) - special)
    if highest >= (rows := model.get_input_embeddings().weight.shape[0]):
        raise ModelError(f"the tokenizer of {name!r} has tokens up to {highest}, and the model embeds {rows} alone")


def switch_noise_off(model: Any) -> None:
    """Make the model compute in training what it computes when it acts: without dropout, without noise in routers.

    Ratios of probabilities would else be those of two policies. LoRA's own dropout comes later and stays.
    """
    configs = [model.config, model.config.get_text_config()]
    for part in [*model.modules(), *configs]:
        for name, value in list(vars(part).items()):
            if isinstance(value, float) and ("drop" in name or name in _ROUTER_NOISE):
                setattr(part, name, 0.0)
        if isinstance(part, _DropoutNd):
            part.p = 0.0


_ROUTER_NOISE = ("jitter_noise", "input_jitter_noise", "moe_jitter_eps")
"""Attributes of mixtures of experts that scale noise in training alone."""
