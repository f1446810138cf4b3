"""The default engine: a transformers model in this process, sampled token by token.

A plain loop over `model.forward`: for the small models and short responses of agents it is faster than
`generate`, and it can promise what `generate` does not: a seed for every sequence, and the exact
log-probability of every sampled token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agentgym.agents.adapters import adapter_merged
from agentgym.agents.engines import Request, Sample, SamplingParams


def keeps_cache(model: Any) -> bool:
    """Whether a model, given a token, hands out the cache that the engine goes on from."""
    with torch.no_grad():
        output = model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device), use_cache=True)
    return getattr(output, "past_key_values", None) is not None


class TransformersEngine:
    """Samples from a causal language model of transformers or peft, the very one that is trained."""

    owns_weights = False

    def __init__(self, model: Any, stop_ids: Sequence[int], *, max_batch_tokens: int = 262_144):
        """`stop_ids`: tokens that end a response.

        `max_batch_tokens`: prompts are answered in batches of at most this many tokens, padding and room
        for the responses counted; it bounds the memory of the key-value cache.
        """
        self.model = model
        self.stop_ids = tuple(stop_ids)
        self.max_batch_tokens = max_batch_tokens
        self.policy_step = 0
        self._waiting: list[Request] = []

    @contextmanager
    def serving(self, model: Any, step: int) -> Iterator[None]:
        """See `Engine.serving`. The model's adapter is added to its weights meanwhile, which makes it quicker."""
        self.model, self.policy_step = model, step
        with adapter_merged(model):
            yield

    def submit(self, requests: Sequence[Request]) -> None:
        """See `Engine.submit`."""
        for request in requests:
            if len(request.prompt) == 0:
                raise ValueError(f"prompt {request.key} is empty: the first token has nothing to be sampled from")
        self._waiting += requests

    def collect(self) -> list[Sample]:
        """See `Engine.collect`: all that waits is answered at once, in waves."""
        waiting, self._waiting = self._waiting, []
        samples: list[Sample] = []
        for params in dict.fromkeys(request.params for request in waiting):
            alike = [request for request in waiting if request.params == params]
            samples += self._answer(alike, params)
        return samples

    def _answer(self, requests: Sequence[Request], params: SamplingParams) -> list[Sample]:
        """Sample for requests with the same parameters. Siblings with one prompt share its computation."""
        prompts = [request.prompt for request in requests]
        samples = [Sample(request.key, policy_step=self.policy_step) for request in requests]
        # By length, then by content: padding is rare and equal prompts meet in one batch.
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i]))
        start = 0
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad():
            while start < len(order):
                end = start + 1
                while end < len(order) and self._fits(len(prompts[order[end]]), end + 1 - start, params):
                    end += 1
                batch = order[start:end]
                self._generate_batch(
                    [prompts[i] for i in batch],
                    np.array([requests[i].seed for i in batch], np.uint64),
                    params,
                    [samples[i] for i in batch],
                )
                start = end
        self.model.train(was_training)
        return samples

    def _fits(self, longest: int, count: int, params: SamplingParams) -> bool:
        return (longest + params.max_new_tokens) * count <= self.max_batch_tokens

    def _generate_batch(
        self,
        prompts: list[Sequence[int]],
        seeds: NDArray[np.uint64],
        params: SamplingParams,
        samples: list[Sample],
    ) -> None:
        """Fill `samples` for prompts that fit into memory together."""
        logits, cache, mask = self._prefill(prompts, keep_cache=params.max_new_tokens > 1)
        live = np.arange(len(prompts))
        for position in range(params.max_new_tokens):
            tokens, logprobs = _sample(logits, _uniform(seeds[live], position), params)
            for i, token, logprob in zip(live, tokens.tolist(), logprobs.tolist(), strict=True):
                samples[i].ids.append(token)
                samples[i].logprobs.append(logprob)
            going_on = ~np.isin(tokens.cpu().numpy(), self.stop_ids)
            if position + 1 == params.max_new_tokens or not going_on.any():
                return
            if not going_on.all():
                keep = torch.from_numpy(np.flatnonzero(going_on)).to(tokens.device)
                cache.reorder_cache(keep)  # in every kind of layer, recurrent states too
                mask, tokens, live = mask[keep], tokens[keep], live[going_on]
            mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
            output = self.model(
                input_ids=tokens[:, None],
                attention_mask=mask,
                position_ids=mask.sum(1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            )
            logits = output.logits[:, -1]

    def _prefill(
        self,
        prompts: list[Sequence[int]],
        *,
        keep_cache: bool,
    ) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """The logits after each prompt, the key-value cache, and the mask of real tokens.

        Prompts are padded on the left, so that all end in the last column. Each distinct prompt is computed
        once.
        """
        distinct: dict[tuple[int, ...], int] = {}
        index = [distinct.setdefault(tuple(prompt), len(distinct)) for prompt in prompts]
        width = max(map(len, distinct))
        input_ids = np.zeros((len(distinct), width), np.int64)
        real = np.zeros_like(input_ids)
        for row, prompt in enumerate(distinct):
            input_ids[row, width - len(prompt) :] = prompt
            real[row, width - len(prompt) :] = 1
        device = next(self.model.parameters()).device
        mask = torch.from_numpy(real).to(device)
        output = self.model(
            input_ids=torch.from_numpy(input_ids).to(device),
            # Without padding the mask would say nothing, and cost a slower attention kernel.
            attention_mask=mask if not real.all() else None,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=keep_cache,
            logits_to_keep=1,
        )
        rows = torch.tensor(index, device=device)
        cache = output.past_key_values
        if keep_cache:
            cache.reorder_cache(rows)
        return output.logits[rows, -1], cache, mask[rows]


def _sample(
    logits: torch.Tensor, uniform: NDArray[np.float64], params: SamplingParams
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a token from each row of `logits` by inverting its distribution function at `uniform`."""
    scaled = logits.float() / (params.temperature or 1.0)
    logprobs = torch.log_softmax(scaled, dim=-1)
    if params.temperature == 0:
        tokens = scaled.argmax(dim=-1)
    else:
        probabilities = logprobs.double().exp()
        if params.top_p < 1:
            probabilities = _nucleus(probabilities, params.top_p)
        cumulative = probabilities.cumsum(dim=-1)
        threshold = torch.from_numpy(uniform).to(cumulative.device)[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, threshold, right=True).squeeze(1)
        tokens = tokens.clamp(max=logits.shape[-1] - 1)
    return tokens, logprobs.gather(1, tokens[:, None]).squeeze(1)


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero all but the likeliest tokens that together reach `top_p` (arXiv:1904.09751).

    Of equally likely tokens (frequent in bfloat16) the first is taken, whatever else is in the batch.
    """
    ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    return torch.zeros_like(probabilities).scatter(-1, index, ordered.where(before < top_p, 0.0))


def _uniform(seeds: NDArray[np.uint64], position: int) -> NDArray[np.float64]:
    """A number in [0, 1) for every seed, a hash of seed and position (SplitMix64's finaliser).

    A counter instead of a stream: nothing to carry along, and no sequence sees another's draws.
    """
    with np.errstate(over="ignore"):
        x = seeds + np.uint64(position + 1) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
