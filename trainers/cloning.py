"""Behaviour cloning of demonstrators: the warm start before reinforcement learning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from agentgym.agents.agent import Decision, ExpertAgent, InstantAgent, View, planned_action
from agentgym.agents.contexts import ChatPieces, Context
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.rollout import play
from agentgym.agents.token_cache import TokenCache
from agentgym.agents.trajectory import StopReason, added_prompt, tokens_through
from agentgym.envs import TextEnv
from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.layout import Layout, TokenSequence, share_sequences
from agentgym.trainers.parts import Learner
from agentgym.trainers.policy import Policy


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Decisions of a demonstrator in one sequence: one decision, or a whole dialogue."""

    sequence: TokenSequence
    drawn_from: tuple[dict[int, float], ...]
    """What each of `sequence.sampled` was drawn from, given the tokens before it: token to probability."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """One decision, in tokens."""

    prompt: list[int]
    response: tuple[int, ...]
    drawn_from: list[dict[int, float]]


def demonstrate(
    make_env: Callable[[], TextEnv],
    expert: ExpertAgent,
    tokenizer: PreTrainedTokenizerBase,
    context: Context,
    seeds: Iterable[int],
    instructions: str,
) -> Iterator[Demonstration]:
    """Play one episode a seed and yield every decision, until the expert knows no way to success any more.

    In a dialogue context the decisions of an episode come in one piece.
    """
    unplayed = iter(seeds)
    tokens = _Responses(tokenizer)
    while chunk := list(islice(unplayed, _CHUNK)):
        demonstrator = _Demonstrator(expert, tokens, context, ChatPieces(tokenizer, instructions))
        specs = [EpisodeSpec("", seed, group="", sampling_seed=seed) for seed in chunk]
        play(demonstrator, make_env, specs, num_envs=1)
        for choices in demonstrator.choices.values():
            if context.window is not None:
                yield from (_lay_out([choice]) for choice in choices)
            elif choices:
                yield _lay_out(choices)


_CHUNK = 32
"""Episodes that are played before the first of them is yielded: they share an environment."""


class _Responses:
    """Actions as responses, in tokens: most of them are played again and again."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.end: int = tokenizer.eos_token_id
        self._tokenizer = tokenizer
        self._cache = TokenCache()

    def __getitem__(self, action: str) -> tuple[int, ...]:
        """The action's tokens, and the one that ends a response."""
        return self._cache.get(
            ("response", action), lambda: (*self._tokenizer.encode(action, add_special_tokens=False), self.end)
        )


class _Demonstrator(InstantAgent):
    """The expert, whose decisions are remembered in tokens, by episode."""

    def __init__(self, expert: ExpertAgent, responses: _Responses, context: Context, pieces: ChatPieces):
        super().__init__()
        self.expert, self.responses, self.context, self.pieces = expert, responses, context, pieces
        self.choices: dict[str, list[_Choice]] = {}

    def decide(self, view: View) -> Decision:
        """See `InstantAgent.decide`. Where no plan is left the episode ends: nobody should learn what follows."""
        if view.turn == 0:
            self.choices[view.episode] = []  # also at a second try
        try:
            if planned_action(view.env, view.seat) is None:
                return Decision("", stop_reason=StopReason.TERMINATED)
        except NotImplementedError:
            raise
        except Exception as error:  # a search server that is down, say
            return Decision("", error=error)
        decision = self.expert.decide(view)
        response = self.responses[decision.action]
        drawn_from = _drawn_from({self.responses[a]: p for a, p in self.expert.distribution(view).items()}, response)
        prompt = self.context.prompt(self.pieces, view.turns, view.observation, self.responses.end, view.info)
        self.choices[view.episode].append(_Choice(prompt, response, drawn_from))
        continues, added = added_prompt(tokens_through(view.turns), prompt)
        return Decision(decision.action, continues=continues, prompt_ids=added, response_ids=list(response))


def _drawn_from(responses: Mapping[tuple[int, ...], float], played: tuple[int, ...]) -> list[dict[int, float]]:
    """The distribution of each token of the response that was played, given those before it.

    `responses` has the probability of each that could have been played. Each closes with a token that is nowhere else
    in it, so that none is another's beginning.
    """
    found = []
    for place, token in enumerate(played):
        total = sum(responses.values())
        drawn_from: dict[int, float] = {}
        for response, probability in responses.items():
            drawn_from[response[place]] = drawn_from.get(response[place], 0.0) + probability / total
        found.append(drawn_from)
        responses = {response: p for response, p in responses.items() if response[place] == token}
    return found


