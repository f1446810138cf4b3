"""Behaviour cloning of demonstrators: the warm start before reinforcement learning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, get_cosine_schedule_with_warmup

from agentgym.agents.agent import Decision, ExpertAgent, planned_action
from agentgym.agents.contexts import ChatPieces, Context
from agentgym.agents.rollout import EpisodeSpec, play_turn, start_episode
from agentgym.envs import TextEnv
from agentgym.trainers.layout import TokenSequence, micro_batches
from agentgym.trainers.scoring import sampled_logits


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Decisions of a demonstrator in one sequence: one decision, or a whole dialogue."""

    sequence: TokenSequence
    first_token: dict[int, dict[int, float]]
    """The distributions that the demonstrator drew the responses' first tokens from, by the token's place in
    `sequence.sampled`."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """One decision, in tokens."""

    prompt: list[int]
    response: list[int]
    first_token: dict[int, float]


def demonstrate(
    env: TextEnv,
    expert: ExpertAgent,
    tokenizer: PreTrainedTokenizerBase,
    context: Context,
    seeds: Iterable[int],
    instructions: str,
) -> Iterator[Demonstration]:
    """Play one episode a seed and yield every decision, until the expert knows no way to success any more.

    In a dialogue context the decisions of an episode come in one piece.
    """
    pieces = ChatPieces(tokenizer, instructions)
    for seed in seeds:
        choices = _play(env, expert, tokenizer, context, seed, pieces)
        if context.window is not None:
            yield from (_lay_out([choice]) for choice in choices)
        elif played := list(choices):
            yield _lay_out(played)


def _play(
    env: TextEnv,
    expert: ExpertAgent,
    tokenizer: PreTrainedTokenizerBase,
    context: Context,
    seed: int,
    pieces: ChatPieces,
) -> Iterator[_Choice]:
    """Play one episode and yield its decisions."""
    end = tokenizer.eos_token_id

    def response_ids(action: str) -> list[int]:
        return [*tokenizer.encode(action, add_special_tokens=False), end]

    episode = start_episode(env, EpisodeSpec("", seed, group="", sampling_seed=seed))
    stop_reason = None
    while stop_reason is None and planned_action(env) is not None:
        distribution = expert.distribution(episode)
        action = expert.act([episode])[0].action
        prompt = context.prompt(pieces, episode.trajectory.turns, episode.observation, end, episode.info)
        first_token: dict[int, float] = {}
        for alternative, probability in distribution.items():
            token = response_ids(alternative)[0]
            first_token[token] = first_token.get(token, 0.0) + probability
        response = response_ids(action)
        yield _Choice(prompt, response, first_token)
        stop_reason = play_turn(episode, Decision(action, prompt_ids=prompt, response_ids=response))


def _lay_out(choices: Sequence[_Choice]) -> Demonstration:
    """One sequence of decisions, each of whose prompts begins with what came before."""
    last = choices[-1]
    sampled: list[int] = []
    first_token = {}
    for choice in choices:
        first_token[len(sampled)] = choice.first_token
        sampled += range(len(choice.prompt), len(choice.prompt) + len(choice.response))
    return Demonstration(TokenSequence((*last.prompt, *last.response), tuple(sampled)), first_token)


def cloning_loss(
    model: torch.nn.Module,
    demonstrations: Sequence[Demonstration],
    observation_weight: float = 0.0,
    batch: Sequence[Demonstration] | None = None,
) -> torch.Tensor:
    """Cross-entropy to the demonstrator, averaged over response tokens.

    The first token of a response is compared with the whole distribution it was drawn from: its sample
    would have the same mean and only add noise. Later tokens are compared with the ones played.

    `observation_weight` adds as much of the cross-entropy of all other tokens, averaged too: a model that is made
    from nothing learns its world's words, and to copy names, sooner from the whole text than from responses alone.

    The averages are over the tokens of `batch`, by default the demonstrations themselves: the losses of a batch's
    parts add up to the loss of the batch.
    """
    sequences = [demonstration.sequence for demonstration in demonstrations]
    responses, others = _token_counts(demonstrations if batch is None else batch)
    if not observation_weight:
        return _cross_entropy(*sampled_logits(model, sequences), demonstrations) / responses
    whole = [TokenSequence(sequence.ids, tuple(range(1, sequence.sampled[-1] + 1))) for sequence in sequences]
    logits, tokens = sampled_logits(model, whole)
    sampled = [np.isin(all_.sampled, sequence.sampled) for all_, sequence in zip(whole, sequences, strict=True)]
    is_response = torch.from_numpy(np.concatenate(sampled)).to(logits.device)
    loss = _cross_entropy(logits[is_response], tokens[is_response], demonstrations) / responses
    observed = F.cross_entropy(logits[~is_response], tokens[~is_response], reduction="sum")
    return loss + observation_weight * observed / others


def _token_counts(demonstrations: Sequence[Demonstration]) -> tuple[int, int]:
    """How many tokens of responses there are, and how many others that have a context."""
    sampled = sum(len(demonstration.sequence.sampled) for demonstration in demonstrations)
    return sampled, sum(demonstration.sequence.sampled[-1] for demonstration in demonstrations) - sampled


def _cross_entropy(logits: torch.Tensor, tokens: torch.Tensor, demonstrations: Sequence[Demonstration]) -> torch.Tensor:
    """The sum over the demonstrations' responses, whose tokens come one after the other."""
    target = torch.zeros_like(logits).scatter_(1, tokens[:, None], 1.0)
    start = 0
    for demonstration in demonstrations:
        for place, distribution in demonstration.first_token.items():
            target[start + place] = 0.0
            for token, probability in distribution.items():
                target[start + place, token] = probability
        start += len(demonstration.sequence.sampled)
    return F.cross_entropy(logits, target, reduction="sum")


def clone(
    model: torch.nn.Module,
    batches: Iterable[Sequence[Demonstration]],
    *,
    learning_rate: float,
    num_steps: int,
    warmup_steps: int = 100,
    weight_decay: float = 0.01,
    observation_weight: float = 0.0,
    max_tokens: int = 4096,
) -> Iterator[float]:
    """Train `model` on `num_steps` batches with AdamW and a cosine schedule; yield every batch's loss.

    A batch passes in micro-batches of at most `max_tokens` tokens, padding counted.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup_steps, num_steps)
    model.train()
    for _, demonstrations in zip(range(num_steps), batches, strict=False):
        optimizer.zero_grad()
        batch_loss = 0.0
        for chosen in micro_batches([demonstration.sequence for demonstration in demonstrations], max_tokens):
            loss = cloning_loss(model, [demonstrations[i] for i in chosen], observation_weight, demonstrations)
            loss.backward()  # type: ignore[no-untyped-call]
            batch_loss += loss.item()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        schedule.step()
        yield batch_loss