def _lay_out(choices: Sequence[_Choice]) -> Demonstration:
    """One sequence of decisions, each of whose prompts begins with what came before."""
    last = choices[-1]
    sampled: list[int] = []
    for choice in choices:
        sampled += range(len(choice.prompt), len(choice.prompt) + len(choice.response))
    drawn_from = tuple(each for choice in choices for each in choice.drawn_from)
    return Demonstration(TokenSequence((*last.prompt, *last.response), tuple(sampled)), drawn_from)


def cloning_losses(
    policy: Policy, demonstrations: Sequence[Demonstration], observation_weight: float = 0.0
) -> Iterator[torch.Tensor]:
    """Cross-entropy to the demonstrator, averaged over response tokens: the share of each pass of the model.

    Each token of a response is compared with the whole distribution it was drawn from, given those before it: its
    sample would have the same mean and only add noise.

    `observation_weight` adds as much of the cross-entropy of all other tokens, averaged too: a model that is made
    from nothing learns its world's words, and to copy names, sooner from the whole text than from responses alone.
    """
    layout, targets = _targets(demonstrations, observation_weight)
    for each in policy.passes(layout):
        place_E = np.searchsorted(each.index_K, targets.token_E).clip(max=max(len(each.index_K) - 1, 0))
        own_E = np.flatnonzero(each.index_K[place_E] == targets.token_E) if len(each.index_K) else np.zeros(0, np.int64)
        slot_E = each.slot_K[torch.from_numpy(place_E[own_E])]
        log_prob_E = each.log_probs[slot_E, torch.from_numpy(targets.value_E[own_E]).to(slot_E.device)]
        yield -(torch.from_numpy(targets.weight_E[own_E]).to(log_prob_E) * log_prob_E).sum()


@dataclass(frozen=True)
class _Targets:
    """What the tokens of a layout should have been: one entry (`_E`) for each alternative."""

    token_E: IntArray
    """The token of the layout, ascending."""
    value_E: IntArray
    """What it should be …"""
    weight_E: FloatArray
    """… and how much that counts."""


def _targets(demonstrations: Sequence[Demonstration], observation_weight: float) -> tuple[Layout, _Targets]:
    """The layout of demonstrations, of all tokens that count, and what these should be."""
    sequences = [demonstration.sequence for demonstration in demonstrations]
    n_responses = sum(len(sequence.sampled) for sequence in sequences)
    n_others = sum(sequence.sampled[-1] for sequence in sequences) - n_responses
    laid_out: list[TokenSequence] = []
    entries: list[tuple[int, int, float]] = []
    token = 0
    for demonstration, sequence in zip(demonstrations, sequences, strict=True):
        whole = tuple(range(1, sequence.sampled[-1] + 1)) if observation_weight else sequence.sampled
        laid_out.append(TokenSequence(sequence.ids, whole))
        drawn_from = dict(zip(sequence.sampled, demonstration.drawn_from, strict=True))
        for place in whole:
            if place in drawn_from:
                entries += [(token, value, p / n_responses) for value, p in drawn_from[place].items()]
            else:
                entries.append((token, sequence.ids[place], observation_weight / n_others))
            token += 1
    token_E, value_E, weight_E = zip(*entries, strict=True)
    targets = _Targets(np.array(token_E), np.array(value_E), np.array(weight_E, np.float64))
    return share_sequences(laid_out), targets


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
    policy = Policy(model, max_tokens=max_tokens)
    learner = Learner(
        policy.parameters,
        policy.processes,
        learning_rate=learning_rate,
        num_steps=num_steps,
        lr_scheduler_type="cosine",
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        betas=(0.9, 0.98),
    )
    for _, demonstrations in zip(range(num_steps), batches, strict=False):
        shares: list[float] = []
        learner.step(_noted(cloning_losses(policy, demonstrations, observation_weight), shares))
        yield sum(shares)


def _noted(losses: Iterable[torch.Tensor], values: list[float]) -> Iterator[torch.Tensor]:
    """The losses, each of whose values is added to the list."""
    for loss in losses:
        values.append(loss.item())
        yield loss
